#define _GNU_SOURCE
#include "grace.h"
#include "flavor.h"
#include "poll.h"
#include "readers.h"
#include "sections.h"
#include "sleep.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/sdt.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <urcu/flavor.h>

#define NAP_NS 1000000 /* lets demand gather; cut short when it is urgent */
#define NAP_MOST_NS 16000000 /* while those who poll get on: a worker that wakes takes one of their cores */
/*
 * Between grace periods, unless somebody waits for the next. One costs 50 us of processor time, most of it switches
 * from and to readers; end to end they took half a core, and the readers' own time where no core was idle.
 */
#define PAUSE_NS 300000
#define PAUSE_LIMIT_S 2
#define SLICE_NS 100000 /* the least there is */
#define WORKER_STACK ((size_t)256 << 10)

struct grace grace;
void (*_Atomic grace_ended)(void);

static _Thread_local bool paused __attribute__((tls_model("initial-exec"))); /* this thread forks, holding `running` */

static _Thread_local unsigned waits __attribute__((tls_model("initial-exec"))); /* this thread's part of grace.waiters */

enum { AWAKE, PAUSES, NAPS, SLEEPS };
enum { IDLE, STARTING, RUNNING };
static atomic_int worker = IDLE;
static pthread_mutex_t running = PTHREAD_MUTEX_INITIALIZER; /* one grace period at a time */

static uint64_t polled; /* `running`: the latest that polling began */

static uint64_t completed(void)
{
	return atomic_load_explicit(&grace.completed, memory_order_relaxed);
}

/* `running` held. */
static void begin(uint64_t number)
{
	atomic_store_explicit(&grace.began, sleep_clock(), memory_order_relaxed);
	atomic_store_explicit(&grace.started, number, memory_order_seq_cst);
	grace_fence(); /* pairs with grace_cookie */
	MARK(grace_start);
	DTRACE_PROBE1(qslab, grace_start, number);
}

/* `running` held. */
static void complete(uint64_t number)
{
	atomic_store_explicit(&grace.completed, number, memory_order_release); /* pairs with grace_over */
	MARK(grace_end);
	DTRACE_PROBE1(qslab, grace_end, number);
}

/* After a completion. */
static void announce(void)
{
	atomic_fetch_add_explicit(&grace.turn, 1, memory_order_seq_cst); /* before waiters is read: grace_wait */
	if (atomic_load_explicit(&grace.waiters, memory_order_seq_cst))
		sleep_wake_all(&grace.turn);
	void (*ended)(void) = atomic_load_explicit(&grace_ended, memory_order_acquire);
	if (ended)
		ended();
}

/* liburcu's own; then polling may go on. */
static void synchronize(const struct rcu_flavor_struct *flavor)
{
	unsigned long left = poll_leave();

	flavor->update_synchronize_rcu();
	poll_enter(left);
}

/* One grace period, by the worker, or by a waiter when there is none. */
static void run_one(const struct rcu_flavor_struct *flavor)
{
	pthread_mutex_lock(&running);
	uint64_t number = completed() + 1;
	begin(number); /* again, if polling did */
	if (!readers_synchronize() && !sections_synchronize_for(flavor))
		synchronize(flavor);
	complete(number);
	pthread_mutex_unlock(&running);
	announce();
}

bool grace_is_behind(void)
{
	return completed() < atomic_load_explicit(&grace.wanted, memory_order_seq_cst);
}

/* Is there a reason for how the worker rests? */
static bool may_rest(unsigned how)
{
	switch (how) {
	case PAUSES:
		return !atomic_load_explicit(&grace.waiters, memory_order_seq_cst);
	case NAPS:
		return !atomic_load_explicit(&grace.urgent, memory_order_seq_cst);
	default:
		return !grace_is_behind();
	}
}

