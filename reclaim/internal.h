/* What deferrer.c and sweep.c share: a deferrer's arrays, under its lock. */
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

/* Either lock is noted in the thread, so that a fork from a signal handler does not wait for itself. */
void deferrers_lock(void);
void deferrers_unlock(void);
void deferrer_lock(struct deferrer *deferrer);
void deferrer_unlock(struct deferrer *deferrer);

/* The rest: lock held. */

static inline unsigned pending_count(const struct pending *pending)
{
	return pending->array ? (unsigned)(atomic_load_explicit(&pending->top, acquire) - pending->array->slots) : 0;
}

/* The pending array goes to the queue, with its cookie. Its owner, or anyone if it has none. PRESSURE_* */
unsigned array_seal(struct deferrer *deferrer, unsigned class);

/* Sealed arrays whose grace period is over become ready. */
void queue_ripen(struct deferrer *deferrer, unsigned class);

/* Brings at most so many ready arrays back to slabs, or to the span source; how many. */
unsigned queue_release(struct deferrer *deferrer, unsigned class, unsigned most);

#endif
