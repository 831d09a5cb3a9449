/*
 * The reclaimer: one thread that frees what its retirers do not come back for: pending arrays of idle threads, queues
 * of dead ones, chains, large objects. Started at the first need. It looks every TICK while anything waits; sleeps
 * longer and longer while nothing does; an append that nobody would see wakes it.
 */
#ifndef QSLAB_RECLAIM_RECLAIMER_H
#define QSLAB_RECLAIM_RECLAIMER_H

#include <stdbool.h>

/* Something waits, or may soon. Eager: look as soon as the next grace period ends. No lock held; not in signal handlers. */
void reclaimer_notice(bool eager);

/* The part of it that is async-signal-safe: a running reclaimer wakes. */
void reclaimer_wake(void);

/* Something waits, from a place with locks of ours: as reclaimer_notice if the reclaimer runs, else as reclaimer_wake. */
void reclaimer_mention(void);

/* There is work from a signal handler and no reclaimer yet. */
bool reclaimer_is_wanted(void);

/* Between these it frees nothing. Before any other lock; not across anything that waits. */
void reclaimer_hold(void);
void reclaimer_go_on(void);

unsigned long reclaimer_stalls(void);

void reclaimer_after_fork(void);

/* Says where the count of stalls is (segment.c). */
struct qslab_segment_grace;
void reclaimer_publish(struct qslab_segment_grace *out);

#endif
