#define _GNU_SOURCE
#include "heap.h"
#include "meta.h"
#include "misuse.h"
#include "region.h"
#include "segment.h"
#include "slab.h"

#include <errno.h>
#include <string.h>
#include <sys/sdt.h>
#include <unistd.h>

#define FIRST_LIMIT 8
#define FREE_GROWTH_BYTES 8192 /* frees alone grow a magazine to this; allocations to its capacity */
#define TICK_EVERY 64          /* slow calls */
#define ORPHANS_TRIED 8
#define COMBINE_BACK 4
#define LARGE_CAPACITY 32

static void *empty_slots[1];

void (*_Atomic heap_donor)(struct heap *heap, unsigned class);
atomic_size_t heap_stock;

struct heap heap_none = {
	.magazines = {[0 ... CLASS_LIMIT - 1] = {.top = empty_slots, .limit = empty_slots}},
};

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

/* ---- lists of a bin (heap's lock) ---------------------------------------------------------------- */

static void unlink_slab(struct bin *bin, struct slab *slab, bool partial)
{
	if (bin->kept == slab)
		bin->kept = NULL;
	if (slab->prev)
		slab->prev->next = slab->next;
	else if (partial)
		bin->partial = slab->next;
	else
		bin->full = slab->next;
	if (slab->next)
		slab->next->prev = slab->prev;
	else if (partial)
		bin->partial_last = slab->prev;
	slab->next = slab->prev = NULL;
}

static void link_full(struct bin *bin, struct slab *slab)
{
	slab->prev = NULL;
	slab->next = bin->full;
	if (bin->full)
		bin->full->prev = slab;
	bin->full = slab;
}

static void link_partial_first(struct bin *bin, struct slab *slab)
{
	slab->prev = NULL;
	slab->next = bin->partial;
	if (bin->partial)
		bin->partial->prev = slab;
	else
		bin->partial_last = slab;
	bin->partial = slab;
}

/* Slabs that got a free object wait at the end: the longer, the likelier they empty. */
static void link_partial_last(struct bin *bin, struct slab *slab)
{
	slab->next = NULL;
	slab->prev = bin->partial_last;
	if (bin->partial_last)
		bin->partial_last->next = slab;
	else
		bin->partial = slab;
	bin->partial_last = slab;
}

/* Heap's lock. */
static void retire(struct bin *bin, struct slab *slab, struct slab **dead)
{
	unlink_slab(bin, slab, true);
	slab->next = *dead;
	*dead = slab;
}

/*
 * Heap's lock. The slab had `before` free objects and has more now: relists it. All free, it goes to the
 * chain of dead slabs, unless `keep` allows it and the bin has been busy: such a bin keeps one, until a
 * second empties with nothing taken in between. Slabs of one object are never kept: the span cache serves
 * them as fast.
 */
static void relist(struct heap *heap, struct slab *slab, unsigned before, bool keep, struct slab **dead)
{
	struct bin *bin = &heap->bins[slab->class];
	unsigned now = load_relaxed(&slab->nfree);

	if (before == 0 && now > 0) {
		unlink_slab(bin, slab, false);
		link_partial_last(bin, slab);
	}
	if (now < slab->objects || slab == bin->kept)
		return;
	if (keep && bin->busy && !bin->kept && slab->objects > 1) {
		bin->kept = slab;
		bin->busy = false;
		return;
	}
	retire(bin, slab, dead);
	if (bin->kept && !bin->busy)
		retire(bin, bin->kept, dead);
}

/* No lock held: it may make system calls. */
static void bury(struct slab *dead)
{
	while (dead) {
		struct slab *next = dead->next;
		slab_destroy(dead);
		dead = next;
	}
}

/* ---- remote frees (layout.h, R1-R4 and D1-D3) ----------------------------------------------------- */

static void notify_push(struct heap *heap, struct slab *slab)
{
	struct slab *first = load_relaxed(&heap->notify);
	do
		store_relaxed(&slab->notify_next, first);
	while (!atomic_compare_exchange_weak_explicit(&heap->notify, &first, slab, acq_rel, relaxed));
}

/* Heap's lock; any thread. */
static void drain(struct heap *heap, bool keep, struct slab **dead)
{
	if (!load_relaxed(&heap->notify))
		return;
	struct slab *slab = atomic_exchange_explicit(&heap->notify, NULL, acq_rel); /* pairs with R3 */
	while (slab) {
		struct slab *next = load_relaxed(&slab->notify_next);
		struct heap *owner = load_relaxed(&slab->heap);
		if (owner != heap) {
			notify_push(owner, slab); /* it was adopted while it waited here */
		} else {
			unsigned before = load_relaxed(&slab->nfree);
			if (slab_collect(slab))
				notify_push(heap, slab);
			relist(heap, slab, before, keep, dead);
		}
		slab = next;
	}
}

