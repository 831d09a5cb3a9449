#define _GNU_SOURCE
#include "slow.h"
#include "cache.h"
#include "fast.h"
#include "large.h"
#include "misuse.h"
#include "object.h"

#include <errno.h>
#include <string.h>

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

void *slow_malloc(size_t size)
{
	if (unlikely(size > PTRDIFF_MAX))
		return no_memory();
	struct heap *heap = thread_heap_get();
	if (unlikely(!heap && !region.base))
		return no_memory();
	if (size > MEDIUM_MAX)
		return large_alloc(size, PAGE_SIZE, false);
	unsigned class = class_of(size);
	void *object = heap ? heap_refill(heap, class) : heap_late_alloc(class);
	if (likely(object))
		mark_live(object);
	return object;
}

void slow_free(const char *call, void *object)
{
	if (!object)
		return;
	uint64_t entry = region_has(object) ? entry_of(object) : 0;
	unsigned class = entry_class(entry);
	if (!is_start(entry, object, classes[class].divisor)) {
		large_free(call, object);
		return;
	}
	int saved = errno;
	if (class >= CLASS_OWN) {
		own_free(call, class, object);
		errno = saved;
		return;
	}
	struct heap *heap = thread_heap_get();
	if (unlikely(marked_freed(object)) && heap_has_free(heap ? heap : &heap_none, class, object))
		misuse_double_free(call, object, classes[class].size);
	mark_freed(object);
	if (likely(heap))
		heap_overflow(heap, class, object);
	else
		heap_late_free(object);
	errno = saved;
}

void *aligned_malloc(size_t alignment, size_t size)
{
	if (size > PTRDIFF_MAX)
		return no_memory();
	if (alignment <= 16)
		return fast_malloc(size);
	if (unlikely(!thread_heap_get() && !region.base))
		return no_memory();
	if (alignment <= PAGE_SIZE && size <= MEDIUM_MAX) {
		/* objects are multiples of their size away from a slab's end, which is page-aligned */
		unsigned class = class_of(size);
		while (class < CLASS_COUNT && classes[class].size % alignment)
			class++;
		if (class < CLASS_COUNT)
			return fast_malloc(classes[class].size);
	}
	return large_alloc(size, alignment, false);
}

void *zeroed_malloc(size_t count, size_t size)
{
	size_t total;

	if (unlikely(__builtin_mul_overflow(count, size, &total) || total > PTRDIFF_MAX))
		return no_memory();
	if (total > MEDIUM_MAX) {
		if (unlikely(!thread_heap_get() && !region.base))
			return no_memory();
		return large_alloc(total, PAGE_SIZE, true);
	}
	void *object = fast_malloc(total);
	if (likely(object))
		memset(object, 0, total);
	return object;
}

/* The live object that starts there, or a report. */
static struct object object_at(const char *call, const void *start)
{
	struct object object;

	if (!object_find(start, &object) || object.start != start)
		misuse_pointer(call, start);
	return object;
}

static void *move(const char *call, struct object *old, size_t size)
{
	void *new = fast_malloc(size);

	if (unlikely(!new))
		return NULL;
	memcpy(new, old->start, size < old->size ? size : old->size);
	fast_free(call, old->start);
	return new;
}

void *resize(const char *call, void *start, size_t size)
{
	if (!start)
		return fast_malloc(size);
	struct object old = object_at(call, start);
	if (size == 0) {
		fast_free(call, start);
		return NULL;
	}
	if (size > PTRDIFF_MAX - PAGE_SIZE)
		return no_memory();
	if (old.class == CLASS_LARGE) {
		if (size > MEDIUM_MAX)
			return large_resize(old.descriptor, size);
	} else if (size <= old.size && (size >= old.size / 2 || class_of(size) == old.class)) {
		return start; /* less than half would be lost */
	}
	return move(call, &old, size);
}

size_t usable_size(const char *call, const void *start)
{
	return start ? object_at(call, start).size : 0;
}

bool trim(void)
{
	struct heap *heap = thread_heap_get();

	if (heap)
		heap_flush_all(heap, false);
	heap_trim(CLASS_NONE);
	return span_trim();
}
