/* Words every file of alloc/ uses: hints, constants, the lock. Includes nothing of ours. */
#ifndef QSLAB_ALLOC_BASE_H
#define QSLAB_ALLOC_BASE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define COLD __attribute__((cold, noinline))
#define SLOW __attribute__((noinline))

#define PAGE_SHIFT 12
#define PAGE_SIZE ((size_t)1 << PAGE_SHIFT)
#define PAGES_OF(bytes) (((bytes) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define CACHE_LINE 64
#define ALIGN_UP(n, a) (((n) + (a) - 1) & ~((size_t)(a) - 1))

#ifndef COUNT /* a build that counts has it from count.h */
#define COUNT(what) ((void)0)
#endif

#ifndef MARK /* a test build has it from mark.h */
#define MARK(name) ((void)0)
#define BROKEN(name) false
#endif

#ifndef FAULT /* a test build has it from fault.h */
#define FAULT(place) false
#endif

#define relaxed memory_order_relaxed
#define acquire memory_order_acquire
#define release memory_order_release
#define acq_rel memory_order_acq_rel

#define load_relaxed(p) atomic_load_explicit((p), relaxed)
#define store_relaxed(p, v) atomic_store_explicit((p), (v), relaxed)

/* The next random number; *state is not 0. After G. Marsaglia, 2003. */
static inline uint64_t xorshift(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/*
 * A lock for short slow paths. Taking it is one compare-and-swap, dropping it one store and a look beside it, so a thread's
 * own, nearly always uncontended lock costs little. A waiter spins, then sleeps: it says so in `waited` and sleeps while
 * the lock is held; who drops the lock and sees that says that nobody waits, and wakes one; who slept and has the lock says
 * it again, for the others. Between the store that drops the lock and the look there is no fence: a waiter may be missed,
 * and sleeps on until the next drop, or for 4 ms. (Short naps instead need no waking; but of thousands of waiters they
 * leave nobody time to work: 4,000 threads' first allocations took 10 s, and take 0.7.)
 *
 * Who holds it is known, for a fork by a signal handler: what other threads hold is free, or soon will be; what the
 * interrupted code holds stays as it is. In a forked child every other lock is simply set free (fork.c). A lock's memory
 * stays a lock's: who dropped it looks at it once more.
 */
struct lock {
	atomic_uint held;   /* 0, or who holds it */
	atomic_bool waited; /* somebody sleeps, or is about to */
};

extern _Thread_local unsigned lock_name __attribute__((tls_model("initial-exec"))); /* this thread's, 0 at first */
unsigned lock_name_make(void);
void nap(void); /* 20 us */

void lock_wait(struct lock *lock);
void lock_wake(struct lock *lock);

static inline unsigned lock_me(void)
{
	return likely(lock_name) ? lock_name : lock_name_make();
}

static inline bool lock_is_mine(const struct lock *lock)
{
	return load_relaxed(&lock->held) == lock_me();
}

static inline bool lock_try(struct lock *lock)
{
	unsigned nobody = 0;
	MARK(lock_try);
	return !load_relaxed(&lock->held) &&
	       atomic_compare_exchange_strong_explicit(&lock->held, &nobody, lock_me(), acquire, relaxed); /* lock_drop */
}

/* Of CLOCK_MONOTONIC, to within a tick of the kernel's; no system call. */
static inline uint32_t second_now(void)
{
	struct timespec coarse;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &coarse);
	return (uint32_t)coarse.tv_sec;
}

static inline void pause_briefly(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Between two looks at what another thread will have done soon. */
static inline void wait_turn(unsigned turn)
{
	if (turn < 64)
		pause_briefly();
	else
		nap();
}

static inline void lock_take(struct lock *lock)
{
	COUNT(lock);
	unsigned nobody = 0;
	MARK(lock_take);
	if (unlikely(!atomic_compare_exchange_strong_explicit(&lock->held, &nobody, lock_me(), acquire, relaxed)))
		lock_wait(lock);
}

/* False, and nothing is done, if this thread has it already, in code that the forking signal handler interrupted. */
static inline bool lock_take_for_fork(struct lock *lock)
{
	if (lock_is_mine(lock))
		return false;
	lock_take(lock);
	return true;
}

static inline void lock_drop(struct lock *lock)
{
	atomic_store_explicit(&lock->held, 0, release); /* pairs with lock_try and lock_take */
	if (unlikely(load_relaxed(&lock->waited)))
		lock_wake(lock);
	MARK(lock_drop);
}

#endif
