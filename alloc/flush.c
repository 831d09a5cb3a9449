#include "flush.h"
#include "bin.h"
#include "misuse.h"
#include "slab.h"

#include <sys/sdt.h>

#define COMBINE_BACK 4

/* ---- remote frees (layout.h, R1-R4 and D1-D3) ------------------------------------------------------------ */

void notify_push(struct heap *heap, struct slab *slab)
{
	struct slab *first = load_relaxed(&heap->notify);
	do
		store_relaxed(&slab->notify_next, first);
	while (!atomic_compare_exchange_weak_explicit(&heap->notify, &first, slab, acq_rel, relaxed));
}

void drain(struct heap *heap, bool keep, struct slab **dead)
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
			bin_relist(heap, slab, before, keep, dead);
		}
		slab = next;
	}
}

void drain_now(struct heap *heap)
{
	struct slab *dead = NULL;
	lock_take(&heap->lock);
	drain(heap, true, &dead);
	lock_drop(&heap->lock);
	bin_bury(dead);
}

void put_remote(struct slab *slab, unsigned word, uint64_t bits)
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

/* ---- flush ------------------------------------------------------------------------------------------------ */

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
		if (unlikely(!class_is_slab(entry_class(entry))))
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

void flush(struct heap *heap, void **objects, unsigned count)
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
			bin_relist(heap, slab, before, true, &dead);
	}
	atomic_thread_fence(memory_order_seq_cst); /* Dekker with the fence in put_remote */
	drain(heap, true, &dead);
	lock_drop(&heap->lock);
	bin_bury(dead);
	for (unsigned i = 0; i < remotes; i++)
		put_remote(groups[i].slab, groups[i].word, groups[i].bits);
}
