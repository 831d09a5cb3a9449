/*
 * Span sources: where page runs come from. Two implementations of one small table.
 *
 * jemalloc is the ordinary one: it splits, merges and purges extents that region_grow feeds it through
 * extent hooks. mmap is first fit over the region itself; it serves while the process forks, where
 * jemalloc cannot be had (another page size, built without), and in tests.
 *
 * Rules: any thread; never called with a lock of ours held but the span cache's own; never allocates
 * through qslab. A span must go back to the source that gave it, whole, with its page count.
 */
#ifndef QSLAB_ALLOC_SOURCE_H
#define QSLAB_ALLOC_SOURCE_H

#include "base.h"

struct span_source {
	const char *name;
	bool (*init)(void);
	/* Page-aligned or better; contents undefined, or zero if asked. NULL if none. */
	void *(*alloc)(size_t pages, size_t alignment, bool zero);
	void (*free)(void *start, size_t pages);
	/* In place: takes the pages behind, or gives back those behind the first new_pages. False if it cannot. */
	bool (*resize)(void *start, size_t pages, size_t new_pages);
	/* Gives all free pages back to the system. */
	void (*purge)(void);
};

extern const struct span_source source_mmap;
extern const struct span_source source_jemalloc;

/* fork.c: in a child, forget a free list that another thread may have left half changed. */
void source_mmap_after_fork(void);

/* fork.c: in a child whose thread is not inside jemalloc, forget its other threads. */
void source_jemalloc_after_fork(void);

/* Bytes handed back to the system by purging, ever; bytes of free pages that may be resident. */
extern atomic_size_t source_purged, source_dirty;

#endif
