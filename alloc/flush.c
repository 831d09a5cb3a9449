#include "flush.h"
#include "bin.h"
#include "misuse.h"
#include "slab.h"

#include <string.h>
#include <sys/sdt.h>

#define COMBINE_BACK 2
#define FLUSH_MOST (MAGAZINE_MAX / 2) /* objects at a time: half a magazine */

/* ---- remote frees (layout.h, R1-R4 and D1-D3) ------------------------------------------------------------ */

void notify_push(struct heap *heap, struct slab *slab)
{
	struct slab *first = load_relaxed(&heap->notify);
	MARK(notify_push);
	do
		store_relaxed(&slab->notify_next, first);
	while (!atomic_compare_exchange_weak_explicit(&heap->notify, &first, slab, acq_rel, relaxed));
}

void drain(struct heap *heap, bool keep, struct slab **dead)
{
	if (!load_relaxed(&heap->notify))
		return;
	struct slab *slab = atomic_exchange_explicit(&heap->notify, NULL, acq_rel); /* pairs with R3 */
	MARK(drain_taken);
	while (slab) {
		struct slab *next = load_relaxed(&slab->notify_next);
		unsigned before = load_relaxed(&slab->nfree);
		assert(load_relaxed(&slab->heap) == heap);
		if (slab_collect(slab))
			notify_push(heap, slab);
		bin_relist(heap, slab, before, keep, dead);
		slab = next;
	}
}

/* No lock held. */
static void lock_and_drain(struct heap *heap, struct slab **dead)
{
	lock_take(&heap->lock);
	drain(heap, true, dead);
	lock_drop(&heap->lock);
}

void drain_now(struct heap *heap)
{
	struct slab *dead = NULL;

	lock_and_drain(heap, &dead);
	bin_bury(dead);
}

static unsigned put_groups(const struct group *groups, unsigned count, struct slab **dead)
{
	struct slab *slab = groups->slab;
	unsigned size = slab->size, objects = slab->objects, used, announce = 0;

	for (used = 0; used < count && groups[used].slab == slab; used++)
		announce += groups[used].count;
	unsigned before = atomic_fetch_add_explicit(&slab->announced, announce, acq_rel); /* pairs with move_slab */
	MARK(put_announced);
	for (unsigned turn = 0; unlikely(atomic_load_explicit(&slab->moving, acquire)) && !BROKEN(put); turn++)
		wait_turn(turn); /* pairs with move_slab */
	struct heap *heap = load_relaxed(&slab->heap); /* stays so until what was announced is taken in */
	MARK(put_settled);
	for (unsigned i = 0; i < used; i++) {
		const struct group *group = &groups[i];
		void *first = slab_first_object(slab, group->word, group->bits);
		uint64_t old = atomic_fetch_or_explicit(&slab->remote[group->word], group->bits, acq_rel);
		if (unlikely(old & group->bits))
			misuse_double_free("free", first, size);
		MARK(put_bits);
	}
	if (before == 0)
		notify_push(heap, slab);
	atomic_thread_fence(memory_order_seq_cst); /* Dekker with the fence in flush */
	/* announced first: what D3 takes from it is in nfree by then, and is not missed between the two */
	announce = atomic_load_explicit(&slab->announced, acquire); /* pairs with D3 */
	MARK(put_looks);
	if (announce >= objects - load_relaxed(&slab->nfree) && !BROKEN(look))
		lock_and_drain(heap, dead);
	return used;
}

unsigned put_remote(const struct group *groups, unsigned count)
{
	struct slab *dead = NULL;
	unsigned used = put_groups(groups, count, &dead);

	bin_bury(dead);
	return used;
}

/* ---- flush ------------------------------------------------------------------------------------------------ */

/* Adds a group at `end`, or joins it to one of the last few if that is of the same word. The new end. */
static struct group *add_group(struct group *end, struct group new)
{
	for (struct group *group = end - 1; group >= end - COMBINE_BACK; group--) {
		if (group->free_bits != new.free_bits)
			continue;
		uint64_t twice = group->bits & new.bits;
		if (unlikely(twice))
			misuse_double_free("free", slab_first_object(new.slab, new.word, twice), new.slab->size);
		group->bits |= new.bits;
		group->count += new.count;
		return end;
	}
	*end = new;
	return end + 1;
}

/* Of so many objects, of one bitmap word, one is there twice. */
static SLOW _Noreturn void report_twice(void **objects, unsigned count, size_t size)
{
	for (unsigned i = 1; i < count; i++)
		for (unsigned k = 0; k < i; k++)
			if (objects[i] == objects[k])
				misuse_double_free("free", objects[i], size);
	misuse_pointer("free", objects[0]);
}

/*
 * The rest of a group: its first object has that index, and so far to its slab's end. How many in all. Whether one came
 * twice is seen by the number of bits, once for all.
 */
