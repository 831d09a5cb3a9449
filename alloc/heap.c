#define _GNU_SOURCE
#include "heap.h"
#include "bin.h"
#include "flush.h"
#include "meta.h"
#include "profile.h"
#include "region.h"
#include "segment.h"
#include "slab.h"
#include "span.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ORPHANS_TRIED 8
#define GROWS_FROM 8 /* full slabs: what the next one will not need is a part of it, and so a small one of all */
#define ORPHANS_WARM 8 /* so many keep slabs that are all free, for the threads to come */

static struct {
	struct lock lock;
	struct heap *_Atomic all;     /* every heap; written under the lock */
	struct heap *orphans, *orphans_last; /* lock: whole heaps waiting for a thread */
	atomic_uint orphan_count;     /* lock; read as a hint */
	atomic_uint warm_count;       /* lock; read as a hint: so many of the first keep slabs that are all free */
	struct heap *late;            /* lock: an ORPHAN for heap_late_alloc, in no orphan list */
} heaps;

struct heap *heap_first(void)
{
	return atomic_load_explicit(&heaps.all, acquire);
}

/* ---- supply ------------------------------------------------------------------------------------------------- */

/*
 * Both heaps' locks held. False if objects are on their way to the slab. One that is announced here keeps others' R1
 * from being the first, so nobody pushes the slab meanwhile; whoever announced waits until it is known where it is.
 */
static bool move_slab(struct slab *slab, struct heap *to)
{
	unsigned none = 0;

	store_relaxed(&slab->moving, true); /* before the announcement: pairs with R1 */
	MARK(move);
	bool alone = atomic_compare_exchange_strong_explicit(&slab->announced, &none, 1, acq_rel, relaxed);
	MARK(move_announced);
	if (alone)
		store_relaxed(&slab->heap, to);
	atomic_store_explicit(&slab->moving, false, release); /* pairs with put_remote */
	MARK(move_over);
	if (alone && atomic_fetch_sub_explicit(&slab->announced, 1, acq_rel) > 1 && !BROKEN(inherit))
		notify_push(to, slab);
	return alone;
}

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
		struct bin *bin = heap_bin(orphan, class);
		struct slab *slab = bin ? bin->partial : NULL;
		if (slab && move_slab(slab, heap)) {
			bin_unlink(bin, slab, true);
			bin_add_first(heap_bin(heap, class), slab);
			adopted = true;
		}
		lock_drop(&orphan->lock);
	}
	lock_drop(&heaps.lock);
	return adopted;
}

/* Lock held. NULL without memory. */
static struct bin *bin_ready(struct heap *heap, unsigned class)
{
	struct bin *bin = heap_bin(heap, class);

	if (unlikely(!bin) && (bin = meta_alloc(sizeof *bin))) {
		*bin = (struct bin){0};
		heap->own_bins[class - CLASS_OWN] = bin;
	}
	return bin;
}

unsigned heap_supply(struct heap *heap, unsigned class, void **end, unsigned want)
{
	struct slab *dead = NULL;

	lock_take(&heap->lock);
	struct bin *bin = bin_ready(heap, class);
	if (unlikely(!bin)) {
		lock_drop(&heap->lock);
		errno = ENOMEM;
		return 0;
	}
	unsigned taken = bin_take(bin, end, want);
	if (!taken) {
		drain(heap, true, &dead);
		taken = bin_take(bin, end, want);
	}
	if (!taken && adopt_slab(heap, class, &dead))
		taken = bin_take(bin, end, want);
	bool grows = bin->full_count >= GROWS_FROM;
	lock_drop(&heap->lock);
	bin_bury(dead);
	if (likely(taken))
		return taken;

	struct slab *slab = slab_create(class, heap, grows);
	if (!slab)
		return 0;
	lock_take(&heap->lock);
	slab_map(slab, true);
	bin_add_first(bin, slab);
	taken = bin_take(bin, end, want);
	lock_drop(&heap->lock);
	return taken;
}

/* Heap's lock. */
static void retire_free(struct bin *bin, struct slab **dead)
{
	for (struct slab *slab = bin ? bin->partial : NULL, *next; slab; slab = next) {
		next = slab->next;
		if (load_relaxed(&slab->nfree) == slab->objects)
			bin_retire(bin, slab, dead);
	}
}

