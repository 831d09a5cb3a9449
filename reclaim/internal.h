/* What deferrer.c, queue.c and sweep.c share: a deferrer's arrays, under its lock. */
#ifndef QSLAB_RECLAIM_INTERNAL_H
#define QSLAB_RECLAIM_INTERNAL_H

#include "deferrer.h"
#include "release.h"

struct deferrers {
	struct lock lock;
	struct deferrer *_Atomic all; /* written under the lock */
	struct deferrer *orphans;     /* lock */
	struct deferrer *late;        /* lock: the ORPHAN that threads past their end share; in no orphan list */
};

extern struct deferrers deferrers;

#define EACH_DEFERRER(d)                                                                                  \
	struct deferrer *d = atomic_load_explicit(&deferrers.all, acquire);                               \
	d;                                                                                                \
	d = d->all_next

/* Lock held. `only`: that class; CLASS_NONE: all. */
#define EACH_USED_CLASS(d, c, only)                                                                       \
	unsigned c = (only) ? (only) : 1;                                                                 \
	c < ((only) ? (only) + 1 : CLASS_LIMIT);                                                          \
	c++) if ((d)->used[c / 64] >> c % 64 & 1

/* The rest: lock held. */

static inline unsigned pending_count(const struct pending *pending)
{
	return pending->array ? (unsigned)(atomic_load_explicit(&pending->top, acquire) - pending->array->slots) : 0;
}

/* An empty pending array, disarmed; NULL without memory. */
struct array *array_begin(struct deferrer *deferrer, unsigned class);

/*
 * The pending array goes to the queue, with its cookie; to the spares if nothing in it waits any more. Its owner, or
 * anyone if it has none. True if its grace period should hurry.
 */
bool array_seal(struct deferrer *deferrer, unsigned class);

/* top and limit where there is no pending array. */
extern void *pending_none[1];

/* The cookie that all it has sealed waits for, or 0. */
static inline uint64_t queue_cookie(const struct queue *queue)
{
	return queue->tail ? queue->tail->cookie : 0;
}

/* Sealed arrays whose grace period is over become ready. */
void queue_ripen(struct deferrer *deferrer, unsigned class);

/* Brings at most so many ready arrays back to slabs, or to the span source; how many. */
unsigned queue_release(struct deferrer *deferrer, unsigned class, unsigned most);

/*
 * Once for each array sealed. A thread that allocates what it retires comes back for its ready arrays: only those that
 * lay in surplus through a whole period go back to slabs, one at a time. Of a thread that does not come back, nothing
 * is kept.
 */
void queue_release_surplus(struct deferrer *deferrer, unsigned class);

/* A ready array, the latest first, or NULL. An emptied one comes back as a spare. */
struct array *queue_take_ready(struct queue *queue, unsigned class);
void queue_keep_spare(struct queue *queue, unsigned class, struct array *array);

/* deferrers_forget, for one deferrer. */
void queue_forget(struct deferrer *deferrer, unsigned class);

#endif