/* Any thread, no lock held. */
static void drain_now(struct heap *heap)
{
	struct slab *dead = NULL;
	lock_take(&heap->lock);
	drain(heap, true, &dead);
	lock_drop(&heap->lock);
	bury(dead);
}

/* R1 to R4 for objects of one bitmap word. */
static void put_remote(struct slab *slab, unsigned word, uint64_t bits)
{
	struct heap *heap = load_relaxed(&slab->heap);
	unsigned count = (unsigned)__builtin_popcountll(bits);
	void *first = slab_first_object(slab, word, bits);
	unsigned size = slab->size, objects = slab->objects;

	unsigned before = atomic_fetch_add_explicit(&slab->announced, count, acq_rel);
	uint64_t old = atomic_fetch_or_explicit(&slab->remote[word], bits, acq_rel);
	if (unlikely(old & bits))
		misuse_double_free("free", first, size);
	if (before == 0)
		notify_push(load_relaxed(&slab->heap), slab);
	atomic_thread_fence(memory_order_seq_cst); /* Dekker with the fence in flush */
	if (load_relaxed(&slab->announced) >= objects - load_relaxed(&slab->nfree))
		drain_now(heap);
}

/* ---- flush ---------------------------------------------------------------------------------------- */

/* Objects of one bitmap word. */
struct group {
	struct slab *slab;
	unsigned word;
	uint64_t bits;
};

static inline struct slab *slab_of(const void *object)
{
	return entry_descriptor(entry_of(object));
}

static inline struct group group_of(struct slab *slab, const void *object)
{
	unsigned index = slab_index_of_start(slab, object);
	return (struct group){slab, index / 64, (uint64_t)1 << index % 64};
}

/* Adds a group, or joins it to one of the last few if that is of the same word. */
static unsigned add_group(struct group *groups, unsigned count, struct group new)
{
	for (unsigned i = count; i-- > 0 && count - i <= COMBINE_BACK;) {
		if (groups[i].slab != new.slab || groups[i].word != new.word)
			continue;
		uint64_t twice = groups[i].bits & new.bits;
		if (unlikely(twice))
			misuse_double_free("free", slab_first_object(new.slab, new.word, twice), new.slab->size);
		groups[i].bits |= new.bits;
		return count;
	}
	groups[count] = new;
	return count + 1;
}

/* Write combining: one group for neighbours that come one after the other, or nearly so. All of one class. */
static unsigned make_groups(struct group *groups, void **objects, unsigned count)
{
	struct slab *slabs[MAGAZINE_MAX];
	unsigned made = 0;

	for (unsigned i = 0; i < count; i++) { /* without a branch: the misses of all overlap */
		uint64_t entry = entry_of(objects[i]);
		if (unlikely(entry_class(entry) - 1u >= CLASS_COUNT - 1))
			misuse_pointer("free", objects[i]); /* freed twice: its slab is gone */
		slabs[i] = entry_descriptor(entry);
		__builtin_prefetch(slabs[i]);
	}
	for (unsigned i = 0; i < count;) {
		struct group group = group_of(slabs[i], objects[i]);
		uintptr_t first = group.slab->first;
		uint64_t recip = group.slab->recip;

		while (++i < count && slabs[i] == group.slab) {
			unsigned index = (unsigned)(((uintptr_t)objects[i] - first) * recip >> RECIP_SHIFT);
			uint64_t bit = (uint64_t)1 << index % 64;
			if (index / 64 != group.word || (group.bits & bit))
				break;
			group.bits |= bit;
		}
		made = add_group(groups, made, group);
	}
	return made;
}

/* Objects of one class back to their slabs, own ones under the lock, others as remote frees. */
static void flush(struct heap *heap, void **objects, unsigned count)
{
	struct group groups[MAGAZINE_MAX];
	struct slab *dead = NULL;
	unsigned all = make_groups(groups, objects, count), remotes = 0;
	DTRACE_PROBE2(qslab, flush, count, all);

	lock_take(&heap->lock);
	for (unsigned i = 0; i < all; i++) {
		struct slab *slab = groups[i].slab;
		if (load_relaxed(&slab->heap) != heap) {
			groups[remotes++] = groups[i];
			continue;
		}
		unsigned before = load_relaxed(&slab->nfree);
		slab_put(slab, groups[i].word, groups[i].bits);
		if (before == 0 || load_relaxed(&slab->nfree) == slab->objects)
			relist(heap, slab, before, true, &dead);
	}
	atomic_thread_fence(memory_order_seq_cst); /* Dekker with the fence in put_remote */
	drain(heap, true, &dead);
	lock_drop(&heap->lock);
	bury(dead);
	for (unsigned i = 0; i < remotes; i++)
		put_remote(groups[i].slab, groups[i].word, groups[i].bits);
}

