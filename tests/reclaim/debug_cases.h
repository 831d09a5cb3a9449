/* What debug_test.c runs, each in a process of its own: misuses one by one, and a clean program. */
#ifndef QSLAB_TESTS_DEBUG_CASES_H
#define QSLAB_TESTS_DEBUG_CASES_H

#include "retire.h"

#include <qslab/cache.h>
#include <signal.h>

/* Its calls are not the last thing a function does, or its frame would be gone. */
#define HERE __asm__ volatile("" ::: "memory")
#define NAMED __attribute__((noinline, visibility("default")))

NAMED void *who_allocates(size_t size);
NAMED void who_retires(void *object);
NAMED void who_retires_again(void *object);
NAMED void who_frees(void *object);
NAMED void who_touches(volatile char *object);

NAMED void *who_allocates(size_t size)
{
	void *object = qslab_malloc(size);
	memset(object, 1, size);
	return object;
}

NAMED void who_retires(void *object)
{
	qslab_free_rcu_mightsleep(object);
	HERE;
}

NAMED void who_retires_again(void *object)
{
	qslab_free_rcu_link(object, object);
	HERE;
}

NAMED void who_frees(void *object)
{
	qslab_free(object);
	HERE;
}

NAMED void who_touches(volatile char *object)
{
	object[40] = (char)(object[41] + 'A');
	HERE;
}

/* ---- cases ---------------------------------------------------------------------------------------------- */

static size_t size_of_case;

/* A reader with no quiescent state: no grace period ends. */
static void stay(void)
{
	urcu_qsbr_register_thread();
}

static void retire_twice(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	who_retires(object);
	who_retires(who_allocates(size_of_case));
	who_retires_again(object);
}

static void retire_freed(void)
{
	void *object = who_allocates(size_of_case);
	who_frees(object);
	who_retires_again(object);
}

static void free_retired(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	who_retires(object);
	who_frees(object);
}

static void free_after_grace(void)
{
	void *object = who_allocates(size_of_case);
	who_retires(object);
	qslab_rcu_barrier();
	who_frees(object);
}

static void retire_after_grace(void)
{
	void *object = who_allocates(size_of_case);
	who_retires(object);
	qslab_rcu_barrier();
	who_retires_again(object);
}

static void free_twice(void)
{
	void *object = who_allocates(size_of_case);
	who_frees(object);
	who_frees(object);
}

static void realloc_retired(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	who_retires(object);
	(void)!qslab_realloc(object, 10);
}

static void nolock_twice(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	qslab_free_rcu_nolock_link(object, object);
	qslab_free_rcu_nolock_link(object, object);
}

/* Links itself: without the mode the list would have no end. */
static void queue_twice(void)
{
	struct qslab_free_q queue;
	void *object = who_allocates(size_of_case);
	stay();

	qslab_free_q_init(&queue);
	qslab_free_q_link(&queue, object);
	qslab_free_q_link(&queue, object);
	qslab_free_q_flush_rcu(&queue);
}

static void retire_interior(void)
{
	who_retires((char *)who_allocates(size_of_case) + 16);
}

static void retire_foreign(void)
{
	static char data[64] = "data";
	who_retires(data);
}

/* A reader that goes past its quiescent state and still uses what it found before. */
static char *_Atomic shared;
static atomic_bool reader_has_it, over;

static void *reader_that_holds_on(void *unused)
{
	urcu_qsbr_register_thread();
	char *held = atomic_load(&shared);
	atomic_store(&reader_has_it, true);
	while (!atomic_load(&over))
		urcu_qsbr_quiescent_state(); /* here `held` dies, and it does not notice */
	who_touches(held);
	urcu_qsbr_unregister_thread();
	return NULL;
}

static void hold_on(void)
{
	pthread_t reader;

	atomic_store(&shared, who_allocates(size_of_case));
	pthread_create(&reader, NULL, reader_that_holds_on, NULL);
	while (!atomic_load(&reader_has_it))
		pause_ms(1);
	char *old = atomic_exchange(&shared, NULL);
	who_retires(old);
	qslab_rcu_barrier();
	atomic_store(&over, true);
	pthread_join(reader, NULL);
}

/* The write is seen when the object leaves the quarantine, not only at exit. */
static void hold_on_and_run(void)
{
	hold_on();
	for (int i = 0; i < 1000000; i++) {
		void *object = qslab_malloc(1024);
		qslab_free(object);
	}
	_exit(0);
}

/* A late writer is allowed until the grace period is over. */
static void write_before_the_end(void)
{
	urcu_qsbr_register_thread();
	char *object = who_allocates(size_of_case);
	who_retires(object);
	who_touches(object);
	if (object[100] != 1)
		_exit(3);
	urcu_qsbr_unregister_thread();
	qslab_rcu_barrier();
	for (size_t i = 0; size_of_case <= 1 << 20 && getenv("QSLAB_RCU_DEBUG") && i < size_of_case; i++)
		if (object[i] != 0x6b)
			_exit(4);
}

static void free_and_touch(void)
{
	char *object = who_allocates(size_of_case);
	who_frees(object);
	who_touches(object);
}

/* On a signal stack, as a program that catches its own overflows has one. */
static void free_and_touch_on_altstack(void)
{
	static char stack[32 << 10];
	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
	free_and_touch();
}

