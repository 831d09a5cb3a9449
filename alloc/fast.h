/*
 * The fast paths of malloc and free: what runs when a magazine has an object, or room for one. No lock,
 * no atomic read-modify-write, no system call. Everything else is in slow.c.
 */
#ifndef QSLAB_ALLOC_FAST_H
#define QSLAB_ALLOC_FAST_H

#include "region.h"
#include "slow.h"
#include "thread.h"

static inline void *fast_malloc(size_t size)
{
	struct magazine *magazine = &thread_heap->magazines[class_of(size)];
	void **top = load_relaxed(&magazine->top);
	void *object = *top;
	if (unlikely(!object))
		return slow_malloc(size);
	store_relaxed(&magazine->top, top - 1);
	mark_live(object);
	return object;
}

/* Is there a start so many bytes before the end of a slab of the class whose divisor is given? */
static inline bool is_start_before(uint64_t to_end, uint64_t divisor)
{
	return to_end * divisor < divisor;
}

/* True if the address is the start of a slab object of the entry's class, whose divisor is given. */
static inline bool is_start(uint64_t entry, const void *address, uint64_t divisor)
{
	return is_start_before(entry_to_end(entry, address), divisor);
}

/* Into a magazine; false if the slow path must. */
static inline bool fast_push(void *object)
{
	if (likely(region_has(object))) {
		uint64_t entry = entry_of(object);
		struct magazine *magazine = &thread_frees[entry_class(entry)];
		if (likely(is_start(entry, object, magazine->divisor))) {
			void **top = load_relaxed(&magazine->top);
			uint32_t mark = region.freed_mark;
			if (likely(top != magazine->limit && *mark_of(object) != mark && *top != object)) {
				*mark_of(object) = mark;
				__atomic_store_n(top + 1, object, __ATOMIC_RELAXED);
				atomic_store_explicit(&magazine->top, top + 1, release); /* pairs with is_cached */
				return true;
			}
		}
	}
	return false;
}

static inline void fast_free(const char *call, void *object)
{
	if (unlikely(!fast_push(object)))
		slow_free(call, object);
}

/* `size` is what the program says; only the hardened mode looks at it. */
static inline void fast_free_sized(const char *call, void *object, size_t size)
{
	if (unlikely(!fast_push(object)))
		slow_free_sized(call, object, size);
}

#endif