/* The bottom `count` of a magazine: the ones freed longest ago. */
static void flush_magazine(struct heap *heap, struct magazine *magazine, unsigned count)
{
	void **top = load_relaxed(&magazine->top), *objects[MAGAZINE_MAX];
	unsigned left = (unsigned)(top - magazine->slots) - count;

	/* out of the magazine first: a child forked in between finds no object in both places */
	memcpy(objects, magazine->slots + 1, count * sizeof(void *));
	memmove(magazine->slots + 1, magazine->slots + 1 + count, left * sizeof(void *));
	atomic_store_explicit(&magazine->top, magazine->slots + left, release);
	flush(heap, objects, count);
}

void heap_flush_all(struct heap *heap)
{
	for (unsigned c = 1; c < CLASS_COUNT; c++) {
		struct magazine *magazine = &heap->magazines[c];
		unsigned count = (unsigned)(load_relaxed(&magazine->top) - magazine->slots);
		if (magazine->slots && count)
			flush_magazine(heap, magazine, count);
	}
}

/* ---- magazines ------------------------------------------------------------------------------------ */

unsigned heap_array_capacity(unsigned class)
{
	return class == CLASS_LARGE ? LARGE_CAPACITY : classes[class].capacity;
}

static size_t array_size(unsigned class)
{
	return sizeof(struct array) + (heap_array_capacity(class) + 1u) * sizeof(void *);
}

struct array *heap_array_new(unsigned class)
{
	struct array *array = span_meta_alloc(array_size(class));
	if (array)
		array->slots[0] = NULL;
	return array;
}

void heap_array_free(struct array *array, unsigned class)
{
	meta_free(array, array_size(class));
}

static struct array *array_of(void **slots)
{
	return slots ? (struct array *)((char *)slots - offsetof(struct array, slots)) : NULL;
}

static bool magazine_ready(struct magazine *magazine, unsigned class)
{
	if (likely(magazine->slots))
		return true;
	struct array *array = heap_array_new(class);
	if (!array)
		return false;
	unsigned limit = classes[class].capacity < FIRST_LIMIT ? classes[class].capacity : FIRST_LIMIT;
	store_relaxed(&magazine->slots, array->slots);
	magazine->limit = array->slots + limit;
	store_relaxed(&magazine->top, array->slots);
	return true;
}

struct array *heap_exchange(struct heap *heap, unsigned class, struct array *full)
{
	struct magazine *magazine = &heap->magazines[class];
	struct array *old = array_of(magazine->slots);
	unsigned count = full->count - full->first;
	size_t limit = old ? (size_t)(magazine->limit - magazine->slots) : 0;

	assert(!old || load_relaxed(&magazine->top) == magazine->slots);
	if (full->first)
		memmove(full->slots + 1, full->slots + 1 + full->first, count * sizeof(void *));
	store_relaxed(&magazine->slots, full->slots);
	magazine->limit = full->slots + (limit > count ? limit : count);
	atomic_store_explicit(&magazine->top, full->slots + count, release);
	return old;
}

void heap_return(struct heap *heap, void **objects, unsigned count)
{
	if (count)
		flush(heap, objects, count);
}

static void magazine_grow(struct magazine *magazine, unsigned most)
{
	size_t limit = (size_t)(magazine->limit - magazine->slots) * 2;
	magazine->limit = magazine->slots + (limit < most ? limit : most);
}

static void pace(struct heap *heap)
{
	if (++heap->slow_calls % TICK_EVERY == 0)
		span_tick();
}

void heap_overflow(struct heap *heap, unsigned class, void *object)
{
	struct magazine *magazine = &heap->magazines[class];
	const struct class_info *info = &classes[class];

	if (unlikely(!magazine_ready(magazine, class))) {
		flush(heap, &object, 1);
		return;
	}
	size_t limit = (size_t)(magazine->limit - magazine->slots);
	if (load_relaxed(&magazine->top) == magazine->limit) {
		if (limit < info->capacity && limit * 2 * info->size <= FREE_GROWTH_BYTES) {
			magazine_grow(magazine, info->capacity);
		} else {
			flush_magazine(heap, magazine, (unsigned)(limit + 1) / 2);
			pace(heap);
		}
	}
	void **top = load_relaxed(&magazine->top);
	top[1] = object;
	store_relaxed(&magazine->top, top + 1);
}

bool heap_has_free(struct heap *heap, unsigned class, const void *object)
{
	struct magazine *magazine = &heap->magazines[class];

	for (void **slot = load_relaxed(&magazine->top); *slot; slot--)
		if (*slot == object)
			return true;
	struct group group = group_of(slab_of(object), object);
	return (load_relaxed(&slab_bits(group.slab)[group.word]) |
	        load_relaxed(&group.slab->remote[group.word])) & group.bits;
}

