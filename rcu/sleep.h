/* Sleeping on a word of memory: Linux's futex. Calls keep errno and are async-signal-safe, where they do not say otherwise. */
#ifndef QSLAB_RCU_SLEEP_H
#define QSLAB_RCU_SLEEP_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *word == value, at most `nanoseconds` if that is not negative; may wake early for no reason. */
static inline void sleep_on(atomic_uint *word, unsigned value, int64_t nanoseconds)
{
	int saved = errno;
	struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nanoseconds < 0 ? NULL : &limit, NULL, 0);
	errno = saved;
}

static inline void sleep_wake_all(atomic_uint *word)
{
	int saved = errno;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	errno = saved;
}

/* Between two looks, with the lock held, at readers that will be past soon: a nap without it. */
static inline void sleep_beside(pthread_mutex_t *lock, unsigned turn)
{
	int saved = errno;
	pthread_mutex_unlock(lock);
	syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &(struct timespec){0, turn < 100 ? 20000 : 1000000}, NULL);
	errno = saved;
	pthread_mutex_lock(lock);
}

static inline int64_t sleep_clock_of(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nanoseconds of a clock that does not jump, as of the kernel's last tick: some milliseconds ago, for some nanoseconds. */
static inline int64_t sleep_clock(void)
{
	return sleep_clock_of(CLOCK_MONOTONIC_COARSE);
}

/* The same, as of now. */
static inline int64_t sleep_clock_exact(void)
{
	return sleep_clock_of(CLOCK_MONOTONIC);
}

#endif
