/*
 * Grace periods by number (rcu/README.md). Any thread, unless a call says otherwise.
 *
 *     started, completed   who holds grace.c's `running`; completed <= started <= completed + 1
 *     wanted               anyone, upwards only; the worker runs while completed < wanted
 *
 * Each runs once, in turn: begun and ended by the worker, which waits for readers in between, or a step at a time by
 * those who retire, who never do (poll.h). One that is begun so and left is run again by the worker.
 */
#ifndef QSLAB_RCU_GRACE_H
#define QSLAB_RCU_GRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct grace {
	_Alignas(64) _Atomic uint64_t started;
	_Atomic uint64_t completed;
	atomic_llong began;          /* sleep_clock() at the latest start */
	_Alignas(64) _Atomic uint64_t wanted;
	atomic_uint urgent;          /* 1: the next one should not wait for more demand */
	atomic_uint asleep;          /* what the worker does, or is about to: AWAKE, PAUSES, NAPS, SLEEPS (grace.c) */
	atomic_uint waiters;         /* threads in grace_wait */
	atomic_uint fence;           /* ThreadSanitizer's */
	atomic_uint turn;            /* changes with every completion: what waiters sleep on */
};

extern struct grace grace;

#ifndef MARK /* a test build has it: a point where another thread may come between */
#define MARK(name) ((void)0)
#define BROKEN(name) false
#endif

static inline void grace_fence(void)
{
#ifdef __SANITIZE_THREAD__ /* it does not know fences; a read-modify-write of one word orders as much */
	atomic_fetch_add_explicit(&grace.fence, 1, memory_order_seq_cst);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* A full fence, then the number of a grace period that has not begun. */
static inline uint64_t grace_cookie(void)
{
	grace_fence(); /* pairs with the worker's in run_one */
	uint64_t started = atomic_load_explicit(&grace.started, memory_order_relaxed);
	return started + !BROKEN(cookie);
}

static inline bool grace_over(uint64_t cookie)
{
	return atomic_load_explicit(&grace.completed, memory_order_acquire) >= cookie; /* pairs with run_one */
}

/*
 * Asks for the grace period, and makes a step towards it, as grace_poll does; returns at once. Urgent: where steps cannot be
 * made, the worker starts without a nap. The first call starts the worker, so no lock may be held that malloc takes.
 * Nothing is lost if no thread can be started: a later call tries again, and grace_wait does the work itself.
 */
void grace_demand(uint64_t cookie, bool urgent);

/*
 * Is it over? Until it is, and while readers can be polled (poll.h), each call is a step: ends the grace period in flight if
 * its readers have passed, and begins the next one if it was asked for. Never waits; no lock as above may be held.
 */
bool grace_poll(uint64_t cookie);

/* The latest that was asked for. */
static inline uint64_t grace_wanted(void)
{
	return atomic_load_explicit(&grace.wanted, memory_order_relaxed);
}

/* A grace period is asked for that is not over. */
bool grace_is_behind(void);

/* Waits; the caller is no reader meanwhile (flavor_wait_begin). `call` names it in an error message. */
void grace_wait(uint64_t cookie, const char *call);

/* Called after each grace period, by who ended it; set once, before the first. */
extern void (*_Atomic grace_ended)(void);

/* fork: the child has no worker; a grace period that ran then runs anew under the same number. */
void grace_before_fork(void);
void grace_after_fork_parent(void);
void grace_after_fork(void);

#endif