static void own_handler(int number)
{
	(void)number;
	(void)!write(STDERR_FILENO, "its own handler\n", 16);
	_exit(5);
}

/* A fault that is not ours goes to the handler the program had. */
static void other_fault(void)
{
	signal(SIGSEGV, own_handler);
	who_frees(who_allocates(size_of_case));
	volatile char *volatile nowhere = (char *)16;
	*nowhere = 1;
}

static void killed_from_outside(void)
{
	who_frees(who_allocates(size_of_case));
	kill(getpid(), SIGSEGV);
}

static void ignored_from_outside(void)
{
	signal(SIGSEGV, SIG_IGN);
	who_frees(who_allocates(size_of_case));
	kill(getpid(), SIGSEGV);
}

/* ---- a clean program ---------------------------------------------------------------------------------------- */

#define SLOTS 64
static struct element {
	uint64_t sum;
	struct rcu_ptr link;
	size_t words;
	uint64_t body[];
} *_Atomic slots[SLOTS];

static struct element *element_new(uint64_t *seed)
{
	size_t size = random_size(seed) + sizeof(struct element), words = (size - sizeof(struct element)) / 8;
	struct element *element = qslab_malloc(size);
	element->sum = element->words = words;
	for (size_t i = 0; i < words; i++)
		element->sum += element->body[i] = next_random(seed);
	return element;
}

static void element_check(const struct element *element)
{
	uint64_t sum = element->words;
	for (size_t i = 0; i < element->words; i++)
		sum += element->body[i];
	if (sum != element->sum)
		_exit(6);
}

static void *worker(void *number)
{
	uint64_t seed = 88172645463325252u + (uintptr_t)number * 7919;

	urcu_qsbr_register_thread();
	for (int i = 0; i < SCALE(4000); i++) {
		uint64_t r = next_random(&seed);
		struct element *old, *seen = atomic_load(&slots[r % SLOTS]);
		if (seen)
			element_check(seen);
		if (r >> 32 & 1) {
			old = atomic_exchange(&slots[r % SLOTS], element_new(&seed));
			if (old)
				calls[r % CALLS].retire(old, &old->link);
		} else {
			old = qslab_realloc(qslab_calloc(1, r >> 40 & 4095), r >> 20 & 8191);
			qslab_free(r & 1 ? old : qslab_realloc(old, 1 + (r >> 50)));
			qslab_free(qslab_aligned_alloc(256, r >> 30 & 1023));
		}
		urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

static void run_workers(void)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, worker, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* Frees as much as the quarantine holds, so that this thread is the one to take older objects out of it. */
static void *presses(void *unused)
{
	while (!atomic_load(&over))
		qslab_free(qslab_malloc((size_t)1 << 20));
	return NULL;
}

/* Freed objects of a cache are on their way from the quarantine in other threads while it is destroyed: none is live. */
static void destroy_beside_quarantine(void)
{
	enum { OBJECTS = 60 };
	pthread_t threads[3];
	void *objects[OBJECTS];

	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, presses, NULL);
	for (int round = 0; round < SCALE(100); round++) {
		struct qslab_cache *cache = qslab_cache_create("quick", (size_t)256 << 10, 0, QSLAB_CACHE_ZERO_ON_FREE, NULL);
		for (int i = 0; i < OBJECTS; i++)
			objects[i] = qslab_cache_alloc(cache);
		qslab_cache_free_bulk(cache, OBJECTS, objects);
		if (qslab_cache_destroy(cache))
			_exit(9);
	}
	atomic_store(&over, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

/* What is in the quarantine is free: nobody's count has it as live. */
static void counts(void)
{
	enum { OBJECTS = 40 };
	struct qslab_cache *cache = qslab_cache_create("counted", 100, 0, QSLAB_CACHE_ISOLATE, NULL);
	struct qslab_memory before, after;
	struct qslab_cache_stats stats;
	void *of_cache[OBJECTS], *small[OBJECTS], *large;

	qslab_memory(&before);
	large = qslab_malloc(1 << 20);
	for (int i = 0; i < OBJECTS; i++) {
		of_cache[i] = qslab_cache_alloc(cache);
		small[i] = qslab_malloc(200);
	}
	qslab_free(large);
	for (int i = 0; i < OBJECTS / 2; i++) {
		qslab_free_rcu_mightsleep(small[i]);
		qslab_cache_free(cache, of_cache[i]);
	}
	qslab_rcu_barrier();
	qslab_cache_stats(cache, &stats);
	qslab_memory(&after);
	size_t live = (stats.stride + qslab_usable_size(small[OBJECTS - 1])) * OBJECTS / 2;
	if (stats.live != OBJECTS / 2 || after.live_large != before.live_large || after.live != before.live + live ||
	    stats.total != stats.live + stats.deferred + stats.magazines + stats.ready + stats.slab_free)
		_exit(8);
}

static void mixed(void)
{
	run_workers();
	pid_t child = fork();
	int status = -1;
	run_workers();
	qslab_rcu_barrier();
	if (child == 0)
		exit(0);
	if (waitpid(child, &status, 0) != child || status)
		_exit(7);
	struct qslab_rcu_stats now = stats();
	if (now.waiting || now.retired != now.reclaimed || now.retired < 100)
		_exit(8);
}

#endif
