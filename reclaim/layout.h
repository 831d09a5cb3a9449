/*
 * What waits for a grace period, and the protocol that frees it. README.md proves it; tests cite its claims.
 *
 * A retired object is in exactly one place:
 *
 *     pending   an entry of a deferrer's pending array, above the array's `first`
 *     sealed    an entry of an array in a deferrer's queue; the array's cookie was taken after its last append
 *     ready     an entry of an array whose cookie is over: free, and kept to become a magazine, or released soon
 *     chained   linked from chain.c's incoming list, or from its ripening list, whose cookie was taken after
 *
 * and leaves it for ready, or for its slab, when the cookie's grace period is over.
 *
 * Who may write. The owner (the deferrer's thread) alone appends to a pending array, with no lock: slot first, then
 * top (release). Everything else, the queues and the arrays' heads included, is under the deferrer's lock, which
 * the owner takes on its slow paths, and the reclaimer, the barrier and fork take from outside. They never move a
 * pending array that has an owner; they note a prefix of it instead:
 *
 *     P1  count = top (acquire); note {count, the queue's `sealed` number}; cookie        under the lock
 *     P2  when the cookie is over, and `sealed` is still that number: objects first + 1 .. count are free,
 *         first = count                                                                   under the lock
 *
 * and may disarm it (limit = the array's start), so that the owner's next append takes the slow path, arms it and
 * wakes the reclaimer. The owner tests top < limit, so one append may pass beside the disarming: the reclaimer
 * looks again, at intervals that double.
 *
 * States of a deferrer: 1 OWNED, 2 ORPHAN (its thread is gone; all its arrays are sealed). 1->2 at thread exit and in
 * a forked child, 2->1 when a thread takes it over; under the deferrers lock.
 *
 * Counting, under the lock (ready objects are reclaimed; heap_stock has their bytes):
 *                            retired = sealed_objects + sum of (top - slots) of pending arrays,
 *                            waiting = retired - reclaimed.
 *
 * Lock order: 0 the reclaimer's look, 1 deferrers, 2 a deferrer, 3 chain, 4 graves, then alloc's (alloc/layout.h). No thread holds two deferrers but fork.
 */
#ifndef QSLAB_RECLAIM_LAYOUT_H
#define QSLAB_RECLAIM_LAYOUT_H

#include "alloc/layout.h"

/* One class's pending array, as the fast path sees it. */
struct pending {
	void **_Atomic top;    /* owner; the last entry. Others read (acquire) */
	void **_Atomic limit;  /* owner arms, the reclaimer disarms: append only while top < limit */
	uint64_t divisor;      /* owner: the class's; 0 before an own class's first use, and after its last */
	struct array *array;   /* lock: NULL before the first and after sealing */
};

/* lock, all of it */
struct queue {
	struct array *head, *tail; /* sealed, oldest first: cookies never fall */
	struct array *ready;       /* ready, the latest first: the next magazine is the one still in the cache */
	struct array *surplus, *surplus_tail; /* ready, more than `ready` should hold: oldest first */
	unsigned nready, nsurplus; /* arrays in each */
	unsigned low_water;        /* fewest in surplus since the last period began (queue.c) */
	unsigned excess;           /* of surplus: arrays nobody wanted for a whole period */
	atomic_uint arrays;        /* in head, ready and surplus; the owner peeks without the lock */
	struct array *spare;       /* empty arrays */
	uint64_t sealed;           /* arrays sealed so far: the pending array's number */
	uint64_t seen_sealed;      /* the reclaimer's: `sealed` when it last looked */
	uint64_t note_cookie;      /* of the noted prefix */
	uint32_t note_count;       /* 0: no prefix is noted */
	uint32_t seen_count;       /* the reclaimer's: entries when it last looked */
	uint64_t note_sealed;      /* `sealed` when it was noted */
	unsigned spares;
	unsigned appetite;         /* refills of the class, less arrays sealed, lately: 0 is a thread that only retires */
};

enum deferrer_state { DEFERRER_OWNED = 1, DEFERRER_ORPHAN = 2 };

struct deferrer {
	struct lock lock;
	uint64_t sealed_objects, reclaimed;  /* lock: objects ever sealed; ever freed */
	uint64_t exchanged, flushed;         /* lock: arrays that became magazines; objects that went to slabs */
	enum deferrer_state state;           /* deferrers lock */
	struct deferrer *all_next;           /* const once published */
	struct deferrer *orphan_next;        /* deferrers lock */
	uint64_t used[CLASS_LIMIT / 64];     /* lock: bit c: class c was ever used */
	struct queue queues[CLASS_OWN];      /* lock */
	/* see there; from CLASS_OWN on, and below, untouched memory in a process without caches */
	struct pending pending[CLASS_LIMIT];
	struct queue *_Atomic own_queues[CLASS_OWN_COUNT]; /* lock: set once; the owner reads it without */
};

static inline struct queue *queue_of(struct deferrer *deferrer, unsigned class)
{
	return likely(class < CLASS_OWN) ? &deferrer->queues[class]
	                                 : load_relaxed(&deferrer->own_queues[class - CLASS_OWN]);
}

#endif
