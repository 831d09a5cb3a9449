#define _GNU_SOURCE
#include "release.h"
#include "alloc/heap.h"
#include "alloc/large.h"
#include "alloc/thread.h"

void release_objects(void **objects, unsigned count)
{
	struct heap *heap = thread_heap_get();

	if (likely(heap)) {
		heap_return(heap, objects, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		heap_late_free(objects[i]);
}

void release_large(void *object)
{
	large_free("free after a grace period", object);
}
