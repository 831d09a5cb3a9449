/* The fast path of deferred free: an array store. */
#ifndef QSLAB_RECLAIM_APPEND_H
#define QSLAB_RECLAIM_APPEND_H

#include "alloc/fast.h"
#include "deferrer.h"

#include <qslab/rcu.h>

/*
 * Does the link lie inside the object? Where it begins tells: it is aligned, and sizes are multiples of its own. The
 * product does not overflow for anything below the size whose divisor it is (class.h), and spares a load of the size.
 */
static inline bool link_fits(size_t offset, uint64_t divisor)
{
	uint64_t product;
	return !__builtin_mul_overflow(offset, divisor, &product);
}

/* Appends with no lock; false if the slow path must. The link lies `offset` bytes into the object. */
static inline bool append_fast(void *object, size_t offset)
{
	if (unlikely(!region_has(object)))
		return false;
	uint64_t entry = entry_of(object);
	struct pending *pending = &thread_deferrer->pending[entry_class(entry)];
	__asm__("" : "+r"(pending)); /* else its address is worked out for each field again */
	uint64_t divisor = pending->divisor;
	if (unlikely(!is_start(entry, object, divisor) || !link_fits(offset, divisor)))
		return false;
	void **top = load_relaxed(&pending->top);
	if (unlikely(top >= load_relaxed(&pending->limit)))
		return false;
	MARK(append);
	if (unlikely(*top == object))
		return false; /* retired twice in a row, or freed since, by a note */
	__atomic_store_n(top + 1, object, __ATOMIC_RELAXED);
	atomic_store_explicit(&pending->top, top + 1, release); /* pairs with pending_count */
	return true;
}

/* The rest; false if no array can be had. A report if the object is none of ours. */
bool append_slow(const char *call, void *object, size_t offset) SLOW;

#endif
