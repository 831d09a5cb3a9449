/* The heap profile: estimates are unbiased whatever the pattern; no sample outlives its object. */
#include "alloc/heap.h"
#include "alloc/object.h"
#include "alloc/option.h"
#include "alloc/profile.h"
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <qslab/cache.h>
#include <qslab/rcu.h>
#include <qslab/stats.h>

/* Each test has a process of its own, which begins to sample here, with one thread. */
static void begin(size_t rate, uint64_t seed)
{
	options.profile = rate;
	profile_start();
	cr_assert(profiling);
	profile_seed(seed);
}

static double chance(double size, double rate)
{
	return 1 - exp(-size / rate);
}

struct sum {
	size_t samples, shadows;
	double objects, bytes;
};

static void add(const struct profiled *profiled, void *argument)
{
	struct sum *sum = argument;
	double weight = 1 / chance((double)profiled->size, (double)profiled->rate);

	sum->samples++;
	sum->shadows += profiled->shadow != NULL;
	sum->objects += weight;
	sum->bytes += weight * (double)profiled->size;
}

static struct sum all(void)
{
	struct sum sum = {0};
	profile_each(add, &sum);
	return sum;
}

/* ---- the estimator -------------------------------------------------------------------------------------------- */

/* A sum of `count` sizes, each sampled with its chance: its bytes, and their variance. */
struct truth {
	double bytes, variance;
};

static void count_one(struct truth *truth, size_t usable, double rate)
{
	double size = (double)usable, p = chance(size, rate);
	truth->bytes += size;
	truth->variance += size * size * (1 - p) / p;
}

static void expect_near(double estimate, struct truth truth)
{
	cr_assert(fabs(estimate - truth.bytes) < 4 * sqrt(truth.variance), "%.0f instead of %.0f, deviation %.0f", estimate,
	          truth.bytes, sqrt(truth.variance));
}

static size_t unsampled_size(size_t size)
{
	return size <= MEDIUM_MAX ? classes[class_of(size)].size : PAGES_OF(size) << PAGE_SHIFT;
}

/* All sizes, large ones too. */
Test(profile, all_live)
{
	enum { RATE = 30000, COUNT = 60000 };
	struct truth truth = {0};
	uint64_t random = 1;

	begin(RATE, 11);
	for (unsigned i = 0; i < SCALE(COUNT); i++) {
		size_t size = i % 500 ? 1 + next_random(&random) % 3000 : 1 + next_random(&random) % 500000;
		cr_assert(qslab_malloc(size));
		count_one(&truth, unsampled_size(size), RATE);
	}
	cr_assert(all().samples > 100);
	expect_near(all().bytes, truth);
}

/* The live objects are replaced again and again, each freed just before its successor is allocated. */
Test(profile, replaced)
{
	enum { RATE = 4096, COUNT = 20000, SIZE = 64 };
	static void *live[COUNT];
	struct truth truth = {0};
	uint64_t random = 2;

	begin(RATE, 12);
	for (unsigned i = 0; i < COUNT; i++) {
		live[i] = qslab_malloc(SIZE);
		count_one(&truth, SIZE, RATE);
	}
	for (unsigned i = 0; i < SCALE(20 * COUNT); i++) {
		unsigned at = (unsigned)(next_random(&random) % COUNT);
		qslab_free(live[at]);
		live[at] = qslab_malloc(SIZE);
	}
	expect_near(all().bytes, truth);
}

/* One site allocates and frees at once, ninety-nine times; then the other one allocates what stays. */
Test(profile, beside_a_busy_site)
{
	enum { RATE = 4096, COUNT = 10000, SIZE = 64 };
	double p = chance(SIZE, RATE), deviation = sqrt(COUNT * p * (1 - p));
	double sampled = 0, busy = 0;

	begin(RATE, 13);
	for (unsigned i = 0; i < COUNT; i++) {
		for (unsigned turn = 0; turn < 99; turn++) {
			void *brief = qslab_malloc(SIZE);
			busy += profile_class(brief) != CLASS_NONE;
			qslab_free(brief);
		}
		sampled += profile_class(qslab_malloc(SIZE)) != CLASS_NONE;
	}
	cr_assert(fabs(sampled - COUNT * p) < 4 * deviation, "%.0f instead of %.0f", sampled, COUNT * p);
	cr_assert(fabs(busy - 99 * COUNT * p) < 4 * sqrt(99) * deviation, "%.0f instead of %.0f", busy, 99 * COUNT * p);
	cr_assert(fabs((double)all().samples - sampled) < 0.5);
}