/* Slabs that are all free, of the class or, for 0, of all, go back. */
static void trim_heap(struct heap *heap, unsigned class)
{
	unsigned first = class ? class : 1, end = class ? class + 1 : load_relaxed(&class_end);
	struct slab *dead = NULL;

	lock_take(&heap->lock);
	drain(heap, false, &dead);
	for (unsigned c = first; c < end; c++)
		retire_free(heap_bin(heap, c), &dead);
	lock_drop(&heap->lock);
	bin_bury(dead);
}

/* ---- heaps and threads ---------------------------------------------------------------------------- */

static struct heap *heap_create(void)
{
	struct heap *heap = meta_alloc(sizeof *heap);
	if (!heap)
		return NULL;
	heap_magazines_init(heap->magazines); /* the rest is zero: heaps are never freed, and nothing else has their size */
	return heap;
}

/* Heaps lock held. */
static void publish(struct heap *heap)
{
	heap->all_next = load_relaxed(&heaps.all);
	atomic_store_explicit(&heaps.all, heap, release); /* pairs with heap_first */
}

/* Heaps lock held. */
static void add_orphan(struct heap *heap, bool warm)
{
	store_relaxed(&heap->tid, 0);
	store_relaxed(&heap->state, HEAP_ORPHAN);
	if (warm || !heaps.orphans) {
		heap->orphan_next = heaps.orphans;
		heaps.orphans_last = heaps.orphans ? heaps.orphans_last : heap;
		heaps.orphans = heap;
	} else { /* who keeps nothing is taken last */
		heap->orphan_next = NULL;
		heaps.orphans_last->orphan_next = heap;
		heaps.orphans_last = heap;
	}
	store_relaxed(&heaps.orphan_count, load_relaxed(&heaps.orphan_count) + 1);
	store_relaxed(&heaps.warm_count, load_relaxed(&heaps.warm_count) + warm);
}

static void own(struct heap *heap, int tid)
{
	store_relaxed(&heap->state, HEAP_OWNED);
	store_relaxed(&heap->tid, tid);
}

static struct heap *take_orphan(int tid)
{
	lock_take(&heaps.lock);
	struct heap *heap = heaps.orphans;
	if (heap) {
		heaps.orphans = heap->orphan_next;
		store_relaxed(&heaps.orphan_count, load_relaxed(&heaps.orphan_count) - 1);
		store_relaxed(&heaps.warm_count, load_relaxed(&heaps.warm_count) - (load_relaxed(&heaps.warm_count) > 0));
		own(heap, tid);
	}
	lock_drop(&heaps.lock);
	return heap;
}

struct heap *heap_acquire(void)
{
	int tid = (int)gettid(); /* no system call under the lock */
	struct heap *heap = take_orphan(tid);

	if (!heap && (heap = heap_create())) {
		own(heap, tid);
		lock_take(&heaps.lock);
		publish(heap);
		lock_drop(&heaps.lock);
	}
	return heap;
}

void heap_abandon(struct heap *heap)
{
	bool warm = load_relaxed(&heaps.warm_count) < ORPHANS_WARM;

	heap_flush_all(heap, true);
	if (warm) {
		drain_now(heap);
	} else {
		trim_heap(heap, 0);
		heap_drop_arrays(heap);
	}
	span_settle();
	lock_take(&heaps.lock);
	add_orphan(heap, warm);
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

	if (!heap)
		errno = ENOMEM;
	return heap && heap_supply(heap, class, &object, 1) ? object : NULL;
}

void heap_late_free(void *object)
{
	struct group group = group_of(slab_of(object), object);
	put_remote(&group, 1);
}

void heap_trim(unsigned class)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next)
		trim_heap(heap, class);
}

/* ---- fork, in the child --------------------------------------------------------------------------- */

static void forget_lists(struct heap *heap)
{
	memset(heap->bins, 0, sizeof heap->bins);
	for (unsigned c = CLASS_OWN; c < load_relaxed(&class_end); c++)
		if (heap_bin(heap, c))
			*heap_bin(heap, c) = (struct bin){0};
	store_relaxed(&heap->notify, NULL);
}

