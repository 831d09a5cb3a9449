/* Figures and text as people, XML and the command line have them. */
#ifndef QSLAB_TOOLS_FORMAT_H
#define QSLAB_TOOLS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Returned by value: human_bytes(n).text is good to the end of the expression. */
struct human {
	char text[24];
};
struct human human_bytes(uint64_t bytes);     /* "512 B", "1.5 KiB", "12.0 MiB" */
struct human human_change(int64_t bytes);     /* the same with its sign; "0 B" */
struct human human_seconds(double seconds);   /* "400 ms", "1.2 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h" */
struct human human_percent(uint64_t part, uint64_t whole); /* "12.5 %"; "0.0 %" of nothing */

/* "slab", "slabs" */
const char *plural(uint64_t count, const char *one, const char *many);

/* ---- the command line ------------------------------------------------------------------------------------------ */

struct option {
	const char *name;            /* "--interval", "-o" */
	enum { OPTION_SWITCH, OPTION_TEXT, OPTION_SECONDS, OPTION_NUMBER } kind;
	void *to;                    /* bool, const char *, double, long */
	long least, most;            /* of OPTION_NUMBER */
};

/*
 * Options may stand anywhere, "--name value" or "--name=value", until "--". The rest are words, at least `least` and
 * at most `most`; `what` says what is missing without them. False: a line has been printed, the status is 2.
 */
struct words {
	const char *list[2];
	size_t count;
};
bool parse_arguments(const char *command, int count, char **arguments, const struct option *options,
                     size_t option_count, struct words *words, size_t least, size_t most, const char *what);

#endif
