/*
 * Graves: dead slabs of classes whose memory keeps its type until every reader is done (CLASS_TYPESAFE). The cookie of
 * each was taken after its last object was free and out of every magazine, so nobody finds an object there any more;
 * its pages go back when the cookie's grace period is over.
 */
#ifndef QSLAB_RECLAIM_GRAVE_H
#define QSLAB_RECLAIM_GRAVE_H

#include "alloc/layout.h"

/* Gives back what may go. The cookie of the oldest that stays, or 0. Any thread. */
uint64_t graves_advance(void);

/* The cookie to wait for before graves_advance has given back every slab of the class that is there now; or 0. */
uint64_t graves_of(unsigned class);

void graves_lock_for_fork(void);
void graves_unlock_after_fork(void);

/* Says where they are, for tools (segment.c). */
struct qslab_segment_held;
void graves_publish(struct qslab_segment_held *out);

#endif
