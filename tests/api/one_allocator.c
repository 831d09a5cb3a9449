/*
 * libqslab.so linked: it leaves malloc alone. With libqslab-malloc.so preloaded as well, the two are one allocator:
 * what either gives the other takes, sizes, frees now or after a grace period, and counts.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <qslab/rcu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

#define CHECK(condition) ((condition) ? (void)0 : (fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition), abort()))

size_t malloc_usable_size(void *);

static size_t live(void)
{
	struct qslab_memory memory;
	qslab_memory(&memory);
	return memory.live;
}

static void *mixed(void *unused)
{
	urcu_qsbr_register_thread();
	for (size_t size = 1; size < 2000000; size += 1 + size / 3) {
		void *ours = qslab_malloc(size), *theirs = malloc(size);
		CHECK(qslab_owns(theirs) && malloc_usable_size(ours) == qslab_usable_size(theirs));
		theirs = qslab_realloc(theirs, size * 2);
		ours = realloc(ours, size * 2);
		free(ours);
		qslab_free(theirs);
		CHECK(qslab_free_rcu_try(malloc(size)) == 0);
		free(strdup("text"));
		qslab_free(strdup("text"));
		urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	return unused;
}

static void one(void)
{
	size_t before = live();
	void *object = malloc(5 << 20);
	CHECK(live() >= before + (5 << 20));
	qslab_free(object);
	CHECK(live() == before);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, mixed, NULL));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	qslab_rcu_barrier();
	struct qslab_rcu_stats stats;
	qslab_rcu_stats(&stats);
	CHECK(stats.retired > 100 && stats.waiting == 0);
}

int main(int count, char **arguments)
{
	if (count > 1) {
		one();
		return 0;
	}
	void *theirs = malloc(1), *ours = qslab_malloc(1);
	CHECK(!qslab_owns(theirs) && qslab_owns(ours));
	CHECK(!qslab_owns(strdup("text")));
	free(theirs);
	qslab_free(ours);
	setenv("LD_PRELOAD", PRELOAD, 1);
	execl(arguments[0], arguments[0], "one", NULL);
	return 1;
}