/* In bulk, and through a cache that shares a size class. */
Test(profile, bulk_and_cache)
{
	enum { RATE = 4096, COUNT = 20000, SIZE = 96 };
	static void *live[COUNT];
	struct truth truth = {0};

	begin(RATE, 14);
	struct qslab_cache *cache = qslab_cache_create("shares", SIZE, 0, 0, NULL);
	for (unsigned i = 0; i < COUNT; i += 100)
		cr_assert(qslab_malloc_bulk(SIZE, 100, live + i) == 100);
	qslab_free_bulk(COUNT / 2, live);
	for (unsigned i = 0; i < COUNT / 2; i++)
		cr_assert(live[i] = qslab_cache_alloc(cache));
	for (unsigned i = 0; i < COUNT; i++)
		count_one(&truth, SIZE, RATE);
	expect_near(all().bytes, truth);
	for (unsigned i = 0; i < COUNT; i++)
		qslab_cache_free(cache, live[i]);
	cr_assert(all().samples == 0);
	cr_assert(qslab_cache_destroy(cache) == 0);
}

/* ---- a sample ends with its object ------------------------------------------------------------------------------ */

Test(profile, ends_by_free)
{
	enum { COUNT = 3000 };
	static char *live[COUNT];
	struct qslab_memory before, after;

	begin(1, 21); /* nearly every one */
	qslab_free(qslab_malloc(1));
	qslab_trim();
	qslab_memory(&before);
	for (unsigned i = 0; i < COUNT; i++) {
		size_t size = 1 + i * 7 % 5000 + (i % 100 == 99 ? 600000 : 0);
		live[i] = i % 3 == 0 ? qslab_malloc(size) : i % 3 == 1 ? qslab_calloc(1, size) : qslab_aligned_alloc(256, size);
		memset(live[i], (int)i, size);
		cr_assert(profile_class(live[i]) && qslab_usable_size(live[i]) >= size);
		cr_assert(qslab_object_start(live[i] + size / 2) == live[i]);
	}
	cr_assert(all().samples == COUNT && all().shadows > COUNT / 2);
	for (unsigned i = 0; i < COUNT; i++) {
		size_t size = 1 + i * 31 % 9000 + (i % 50 == 49 ? 900000 : 0), old = 1 + i * 7 % 5000;
		live[i] = qslab_realloc(live[i], size);
		for (size_t at = 0; at < (size < old ? size : old); at++)
			cr_assert(live[i][at] == (char)i);
		memset(live[i], (int)i, size);
		cr_assert(profile_class(live[i]) == (size <= MEDIUM_MAX ? class_of(size) : CLASS_LARGE));
	}
	cr_assert(all().samples == COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		qslab_free(live[i]);
	cr_assert(all().samples == 0);
	qslab_trim();
	qslab_memory(&after);
	cr_assert(after.live == before.live, "%zu live instead of %zu", after.live, before.live);
}

/* An unsampled object may get the address of a sampled one that is gone, and is none. */
Test(profile, no_successor)
{
	enum { COUNT = 2000 };
	static void *live[COUNT];

	begin(1, 22);
	for (unsigned turn = 0; turn < 4; turn++) {
		size_t size = turn % 2 ? 100000 : 300;
		for (unsigned i = 0; i < COUNT / 10; i++)
			live[i] = qslab_malloc(size);
		cr_assert(all().samples == (turn < 2 ? COUNT / 10 : 0));
		for (unsigned i = 0; i < COUNT / 10; i++)
			qslab_free(live[i]);
		cr_assert(all().samples == 0);
		if (turn == 1)
			store_relaxed(&profile_rate, 0);
	}
	qslab_free(qslab_malloc(300)); /* after a purge magazines may be empty, and this one is to have something left */
	store_relaxed(&profile_rate, 1); /* from outside: threads look at their next refill */
	for (unsigned i = 0; i < COUNT; i++)
		live[i] = qslab_malloc(300);
	cr_assert(all().samples > COUNT - 3 * MAGAZINE_MAX && all().samples < COUNT);
}

static int see(void *object, size_t size, enum qslab_object_state state, void *count)
{
	cr_assert(object && size && state == QSLAB_OBJECT_LIVE);
	++*(long *)count;
	return 0;
}

/* The heap walk sees the objects that the program has, not their shadows. */
Test(profile, walk)
{
	long before = 0, after = 0;

	begin(1, 23);
	qslab_heap_walk(NULL, see, &before);
	for (unsigned i = 0; i < 500; i++)
		qslab_malloc(200);
	qslab_heap_walk(NULL, see, &after);
	cr_assert(after == before + 500, "%ld objects", after - before);
}

struct node {
	struct rcu_ptr link;
	char rest[100];
};

Test(profile, ends_after_a_grace_period)
{
	begin(1, 24);
	struct qslab_cache *shares = qslab_cache_create("shares", sizeof(struct node), 0, 0, NULL);
	struct qslab_cache *own = qslab_cache_create("own", sizeof(struct node), 0, QSLAB_CACHE_ISOLATE, NULL);
	for (unsigned i = 0; i < 600; i++) {
		struct node *node = i % 4 == 3 ? qslab_cache_alloc(shares) : qslab_malloc(sizeof *node);
		cr_assert(profile_class(node));
		if (i % 4 == 0)
			qslab_free_rcu(node, link);
		else if (i % 4 == 1)
			qslab_free_rcu_head(&node->link);
		else if (i % 4 == 2)
			qslab_free_rcu_nolock(node, link);
		else
			cr_assert(qslab_cache_free_rcu(shares, node) == 0);
	}
	void *unsampled = qslab_cache_alloc(own);
	cr_assert(!profile_class(unsampled));
	qslab_cache_free(own, unsampled);
	qslab_rcu_barrier();
	cr_assert(all().samples == 0);
}

static void free_twice(void *argument)
{
	begin(1, 25);
	void *object = qslab_malloc(100);
	qslab_free(object);
	qslab_free(object);
}

Test(profile, misuse)
{
	expect_abort(free_twice, NULL, "qslab_free(", "double free, or never allocated");
}

/* ---- fork, threads ----------------------------------------------------------------------------------------------- */

Test(profile, fork)
{
	enum { COUNT = 500 };
	void *live[COUNT];
	int status;

	begin(1, 31);
	for (unsigned i = 0; i < COUNT; i++)
		live[i] = qslab_malloc(50 + i);
	pid_t child = fork();
	if (!child) {
		for (unsigned i = 0; i < COUNT; i++)
			qslab_free(live[i]);
		bool gone = all().samples == 0;
		void *more = qslab_malloc(50);
		_exit(gone && more && all().samples == 1 ? 0 : 1);
	}
	waitpid(child, &status, 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert(all().samples == COUNT);
}

#define PLACES 512
static void *_Atomic places[PLACES];

static void *work(void *argument)
{
	uint64_t random = (uintptr_t)argument;

	for (unsigned i = 0; i < SCALE(200000); i++) {
		size_t size = 1 + next_random(&random) % (i % 100 ? 500 : 400000);
		char *object = qslab_malloc(size);
		object[0] = object[size - 1] = 1;
		qslab_free(atomic_exchange(&places[next_random(&random) % PLACES], object));
		if (i % 1000 == 0)
			store_relaxed(&profile_rate, 500 + next_random(&random) % 5000);
	}
	return NULL;
}

/* Threads that come and go, free each other's, and are told another rate meanwhile. */
Test(profile, threads)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	struct qslab_memory memory;

	begin(1000, 32);
	for (unsigned turn = 0; turn < 2; turn++) {
		for (uintptr_t i = 0; i < THREADS; i++)
			pthread_create(&threads[i], NULL, work, (void *)(i + 1 + turn * THREADS));
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
	}
	cr_assert(all().samples > 0);
	for (unsigned i = 0; i < PLACES; i++)
		qslab_free(places[i]);
	cr_assert(all().samples == 0);
	qslab_trim();
	qslab_memory(&memory);
	cr_assert(memory.live == 0, "%zu bytes live", memory.live);
}
