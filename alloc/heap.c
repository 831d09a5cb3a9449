#define _GNU_SOURCE
#include "heap.h"
#include "bin.h"
#include "flush.h"
#include "meta.h"
#include "region.h"
#include "slab.h"

#include <errno.h>
#include <string.h>

#define ORPHANS_TRIED 8

static struct {
	struct lock lock;
	struct heap *_Atomic all;     /* every heap; written under the lock */
	struct heap *orphans;         /* lock: whole heaps waiting for a thread */
	atomic_uint orphan_count;     /* lock; read as a hint */
	struct heap *late;            /* lock: an ORPHAN for heap_late_alloc, in no orphan list */
} heaps;

struct heap *heap_first(void)
{
	return atomic_load_explicit(&heaps.all, acquire);
}

/* ---- supply ------------------------------------------------------------------------------------------------- */

/* Own lock held. Moves one partial slab of the class from an orphan heap here; true if it could. */
static bool adopt_slab(struct heap *heap, unsigned class, struct slab **dead)
{
	bool adopted = false;

	if (likely(load_relaxed(&heaps.orphan_count) == 0) || !lock_try(&heaps.lock))
		return false;
	struct heap *orphan = heaps.orphans;
	for (unsigned i = 0; orphan && i < ORPHANS_TRIED && !adopted; i++, orphan = orphan->orphan_next) {
		if (!lock_try(&orphan->lock))
			continue;
		drain(orphan, false, dead);
		struct slab *slab = orphan->bins[class].partial;
		if (slab) {
			bin_unlink(&orphan->bins[class], slab, true);
			store_relaxed(&slab->heap, heap);
			bin_add_first(&heap->bins[class], slab);
			adopted = true;
		}
		lock_drop(&orphan->lock);
	}
	lock_drop(&heaps.lock);
	return adopted;
}

unsigned heap_supply(struct heap *heap, unsigned class, void **end, unsigned want)
{
	struct bin *bin = &heap->bins[class];
	struct slab *dead = NULL;

	lock_take(&heap->lock);
	unsigned taken = bin_take(bin, end, want);
	if (!taken) {
		drain(heap, true, &dead);
		taken = bin_take(bin, end, want);
	}
	if (!taken && adopt_slab(heap, class, &dead))
		taken = bin_take(bin, end, want);
	lock_drop(&heap->lock);
	bin_bury(dead);
	if (likely(taken))
		return taken;

	struct slab *slab = slab_create(class, heap);
	if (!slab)
		return 0;
	lock_take(&heap->lock);
	bin_add_first(bin, slab);
	taken = bin_take(bin, end, want);
	lock_drop(&heap->lock);
	return taken;
}

/* ---- heaps and threads ---------------------------------------------------------------------------- */

static struct heap *heap_create(void)
{
	struct heap *heap = meta_alloc(sizeof *heap);
	if (!heap)
		return NULL;
	memset(heap, 0, sizeof *heap);
	heap_magazines_init(heap);
	return heap;
}

/* Heaps lock held. */
static void publish(struct heap *heap)
{
	heap->all_next = load_relaxed(&heaps.all);
	atomic_store_explicit(&heaps.all, heap, release); /* pairs with heap_first */
}

/* Heaps lock held. */
static void add_orphan(struct heap *heap)
{
	store_relaxed(&heap->state, HEAP_ORPHAN);
	heap->orphan_next = heaps.orphans;
	heaps.orphans = heap;
	store_relaxed(&heaps.orphan_count, load_relaxed(&heaps.orphan_count) + 1);
}

struct heap *heap_acquire(void)
{
	lock_take(&heaps.lock);
	struct heap *heap = heaps.orphans;
	if (heap) {
		heaps.orphans = heap->orphan_next;
		store_relaxed(&heaps.orphan_count, load_relaxed(&heaps.orphan_count) - 1);
	} else {
		heap = heap_create();
		if (heap)
			publish(heap);
	}
	if (heap)
		store_relaxed(&heap->state, HEAP_OWNED);
	lock_drop(&heaps.lock);
	return heap;
}

void heap_abandon(struct heap *heap)
{
	heap_flush_all(heap);
	heap_magazines_shrink(heap); /* the next thread may be a modest one */
	drain_now(heap);
	lock_take(&heaps.lock);
	add_orphan(heap);
	lock_drop(&heaps.lock);
}

static struct heap *late_heap(void)
{
	lock_take(&heaps.lock);
	if (!heaps.late && (heaps.late = heap_create())) {
		store_relaxed(&heaps.late->state, HEAP_ORPHAN);
		publish(heaps.late);
	}
	struct heap *heap = heaps.late;
	lock_drop(&heaps.lock);
	return heap;
}

