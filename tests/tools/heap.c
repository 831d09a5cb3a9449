/*
 * A process whose memory on qslab is exactly known, for the tool to look at. It says on stdout, as one line of JSON,
 * what there is, and stays until its stdin ends.
 *
 *     heap known         objects of several sizes and of a cache, freed in a pattern by their own and by other threads, some waiting
 *                        for a grace period that a stalled reader holds up, in arrays and in the chain
 *     heap dies          the same, and aborts, for a core file
 *     heap fragmented    most of many objects freed, at random
 *     heap names         caches whose names are UTF-8, or are not, or would command a terminal
 *     heap load          threads that allocate, free and retire without pause
 *     heap wrong-WHAT    its own account is false: count, bit, map, magazine, list; or version: its segment is another's
 */
#define _GNU_SOURCE
#include "alloc/heap.h"
#include "alloc/region.h"
#include "alloc/segment.h"
#include "alloc/thread.h"

#include <qslab/cache.h>
#include <qslab/rcu.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

#define THREADS 3
#define SIZES (sizeof sizes / sizeof *sizes)

static const struct {
	size_t size;
	unsigned count; /* a thread */
} sizes[] = {{16, 5000}, {48, 3000}, {200, 2000}, {1024, 700}, {5000, 150}, {40000, 20}, {300000, 12}, {2000000, 6}};

enum fate { LIVE, FREED, FREED_BY_OTHER, FREED_LAST, RETIRED, CHAINED };

/*
 * Of object i: every third goes, every fifth of the rest by another thread; of what is left some retire.
 * Last, one thread frees objects of all, whose owners do not take them in.
 */
static enum fate fate_of(unsigned i)
{
	return i % 3 == 0 ? FREED : i % 5 == 0 ? FREED_BY_OTHER : i % 7 == 1 ? RETIRED : i % 11 == 2 ? CHAINED :
	       i % 13 == 3 ? FREED_LAST : LIVE;
}

static void **objects[THREADS][SIZES];
static pthread_barrier_t begun, step, over;

static void give_away(unsigned thread, enum fate fate)
{
	for (unsigned s = 0; s < SIZES; s++)
		for (unsigned i = 0; i < sizes[s].count; i++) {
			struct rcu_ptr *object = objects[thread][s][i];
			if (fate_of(i) != fate)
				continue;
			if (fate == RETIRED)
				qslab_free_rcu_link(object, object);
			else if (fate == CHAINED)
				qslab_free_rcu_nolock_link(object, object);
			else
				qslab_free(object);
		}
}

static void *populate(void *argument)
{
	unsigned self = (unsigned)(uintptr_t)argument;

	for (unsigned s = 0; s < SIZES; s++) {
		objects[self][s] = calloc(sizes[s].count, sizeof(void *));
		for (unsigned i = 0; i < sizes[s].count; i++) {
			objects[self][s][i] = qslab_malloc(sizes[s].size);
			memset(objects[self][s][i], 1, sizes[s].size);
		}
	}
	give_away(self, FREED);
	pthread_barrier_wait(&step);
	give_away((self + 1) % THREADS, FREED_BY_OTHER);
	pthread_barrier_wait(&step);
	give_away(self, RETIRED);
	give_away(self, CHAINED);
	pthread_barrier_wait(&step);
	for (unsigned i = 0; i < THREADS && !self; i++)
		give_away(i, FREED_LAST);
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&over); /* its magazines stay full */
	return NULL;
}

static void *stall(void *nothing)
{
	urcu_qsbr_register_thread();
	pthread_barrier_wait(&begun);
	pthread_barrier_wait(&over);
	urcu_qsbr_unregister_thread();
	return nothing;
}

static size_t usable(unsigned s)
{
	unsigned i = 0;
	while (fate_of(i) != LIVE)
		i++;
	return qslab_usable_size(objects[0][s][i]);
}

/* A cache with a class of its own: 1000 objects, of which 700 live. */
static void fill_cache(void)
{
	struct qslab_cache *cache = qslab_cache_create("routes", 72, 0, QSLAB_CACHE_TYPESAFE_BY_RCU, NULL);
	void *routes[1000];

	for (unsigned i = 0; i < 1000; i++)
		routes[i] = qslab_cache_alloc(cache);
	for (unsigned i = 0; i < 300; i++)
		qslab_cache_free(cache, routes[3 * i]);
}

static void say(void)
{
	struct qslab_memory memory;
	struct qslab_rcu_stats rcu;
	unsigned fates[SIZES][CHAINED + 1] = {0};

	for (unsigned s = 0; s < SIZES; s++)
		for (unsigned i = 0; i < sizes[s].count; i++)
			fates[s][fate_of(i)] += THREADS;
	qslab_memory(&memory);
	qslab_rcu_stats(&rcu);
	printf("{\"sizes\": [");
	for (unsigned s = 0; s < SIZES; s++)
		printf("%s{\"size\": %zu, \"live\": %u, \"waiting\": %u, \"chained\": %u}", s ? ", " : "",
		       usable(s), fates[s][LIVE],
		       fates[s][RETIRED] + fates[s][CHAINED], fates[s][CHAINED]);
	printf("], \"slabs\": %zu, \"heaps\": %zu, \"live\": %zu, \"live_large\": %zu, \"slab_free\": %zu, \"magazines\": %zu,"
	       " \"span_cache\": %zu, \"region_bytes\": %zu, \"retired\": %lu, \"reclaimed\": %lu, \"waiting\": %lu,"
	       " \"waiting_bytes\": %lu, \"reader\": true}\n", memory.slabs, memory.heaps, memory.live, memory.live_large,
	       memory.slab_free, memory.magazines, memory.span_cache, memory.mapped, rcu.retired, rcu.reclaimed, rcu.waiting,
	       rcu.waiting_bytes);
	fflush(stdout);
}

