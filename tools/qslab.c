/* qslab: runs programs on qslab's malloc, and shows where the memory of those that run is. */
#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
	"usage: qslab run [--stats] -- COMMAND [ARGUMENT...]\n"
	"       qslab stat [--format table|json|csv|prometheus] [--watch SECONDS] PID\n"
	"       qslab check [--count N] PID\n"
	"       qslab core [--format table|json|csv|prometheus] FILE\n"
	"       qslab --version | --help\n"
	"\n"
	"  run      runs COMMAND with libqslab-malloc.so preloaded\n"
	"           --stats: prints where its memory is, on stderr, when it exits\n"
	"  stat     where the memory of a process on qslab is, and what of its resident memory is explained;\n"
	"           the process is neither stopped nor disturbed. --watch: again every SECONDS\n"
	"  check    reads a process and verifies that its own figures agree, N times (1); one line for each\n"
	"           that does not, and goes on not to\n"
	"  core     stat of a core file\n"
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

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		int (*command)(int count, char **arguments);
	} commands[] = {
		{"run", command_run},
		{"stat", command_stat},
		{"check", command_check},
		{"core", command_core},
	};

	if (count < 2)
		return wrong_usage("no subcommand given", "");
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(arguments[1], commands[i].name))
			return commands[i].command(count - 2, arguments + 2);
	bool help = !strcmp(arguments[1], "--help") || !strcmp(arguments[1], "help");
	if (!help && strcmp(arguments[1], "--version"))
		return wrong_usage("unknown subcommand ", arguments[1]);
	if (count > 2)
		return wrong_usage("superfluous argument ", arguments[2]);
	fputs(help ? usage_text : "qslab " QSLAB_TOOL_VERSION "\n", stdout);
	return finish_output();
}
