/* The explicit API, include/qslab/qslab.h, over the core. */
#define _GNU_SOURCE
#include "fast.h"
#include "object.h"

#include <errno.h>
#include <qslab/qslab.h>

void *qslab_malloc(size_t size)
{
	return fast_malloc(size);
}

void *qslab_calloc(size_t count, size_t size)
{
	return zeroed_malloc(count, size);
}

void *qslab_realloc(void *object, size_t size)
{
	return resize("qslab_realloc", object, size);
}

void *qslab_reallocarray(void *object, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return resize("qslab_reallocarray", object, total);
}

void *qslab_aligned_alloc(size_t alignment, size_t size)
{
	if (!alignment || (alignment & (alignment - 1))) {
		errno = EINVAL;
		return NULL;
	}
	return aligned_malloc(alignment, size);
}

void qslab_free(void *object)
{
	fast_free("qslab_free", object);
}

size_t qslab_usable_size(const void *object)
{
	return usable_size("qslab_usable_size", object);
}

void *qslab_object_start(const void *address)
{
	struct object object;
	return object_around(address, &object) ? object.start : NULL;
}

size_t qslab_object_size(const void *address)
{
	struct object object;
	return object_find(address, &object) ? object.size : 0;
}

bool qslab_owns(const void *address)
{
	struct object object;
	return object_around(address, &object);
}

bool qslab_trim(void)
{
	return trim();
}