/* Dekker with grace_demand: asleep is stored before waiters, urgent and wanted are read. */
static void rest(unsigned how, int64_t nanoseconds)
{
	atomic_store_explicit(&grace.asleep, how, memory_order_seq_cst);
	if (may_rest(how))
		sleep_on(&grace.asleep, how, nanoseconds);
	atomic_store_explicit(&grace.asleep, AWAKE, memory_order_relaxed);
}

/*
 * Beside as many busy threads as cores, the worker is to run when it wakes, for the little it does, not when another's
 * slice of some milliseconds is over: it asks for short slices of its own, which Linux 6.12 and later heed.
 */
static void ask_for_short_slices(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = {.size = sizeof attr}; /* the kernel's sched_attr, whose header clashes with libc's */

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) == 0 && attr.policy == SCHED_OTHER) {
		attr.runtime = SLICE_NS;
		syscall(SYS_sched_setattr, 0, &attr, 0);
	}
}

/* Lets demand gather, and those who poll go on: for them there is nothing to do here. */
static void nap(void)
{
	uint64_t seen;
	int64_t length = NAP_NS;

	do {
		seen = completed();
		if (atomic_load_explicit(&grace.urgent, memory_order_acquire))
			return;
		rest(NAPS, length);
		length = length < NAP_MOST_NS ? 2 * length : length;
	} while (seen != completed());
}

/*
 * What became urgent while the worker ran one, and nobody could poll, is theirs again who do: else it would run another, for
 * which they have to stop, and so on. Not what is waited for: waiters make no steps.
 */
static void calm(void)
{
	if (!poll_is_on())
		return;
	atomic_store_explicit(&grace.urgent, 0, memory_order_seq_cst); /* before waiters is read: who comes later sets it */
	if (atomic_load_explicit(&grace.waiters, memory_order_seq_cst))
		atomic_store_explicit(&grace.urgent, 1, memory_order_seq_cst);
}

static void *work(void *nothing)
{
	const struct rcu_flavor_struct *flavor = flavor_get();

	ask_for_short_slices();
	pthread_setname_np(pthread_self(), "qslab-grace");
	prctl(PR_SET_TIMERSLACK, 1000); /* ns: the pause is short */
	for (;;) {
		while (!grace_is_behind())
			rest(SLEEPS, -1);
		nap();
		atomic_store_explicit(&grace.urgent, 0, memory_order_seq_cst); /* before wanted is read */
		if (!grace_is_behind())
			continue; /* those who poll have done it */
		run_one(flavor);
		calm();
		rest(PAUSES, PAUSE_NS); /* under constant demand nobody but waiters wakes us */
	}
	return nothing;
}

static bool start_worker(void)
{
	int idle = IDLE;
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;

	if (!flavor_get() || !atomic_compare_exchange_strong(&worker, &idle, STARTING))
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's handlers run in its own threads */
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, WORKER_STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	bool done = !pthread_create(&thread, &attributes, work, NULL);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	atomic_store(&worker, done ? RUNNING : IDLE);
	return done;
}

static void want(uint64_t cookie)
{
	uint64_t wanted = atomic_load_explicit(&grace.wanted, memory_order_relaxed);

	while (wanted < cookie &&
	       !atomic_compare_exchange_weak_explicit(&grace.wanted, &wanted, cookie, memory_order_seq_cst,
	                                              memory_order_relaxed))
		continue;
}

/* `running` held, polling on. True: one has ended. */
static bool end_and_begin(void)
{
	uint64_t number = completed() + 1;
	bool ended = polled == number && poll_passed();

	if (ended)
		complete(number++);
	if (polled < number && grace_is_behind() && poll_is_due()) {
		begin(number);
		if (poll_begin())
			polled = number;
	}
	return ended;
}

