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

/*
 * The first objects, as many as are starts of one class, not marked, and fit their magazine; how many. The rest is
 * for the slow path, one object of it at least.
 */
static inline size_t give(size_t count, void *const *objects)
{
	uint64_t entry = region_has(objects[0]) ? entry_of(objects[0]) : 0;
	unsigned class = entry_class(entry);
	struct magazine *magazine = &thread_frees[class];
	uint64_t divisor = magazine->divisor;
	void **top = load_relaxed(&magazine->top);
	size_t room = (size_t)(magazine->limit - top), i = 0;

	count = count < room ? count : room;
	for (; i < count; i++) {
		void *object = objects[i];
		if (unlikely(!region_has(object)))
			break;
		entry = entry_of(object);
		if (unlikely(entry_class(entry) != class || !is_start(entry, object, divisor) || marked_freed(object)))
			break;
		mark_freed(object);
		top[i + 1] = object;
	}
	atomic_store_explicit(&magazine->top, top + i, release); /* pairs with is_cached */
	return i;
}

void qslab_free_bulk(size_t count, void *const *objects)
{
	while (count) {
		size_t given = give(count, objects);
		if (!given) {
			fast_free("qslab_free_bulk", objects[0]); /* the slow path, but for a class that changes */
			given = 1;
		}
		objects += given;
		count -= given;
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