/* ---- refill --------------------------------------------------------------------------------------- */

/* Heap's lock. From the bin's partial slabs to *end, end[-1] ... */
static unsigned take(struct bin *bin, void **end, unsigned want)
{
	unsigned taken = 0;

	bin->busy = true;
	while (taken < want && bin->partial) {
		struct slab *slab = bin->partial;
		if (slab == bin->kept)
			bin->kept = NULL;
		taken += slab_take(slab, end - taken, want - taken);
		if (load_relaxed(&slab->nfree) == 0) {
			unlink_slab(bin, slab, true);
			link_full(bin, slab);
		}
	}
	return taken;
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
		struct slab *slab = orphan->bins[class].partial;
		if (slab) {
			unlink_slab(&orphan->bins[class], slab, true);
			store_relaxed(&slab->heap, heap);
			link_partial_first(&heap->bins[class], slab);
			adopted = true;
		}
		lock_drop(&orphan->lock);
	}
	lock_drop(&heaps.lock);
	return adopted;
}

/* `want` objects of the class at most, at least one unless there is no memory. Any thread, no lock held. */
static unsigned supply(struct heap *heap, unsigned class, void **end, unsigned want)
{
	struct bin *bin = &heap->bins[class];
	struct slab *dead = NULL;

	lock_take(&heap->lock);
	unsigned taken = take(bin, end, want);
	if (!taken) {
		drain(heap, true, &dead);
		taken = take(bin, end, want);
	}
	if (!taken && adopt_slab(heap, class, &dead))
		taken = take(bin, end, want);
	lock_drop(&heap->lock);
	bury(dead);
	if (likely(taken))
		return taken;

	struct slab *slab = slab_create(class, heap);
	if (!slab)
		return 0;
	lock_take(&heap->lock);
	link_partial_first(bin, slab);
	taken = take(bin, end, want);
	lock_drop(&heap->lock);
	return taken;
}

void *heap_refill(struct heap *heap, unsigned class)
{
	struct magazine *magazine = &heap->magazines[class];
	void *object = NULL;

	pace(heap);
	void (*donor)(struct heap *, unsigned) = load_relaxed(&heap_donor);
	if (donor) {
		donor(heap, class);
		void **top = load_relaxed(&magazine->top);
		if (*top) {
			store_relaxed(&magazine->top, top - 1);
			return *top;
		}
	}
	if (unlikely(!magazine_ready(magazine, class))) {
		supply(heap, class, &object, 1);
	} else {
		magazine_grow(magazine, classes[class].capacity);
		void **slots = magazine->slots;
		unsigned want = (unsigned)(magazine->limit - slots + 1) / 2;
		unsigned taken = supply(heap, class, slots + want, want);
		if (taken < want)
			memmove(slots + 1, slots + 1 + want - taken, taken * sizeof(void *));
		if (taken) {
			object = slots[taken];
			store_relaxed(&magazine->top, slots + taken - 1);
		}
	}
	DTRACE_PROBE2(qslab, refill, class, object);
	if (unlikely(!object))
		errno = ENOMEM;
	return object;
}

/* ---- heaps and threads ---------------------------------------------------------------------------- */

static struct heap *heap_create(void)
{
	struct heap *heap = meta_alloc(sizeof *heap);
	if (!heap)
		return NULL;
	memset(heap, 0, sizeof *heap);
	for (unsigned c = 0; c < CLASS_LIMIT; c++)
		heap->magazines[c] = (struct magazine){empty_slots, empty_slots, classes[c].divisor, NULL};
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
	store_relaxed(&heap->tid, 0);
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
	if (heap) {
		store_relaxed(&heap->state, HEAP_OWNED);
		store_relaxed(&heap->tid, (int)gettid());
	}
	lock_drop(&heaps.lock);
	return heap;
}

void heap_abandon(struct heap *heap)
{
	heap_flush_all(heap);
	for (unsigned c = 1; c < CLASS_COUNT; c++) { /* the next thread may be a modest one */
		struct magazine *magazine = &heap->magazines[c];
		if (magazine->slots && magazine->limit > magazine->slots + FIRST_LIMIT)
			magazine->limit = magazine->slots + FIRST_LIMIT;
	}
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

	if (heap && supply(heap, class, &object, 1))
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
					retire(bin, slab, &dead);
			}
		}
		lock_drop(&heap->lock);
		bury(dead);
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
		link_partial_last(bin, slab);
	else
		link_full(bin, slab);
}

void heap_after_fork(struct heap *own)
{
	lock_drop(&heaps.lock);
	if (own != &heap_none)
		store_relaxed(&own->tid, (int)gettid());
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
		.partial = PUBLISH(struct bin, partial, 8),
		.full = PUBLISH(struct bin, full, 8),
		.kept = PUBLISH(struct bin, kept, 8),
	};
}
