#define _GNU_SOURCE
#include "reclaimer.h"
#include "alloc/option.h"
#include "alloc/report.h"
#include "alloc/segment.h"
#include "chain.h"
#include "deferrer.h"
#include "grave.h"
#include "pressure.h"
#include "rcu/grace.h"
#include "rcu/readers.h"
#include "rcu/sleep.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/sdt.h>

#define TICK_NS ((int64_t)100000000)
#define LONGEST_NS ((int64_t)3600 * 1000000000)
#define STACK ((size_t)256 << 10)
#define STALL_MOST_S ((int64_t)1000000000)

enum { IDLE, STARTING, RUNNING };

static struct {
	atomic_int state;        /* IDLE, STARTING, RUNNING */
	atomic_uint word;        /* 0: has been woken; 1: sleeps at most a tick; 2: longer */
	atomic_bool noticed;     /* set by anyone since the reclaimer last began to look */
	atomic_bool eager;       /* wake when a grace period ends: set by anyone, cleared before a look */
	atomic_bool wanted;      /* a signal handler found no reclaimer */
	atomic_ulong stalls;
	struct lock looking;     /* before all others: held through a look, and by those who must not meet one */
} reclaimer;

void reclaimer_wake(void)
{
	/* after chain_push: Dekker with start and with work */
	if (atomic_load_explicit(&reclaimer.state, memory_order_seq_cst) == IDLE) {
		store_relaxed(&reclaimer.wanted, true);
		return;
	}
	if (atomic_exchange_explicit(&reclaimer.word, 0, memory_order_seq_cst))
		sleep_wake_all(&reclaimer.word);
}

bool reclaimer_is_wanted(void)
{
	return load_relaxed(&reclaimer.wanted);
}

void reclaimer_hold(void)
{
	lock_take(&reclaimer.looking);
}

void reclaimer_go_on(void)
{
	lock_drop(&reclaimer.looking);
}

unsigned long reclaimer_stalls(void)
{
	return load_relaxed(&reclaimer.stalls);
}

/* The grace-period worker, after each one. */
static void grace_has_ended(void)
{
	if (load_relaxed(&reclaimer.eager))
		reclaimer_wake();
}

/* ---- stalls ------------------------------------------------------------------------------------------------- */

static void report_stall(uint64_t number, int64_t age)
{
	struct reader_info holdouts[8];
	struct deferrer_counts counts;
	size_t found = readers_holdouts(holdouts, 8);

	deferrers_count(&counts);
	atomic_fetch_add_explicit(&reclaimer.stalls, 1, relaxed);
	DTRACE_PROBE2(qslab, stall, number, age);
	report_line("qslab: grace period %llu has not ended for %.1f s; %llu objects, %zu KiB wait for it; %s",
	            (unsigned long long)number, (double)age / 1e9,
	            (unsigned long long)(counts.retired - counts.reclaimed), (size_t)counts.waiting_bytes >> 10,
	            found ? "readers that have not been quiescent since:" : "no registered reader is known to hold it up");
	for (size_t i = 0; i < found; i++)
		report_line("qslab:   thread %d (%s)", holdouts[i].tid, holdouts[i].name);
}

/* Once when the limit is passed, once more at three times it. */
static void look_for_stall(void)
{
	static uint64_t reported_number;
	static int64_t reported_age;
	uint64_t number = load_relaxed(&grace.started);
	int64_t limit = (options.rcu_stall < STALL_MOST_S ? (int64_t)options.rcu_stall : STALL_MOST_S) * 1000000000;

	if (!limit || number == load_relaxed(&grace.completed))
		return;
	int64_t age = sleep_clock() - load_relaxed(&grace.began);
	if (number != load_relaxed(&grace.started) || age < limit)
		return;
	if (reported_number != number) {
		reported_number = number;
		reported_age = limit;
	} else if (reported_age > limit || age < 3 * limit) {
		return;
	} else {
		reported_age = 3 * limit;
	}
	report_stall(number, age);
}

