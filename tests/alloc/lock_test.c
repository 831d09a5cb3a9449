/* The lock of the slow paths: one at a time, and who waits sleeps until it is dropped. */
#define _GNU_SOURCE
#include "alloc/base.h"
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#define THREADS 48
#define TURNS 2000

static struct lock lock;
static unsigned long inside, total;

static void *take_turns(void *number)
{
	uint64_t random = (uintptr_t)number + 1;

	for (int i = 0; i < TURNS; i++) {
		if (next_random(&random) % 4 || !lock_try(&lock))
			lock_take(&lock);
		cr_assert_eq(inside, 0, "two at once");
		inside = (uintptr_t)number + 1;
		if (next_random(&random) % 64 == 0)
			sched_yield(); /* others spin, and go to sleep */
		cr_assert_eq(inside, (uintptr_t)number + 1, "two at once");
		inside = 0;
		total++;
		lock_drop(&lock);
	}
	return NULL;
}

Test(lock, one_at_a_time)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, take_turns, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(total, (unsigned long)THREADS * TURNS);
	cr_assert_not(lock_is_mine(&lock));
}

#define WAITERS 8

static long sleeps[WAITERS];
static atomic_uint here;

static void *wait_once(void *number)
{
	struct rusage before, after;

	getrusage(RUSAGE_THREAD, &before);
	atomic_fetch_add(&here, 1);
	lock_take(&lock);
	lock_drop(&lock);
	getrusage(RUSAGE_THREAD, &after);
	sleeps[(uintptr_t)number] = after.ru_nvcsw - before.ru_nvcsw;
	return NULL;
}

/* However long: a waiter that looks every 20 us would be there 25,000 times, and thousands of them are all the machine does. */
Test(lock, waiters_sleep)
{
	pthread_t threads[WAITERS];

	lock_take(&lock);
	for (uintptr_t i = 0; i < WAITERS; i++)
		cr_assert(pthread_create(&threads[i], NULL, wait_once, (void *)i) == 0);
	while (atomic_load(&here) < WAITERS || !load_relaxed(&lock.waited))
		usleep(1000);
	usleep(500000);
	lock_drop(&lock);
	for (int i = 0; i < WAITERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < WAITERS; i++)
		cr_assert_leq(sleeps[i], 1000, "%ld times asleep", sleeps[i]);
	lock_take(&lock); /* the last one said that others may wait: who drops it next finds nobody */
	lock_drop(&lock);
	cr_assert_not(load_relaxed(&lock.waited));
}

/* A lock that is free in a child, as all of other threads are, may still say that somebody waits. */
static void child(void)
{
	lock_drop(&lock);
	cr_assert_not(load_relaxed(&lock.waited));
	lock_take(&lock);
	cr_assert(lock_is_mine(&lock));
	lock_drop(&lock);
	_exit(0);
}

Test(lock, a_child_has_no_waiters, .disabled = NO_FORK)
{
	pthread_t thread;

	lock_take(&lock);
	cr_assert(pthread_create(&thread, NULL, wait_once, (void *)0) == 0);
	while (!load_relaxed(&lock.waited))
		usleep(1000);
	expect_success(child);
	lock_drop(&lock);
	pthread_join(thread, NULL);
}