static void forget_magazine(struct magazine *magazine, unsigned class)
{
	for (unsigned i = magazine_count(magazine, class); i; i--) {
		/* twice is harmless: flush_lowest may have been moving objects down */
		void *object = load_relaxed(&magazine->slots)[i];
		struct group group = group_of(slab_of(object), object);
		_Atomic uint64_t *word = &slab_bits(group.slab)[group.word];
		store_relaxed(word, load_relaxed(word) | group.bits);
	}
	magazine_renew(magazine, class);
}

/* A heap whose thread is gone: what its magazines held is free; lists and counts are made anew. */
static void forget_thread(struct heap *heap)
{
	forget_lists(heap);
	lock_drop(&heap->lock);
	for (unsigned c = 1; c < load_relaxed(&class_end); c++) {
		struct magazine *both[2];
		unsigned count = heap_magazines_of(heap, c, both);
		for (unsigned i = 0; i < count; i++)
			forget_magazine(both[i], c);
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
	store_relaxed(&slab->moving, false);
	slab->scan = 0;
	if (waiting)
		notify_push(heap, slab);
	struct bin *bin = bin_ready(heap, slab->class);
	if (!bin)
		return;
	if (nfree)
		bin_add_last(bin, slab);
	else
		bin_add_full(bin, slab);
}

void heap_after_fork(struct heap *own)
{
	lock_drop(&heaps.lock);
	if (own != &heap_none)
		store_relaxed(&own->tid, (int)gettid());
	for (unsigned c = CLASS_OWN; c < load_relaxed(&class_end); c++)
		lock_drop(&own_class(c)->lock);
	bool busy = lock_is_mine(&own->lock); /* forked by a signal handler inside our slow path */
	bool torn = !busy && load_relaxed(&own->lock.held); /* another thread was changing it, or looking */
	if (torn)
		lock_drop(&own->lock);
	heaps.orphans = NULL;
	store_relaxed(&heaps.orphan_count, 0);
	store_relaxed(&heaps.warm_count, 0);
	struct heap *first = heap_first();
	if (busy || (first == own && !own->all_next && !torn))
		return;
	for (struct heap *heap = first; heap; heap = heap->all_next) {
		if (heap == own) {
			forget_lists(heap);
		} else {
			forget_thread(heap);
			if (heap != heaps.late)
				add_orphan(heap, true);
		}
	}
	for (unsigned c = CLASS_OWN; c < load_relaxed(&class_end); c++)
		store_relaxed(&own_class(c)->slabs, 0);
	size_t pages = load_relaxed(&region.size) >> PAGE_SHIFT;
	for (size_t page = 0; page < pages; page++) {
		uint64_t entry = load_relaxed(&region.map[page]);
		unsigned class = entry_class(entry);
		if (!class_is_slab(class))
			continue;
		struct slab *slab = entry_descriptor(entry);
		unsigned slab_pages = classes[class].pages;
		if ((entry >> 12 & 0xff) != slab_pages)
			continue; /* not a first page: its slab was only half in the map */
		relist_slab(own, slab);
		if (class >= CLASS_OWN)
			atomic_fetch_add_explicit(&own_class(class)->slabs, 1, relaxed);
		page += slab_pages - 1;
	}
}

/* ---- for tools ------------------------------------------------------------------------------------- */

void heap_publish(struct qslab_segment_heaps *out)
{
	*out = (struct qslab_segment_heaps){
		.first = PUBLISH_WORD(heaps.all, 8),
		.stock = PUBLISH_WORD(heap_stock, 8),
		.size = sizeof(struct heap),
		.next = PUBLISH(struct heap, all_next, 8),
		.lock = PUBLISH(struct heap, lock.held, 4),
		.state = PUBLISH(struct heap, state, 4),
		.tid = PUBLISH(struct heap, tid, 4),
		.notify = PUBLISH(struct heap, notify, 8),
		.magazines = offsetof(struct heap, magazines),
		.magazine_stride = sizeof(struct magazine),
		.top = PUBLISH(struct magazine, top, 8),
		.slots = PUBLISH(struct magazine, slots, 8),
		.bins = offsetof(struct heap, bins),
		.bin_stride = sizeof(struct bin),
		.own_bins = offsetof(struct heap, own_bins),
		.partial = PUBLISH(struct bin, partial, 8),
		.full = PUBLISH(struct bin, full, 8),
		.kept = PUBLISH(struct bin, kept, 8),
	};
}
