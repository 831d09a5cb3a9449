/* Threads come and go: their memory passes on, and late calls from destructors work. */
#include "alloc/thread.h"
#include "check.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *left_behind[64];

static void *short_life(void *number)
{
	uint64_t random = (uintptr_t)number * 2654435761u + 1;
	void *mine[50];
	for (int i = 0; i < 50; i++) {
		size_t size = random_size(&random) % 100000 + 1;
		mine[i] = qslab_malloc(size);
		memset(mine[i], 1, size);
	}
	unsigned slot = (uintptr_t)number % 64;
	qslab_free(left_behind[slot]); /* of a thread that is gone */
	left_behind[slot] = mine[0];
	for (int i = 1; i < 50; i++)
		qslab_free(mine[i]);
	return NULL;
}

Test(threads, ten_thousand_short_ones)
{
	size_t taken = 0;
	struct qslab_memory memory;
	int rounds = SCALE(10000) / 4;
	for (uintptr_t round = 0; round < (uintptr_t)rounds; round++) {
		pthread_t threads[4];
		for (uintptr_t i = 0; i < 4; i++)
			cr_assert(pthread_create(&threads[i], NULL, short_life, (void *)(round * 4 + i)) == 0);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		if (round == (uintptr_t)rounds / 2) {
			qslab_memory(&memory);
			taken = memory.mapped;
		}
	}
	qslab_memory(&memory);
	cr_assert_leq(memory.heaps, 8);
	cr_assert_leq(memory.mapped, taken * 2, "address space grew from %zu to %zu", taken, memory.mapped);
	for (int i = 0; i < 64; i++)
		qslab_free(left_behind[i]);
	qslab_trim();
	qslab_memory(&memory);
	cr_assert_eq(memory.live + memory.magazines, 0);
	cr_assert_eq(memory.slab_free, 0);
}

/* ---- heaps whose threads are gone ---- */

enum { WAVE = 20 };

static pthread_barrier_t wave;

static void *one_of_a_wave(void *nothing)
{
	void *object = qslab_malloc(64);
	pthread_barrier_wait(&wave); /* each has a heap of its own */
	qslab_free(object);
	return nothing;
}

static void *finds_a_slab(void *found)
{
	qslab_free(qslab_malloc(1000)); /* has a heap now */
	*(bool *)found = thread_heap->bins[class_of(64)].partial != NULL;
	qslab_free(qslab_malloc(64));
	return NULL;
}

/* Of many heaps some kept a slab: these are taken first, also after more threads than they are came and went. */
Test(threads, the_next_one_finds_slabs)
{
	pthread_t threads[WAVE];

	qslab_free(qslab_malloc(1));
	if (thread_heap == &heap_none) /* the hardened mode hides it, and has a quarantine between free and slabs */
		return;
	pthread_barrier_init(&wave, NULL, WAVE);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < WAVE; i++)
			cr_assert(pthread_create(&threads[i], NULL, one_of_a_wave, NULL) == 0);
		for (int i = 0; i < WAVE; i++)
			pthread_join(threads[i], NULL);
		for (int i = 0; i < WAVE; i++) {
			bool found = false;
			cr_assert(pthread_create(&threads[0], NULL, finds_a_slab, &found) == 0);
			pthread_join(threads[0], NULL);
			cr_assert(found, "round %d, thread %d", round, i);
		}
	}
}

/* ---- late calls ---- */

static pthread_key_t early_key, late_key, again_key;
static atomic_int late_calls;

static void late_destructor(void *held)
{
	qslab_free(held);
	char *p = qslab_malloc(100);
	char *large = qslab_malloc(1 << 20);
	cr_assert(p && large);
	memset(p, 2, 100);
	p = qslab_realloc(p, 5000);
	memset(p, 3, 5000);
	large[0] = 1;
	qslab_free(large);
	qslab_free(p);
	if (atomic_fetch_add(&late_calls, 1) % 3 != 2) /* another round of destructors */
		pthread_setspecific(again_key, qslab_malloc(64));
}

static void *with_destructors(void *unused)
{
	pthread_setspecific(early_key, qslab_malloc(32));
	pthread_setspecific(late_key, qslab_malloc(300));
	return NULL;
}

Test(threads, late_calls_from_destructors)
{
	pthread_key_create(&early_key, late_destructor); /* before qslab has made its own */
	qslab_free(qslab_malloc(1));
	pthread_key_create(&late_key, late_destructor);
	pthread_key_create(&again_key, late_destructor);
	for (int i = 0; i < 100; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, with_destructors, NULL);
		pthread_join(thread, NULL);
	}
	cr_assert_geq(atomic_load(&late_calls), 200);
	struct qslab_memory memory;
	qslab_memory(&memory);
	cr_assert_leq(memory.live, 200 * 64, "%zu live, %zu large", memory.live, memory.live_large);
}

/* ---- waiting for a lock ---- */

#define UNLESS(number, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, skip)

/* In a sandbox whose threads may wait for each other, but not sleep. False: none can be had here. */
static bool forbid_sleep(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		UNLESS(SYS_nanosleep, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
		UNLESS(SYS_clock_nanosleep, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

Test(threads, a_sandbox_without_sleep_lets_them_wait)
{
	int status;
	pid_t child = fork();
	if (!child) {
		if (!forbid_sleep())
			_exit(77);
		errno = EXDEV;
		for (unsigned turn = 60; turn < 70; turn++) /* spins, then naps */
			wait_turn(turn);
		_exit(errno != EXDEV);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 77), "status %#x", status);
}