/* ---- the thread --------------------------------------------------------------------------------------------- */

/*
 * One look at everything, under its locks: what was put there before `noticed` was set, and is not seen, was put there
 * by a critical section after ours, which then finds `noticed` cleared. DEFERRER_*
 */
static unsigned look(void)
{
	reclaimer_hold();
	uint64_t cookie = chain_advance(), waiting = 0;
	unsigned state = deferrers_scan(pressure_is_soft(), &waiting);
	uint64_t grave = graves_advance();
	reclaimer_go_on();
	pressure_tell();

	if (waiting)
		grace_demand(waiting, false);
	if (grave) {
		grace_demand(grave, false);
		state |= DEFERRER_WORK;
	}
	if (cookie) {
		grace_demand(cookie, true);
		state |= DEFERRER_WORK | DEFERRER_EAGER;
	}
	if (grace_is_behind()) {
		grace_demand(0, false); /* a forked child may have no worker yet */
		state |= DEFERRER_WORK;
	}
	if (state & DEFERRER_WORK) {
		pressure_look();
		look_for_stall();
	}
	return state;
}

static void *work(void *nothing)
{
	int64_t nap = TICK_NS;

	pthread_setname_np(pthread_self(), "qslab-reclaim");
	for (;;) {
		store_relaxed(&reclaimer.eager, false);
		atomic_store_explicit(&reclaimer.noticed, false, memory_order_seq_cst);
		unsigned state = look();
		if (state & DEFERRER_EAGER)
			store_relaxed(&reclaimer.eager, true);
		if (state & DEFERRER_WORK)
			nap = TICK_NS;
		else if (nap < LONGEST_NS)
			nap *= 2;
		unsigned word = nap > TICK_NS ? 2 : 1;
		/* Dekker with reclaimer_notice, and with chain_push before reclaimer_wake */
		atomic_store_explicit(&reclaimer.word, word, memory_order_seq_cst);
		if (word == 2 && (atomic_load_explicit(&reclaimer.noticed, memory_order_seq_cst) || !chain_is_empty())) {
			nap = TICK_NS;
			word = 1;
			store_relaxed(&reclaimer.word, word);
		}
		sleep_on(&reclaimer.word, word, nap);
		if (!atomic_exchange_explicit(&reclaimer.word, 0, acq_rel))
			nap = TICK_NS; /* woken: not by time */
	}
	return nothing;
}

static void start(void)
{
	int idle = IDLE, saved = errno;
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;

	if (!atomic_compare_exchange_strong(&reclaimer.state, &idle, STARTING))
		return;
	atomic_store_explicit(&grace_ended, grace_has_ended, release);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	bool done = !pthread_create(&thread, &attributes, work, NULL);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	store_relaxed(&reclaimer.wanted, !done);
	atomic_store(&reclaimer.state, done ? RUNNING : IDLE);
	errno = saved;
}

void reclaimer_mention(void)
{
	if (!load_relaxed(&reclaimer.noticed))
		atomic_store_explicit(&reclaimer.noticed, true, memory_order_seq_cst);
	if (load_relaxed(&reclaimer.state) == IDLE || atomic_load_explicit(&reclaimer.word, memory_order_seq_cst) == 2)
		reclaimer_wake();
}

void reclaimer_notice(bool eager)
{
	if (unlikely(load_relaxed(&reclaimer.state) == IDLE))
		start();
	if (eager)
		store_relaxed(&reclaimer.eager, true);
	reclaimer_mention();
}

void reclaimer_after_fork(void)
{
	if (atomic_exchange(&reclaimer.state, IDLE) != IDLE)
		store_relaxed(&reclaimer.wanted, true); /* what dead threads left must be seen to */
	atomic_store(&reclaimer.word, 0);
	atomic_store(&reclaimer.looking.held, 0); /* whoever had it is gone, and it guards nothing that lasts */
}

void reclaimer_publish(struct qslab_segment_grace *out)
{
	out->stalls = PUBLISH_WORD(reclaimer.stalls, 8);
}