void *heap_late_alloc(unsigned class)
{
	struct heap *heap = late_heap();
	void *object;

	if (heap && heap_supply(heap, class, &object, 1))
		return object;
	errno = ENOMEM;
	return NULL;
}

void heap_late_free(void *object)
{
	struct group group = group_of(slab_of(object), object);
	put_remote(group.slab, group.word, group.bits);
}

void heap_trim_all(void)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next) {
		struct slab *dead = NULL;
		lock_take(&heap->lock);
		drain(heap, false, &dead);
		for (unsigned c = 1; c < CLASS_COUNT; c++) {
			struct bin *bin = &heap->bins[c];
			for (struct slab *slab = bin->partial, *next; slab; slab = next) {
				next = slab->next;
				if (load_relaxed(&slab->nfree) == slab->objects)
					bin_retire(bin, slab, &dead);
			}
		}
		lock_drop(&heap->lock);
		bin_bury(dead);
	}
}

/* ---- fork, in the child --------------------------------------------------------------------------- */

/* A heap whose thread is gone: what its magazines held is free; lists and counts are made anew. */
static void forget_lists(struct heap *heap)
{
	memset(heap->bins, 0, sizeof heap->bins);
	store_relaxed(&heap->notify, NULL);
	lock_drop(&heap->lock);
	for (unsigned c = 1; c < CLASS_COUNT; c++) {
		struct magazine *magazine = &heap->magazines[c];
		if (!magazine->slots)
			continue;
		for (void **top = load_relaxed(&magazine->top); top > magazine->slots; top--) {
			/* twice is harmless: flush_magazine may have been moving objects down */
			struct group group = group_of(slab_of(*top), *top);
			_Atomic uint64_t *word = &slab_bits(group.slab)[group.word];
			store_relaxed(word, load_relaxed(word) | group.bits);
		}
		store_relaxed(&magazine->top, magazine->slots);
	}
}

static void relist_slab(struct heap *own, struct slab *slab)
{
	struct heap *heap = load_relaxed(&slab->heap);
	_Atomic uint64_t *remote = slab->remote, *free_bits = slab_bits(slab);
	unsigned waiting = 0, nfree = 0;

	for (unsigned w = 0; w < slab->words; w++) {
		uint64_t there = load_relaxed(&remote[w]);
		if (heap != own) {
			store_relaxed(&free_bits[w], load_relaxed(&free_bits[w]) | there);
			store_relaxed(&remote[w], 0);
			nfree += (unsigned)__builtin_popcountll(load_relaxed(&free_bits[w]));
		} else {
			/* a dead thread's magazine may have just been merged into free[] */
			waiting += (unsigned)__builtin_popcountll(there & ~load_relaxed(&free_bits[w]));
			store_relaxed(&remote[w], there & ~load_relaxed(&free_bits[w]));
			nfree += (unsigned)__builtin_popcountll(load_relaxed(&free_bits[w]));
		}
	}
	store_relaxed(&slab->nfree, nfree);
	store_relaxed(&slab->announced, waiting);
	slab->scan = 0;
	if (waiting)
		notify_push(heap, slab);
	struct bin *bin = &heap->bins[slab->class];
	if (nfree)
		bin_add_last(bin, slab);
	else
		bin_add_full(bin, slab);
}

void heap_after_fork(struct heap *own)
{
	lock_drop(&heaps.lock);
	bool busy = load_relaxed(&own->lock.held); /* forked by a signal handler inside our slow path */
	heaps.orphans = NULL;
	store_relaxed(&heaps.orphan_count, 0);
	struct heap *first = heap_first();
	if (busy || (first == own && !own->all_next))
		return;
	for (struct heap *heap = first; heap; heap = heap->all_next) {
		if (heap == own) {
			memset(heap->bins, 0, sizeof heap->bins);
			store_relaxed(&heap->notify, NULL);
		} else {
			forget_lists(heap);
			if (heap != heaps.late)
				add_orphan(heap);
		}
	}
	size_t pages = load_relaxed(&region.size) >> PAGE_SHIFT;
	for (size_t page = 0; page < pages; page++) {
		uint64_t entry = load_relaxed(&region.map[page]);
		unsigned class = entry_class(entry);
		if (class == CLASS_NONE || class == CLASS_LARGE)
			continue;
		struct slab *slab = entry_descriptor(entry);
		unsigned slab_pages = classes[class].pages;
		if ((entry >> 12 & 0xff) != slab_pages)
			continue; /* not a first page: its slab was only half in the map */
		relist_slab(own, slab);
		page += slab_pages - 1;
	}
}
