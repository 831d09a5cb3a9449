/* qslab: runs programs on qslab's malloc, and shows where the memory of those that run is. */
#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int command_trim(int count, char **arguments);

/* The text goes on in lines of its own; the first begins at column 11 of --help. */
static const struct command {
	const char *name;
	int (*call)(int count, char **arguments);
	const char *synopsis, *text;
} commands[] = {
	{"run", command_run, "[--stats] [--profile] -- COMMAND [ARGUMENT...]",
	 "runs COMMAND with libqslab-malloc.so preloaded\n"
	 "--stats: prints where its memory is, on stderr, when it exits. --profile: with a heap profile\n"},
	{"stat", command_stat, "[--format table|json|csv|prometheus] [--watch SECONDS] PID",
	 "where the memory of a process on qslab is, and what of its resident memory is explained;\n"
	 "the process is neither stopped nor disturbed. --watch: again every SECONDS\n"},
#ifdef QSLAB_TOP
	{"top", command_top, "[--interval SECONDS] [--sort COLUMN] [--filter SIZES] [--once] PID",
	 "the same, by object size, again and again; h: help. --once: one screen, on stdout\n"},
#endif
	{"why", command_why, "[--interval SECONDS] [--slabs N] PID|CORE",
	 "what holds memory that no live object needs, and what would give it back; is it fragmented, held\n"
	 "up by a stalled reader, or (--interval: looks for so long) leaking. --slabs: N single slabs\n"},
	{"profile", command_profile,
	 "[--format text|folded|pprof] [--value live|waiting|pinned] [--rate BYTES] [--no-demangle] [-o FILE]"
	 " PID|CORE",
	 "its heap profile: which call sites allocated what lives, waits for a grace period, or pins nearly empty\n"
	 "slabs; it was started with QSLAB_PROFILE=4M, or by run --profile. --rate: sets the bytes to a sample.\n"
	 "--no-demangle: C++ names as the symbol tables have them\n"},
	{"map", command_map, "[-o FILE.svg] PID|CORE",
	 "every page of its memory, a line for 2 MiB, in the terminal or as a picture\n"},
	{"record", command_record, "[--interval SECONDS] [--duration SECONDS] -o FILE PID",
	 "its figures every SECONDS (1), as lines of JSON, until it ends or the time is over\n"},
	{"report", command_report, "[-o FILE.html] RECORDING",
	 "a recording as an HTML page with plots over time; it needs no network\n"},
	{"diff", command_diff, "BEFORE [AFTER]",
	 "what grew from one recording, or output of stat --format json, to another; of one alone, from\n"
	 "its first line to its last\n"},
	{"serve", command_serve, "[--port PORT] PID",
	 "its figures for Prometheus: http://127.0.0.1:9754/metrics, until it ends. --port 0: any\n"},
	{"check", command_check, "[--count N] PID",
	 "reads a process and verifies that its own figures agree, N times (1); one line for each\n"
	 "that does not, and goes on not to\n"},
	{"core", command_core, "[--format table|json|csv|prometheus] FILE", "stat of a core file\n"},
	{"trim", command_trim, NULL, NULL},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const char usage_end[] =
	"\n"
	"run: the library is the one beside this program (../lib), or $QSLAB_LIBRARY.\n"
	"Exit status: of run, COMMAND's; 126 if it cannot be executed, 127 if there is none such, 1 for a missing\n"
	"library. Of the others, 1 if the process or file cannot be read, or a check failed. 2 for wrong usage.\n"
	"Static programs, and set-user-ID ones, ignore the library.\n";

int wrong_usage(const char *why, const char *what)
{
	fprintf(stderr, "qslab: %s%s; see qslab --help\n", why, what);
	return 2;
}

int failed(const char *why)
{
	fflush(stdout);
	fprintf(stderr, "qslab: %s\n", why);
	return 1;
}

int finish_output(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	perror("qslab: stdout");
	return 1;
}

bool parse_number(const char *text, long least, long most, long *number)
{
	char *end;

	errno = 0;
	*number = strtol(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *number >= least && *number <= most;
}

bool parse_pid(const char *command, const char *text, int *pid)
{
	long number;

	if (!parse_number(text, 1, INT_MAX, &number)) {
		char why[64];
		snprintf(why, sizeof why, "%s: not a process's number: ", command);
		wrong_usage(why, text);
		return false;
	}
	*pid = (int)number;
	return true;
}

/* Its memory can only be given back by its own code: we neither stop it nor run anything in it. */
static int command_trim(int count, char **arguments)
{
	(void)count;
	(void)arguments;
	fputs("qslab: trim: cannot be done from outside a process: let it call malloc_trim(0), or qslab_trim()\n", stderr);
	return 2;
}

static void print_text(const char *text)
{
	for (bool first = true; *text; first = false) {
		int length = (int)strcspn(text, "\n");
		printf("%*s%.*s\n", first ? 0 : 11, "", length, text);
		text += length + 1;
	}
}

static int print_usage(void)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (commands[i].synopsis)
			printf("%s qslab %s %s\n", i ? "      " : "usage:", commands[i].name, commands[i].synopsis);
	printf("       qslab --version | --help\n\n");
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!commands[i].synopsis)
			continue;
		printf("  %-8s ", commands[i].name);
		print_text(commands[i].text);
	}
	fputs(usage_end, stdout);
	return finish_output();
}

static int print_help(const struct command *command)
{
	printf("usage: qslab %s %s\n\n%11s", command->name, command->synopsis, "");
	print_text(command->text);
	return finish_output();
}

int main(int count, char **arguments)
{
	if (count < 2)
		return wrong_usage("no subcommand given", "");
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(arguments[1], commands[i].name)) {
			if (count == 3 && commands[i].synopsis && !strcmp(arguments[2], "--help"))
				return print_help(&commands[i]);
			return commands[i].call(count - 2, arguments + 2);
		}
	bool help = !strcmp(arguments[1], "--help") || !strcmp(arguments[1], "help");
	if (!help && strcmp(arguments[1], "--version"))
		return wrong_usage("unknown subcommand ", arguments[1]);
	if (count > 2)
		return wrong_usage("superfluous argument ", arguments[2]);
	if (help)
		return print_usage();
	puts("qslab " QSLAB_TOOL_VERSION);
	return finish_output();
}
