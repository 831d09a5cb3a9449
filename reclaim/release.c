#define _GNU_SOURCE
#include "release.h"
#include "alloc/debug.h"
#include "alloc/fast.h"
#include "alloc/harden.h"
#include "alloc/heap.h"
#include "alloc/large.h"
#include "alloc/misuse.h"

#include <string.h>

static const char call[] = "free after a grace period";

void release_wipe(void **objects, unsigned count, unsigned class)
{
	if (likely(!(classes[class].traits & CLASS_WIPE)))
		return;
	for (unsigned i = 0; i < count; i++)
		memset(objects[i], 0, classes[class].size);
}

/* Those of size classes. The others, of caches' own, are left in front; how many. */
static unsigned free_hardened(void **objects, unsigned count)
{
	unsigned left = 0;

	for (unsigned i = 0; i < count; i++) {
		if (entry_class(entry_of(objects[i])) < CLASS_OWN)
			harden_free(call, objects[i]);
		else
			objects[left++] = objects[i];
	}
	return left;
}

void release_objects(void **objects, unsigned count)
{
	struct heap *heap = thread_heap_get();

	if (unlikely(tracking)) {
		for (unsigned i = 0; i < count; i++)
			debug_release(call, objects[i]);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		uint64_t entry = entry_of(objects[i]);
		if (unlikely(!is_start(entry, objects[i], classes[entry_class(entry)].divisor)))
			misuse_pointer(call, objects[i]); /* retired twice, or freed too: its slab is gone */
		release_wipe(&objects[i], 1, entry_class(entry));
	}
	if (unlikely(hardened))
		count = free_hardened(objects, count);
	if (likely(heap)) {
		heap_return(heap, objects, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		heap_late_free(objects[i]);
}

void release_large(void *object)
{
	if (unlikely(tracking))
		debug_release(call, object);
	else
		large_free(call, object);
}