static SLOW unsigned gather_more(struct group *group, void **objects, unsigned count, const struct class_info *shape,
                                 unsigned index, size_t to_end)
{
	size_t size = shape->size, before = index % 64 * size, after = (64 - index % 64) * size;
	unsigned in_word = 64 - index % 64, in_slab = shape->objects - index;
	unsigned in_order = in_word < in_slab ? in_word : in_slab;
	uintptr_t start = (uintptr_t)objects[0] - before, next = (uintptr_t)objects[0] + size;
	size_t room = before + (after < to_end ? after : to_end);
	void **at = objects + 1, **stop = objects + count, **order_stop = count < in_order ? stop : objects + in_order;
	uint64_t recip = shape->recip;

	for (; at < order_stop && (uintptr_t)*at == next; at++)
		next += size;
	uint64_t bits = ~(uint64_t)0 >> (64 - (at - objects)) << index % 64;
	for (; at < stop && (uintptr_t)*at - start < room; at++)
		bits |= (uint64_t)1 << (((uintptr_t)*at - start) * recip >> RECIP_SHIFT);
	count = (unsigned)(at - objects);
	if (unlikely((unsigned)__builtin_popcountll(bits) != count))
		report_twice(objects, count, size);
	group->bits = bits;
	return count;
}

/*
 * Objects of one bitmap word that come one after the other, from the first on. The page map and the class's
 * shape tell the place, so that a slab in no cache is only prefetched here, and the misses of all groups overlap.
 */
static inline unsigned gather(struct group *group, void **objects, unsigned count)
{
	uint64_t entry = entry_of(objects[0]);
	const struct class_info *shape = &classes[entry_class(entry)];
	uint64_t to_end = entry_to_end(entry, objects[0]), near = 64 * (uint64_t)shape->size;
	unsigned index = shape->objects - (unsigned)(to_end * shape->recip >> RECIP_SHIFT);
	if (unlikely(index >= shape->objects)) /* no slab has none */
		misuse_pointer("free", objects[0]); /* freed twice: its slab is gone */

	group_at(group, entry_descriptor(entry), shape->words, index);
	__builtin_prefetch(group->slab);
	__builtin_prefetch(group->free_bits);
	if (count > 1 && (uintptr_t)objects[1] - (uintptr_t)objects[0] + near < 2 * near)
		group->count = gather_more(group, objects, count, shape, index, to_end);
	return group->count;
}

/* The magazine's lowest, which are gathered by now, leave it: a child that is forked later finds no object in two places. */
static void drop_lowest(struct magazine *magazine, unsigned count)
{
	void **slots = load_relaxed(&magazine->slots), **top = load_relaxed(&magazine->top);

	memmove(slots + 1, slots + 1 + count, (size_t)(top - slots - count) * sizeof *slots);
	atomic_store_explicit(&magazine->top, top - count, release);
}

/*
 * At most FLUSH_MOST objects, `from`'s lowest if it is a magazine. The slabs that died of it: to bury them is a long way
 * down, for which a thread with little stack needs the 2 KiB that are here.
 */
__attribute__((noinline))
static struct slab *put_some(struct heap *heap, struct magazine *from, void **objects, unsigned count)
{
	struct group none_before[COMBINE_BACK + FLUSH_MOST], *groups = none_before + COMBINE_BACK, *end = groups;
	struct slab *dead = NULL;

	memset(none_before, 0, COMBINE_BACK * sizeof *groups);
	for (unsigned i = 0; i < count; end++)
		i += gather(end, objects + i, count - i);
	DTRACE_PROBE2(qslab, flush, count, end - groups);
	if (from)
		drop_lowest(from, count);

	struct group *remotes = groups;
	bool locked = false; /* not for remote ones alone */
	MARK(flush);
	for (struct group *group = groups; group < end; group++) {
		struct slab *slab = group->slab;
		if (load_relaxed(&slab->heap) != heap) {
			remotes = add_group(remotes, *group);
			continue;
		}
		if (!locked)
			lock_take(&heap->lock);
		locked = true;
		unsigned before = load_relaxed(&slab->nfree);
		unsigned now = before + group->count;
		slab_set_free(slab, group->free_bits, group->word, group->bits);
		store_relaxed(&slab->nfree, now);
		if (before == 0 || now == slab->objects)
			bin_relist(heap, slab, before, true, &dead);
	}
	if (locked) {
		atomic_thread_fence(memory_order_seq_cst); /* Dekker with the fence in put_remote */
		MARK(flush_fenced);
		drain(heap, true, &dead);
		lock_drop(&heap->lock);
	}
	while (groups < remotes)
		groups += put_groups(groups, (unsigned)(remotes - groups), &dead);
	return dead;
}

static unsigned at_most(unsigned count)
{
	return count < FLUSH_MOST ? count : FLUSH_MOST;
}

void flush(struct heap *heap, void **objects, unsigned count)
{
	for (unsigned some; count; objects += some, count -= some) {
		some = at_most(count);
		bin_bury(put_some(heap, NULL, objects, some));
	}
}

void flush_lowest(struct heap *heap, struct magazine *magazine, unsigned count)
{
	for (unsigned some; count; count -= some) {
		some = at_most(count);
		bin_bury(put_some(heap, magazine, load_relaxed(&magazine->slots) + 1, some));
	}
}
