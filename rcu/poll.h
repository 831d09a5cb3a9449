/*
 * QSBR grace periods that nobody waits for: a thread that has just retired much makes them begin, and later ones that pass
 * by see whether they are over. No switch from thread to thread, and what waits stays in the caches (rcu/README.md).
 *
 * Three numbers have to be right: liburcu's counter, which readers copy when they are quiescent; the readers to ask; and
 * that no grace period of liburcu's own is on its way, which would move readers out of its list and compares with the
 * counter. liburcu has locks for these that we cannot take, so each is made sure of from outside:
 *
 *     entry   the worker, alone at it (grace.c's `running`), has just run one of liburcu's own, which made a step of the
 *             counter, since a reader that we know was registered all the time; and the counter moved by exactly one. liburcu
 *             runs one at a time, so at that step no other was on its way. Or the counter is the one it starts with: there
 *             never was one.
 *     begin   1. a full fence after what is to be freed was unlinked (cookies: grace.c)
 *             2. liburcu's list of readers, walked through readers we know only, has every one of them and no other;
 *                each one's counter is noted, if it is not offline
 *             3. the counter is what it was at entry, or what we made of it since, and becomes one that it never was:
 *                one compare-and-swap, which fails if liburcu began one of its own, and then polling is over until
 *                the next entry. So at 2. none was on its way, and the list was whole.
 *     passed  every reader noted has another counter now, is offline, or unregistered since.
 *
 * Who registers unseen, and is missed at 2., has linked itself after our fence, and has a fence of its own before it reads
 * anything: it sees what was unlinked. One that is not missed, or one that we know by and by, keeps 2. from closing: nothing
 * begins, and if that goes on, polling is over. liburcu knows it, and the worker asks liburcu.
 * A reader's counter changes only where it is quiescent, with a fence on either side; a change after 2. is one after 1.
 *
 * liburcu's grace periods lose nothing to ours. It reads its counter and writes it again, one step on, without a
 * compare-and-swap, so it may overwrite what we published in between: then readers that copied ours were quiescent after it
 * began, and have to be once more. It never takes a counter for its own that it did not publish: ours leave room for steps
 * of its own. And since polling ends until the worker's own has come after it, it is held up at most once.
 */
#ifndef QSLAB_RCU_POLL_H
#define QSLAB_RCU_POLL_H

#include <stdbool.h>

struct reader;

/* More are left to the worker: a begin looks at each, in its thread's memory. */
#define POLL_READERS 64

/* Entered, and not over since. Any thread; a hint. */
bool poll_is_on(void);

/* The counter is the one it starts with. Any thread; a hint. */
bool poll_is_fresh(void);

/* The caller holds `running`. Enters, if the counter is that. */
void poll_start(void);

/* The caller holds `running`. Is it time to begin one? Readers have other things to do. */
bool poll_is_due(void);

/* The caller holds `running`. Begins a grace period; false if it may not. Never waits. */
bool poll_begin(void);

/* The caller holds `running`. Is the one begun last over? Never waits. */
bool poll_passed(void);

/* Around one of liburcu's own. The caller holds `running`. */
unsigned long poll_leave(void);
void poll_enter(unsigned long left);

/* The calling thread is that reader, and registered with that copy of liburcu: where is the head of liburcu's list? */
struct copy;
void poll_registered(const struct reader *reader, const struct copy *copy);

/* The readers' lock held: one that leaves need not be asked. */
void poll_forget(const struct reader *reader);

/* Polling is over: in a forked child, whose readers are ours (readers.h). */
void poll_after_fork(void);

#endif
