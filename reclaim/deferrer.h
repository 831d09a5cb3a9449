/* Deferrers: a thread's retired objects, and how they become free again. */
#ifndef QSLAB_RECLAIM_DEFERRER_H
#define QSLAB_RECLAIM_DEFERRER_H

#include "layout.h"

/* &deferrer_none before a thread's first retirement and after its end: every append takes the slow path there. */
extern _Thread_local struct deferrer *thread_deferrer __attribute__((tls_model("initial-exec")));
extern struct deferrer deferrer_none;

/*
 * The slow path of an append of an object of `size` bytes by this thread: seals a full array, gives it to the queue,
 * starts a new one. Once the thread's end has begun, a deferrer that all such threads share serves. False if no array
 * can be had. Aborts on an object retired twice in a row.
 */
bool deferrer_append(const char *call, unsigned class, void *object, size_t size);

/*
 * Any thread. Frees what may be freed; notes what lies idle. `all`: also of classes that their owner is busy with.
 * *cookie: raised to the highest that anything waits for. DEFERRER_WORK: something waits. DEFERRER_ARMED: nothing waits,
 * but an append would not wake anyone.
 */
enum { DEFERRER_WORK = 1, DEFERRER_ARMED = 2, DEFERRER_EAGER = 4 };
unsigned deferrers_scan(bool all, uint64_t *cookie);

/* These three: of one class, or of all for CLASS_NONE. Any thread: P1 for every pending array; the highest cookie taken. */
uint64_t deferrers_note(unsigned only);

/* Any thread: P2 for every noted prefix; returns the highest cookie of any queue, or 0. */
uint64_t deferrers_settle(unsigned only);

/* Any thread: frees every sealed array whose grace period is over, and every ready one. */
void deferrers_free(unsigned only);

/* An own class that no thread uses any more, and of which nothing waits: leaves no trace of it. */
void deferrers_forget(unsigned class);

/* Calls back, under a deferrer's lock, for every object in arrays: it waits, or it is free. Of a class, or of all. */
void deferrers_each(unsigned only, void (*callback)(void *object, bool waits, void *argument), void *argument);

/* Objects of the class that wait, and free ones in arrays that do not wait any more. */
void deferrers_count_class(unsigned class, size_t *waiting, size_t *ready);

struct deferrer_counts {
	uint64_t retired, reclaimed, waiting_bytes, exchanged, flushed;
};
void deferrers_count(struct deferrer_counts *counts);

/* fork.c. Prepare takes every lock that this thread does not hold already. */
void deferrers_lock_all(void);
void deferrers_unlock_all(void);
void deferrers_after_fork(void);

#endif