/* False: readers cannot be polled now, and only the worker gets on. */
static bool step(void)
{
	/* malloc comes here (grace_poll): nothing below may load the flavor. Whoever calls the worker first does. */
	if (!poll_is_on() && !(poll_is_fresh() && flavor_is_qsbr()))
		return false;
	if (pthread_mutex_trylock(&running))
		return true; /* somebody else is at it */
	if (!poll_is_on())
		poll_start();
	bool ended = poll_is_on() && end_and_begin();
	pthread_mutex_unlock(&running);
	if (ended)
		announce();
	return poll_is_on();
}

/* The worker is to see to what is wanted: soon, or at once. */
static void call_worker(bool urgent)
{
	if (urgent && !atomic_load_explicit(&grace.urgent, memory_order_relaxed))
		atomic_store_explicit(&grace.urgent, 1, memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&worker, memory_order_relaxed) == IDLE, 0)) {
		int saved = errno;
		start_worker();
		errno = saved;
	}
	unsigned asleep = atomic_load_explicit(&grace.asleep, memory_order_seq_cst); /* Dekker with rest */
	if ((asleep == SLEEPS || (asleep == NAPS && urgent) ||
	     (asleep == PAUSES && atomic_load_explicit(&grace.waiters, memory_order_relaxed))) &&
	    atomic_exchange_explicit(&grace.asleep, AWAKE, memory_order_seq_cst) != AWAKE)
		sleep_wake_all(&grace.asleep);
}

void grace_demand(uint64_t cookie, bool urgent)
{
	want(cookie);
	call_worker(!step() && urgent); /* it naps while steps are made, and is there if no more are */
}

bool grace_poll(uint64_t cookie)
{
	if (!grace_over(cookie))
		step();
	return grace_over(cookie);
}

void grace_wait(uint64_t cookie, const char *call)
{
	if (grace_over(cookie))
		return;
	int saved = errno;
	bool online = flavor_wait_begin(call);

	waits++;
	atomic_fetch_add_explicit(&grace.waiters, 1, memory_order_seq_cst);
	want(cookie);
	call_worker(true);
	while (!grace_over(cookie)) {
		unsigned turn = atomic_load_explicit(&grace.turn, memory_order_seq_cst);
		const struct rcu_flavor_struct *flavor;
		if (grace_over(cookie))
			break;
		if (atomic_load(&worker) == IDLE && (flavor = flavor_get()))
			run_one(flavor);
		else
			sleep_on(&grace.turn, turn, 100000000); /* a worker may fail to start */
	}
	atomic_fetch_sub_explicit(&grace.waiters, 1, memory_order_relaxed);
	waits--;
	flavor_wait_end(online);
	errno = saved;
}

/*
 * Where register calls are not seen, or were not yet, the child needs liburcu's locks free (rcu/README.md): no grace
 * period of ours may hold them, nor begin until fork is done. One's end can be waited for unless the forking thread is
 * itself a reader now; not for ever, since it may be waiting for a lock that a prepare handler before us took. With bp such
 * a handler, liburcu's own, has taken all locks already.
 */
static bool may_pause(void)
{
	const struct rcu_flavor_struct *flavor = flavor_known();

	if (!flavor)
		return true; /* none runs; the first one may be about to */
	if (flavor_is_qsbr() ? readers_seen() : sections_seen() || flavor_is_bp())
		return false;
	return !flavor->read_ongoing();
}

void grace_before_fork(void)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += PAUSE_LIMIT_S;
	paused = may_pause() && !pthread_mutex_timedlock(&running, &limit);
}

void grace_after_fork_parent(void)
{
	if (paused)
		pthread_mutex_unlock(&running);
}

void grace_after_fork(void)
{
	atomic_store(&worker, IDLE);
	atomic_store(&grace.asleep, 0);
	atomic_store(&grace.waiters, waits); /* not 0 in a handler that interrupted a wait */
	if (paused)
		pthread_mutex_unlock(&running);
	else
		pthread_mutex_init(&running, NULL); /* whoever held it is gone */
	polled = 0;
	readers_after_fork();
	sections_after_fork();
}
