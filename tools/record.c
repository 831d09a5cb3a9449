/*
 * qslab record: a process's figures over time, as lines of JSON: what `stat --format json` prints, less heaps and
 * what is 0, and with `seconds` since the first line and `time`, since 1970.
 */
#define _GNU_SOURCE
#include "command.h"
#include "format.h"
#include "stat_json.h"
#include "totals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static double seconds_of(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool is_zero(const json_t *value)
{
	return json_is_integer(value) && !json_integer_value(value);
}

/* Readers of recordings take what is missing as 0. */
static void drop_zeros(json_t *object)
{
	const char *key;
	json_t *value;
	void *next;
	size_t i;

	json_object_foreach_safe(object, next, key, value) {
		if (is_zero(value))
			json_object_del(object, key);
		else if (json_is_object(value))
			drop_zeros(value);
		else
			json_array_foreach(value, i, value)
				drop_zeros(value);
	}
}

static json_t *line_of(const struct snapshot *snapshot, double seconds)
{
	json_t *line = snapshot_json(snapshot), *allocator;
	size_t a;

	json_array_foreach(json_object_get(line, "allocators"), a, allocator)
		json_object_del(allocator, "heaps");
	drop_zeros(line);
	if (json_object_set_new(line, "seconds", json_real((double)(long)(seconds * 1000) / 1000)) ||
	    json_object_set_new(line, "time", json_integer((json_int_t)time(NULL))))
		need(NULL);
	return line;
}

static bool write_line(FILE *out, const struct snapshot *snapshot, double seconds)
{
	json_t *line = line_of(snapshot, seconds);
	bool well = !json_dumpf(line, out, JSON_COMPACT | JSON_REAL_PRECISION(9)) && fputc('\n', out) != EOF && !fflush(out);

	json_decref(line);
	return well;
}

/* Sleeps until `when` on the monotonic clock; an interrupt ends it. */
static void sleep_until(double when)
{
	struct timespec at = {(time_t)when, 0};

	at.tv_nsec = (long)((when - (double)at.tv_sec) * 1e9);
	while (!interrupted && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		continue;
}

/* Until the time is over, the process ends, or a signal comes. A recording with a line in it is a success. */
static int record(struct reader *reader, FILE *out, const char *path, double interval, double duration)
{
	struct failure why;
	double begun = seconds_of(CLOCK_MONOTONIC), next = begun;
	size_t lines = 0;

	while (!interrupted) {
		struct snapshot *snapshot = reader_snapshot(reader, SNAPSHOT_MEMORY, &why);
		if (!snapshot) {
			if (!lines)
				return failed(why.text);
			fprintf(stderr, "qslab: %s; %zu %s recorded\n", why.text, lines, plural(lines, "line", "lines"));
			return 0;
		}
		bool well = write_line(out, snapshot, seconds_of(CLOCK_MONOTONIC) - begun), live = snapshot->live;
		snapshot_free(snapshot);
		if (!well) {
			char line[400];
			snprintf(line, sizeof line, "%s: %s", path, strerror(errno));
			return failed(line);
		}
		lines++;
		next += interval;
		if (next < seconds_of(CLOCK_MONOTONIC))
			next = seconds_of(CLOCK_MONOTONIC); /* too slow for the interval */
		if (!live || (duration > 0 && next > begun + duration + interval / 1000))
			return 0;
		sleep_until(next);
	}
	return 0;
}

int command_record(int count, char **arguments)
{
	const char *path = NULL;
	double interval = 1, duration = 0;
	const struct option options[] = {
		{"-o", OPTION_TEXT, &path, 0, 0},
		{"--interval", OPTION_SECONDS, &interval, 0, 0},
		{"--duration", OPTION_SECONDS, &duration, 0, 0},
	};
	struct words words;
	int status = 2;

	if (!parse_arguments("record", count, arguments, options, 3, &words, 1, 1, "no process given"))
		return 2;
	if (!path)
		return wrong_usage("record: no file given: -o FILE", "");
	struct reader *reader = open_target(words.list[0], &status);
	if (!reader)
		return status;
	FILE *out = fopen(path, "we");
	if (!out) {
		char why[400];
		snprintf(why, sizeof why, "%s: %s", path, strerror(errno));
		reader_close(reader);
		return failed(why);
	}
	struct sigaction action = {.sa_handler = interrupt}; /* not SA_RESTART */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	status = record(reader, out, path, interval, duration);
	fclose(out);
	reader_close(reader);
	return status;
}
