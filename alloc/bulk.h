/*
 * Many objects from or into a magazine in one step: what is the same for all is looked up once. What these leave is for
 * the single calls, which know every case: an empty or a full magazine, an object of another class, misuse.
 *
 * `marks`: objects of a size class, which carry the mark of a free one. Those of an own class do not (cache.h).
 */
#ifndef QSLAB_ALLOC_BULK_H
#define QSLAB_ALLOC_BULK_H

#include "fast.h"

#include <string.h>

/* What the magazine has of `count` objects; how many. */
static inline size_t bulk_take(struct magazine *magazine, bool marks, size_t count, void **objects)
{
	void **top = load_relaxed(&magazine->top);

	if (unlikely(!top || !*top)) /* an own class's unused one; also heap_none's, whose slots are none */
		return 0;
	size_t have = (size_t)(top - load_relaxed(&magazine->slots));
	count = count < have ? count : have;
	for (size_t i = 0; i < count; i++) {
		objects[i] = top[-(ptrdiff_t)i];
		if (marks)
			mark_live(objects[i]);
	}
	store_relaxed(&magazine->top, top - count);
	return count;
}

/* The last checks of a free, and the object into its slot; false, and nothing is done, if the slow path must. */
static inline bool bulk_put(bool marks, uint32_t mark, void *object, uint64_t to_end, uint64_t divisor, void **slot)
{
	if (unlikely(!is_start_before(to_end, divisor)))
		return false;
	if (unlikely(marks ? *mark_of(object) == mark : slot[-1] == object))
		return false;
	if (marks)
		*mark_of(object) = mark;
	__atomic_store_n(slot, object, __ATOMIC_RELAXED); /* is_cached may look */
	return true;
}

/*
 * The first objects, as many as are starts of the class, not free by their mark or as the last one freed, and fit the
 * magazine; how many. `entry`: the page map's for the first one, 0 if there is none. `wipe`: they are zero then.
 *
 * Neighbours mostly lie in one slab: while they do, the distance to its end says all that the page map would. From the
 * first elsewhere on each object is looked up: where slabs change all the time, a guess would cost more than the look.
 * Always inline: `marks` and `wipe` are constants then, or tested once.
 */
__attribute__((always_inline)) static inline
size_t bulk_give(struct magazine *magazine, bool marks, bool wipe, unsigned class, uint64_t divisor, uint64_t entry,
                 size_t count, void *const *objects)
{
	void **top = load_relaxed(&magazine->top);
	size_t room = (size_t)(magazine->limit - top), i = 0;
	uintptr_t end = (uintptr_t)objects[0] + entry_to_end(entry, objects[0]);
	size_t bytes = (size_t)classes[class].pages << PAGE_SHIFT;
	uint32_t mark = region.freed_mark;

	count = count < room ? count : room;
	for (; i < count; i++) {
		uint64_t to_end = end - (uintptr_t)objects[i];
		if (unlikely(to_end - 1 >= bytes || !bulk_put(marks, mark, objects[i], to_end, divisor, &top[i + 1])))
			break;
	}
	for (; i < count && region_has(objects[i]); i++) {
		entry = entry_of(objects[i]);
		if (unlikely((uint8_t)entry != (uint8_t)class ||
		             !bulk_put(marks, mark, objects[i], entry_to_end(entry, objects[i]), divisor, &top[i + 1])))
			break;
	}
	for (size_t w = 0; wipe && w < i; w++)
		memset(objects[w], 0, classes[class].size);
	atomic_store_explicit(&magazine->top, top + i, release); /* pairs with is_cached */
	return i;
}

#endif
