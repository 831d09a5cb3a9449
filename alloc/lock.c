#define _GNU_SOURCE
#include "base.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 64
#define FIRST_SLEEP_NS 4000000L
#define LONGEST_SLEEP_NS 256000000L

_Thread_local unsigned lock_name __attribute__((tls_model("initial-exec")));

/*
 * A forked child keeps its parent's: what is held across the fork was taken by that name. Not the kernel's number for the
 * thread: after the parent's end it may give the same one to a new thread of the child.
 */
SLOW unsigned lock_name_make(void)
{
	static atomic_uint names;

	while (!(lock_name = atomic_fetch_add_explicit(&names, 1, relaxed) + 1))
		continue; /* 2^32 of them: those of then are gone */
	return lock_name;
}

/*
 * Until the word changes from `value`, somebody wakes it, or the time is over; or for no reason. nanosleep is a cancellation
 * point, which malloc and free are not: a thread would end with our locks, or in the gate. And a sandbox may end the program
 * for it; threads that wait for each other have futex in any.
 */
static void sleep_on(atomic_uint *word, unsigned value, long nanoseconds)
{
	int saved = errno;
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &(struct timespec){0, nanoseconds}, NULL, 0);
	errno = saved;
}

SLOW void nap(void)
{
	atomic_uint nobody = 0; /* wakes it */
	sleep_on(&nobody, 0, 20000);
}

static bool spin(struct lock *lock)
{
	for (unsigned turn = 0; turn < SPINS; turn++) {
		if (lock_try(lock))
			return true;
		pause_briefly();
	}
	return false;
}

SLOW void lock_wait(struct lock *lock)
{
	COUNT(lock_wait);
	if (spin(lock))
		return;
	for (long sleep = FIRST_SLEEP_NS; !lock_try(lock); sleep = sleep < LONGEST_SLEEP_NS ? 2 * sleep : sleep) {
		store_relaxed(&lock->waited, true);
		unsigned holder = load_relaxed(&lock->held);
		if (holder)
			sleep_on(&lock->held, holder, sleep);
	}
	store_relaxed(&lock->waited, true); /* there may be others, whom nobody else will wake */
}

SLOW void lock_wake(struct lock *lock)
{
	int saved = errno;
	store_relaxed(&lock->waited, false);
	syscall(SYS_futex, &lock->held, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved;
}