static void wait_for_end(void)
{
	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
}

static void known(bool dies)
{
	pthread_t threads[THREADS], reader;

	pthread_barrier_init(&begun, NULL, 2);
	pthread_barrier_init(&step, NULL, THREADS + 1);
	pthread_barrier_init(&over, NULL, THREADS + 2);
	pthread_create(&reader, NULL, stall, NULL);
	pthread_barrier_wait(&begun);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, populate, (void *)i);
	fill_cache();
	for (int i = 0; i < 4; i++)
		pthread_barrier_wait(&step);
	sleep(1); /* the reclaimer has looked at everything by then */
	say();
	if (dies)
		abort();
	wait_for_end();
	pthread_barrier_wait(&over);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(reader, NULL);
}

static void fragmented(void)
{
	enum { COUNT = 400000 };
	static void *all[COUNT];
	uint64_t random = 1;

	for (unsigned i = 0; i < COUNT; i++) {
		random = random * 6364136223846793005u + 1;
		size_t size = 16 + (random >> 33) % 1000;
		all[i] = qslab_malloc(size);
		memset(all[i], 1, size);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		random = random * 6364136223846793005u + 1;
		if ((random >> 33) % 10)
			qslab_free(all[i]);
	}
	puts("{}");
	fflush(stdout);
	wait_for_end();
}

/* ---- load ------------------------------------------------------------------------------------------------------- */

#define PLACES 4096
static _Atomic(struct rcu_ptr *) places[PLACES];
static atomic_bool done;

static void *work(void *argument)
{
	uint64_t random = (uintptr_t)argument * 0x9e3779b97f4a7c15u + 1;

	urcu_qsbr_register_thread();
	for (unsigned turn = 0; !atomic_load(&done); turn++) {
		random = random * 6364136223846793005u + 1;
		size_t size = 16 + (random >> 33) % (turn % 512 ? 1500 : 600000);
		struct rcu_ptr *new = qslab_malloc(size), *old = atomic_exchange(&places[(random >> 20) % PLACES], new);
		if (old && random >> 62 == 0)
			qslab_free_rcu_link(old, old);
		else if (old && turn % 97 == 0)
			qslab_free_rcu_nolock_link(old, old);
		else
			qslab_free(old);
		urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

/* A thread that comes and goes. */
static void *visit(void *nothing)
{
	void *mine[100];

	for (unsigned i = 0; i < 100; i++)
		mine[i] = qslab_malloc(32 + i * 20);
	for (unsigned i = 0; i < 100; i++)
		qslab_free(mine[i]);
	return nothing;
}

static void *churn(void *nothing)
{
	while (!atomic_load(&done)) {
		pthread_t visitor;
		pthread_create(&visitor, NULL, visit, NULL);
		pthread_join(visitor, NULL);
	}
	return nothing;
}

static void load(void)
{
	enum { WORKERS = 3 };
	pthread_t threads[WORKERS + 1];

	for (uintptr_t i = 0; i < WORKERS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	pthread_create(&threads[WORKERS], NULL, churn, NULL);
	puts("{}");
	fflush(stdout);
	wait_for_end();
	atomic_store(&done, true);
	for (unsigned i = 0; i <= WORKERS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- false accounts --------------------------------------------------------------------------------------------- */

static void spoil(const char *what)
{
	void *objects[5000];

	for (unsigned i = 0; i < 5000; i++)
		objects[i] = qslab_malloc(64);
	qslab_free(objects[17]);
	struct slab *slab = entry_descriptor(entry_of(objects[100]));
	unsigned index = slab_index(slab, objects[100]);
	struct magazine *magazine = &thread_heap->magazines[slab->class];
	if (!strcmp(what, "count"))
		slab->nfree++;
	else if (!strcmp(what, "bit"))
		slab_bits(slab)[index / 64] |= (uint64_t)1 << index % 64;
	else if (!strcmp(what, "map"))
		region.map[region_page(slab_span(slab).start) + 3] = 0;
	else if (!strcmp(what, "magazine"))
		*magazine->top = objects[100], magazine->top[-1] = objects[100];
	else if (!strcmp(what, "list"))
		slab->next = slab;
	else
		segment->version = 99;
	puts("{}");
	fflush(stdout);
	wait_for_end();
	_exit(0);
}

/* From 1008 bytes on, one cache of each size; the process's own name is no UTF-8 either. */
static void name_caches(void)
{
	static const char *const names[] = {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xff-\xc3", "a\033[2Jb\n\xc2\x9b\"",
	                                    ("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"
	                                    "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80")};

	prctl(PR_SET_NAME, "he\xffp");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct qslab_cache *cache = qslab_cache_create(names[i], 1008 + 8 * i, 0, QSLAB_CACHE_ISOLATE, NULL);
		for (int n = 0; n < 1000; n++)
			if (!cache || !qslab_cache_alloc(cache))
				abort();
	}
	puts("{}");
	fflush(stdout);
	wait_for_end();
}

int main(int count, char **arguments)
{
	const char *mode = count == 2 ? arguments[1] : "";

	if (!strcmp(mode, "known") || !strcmp(mode, "dies"))
		known(!strcmp(mode, "dies"));
	else if (!strcmp(mode, "fragmented"))
		fragmented();
	else if (!strcmp(mode, "names"))
		name_caches();
	else if (!strcmp(mode, "load"))
		load();
	else if (!strncmp(mode, "wrong-", 6))
		spoil(mode + 6);
	else
		return 2;
	return 0;
}
