/*
 * fork. Prepare takes the locks of reclaim/, each held for a short time only and never across anything that waits for
 * a thread; so the child finds every array and list whole. A lock that the forking thread itself holds (a signal
 * handler that forks) stays as it is: the child goes on where the handler interrupted. Runs before alloc's own
 * prepare, since its constructor came later.
 */
#define _GNU_SOURCE
#include "barrier.h"
#include "chain.h"
#include "deferrer.h"
#include "grave.h"
#include "rcu/grace.h"
#include "reclaimer.h"

#include <pthread.h>

static void prepare(void)
{
	grace_before_fork(); /* may take long; so no lock is held yet */
	deferrers_lock_all();
	chain_lock_for_fork();
	graves_lock_for_fork();
}

static void parent(void)
{
	graves_unlock_after_fork();
	chain_unlock_after_fork();
	deferrers_unlock_all();
	grace_after_fork_parent();
}

static void child(void)
{
	grace_after_fork(); /* cookies first: sealing takes them */
	graves_unlock_after_fork();
	chain_unlock_after_fork();
	deferrers_after_fork();
	barrier_after_fork();
	reclaimer_after_fork();
}

__attribute__((constructor(103))) static void start(void)
{
	pthread_atfork(prepare, parent, child);
}
