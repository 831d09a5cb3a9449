/* qslab stat, qslab core. */
#define _GNU_SOURCE
#include "stat.h"
#include "command.h"
#include "format.h"
#include "totals.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum format { TABLE, JSON, CSV, PROMETHEUS, FORMATS };

struct options {
	enum format format;
	double watch; /* seconds; 0: once */
	const char *what;
};

static void print(const struct snapshot *snapshot, const struct reader *reader, enum format format, bool first)
{
	switch (format) {
	case JSON:
		stat_json(snapshot, reader_name(reader));
		break;
	case CSV:
		stat_csv(snapshot, first);
		break;
	case PROMETHEUS:
		stat_prometheus(snapshot, stdout);
		break;
	default:
		if (!first)
			putchar('\n');
		stat_table(snapshot, target_name(reader, snapshot).text);
	}
}

static bool parse_format(const char *text, enum format *format)
{
	static const char *const names[FORMATS] = {"table", "json", "csv", "prometheus"};

	for (unsigned i = 0; i < FORMATS; i++)
		if (!strcmp(text, names[i])) {
			*format = (enum format)i;
			return true;
		}
	return false;
}

/* False: a line has been printed. */
static bool parse(const char *command, bool watch, int count, char **arguments, struct options *options)
{
	const char *format = NULL;
	const struct option known[] = {
		{"--format", OPTION_TEXT, &format, 0, 0},
		{"--watch", OPTION_SECONDS, &options->watch, 0, 0},
	};
	struct words words;
	char why[64];

	if (!parse_arguments(command, count, arguments, known, watch ? 2 : 1, &words, 1, 1,
	                     watch ? "no process given" : "no core file given"))
		return false;
	options->what = words.list[0];
	if (!format || parse_format(format, &options->format))
		return true;
	snprintf(why, sizeof why, "%s: --format is table, json, csv or prometheus, not ", command);
	wrong_usage(why, format);
	return false;
}

static int show(struct reader *reader, const struct options *options, struct failure *why)
{
	for (bool first = true;; first = false) {
		struct snapshot *snapshot = reader ? reader_snapshot(reader, SNAPSHOT_MEMORY, why) : NULL;
		if (!snapshot) {
			reader_close(reader);
			return failed(why->text);
		}
		print(snapshot, reader, options->format, first);
		snapshot_free(snapshot);
		int status = finish_output();
		if (status || options->watch == 0) {
			reader_close(reader);
			return status;
		}
		struct timespec pause = {(time_t)options->watch, 0};
		pause.tv_nsec = (long)((options->watch - (double)pause.tv_sec) * 1e9);
		nanosleep(&pause, NULL);
	}
}

int command_stat(int count, char **arguments)
{
	struct options options = {TABLE, 0, NULL};
	struct failure why;
	int pid;

	if (!parse("stat", true, count, arguments, &options) || !parse_pid("stat", options.what, &pid))
		return 2;
	return show(reader_open_process(pid, &why), &options, &why);
}

int command_core(int count, char **arguments)
{
	struct options options = {TABLE, 0, NULL};
	struct failure why;

	if (!parse("core", false, count, arguments, &options))
		return 2;
	return show(open_core(options.what, &why), &options, &why);
}
