/*
 * Large objects: one span each, for sizes above MEDIUM_MAX and alignments above a page.
 *
 * A span is longer than its object, by what span_whole adds and what growth asked for: the rest is kept for growth,
 * resident only if it was before, and until large_trim. Its page map entries are few: the span is cut into the largest
 * blocks of 2^k pages aligned to 2^k, and each block's first page has an entry. Any page's block starts at the page
 * number with its low k bits cleared for some k, so an interior pointer is looked up in at most 36 steps, and a 1 GiB
 * object needs at most 36 entries instead of 262,144.
 */
#ifndef QSLAB_ALLOC_LARGE_H
#define QSLAB_ALLOC_LARGE_H

#include "span.h"

struct large {
	struct span span;
	size_t pages;              /* of the span: whole pages of the system's, which are its own; large lock, or its owner */
	size_t size;               /* whole pages of the object; large lock, or its owner */
	size_t asked;              /* the hardened mode's: the object's own bytes; else 0 */
	uint32_t offset;           /* of the object in its first page: 0, but for sampled ones of the hardened mode */
	uint8_t guarded;           /* const: is the span's last page a guard, an enum guard (guard.h)? */
	struct large *next, *prev; /* large lock: list of all, for statistics and fork */
	struct profiled *profiled; /* if the heap profile has sampled it (profile.h); const once allocated */
	struct sample *sample;     /* who has to do with it, if it is sampled (sample.h): const once allocated */
};

/* NULL with ENOMEM. `zero` asks for zeroed memory. */
void *large_alloc(size_t size, size_t alignment, bool zero);

/* `pointer` was not recognised as a slab object's start: frees it, or aborts with a report. */
void large_free(const char *call, void *pointer);

/*
 * In place, by page tables, or by copying to another span; NULL with ENOMEM, but not for less than it has, outside the
 * hardened mode. size > MEDIUM_MAX, or no smaller object can be had.
 */
void *large_resize(struct large *large, size_t size);

/* Gives the span and the descriptor back. Nothing knows the object any more. */
void large_discard(struct large *large);

struct large *large_find(const void *address);

/* The same for any address of its span, in the object or behind it. */
struct large *large_around(const void *address);

static inline void *large_start(const struct large *large)
{
	return (char *)large->span.start + large->offset;
}

static inline size_t large_usable(const struct large *large)
{
	return unlikely(large->asked) ? large->asked : large->size - large->offset;
}

/* Calls back for every large object, under the large lock: nothing may be allocated or freed. */
void large_each(void (*callback)(const struct large *large, void *argument), void *argument);

/* What spans have beyond their objects goes back to the system. */
void large_trim(void);

/* Sum of the sizes of all large objects. */
size_t large_bytes(void);

/* fork.c, in the child: start the list anew; then each one found in the page map is put back. */
void large_after_fork(void);
void large_relist(struct large *large);

#endif
