/*
 * fork, and the library's beginning.
 *
 * No lock of ours is held across fork: glibc takes stdio's locks after our prepare handler, and a thread
 * that holds one may be waiting for memory. Instead prepare closes the gate in front of jemalloc and waits
 * until no other thread is inside; from then to the reopening, spans come from the mmap source. So the
 * child gets a jemalloc at rest, and may get anything of ours in the middle of a change. Whatever is
 * changed in steps is therefore either committed by one store or can be made anew from what is: the
 * bitmaps and the page map. The child does that here before anything else runs in it.
 *
 * glibc lets a thread fork while another is in its prepare handlers. Of two such forks the second waits in reclaim/fork.c's
 * prepare, which comes before this one and holds its locks until after the fork.
 */
#define _GNU_SOURCE
#include "cache.h"
#include "debug.h"
#include "gate.h"
#include "harden.h"
#include "large.h"
#include "meta.h"
#include "profile.h"
#include "region.h"
#include "segment.h"
#include "thread.h"

#include <pthread.h>

static void prepare(void)
{
	gate_close();
}

static void parent(void)
{
	span_fork_done();
}

static void relist_large(void)
{
	large_after_fork();
	size_t pages = load_relaxed(&region.size) >> PAGE_SHIFT;
	for (size_t page = 0; page < pages; page++) {
		uint64_t entry = load_relaxed(&region.map[page]);
		if (entry_class(entry) != CLASS_LARGE)
			continue;
		struct large *large = entry_descriptor(entry);
		if (region_page(large->span.start) == page) {
			large_relist(large);
			page += large->pages - 1;
		}
	}
}

static void child(void)
{
	thread_after_fork();
	meta_after_fork();
	cache_after_fork();
	heap_after_fork(thread_heap_mine());
	if (tracking || (heap_first() && heap_first()->all_next)) /* else one thread was there; tracked ones share a heap */
		relist_large();
	span_after_fork();
	debug_after_fork();
	harden_after_fork();
	profile_after_fork();
	segment_after_fork();
}

/* Also from the first registration of any library whose constructor comes earlier (atfork.c). */
void allocator_start(void)
{
	static bool started;

	if (started)
		return;
	started = true;
	thread_init(); /* while there is one thread: the fast paths read the tables, and the region's place, without a check */
	debug_start();
	profile_start();
	segment_init();
	pthread_atfork(prepare, parent, child);
}

/* Not allocator_start itself: of a function that was declared before, gcc 12 forgets the number. */
__attribute__((constructor(101))) static void start(void)
{
	allocator_start();
}
