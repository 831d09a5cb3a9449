/*
 * No system call is made under a heap's lock. So all free objects of a slab are taken out first, as for an allocation,
 * and go back as if another thread freed them: meanwhile they are ours alone, and the slab stays. A child that is forked
 * in between has lost them.
 */
#include "vacant.h"
#include "bin.h"
#include "flush.h"
#include "heap.h"

#include <errno.h>

#define WORDS_MAX (SLAB_PAGES_MAX * PAGE_SIZE / 16 / 64)
#define ASLEEP 2 /* seconds */

static atomic_uint looked;  /* second of CLOCK_MONOTONIC of the last look at heaps that sleep */
static atomic_uint settled; /* span_purges, as of the last one that found all others asleep */

static bool is_taken(const uint64_t *taken, unsigned index)
{
	return taken[index / 64] >> index % 64 & 1;
}

/*
 * Heap's lock. Unless `again`, a slab whose vacant pages have gone since its heap's thread fell asleep, and that nobody
 * freed into, is let be.
 */
static bool is_worth_it(const struct slab *slab, bool again)
{
	unsigned nfree = load_relaxed(&slab->nfree);
	return (size_t)nfree * slab->size >= system_page && (again || nfree != slab->vacated);
}

/* Partial slabs of each class; 0 where none is worth it. */
static void count_slabs(struct heap *heap, bool again, unsigned counts[CLASS_COUNT])
{
	lock_take(&heap->lock);
	for (unsigned c = 1; c < CLASS_COUNT; c++) {
		unsigned count = 0;
		bool any = false;
		for (struct slab *slab = heap->bins[c].partial; slab; slab = slab->next, count++)
			any = any || is_worth_it(slab, again);
		counts[c] = any ? count : 0;
	}
	lock_drop(&heap->lock);
}

/* Heap's lock. The first partial slab goes to the end; its free objects, if that is worth it, to the caller. */
static struct slab *take_first(struct bin *bin, uint64_t *taken, bool again, bool *any)
{
	struct slab *slab = bin->partial;

	if (!slab)
		return NULL;
	bin_unlink(bin, slab, true);
	if (!is_worth_it(slab, again)) {
		bin_add_last(bin, slab);
		return NULL;
	}
	for (unsigned w = 0; w < slab->words; w++) {
		taken[w] = load_relaxed(&slab_bits(slab)[w]);
		store_relaxed(&slab_bits(slab)[w], 0);
	}
	unsigned nfree = load_relaxed(&slab->nfree);
	*any |= nfree != slab->vacated;
	slab->vacated = (uint16_t)nfree;
	store_relaxed(&slab->nfree, 0);
	bin_add_full(bin, slab);
	return slab;
}

/* What lies before the first object is nobody's, too. */
static void discard_runs(const struct slab *slab, const uint64_t *taken)
{
	for (unsigned i = 0, end; i < slab->objects; i = end + 1) {
		for (end = i; end < slab->objects && is_taken(taken, end); end++)
			continue;
		char *start = i ? slab_object(slab, i) : slab_span(slab).start;
		region_discard(start, (size_t)((char *)slab_object(slab, end) - start));
	}
}

static void give_back(struct slab *slab, const uint64_t *taken)
{
	unsigned words = slab->words; /* after the last group there may be no slab */

	for (unsigned w = 0; w < words; w++) {
		if (!taken[w])
			continue;
		struct group group = {slab, NULL, taken[w], w, (unsigned)__builtin_popcountll(taken[w])};
		put_remote(&group, 1);
	}
}

/* True if there is more to go than last time. */
static bool discard(struct heap *heap, bool again)
{
	unsigned counts[CLASS_COUNT];
	uint64_t taken[WORDS_MAX];
	bool any = false;

	drain_now(heap);
	count_slabs(heap, again, counts);
	for (unsigned c = 1; c < CLASS_COUNT; c++) {
		for (; counts[c]; counts[c]--) {
			lock_take(&heap->lock);
			struct slab *slab = take_first(&heap->bins[c], taken, again, &any);
			lock_drop(&heap->lock);
			MARK(vacant_taken);
			if (!slab)
				continue;
			discard_runs(slab, taken);
			give_back(slab, taken);
		}
	}
	drain_now(heap);
	return any;
}

bool vacant_discard(void)
{
	bool any = false;

	for (struct heap *heap = heap_first(); heap; heap = heap->all_next)
		any |= discard(heap, true);
	return any;
}

/* All heaps but the caller's own, which flushes its magazines itself. */
SLOW static void look(const struct heap *own, unsigned now)
{
	unsigned purges = load_relaxed(&span_purges);
	bool all = true;
	int saved = errno;

	for (struct heap *heap = heap_first(); heap; heap = heap->all_next) {
		if (heap == own)
			continue;
		if ((int)(now - load_relaxed(&heap->awake)) >= ASLEEP)
			discard(heap, false);
		else
			all = false;
	}
	if (all)
		store_relaxed(&settled, purges);
	errno = saved;
}

void vacant_tick(struct heap *heap)
{
	unsigned now = second_now(), last = load_relaxed(&looked);

	store_relaxed(&heap->awake, now);
	if (unlikely(load_relaxed(&settled) != load_relaxed(&span_purges)) && last != now &&
	    atomic_compare_exchange_strong_explicit(&looked, &last, now, relaxed, relaxed))
		look(heap, now);
}
