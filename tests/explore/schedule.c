#define _GNU_SOURCE
#include "schedule.h"

#include "alloc/base.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS_MOST 16
#define STEPS_MOST 1000000
#define ROUNDS 3 /* of thread-specific data's destructors: ours is last in the third */
#define WALK_EVERY 8 /* steps, about */
#define WALK_LOCKS 64 /* most are nobody else's, and there are many */

struct thread {
	atomic_uint go;        /* 1: it is this one's turn */
	int64_t own, priority; /* the latter is lower while it waits */
	bool alive;
	unsigned round;        /* of destructors */
	void (*body)(unsigned index);
	void *(*start)(void *); /* the core's */
	void *argument;
	pthread_t id;
};

/* Everything is written by whose turn it is. */
static struct {
	struct thread threads[THREADS_MOST];
	unsigned count, left, here, meetings;
	int64_t lowest;
	uint64_t seed, hash;
	unsigned steps, depth, changes[SCHEDULE_WALK];
	pid_t process;
	pthread_key_t key;
	atomic_uint over;
} all;

static _Thread_local struct thread *self;

void (*schedule_watch)(const char *mark);

/* The linker gives us the core's calls (--wrap), and these are the real ones. */
long __real_syscall(long number, ...);
int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
long __wrap_syscall(long number, ...);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

static int64_t draw(uint64_t below)
{
	return (int64_t)(xorshift(&all.seed) >> 8) % (int64_t)below;
}

/* ---- turns ---------------------------------------------------------------------------------------------------- */

static void sleep_on_word(atomic_uint *word)
{
	while (!atomic_load(word) && !atomic_load(&all.over))
		__real_syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	atomic_store(word, 0);
}

static void wake(atomic_uint *word)
{
	atomic_store(word, 1);
	__real_syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static struct thread *highest(void)
{
	struct thread *best = NULL;

	for (unsigned i = 0; i < all.count; i++) {
		struct thread *thread = &all.threads[i];
		if (thread->alive && (!best || thread->priority > best->priority))
			best = thread;
	}
	return best;
}

/* Is the calling thread in turn? Not in a forked child. */
static bool scheduled(void)
{
	return self && self->alive && !atomic_load(&all.over) && getpid() == all.process;
}

static bool falls(const char *name)
{
	if (all.depth == SCHEDULE_WALK)
		return draw(strncmp(name, "lock", 4) ? WALK_EVERY : WALK_LOCKS) == 0;
	for (unsigned i = 0; i + 1 < all.depth; i++)
		if (all.changes[i] == all.steps)
			return true;
	return false;
}

static void step(const char *name, bool waits)
{
	int saved = errno;

	all.steps++;
	all.hash = (all.hash ^ (uint64_t)(self - all.threads)) * 0x100000001b3u;
	for (const char *c = name; *c; c++)
		all.hash = (all.hash ^ (unsigned char)*c) * 0x100000001b3u;
	if (all.steps > STEPS_MOST) {
		fprintf(stderr, "explore: no end: %d steps\n", STEPS_MOST);
		abort();
	}
	if (falls(name))
		self->own = --all.lowest;
	self->priority = waits ? --all.lowest : self->own;
	struct thread *next = highest();
	if (next != self) {
		wake(&next->go);
		sleep_on_word(&self->go);
	}
	errno = saved;
}

void mark_reached(const char *name)
{
	if (!scheduled())
		return;
	if (schedule_watch)
		schedule_watch(name);
	step(name, false);
}

void schedule_yield(void)
{
	step("yield", true);
}

/* ---- calls that wait ------------------------------------------------------------------------------------------ */

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	if (!scheduled())
		return __real_nanosleep(time, left);
	step("nanosleep", true);
	return 0;
}

/* A futex's waiter wakes early, for no reason: it may. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_clock_nanosleep && scheduled()) {
		step("nap", true);
		return 0;
	}
	if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT && scheduled()) {
		step("futex", true);
		return 0;
	}
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	if (!scheduled())
		return __real_pthread_mutex_lock(mutex);
	step("mutex", false);
	while (__real_pthread_mutex_trylock(mutex)) {
		if (!scheduled()) /* its holder goes on at its own pace by now */
			return __real_pthread_mutex_lock(mutex);
		step("mutex", true);
	}
	return 0;
}

/* The way jemalloc takes its locks: a thread may be left with one, which the gate has to wait for. */
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	int error = __real_pthread_mutex_trylock(mutex);

	if (!error && scheduled())
		step("mutex taken", false);
	return error;
}

/* ---- threads -------------------------------------------------------------------------------------------------- */

/* Runs from the first turn it is given. */
static struct thread *add(void)
{
	if (all.count == THREADS_MOST)
		abort();
	struct thread *thread = &all.threads[all.count++];
	thread->alive = true;
	thread->own = thread->priority = draw(1 << 30);
	return thread;
}

static void over(void)
{
	atomic_store(&all.over, 1);
	for (unsigned i = 0; i < all.count; i++)
		wake(&all.threads[i].go);
	__real_syscall(SYS_futex, &all.over, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void leave(void *thread)
{
	if (++self->round < ROUNDS) {
		pthread_setspecific(all.key, thread);
		return;
	}
	step("end", false);
	self->alive = false;
	if (--all.left == 0)
		over();
	else
		wake(&highest()->go);
}

static void *run(void *argument)
{
	self = argument;
	sleep_on_word(&self->go);
	if (self->start)
		return self->start(self->argument);
	pthread_setspecific(all.key, self);
	self->body((unsigned)(self - all.threads));
	return NULL;
}

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
	if (!scheduled())
		return __real_pthread_create(id, attributes, start, argument);
	struct thread *thread = add();
	thread->start = start;
	thread->argument = argument;
	int error = __real_pthread_create(id, attributes, run, thread);
	thread->alive = !error;
	return error;
}

void schedule_begin(uint64_t seed, unsigned depth, unsigned length)
{
	all.seed = (seed + 1) * 0x9e3779b97f4a7c15u | 1;
	for (int i = 0; i < 8; i++)
		xorshift(&all.seed);
	all.process = getpid();
	all.depth = depth < SCHEDULE_WALK ? depth : SCHEDULE_WALK;
	for (unsigned i = 0; i + 1 < all.depth && all.depth < SCHEDULE_WALK; i++)
		all.changes[i] = 1 + (unsigned)draw(length);
	if (pthread_key_create(&all.key, leave))
		abort();
}

void schedule_add(void (*body)(unsigned index))
{
	struct thread *thread = add();
	thread->body = body;
	all.left++;
}

void schedule_run(void)
{
	unsigned count = all.count;

	for (unsigned i = 0; i < count; i++)
		if (__real_pthread_create(&all.threads[i].id, NULL, run, &all.threads[i]))
			abort();
	wake(&highest()->go);
	while (!atomic_load(&all.over))
		__real_syscall(SYS_futex, &all.over, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	for (unsigned i = 0; i < count; i++)
		pthread_join(all.threads[i].id, NULL);
}

void schedule_meet(void (*check)(void))
{
	unsigned meeting = all.meetings;

	all.here++;
	while (all.meetings == meeting) {
		if (all.here < all.left) {
			schedule_yield();
			continue;
		}
		if (check)
			check();
		all.here = 0;
		all.meetings++;
	}
}

unsigned schedule_steps(void)
{
	return all.steps;
}

uint64_t schedule_hash(void)
{
	return all.hash;
}
