/* The calls of many objects, over bulk.h. */
#define _GNU_SOURCE
#include "bulk.h"
#include "harden.h"

#include <qslab/qslab.h>

size_t qslab_malloc_bulk(size_t size, size_t count, void **objects)
{
	unsigned class = size <= MEDIUM_MAX ? class_of(size) : CLASS_LARGE;
	size_t done = 0;

	while (done < count) {
		done += bulk_take(&thread_heap->magazines[class], true, count - done, objects + done);
		if (done == count)
			break;
		if (unlikely(!(objects[done] = slow_malloc(size))))
			break;
		done++;
	}
	return done;
}

/* bulk_give to the class of the first object. */
static inline size_t give(size_t count, void *const *objects)
{
	uint64_t entry = region_has(objects[0]) ? entry_of(objects[0]) : 0;
	struct magazine *magazine = &thread_frees[entry_class(entry)];

	return bulk_give(magazine, true, false, entry_class(entry), magazine->divisor, entry, count, objects);
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
