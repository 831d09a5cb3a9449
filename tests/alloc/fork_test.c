/* fork in the middle of everything: the child's heap is whole, nobody waits for a lock forever. */
#include "alloc/heap.h"
#include "alloc/thread.h"
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { WORKERS = 4, KEPT = 500 };

static atomic_bool stop;

static void *churn(void *number)
{
	void *slots[200] = {0};
	uint64_t random = (uintptr_t)number + 99;
	while (!atomic_load(&stop)) {
		unsigned slot = next_random(&random) % 200;
		qslab_free(slots[slot]);
		size_t size = random_size(&random);
		slots[slot] = qslab_malloc(size);
		memset(slots[slot], 7, size < 64 ? size : 64);
		if (next_random(&random) % 4096 == 0)
			qslab_trim();
	}
	for (int i = 0; i < 200; i++)
		qslab_free(slots[i]);
	return NULL;
}

static void *child_thread(void *unused)
{
	uint64_t random = 5;
	for (int i = 0; i < 2000; i++)
		qslab_free(qslab_malloc(random_size(&random)));
	return NULL;
}

/* 0 if the child could use its parent's heap as its own. */
static int in_child(void **kept)
{
	alarm(60);
	uint64_t random = (uint64_t)getpid();
	for (int i = 0; i < KEPT; i++) {
		if (*(unsigned char *)kept[i] != (unsigned char)i)
			return 1;
		qslab_free(kept[i]);
	}
	void *slots[300] = {0};
	for (int i = 0; i < 5000; i++) {
		unsigned slot = next_random(&random) % 300;
		qslab_free(slots[slot]);
		slots[slot] = qslab_malloc(random_size(&random));
		if (!slots[slot])
			return 2;
	}
	pthread_t thread;
	if (pthread_create(&thread, NULL, child_thread, NULL) || pthread_join(thread, NULL))
		return 3;
	for (int i = 0; i < 300; i++)
		qslab_free(slots[i]);
	qslab_trim();
	struct qslab_memory memory;
	qslab_memory(&memory);
	return memory.magazines ? 4 : 0;
}

Test(fork, under_load, .disabled = NO_THREADS_IN_CHILD)
{
	pthread_t threads[WORKERS];
	void *kept[KEPT];
	uint64_t random = 3;

	for (int i = 0; i < KEPT; i++) {
		kept[i] = qslab_malloc(random_size(&random));
		*(unsigned char *)kept[i] = (unsigned char)i;
	}
	for (uintptr_t i = 0; i < WORKERS; i++)
		pthread_create(&threads[i], NULL, churn, (void *)i);
	for (int round = 0; round < SCALE(300); round++) {
		pid_t child = fork();
		cr_assert_geq(child, 0);
		if (child == 0)
			_exit(in_child(kept));
		int status;
		waitpid(child, &status, 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: status %x", round, status);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < KEPT; i++)
		qslab_free(kept[i]);
	struct qslab_memory memory;
	qslab_memory(&memory);
	cr_assert_eq(memory.live, 0);
}

/*
 * Threads of the child get the stacks, and the thread-local memory, of the parent's that are gone: nothing may be
 * linked through it. Large objects, so that every thread is inside the span source.
 */
static void *churn_large(void *unused)
{
	while (!atomic_load(&stop)) {
		qslab_free(qslab_malloc((size_t)3 << 20));
		qslab_free(qslab_malloc((size_t)70 << 20));
		usleep(100);
	}
	return NULL;
}

static void *child_large(void *unused)
{
	for (size_t i = 0; i < 20; i++)
		qslab_free(qslab_malloc(((size_t)100 << 20) + i * 5000));
	return NULL;
}

Test(fork, many_threads_of_the_child, .disabled = NO_THREADS_IN_CHILD)
{
	pthread_t threads[6], more[12];

	for (int i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, churn_large, NULL);
	usleep(100000);
	for (int round = 0; round < SCALE(200); round++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(60);
			for (int i = 0; i < 12; i++)
				pthread_create(&more[i], NULL, child_large, NULL);
			for (int i = 0; i < 12; i++)
				pthread_join(more[i], NULL);
			_exit(0);
		}
		int status;
		waitpid(child, &status, 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: status %x", round, status);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
}

/* ---- the forking thread's heap, looked at by another ---------------------------------------------------------------- */

static void *looks_at_all(void *unused)
{
	struct qslab_memory memory;
	while (!atomic_load(&stop))
		qslab_memory(&memory); /* holds every heap's lock in turn */
	return NULL;
}

Test(fork, while_another_thread_has_our_lock, .disabled = NO_FORK)
{
	enum { MANY = 50000 };
	static void *objects[MANY];
	pthread_t thread;

	for (int i = 0; i < MANY; i++)
		objects[i] = qslab_malloc(2000);
	pthread_create(&thread, NULL, looks_at_all, NULL);
	for (int round = 0; round < SCALE(40); round++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(20);
			for (int i = 0; i < MANY; i++)
				qslab_free(objects[i]);
			_exit(0);
		}
		int status;
		waitpid(child, &status, 0);
		cr_assert_eq(status, 0, "round %d: status %x", round, status);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

/* ---- a magazine in the middle of a change ----------------------------------------------------------------------- */

enum { SIZE = 100, PUSHED = 4 * MAGAZINE_MAX };

static void *pushed[PUSHED];

/* Takes the heap whose thread is gone, and uses the magazine to its limits: free first, which does not look at it. */
static void *uses_orphan(void *orphan)
{
	unsigned class = class_of(SIZE);
	struct magazine *magazine = &((struct heap *)orphan)->magazines[class];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < PUSHED; i++) {
			qslab_free(pushed[i]);
			if (thread_heap != orphan)
				_exit(3);
			if ((size_t)(magazine->limit - magazine->slots) > classes[class].capacity ||
			    (size_t)(magazine->top - magazine->slots) > classes[class].capacity)
				_exit(4);
		}
		for (int i = 0; i < PUSHED; i++)
			memset(pushed[i] = qslab_malloc(SIZE), i, SIZE);
	}
	return NULL;
}

static int forked_beside(struct heap *heap)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		pthread_t thread;
		alarm(60);
		if (pthread_create(&thread, NULL, uses_orphan, heap) || pthread_join(thread, NULL))
			_exit(5);
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status;
}

/* Another thread's first free of a class gives its magazine an array, in three stores. */
Test(fork, beside_a_magazine_half_made, .disabled = NO_FORK)
{
	unsigned class = class_of(SIZE);

	for (int i = 0; i < PUSHED; i++)
		pushed[i] = qslab_malloc(SIZE);
	struct heap *heap = heap_acquire(); /* as the other thread has it */
	struct magazine *magazine = &heap->magazines[class], unused = *magazine;
	struct array *arrays[] = {heap_array_new(class), /* and one that lies below the library's variables */
	                          mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
	cr_assert((uintptr_t)arrays[1] < (uintptr_t)unused.top);
	for (int i = 0; i < 2; i++) {
		*magazine = unused;
		magazine->slots = arrays[i]->slots;
		cr_assert_eq(forked_beside(heap), 0);
		magazine->limit = arrays[i]->slots + 8;
		cr_assert_eq(forked_beside(heap), 0);
		*magazine = unused; /* in another order */
		magazine->limit = arrays[i]->slots + 8;
		magazine->top = arrays[i]->slots;
		cr_assert_eq(forked_beside(heap), 0);
	}
}
