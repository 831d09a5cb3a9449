/*
 * Threads that run one at a time, in an order drawn from a seed (after "probabilistic concurrency testing", Burckhardt
 * and others, 2010): each has a random priority, the highest runs, and at depth - 1 random steps the one that runs falls
 * below all. At the greatest depth, SCHEDULE_WALK, one step of eight is such a one: what takes many small turns is seldom
 * found otherwise. A step is a mark (alloc/mark.h) or a call that may wait: nanosleep, a futex, a mutex. There a thread
 * lets everybody else go first; what it waited for may have come when it runs again, and then its priority is its own. The
 * core's own threads take part. The same seed gives the same steps, in a process that did the same before.
 */
#ifndef QSLAB_TESTS_SCHEDULE_H
#define QSLAB_TESTS_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_WALK 7

/* About how many steps will be taken: the random ones are drawn from that many. */
void schedule_begin(uint64_t seed, unsigned depth, unsigned length);

void schedule_add(void (*body)(unsigned index));

/* Until all that were added have ended, thread destructors included. From then on everybody runs as ever. */
void schedule_run(void);

/* Of a thread that was added: waits until all of them that have not ended are here; one then runs `check`, if any, alone. */
void schedule_meet(void (*check)(void));

/* Of such a thread, which can go no further: a step, and all others come first. */
void schedule_yield(void);

/* A step: the core's marks, and a test's own. */
void mark_reached(const char *name);

/* Called at each, by the thread that is there, before others' turns. */
extern void (*schedule_watch)(const char *mark);

unsigned schedule_steps(void);
uint64_t schedule_hash(void); /* of who took which step */

#endif
