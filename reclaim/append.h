/* The fast path of deferred free: an array store. */
#ifndef QSLAB_RECLAIM_APPEND_H
#define QSLAB_RECLAIM_APPEND_H

#include "alloc/fast.h"
#include "deferrer.h"

#include <qslab/rcu.h>

/* Does the link lie inside the object? */
static inline bool link_fits(size_t offset, size_t size)
{
	return offset <= size - sizeof(struct rcu_ptr);
}

/* Appends with no lock; false if the slow path must. The link lies `offset` bytes into the object. */
static inline bool append_fast(void *object, size_t offset)
{
	if (unlikely(!region_has(object)))
		return false;
	uint64_t entry = entry_of(object);
	struct pending *pending = &thread_deferrer->pending[entry_class(entry)];
	if (unlikely(!is_start(entry, object, pending->divisor)))
		return false;
	void **top = load_relaxed(&pending->top);
	if (unlikely(top >= load_relaxed(&pending->limit) || !link_fits(offset, classes[entry_class(entry)].size)))
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
