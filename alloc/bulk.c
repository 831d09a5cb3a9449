/* Many objects in one call: a magazine's objects move in one step, and what is the same for all is looked up once. */
#define _GNU_SOURCE
#include "fast.h"
#include "harden.h"

#include <qslab/qslab.h>

/* What a magazine has of `count` objects; how many. */
static inline size_t take(struct magazine *magazine, size_t count, void **objects)
{
	void **top = load_relaxed(&magazine->top);
	size_t have = (size_t)(top - load_relaxed(&magazine->slots));

	if (!*top) /* also heap_none's, whose slots are none */
		return 0;
	count = count < have ? count : have;
	for (size_t i = 0; i < count; i++) {
		objects[i] = top[-(ptrdiff_t)i];
		mark_live(objects[i]);
	}
	store_relaxed(&magazine->top, top - count);
	return count;
}

size_t qslab_malloc_bulk(size_t size, size_t count, void **objects)
{
	unsigned class = size <= MEDIUM_MAX ? class_of(size) : CLASS_LARGE;
	size_t done = 0;

	while (done < count) {
		done += take(&thread_heap->magazines[class], count - done, objects + done);
		if (done == count)
			break;
		if (unlikely(!(objects[done] = slow_malloc(size))))
			break;
		done++;
	}
	return done;
}

/* The last checks of a free, and the object into its slot; false, and nothing is done, if the slow path must. */
static inline bool put(void *object, uint64_t to_end, uint64_t divisor, uint32_t mark, void **slot)
{
	if (unlikely(to_end * divisor >= divisor || *mark_of(object) == mark)) /* is_start, marked_freed */
		return false;
	*mark_of(object) = mark;
	__atomic_store_n(slot, object, __ATOMIC_RELAXED); /* is_cached may look */
	return true;
}

/*
 * The first objects, as many as are starts of one class, not marked, and fit their magazine; how many. The next is for
 * a single free.
 *
 * Neighbours mostly lie in one slab: while they do, the distance to its end says all that the page map would. From the
 * first elsewhere on each object is looked up: where slabs change all the time, a guess would cost more than the look.
 */
static inline size_t give(size_t count, void *const *objects)
{
	uint64_t entry = region_has(objects[0]) ? entry_of(objects[0]) : 0;
	uint8_t class = (uint8_t)entry_class(entry);
	struct magazine *magazine = &thread_frees[class];
	uint64_t divisor = magazine->divisor;
	void **top = load_relaxed(&magazine->top);
	size_t room = (size_t)(magazine->limit - top), i = 0;
	uintptr_t end = (uintptr_t)objects[0] + entry_to_end(entry, objects[0]);
	size_t bytes = (size_t)classes[class].pages << PAGE_SHIFT;
	uint32_t mark = FREED_MARK;
	__asm__("" : "+r"(mark)); /* in a register: a compare with memory and constant does not fuse */

	count = count < room ? count : room;
	for (; i < count; i++) {
		uint64_t to_end = end - (uintptr_t)objects[i];
		if (unlikely(to_end - 1 >= bytes || !put(objects[i], to_end, divisor, mark, &top[i + 1])))
			break;
	}
	for (; i < count && region_has(objects[i]); i++) {
		entry = entry_of(objects[i]);
		if (unlikely((uint8_t)entry != class ||
		             !put(objects[i], entry_to_end(entry, objects[i]), divisor, mark, &top[i + 1])))
			break;
	}
	atomic_store_explicit(&magazine->top, top + i, release); /* pairs with is_cached */
	return i;
}

void qslab_free_bulk(size_t count, void *const *objects)
{
	while (count) {
		size_t given = give(count, objects);
		if (given == count)
			break;
		fast_free("qslab_free_bulk", objects[given]); /* the slow path, but for a class that changes */
		objects += given + 1;
		count -= given + 1;
	}
}

size_t qslab_good_size(size_t size)
{
	if (unlikely(hardened) && size <= MEDIUM_MAX - SEAL_SIZE && class_of(size + SEAL_SIZE))
		return classes[class_of(size + SEAL_SIZE)].size - SEAL_SIZE;
	if (size <= MEDIUM_MAX)
		return class_of(size) ? classes[class_of(size)].size : size;
	return size <= PTRDIFF_MAX ? PAGES_OF(size) << PAGE_SHIFT : size;
}
