/* What top shows, as lines of text: a head, and a row for each object size, sorted and filtered. */
#ifndef QSLAB_TOOLS_TOP_VIEW_H
#define QSLAB_TOOLS_TOP_VIEW_H

#include "totals.h"

#define TOP_WIDTH 240 /* at most; usual lines have 113 */
#define TOP_HEAD 4 /* lines, before the columns' names */

enum top_sort { BY_SIZE, BY_SLABS, BY_OBJECTS, BY_LIVE, BY_USE, BY_FREE, BY_MAGAZINES, BY_WAITING, BY_READY,
	BY_RESIDENT, BY_GROWTH, TOP_SORTS };

extern const struct top_sort_name {
	char key;                    /* the key that chooses it */
	const char *name;            /* for --sort, and for people */
} top_sorts[TOP_SORTS];

/* Sizes from least to most; large objects are UINT32_MAX. */
struct top_filter {
	uint32_t least, most;
};
/* "64", "64-512", ">1024", "<100", "large", "" for all. False: it is none of these. */
bool top_filter_parse(struct top_filter *filter, const char *text);

struct top_row {
	struct size_row row;
	double growth;               /* live bytes a second */
};

struct top_view {
	char head[TOP_HEAD][TOP_WIDTH + 1];
	char columns[TOP_WIDTH + 1];
	struct top_row *rows;
	size_t row_count;
};

/* `before`: an earlier look, or NULL. */
void top_view_make(struct top_view *view, const char *name, const struct snapshot *snapshot, const struct totals *now,
                   const struct totals *before, enum top_sort sort, bool reverse, const struct top_filter *filter);
void top_view_free(struct top_view *view);
void top_row_text(const struct top_row *row, char line[TOP_WIDTH + 1]);

#endif
