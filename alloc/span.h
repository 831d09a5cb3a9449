/*
 * Spans: page runs for slabs and large objects, and the policy of what stays resident.
 *
 * In front of the source stands a cache of free spans by page count, up to SPAN_CACHED_PAGES; longer spans go to the
 * source directly, which splits and merges them, and so do the cached ones when they are more than 8 MiB and a 16th of
 * what is live, and none is of the length that is wanted. Both hold dirty pages. There is no helper thread, so memory
 * goes back while it is being freed: when the dirty bytes exceed the budget, all of them are purged. The budget is
 *
 *     max(2 MiB, live / 32) + credit
 *
 * Credit is earned by regret, 64 bytes for each taken from the source again soon after a purge, and halves every second
 * in which less than it was allocated: a program that swings keeps its pages, one that spiked and stopped does not. With
 * it what is resident is at most twice the last peak of live, which buffers of all sizes need that come, grow and go,
 * and QSLAB_RETAIN. The peak counts up to live / 2 + 128 MiB above live, so that a program that swings and falls asleep
 * keeps no more than 320 MiB; and twice up to 1 GiB.
 */
#ifndef QSLAB_ALLOC_SPAN_H
#define QSLAB_ALLOC_SPAN_H

#include "base.h"

#define SPAN_CACHED_PAGES 512

struct span {
	void *start;       /* NULL: none */
	bool from_mmap;    /* which source it goes back to */
	bool fresh;        /* a hint, of one just allocated: its pages are to be faulted in */
};

/*
 * The least page count, of so many or more, that leaves nothing over: jemalloc has four a doubling, and takes the rest for
 * nobody. Few lengths also find each other again in the cache.
 */
static inline size_t span_whole(size_t pages)
{
	size_t step = pages > 8 ? (size_t)1 << (61 - __builtin_clzll(pages - 1)) : 1;
	return ALIGN_UP(pages, step);
}

/* Before the first span, under the lock of who calls it. */
void span_init(void);

/*
 * So many bytes are all that the process's control group may use: of what is left beside the live spans no more than half
 * is kept. span_init sets it; tests do later.
 */
void span_limit(uint64_t bytes);

/* Contents undefined unless `zero`. May make system calls. No lock but a heap's may be held. */
struct span span_alloc(size_t pages, size_t alignment, bool zero);

/*
 * One of *pages, or else, if such a one is cached, of up to `most`: *pages says how many. What is beyond those that were
 * asked for is not cleared.
 */
struct span span_alloc_least(size_t *pages, size_t most, size_t alignment, bool zero);

void span_free(struct span span, size_t pages);

/* In place, with the pages behind it; false, and nothing has changed, if they are taken. */
bool span_extend(struct span span, size_t pages, size_t new_pages);

/* The pages behind its first new_pages, which nobody knows any more, are free; false, and nothing has changed, if not. */
bool span_shrink(struct span span, size_t pages, size_t new_pages);

/*
 * As meta_alloc, but where the system gives no more, pages of the region serve: at a limit, descriptors of one
 * size are all that programs lack after they freed memory that had descriptors of another.
 */
void *span_meta_alloc(size_t size);

/* Empties the cache and purges the source; true if that gave anything back. */
bool span_trim(void);

/* Purges what time has made superfluous; a clock read. For slow paths now and then. */
void span_tick(void);

/* The same, and the last peak is forgotten: at a thread's end. */
void span_settle(void);

/* Purges so far that gave much back: after one, what is free in magazines is better free in slabs, which it may keep. */
extern atomic_uint span_purges;

struct span_stats {
	size_t live, cached, dirty_in_source, purged;
};
void span_stats(struct span_stats *stats);

/* fork.c, at its end: opens the gate (gate.h); what waited for it goes to jemalloc. In the child, after_fork instead. */
void span_fork_done(void);
void span_after_fork(void);

#endif
