/*
 * Where a process's bytes come from: the process while it lives, or a core file of it. One interface; the reader knows
 * no other. Nothing here stops the process, or writes to it.
 */
#ifndef QSLAB_TOOLS_SOURCE_H
#define QSLAB_TOOLS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define SOURCE_PAGE ((size_t)4096)

/* Why something could not be done: one line, without a newline. */
struct failure {
	char text[320];
};

/* One read of several: `got` says whether all of it could be read. */
struct piece {
	uint64_t at;
	void *to;
	size_t size;
	bool got;
};

struct mapping {
	uint64_t start, end;
	uint64_t offset; /* in its file */
	bool readable, writable, executable, shared;
	uint64_t rss, anonymous, swap, lazy_free, huge; /* bytes; in a core: those of its pages that are not all zero */
	char *name;                                     /* a file's path, [heap], ...; "" for none */
};

struct mappings {
	struct mapping *list; /* by address */
	size_t count;
	/* of the whole process: smaps_rollup's; in a core the sum */
	uint64_t rss, lazy_free, huge, swap;
};

struct source;

struct source_calls {
	/* In the order of the list, each piece at one moment, or nearly so. False: nothing can be read any more. */
	bool (*read)(struct source *source, struct piece *pieces, size_t count);
	/* `detail`: with the byte counts, which cost a walk of the page tables. */
	bool (*map)(struct source *source, bool detail, struct mappings *mappings);
	/* Resident bytes now, as `map` gives them; 0: not known, or they do not change. */
	uint64_t (*rss)(struct source *source);
	/* One byte a page: 1 resident, else 0. Pages of zeros that take no memory are not resident. */
	void (*resident)(struct source *source, uint64_t start, size_t pages, uint8_t *flags);
	/* Is the address inside a thread's stack? */
	bool (*is_stack)(struct source *source, const struct mapping *mapping, const struct mapping *before);
	void (*close)(struct source *source);
};

struct source {
	const struct source_calls *calls;
	char name[288]; /* for messages: "process 12", "core.12" */
	char command[64]; /* the program's, "" if not known; of a process as of the latest `map` */
	int pid;        /* 0: not known */
	bool live;
	bool cut;       /* a core file that ends before what its headers promise */
	int error;      /* errno of the read that could do no more */
	int64_t now;    /* nanosecond of CLOCK_MONOTONIC at the latest `map`; 0 if that is not known */
};

/* NULL, with *failure filled in. */
struct source *source_process(int pid, struct failure *failure);
struct source *source_core(const char *path, struct failure *failure);

bool source_read(struct source *source, uint64_t at, void *to, size_t size);
bool source_read_pieces(struct source *source, struct piece *pieces, size_t count);
bool source_map(struct source *source, bool detail, struct mappings *mappings);
uint64_t source_rss(struct source *source);
void source_resident(struct source *source, uint64_t start, size_t pages, uint8_t *flags);
void source_close(struct source *source);
void mappings_free(struct mappings *mappings);

/* For the two sources. */
struct mapping *mappings_add(struct mappings *mappings, uint64_t start, uint64_t end, const char *name);
void fail(struct failure *failure, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Memory for the tool itself: exits with one line if there is none. */
void *need(void *memory);

/* Makes room in a growing array: `count` elements are used, one more will be. */
#define GROW(list, count)                                                                                 \
	do {                                                                                              \
		if (!((count) & ((count) + 1)))                                                           \
			(list) = need(realloc((list), (2 * (count) + 1) * sizeof *(list)));               \
	} while (0)

#endif
