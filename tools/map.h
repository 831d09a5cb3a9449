/* The pages of an allocator's region: whose each is, and how much of it is live. */
#ifndef QSLAB_TOOLS_MAP_H
#define QSLAB_TOOLS_MAP_H

#include "reader.h"

#include <stdio.h>

#define MAP_LINE_PAGES 512 /* 2 MiB */

enum page_state {
	PAGE_NONE,                   /* not in use, or the allocator's own */
	PAGE_ABSENT,                 /* of a slab, not resident */
	PAGE_QUARTER, PAGE_HALF, PAGE_MORE, PAGE_FULL, /* of a slab: at most so much of it is live */
	PAGE_FREE,                   /* no live object */
	PAGE_CACHED,                 /* nor in all its slab; magazines or ready arrays have some */
	PAGE_WAITING,                /* nor in all its slab; some wait for a grace period */
	PAGE_LARGE, PAGE_LARGE_WAITING,
	PAGE_SPAN,                   /* of a free span */
	PAGE_STATES
};

extern const struct page_style {
	const char *class;           /* in the picture */
	const char *color;
	char letter;                 /* in the terminal */
	unsigned char terminal;      /* of its 256 colours */
	const char *text;
} page_styles[PAGE_STATES];

struct cell {
	uint8_t state;
	uint32_t index;              /* of its slab, large object or span */
};

struct map {
	const struct snapshot *snapshot;
	const struct allocator *allocator;
	uint64_t base;               /* a multiple of 2 MiB */
	size_t lines;
	struct cell *cells;          /* MAP_LINE_PAGES a line */
};

void map_make(struct map *map, const struct snapshot *snapshot, const struct allocator *allocator);
void map_free(struct map *map);
bool map_line_empty(const struct map *map, size_t line);

/* Pages from `page` on, in the same line, of the same state and owner. */
size_t map_run(const struct map *map, size_t page);

/* One line about a page, for people. */
struct map_text {
	char text[320];
};
struct map_text map_describe(const struct map *map, size_t page);

/* map_svg.c */
void map_svg(FILE *out, const struct map *maps, size_t count, const char *name);

#endif
