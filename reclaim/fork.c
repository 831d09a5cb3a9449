/*
 * fork. Prepare takes the locks of reclaim/, each held for a short time only and never across anything that waits for
 * a thread; so the child finds every array and list whole. A lock that the forking thread itself holds (a signal
 * handler that forks) stays as it is: the child goes on where the handler interrupted. A handler that forks may not have
 * interrupted alloc's slow paths: the reclaimer may be waiting there for this thread's heap, holding what prepare waits
 * for. Runs before alloc's own prepare, since its constructor came later, and its parent and child after alloc's:
 * between them this thread runs no signal handler, which might fork again (as liburcu's bp does; measured by glibc's
 * tst-mallocfork2).
 */
#define _GNU_SOURCE
#include "barrier.h"
#include "chain.h"
#include "deferrer.h"
#include "grave.h"
#include "rcu/grace.h"
#include "reclaimer.h"

#include <pthread.h>
#include <signal.h>

static _Thread_local sigset_t mask __attribute__((tls_model("initial-exec"))); /* the caller's, from prepare on */

/* All but those that a fault raises. */
static void block_signals(void)
{
	sigset_t most;

	sigfillset(&most);
	for (const int *fault = (const int[]){SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, 0}; *fault; fault++)
		sigdelset(&most, *fault);
	pthread_sigmask(SIG_BLOCK, &most, &mask);
}

static void unblock_signals(void)
{
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void prepare(void)
{
	block_signals();
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
	unblock_signals();
}

static void child(void)
{
	grace_after_fork(); /* cookies first: sealing takes them */
	graves_unlock_after_fork();
	chain_unlock_after_fork();
	deferrers_after_fork();
	barrier_after_fork();
	reclaimer_after_fork();
	unblock_signals();
}

__attribute__((constructor(103))) static void start(void)
{
	pthread_atfork(prepare, parent, child);
}
