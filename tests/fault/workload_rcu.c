/* The script's parts about deferred free and caches. */
#define _GNU_SOURCE
#include "workload.h"

#include <stdlib.h>
#include <time.h>
#include <urcu/urcu-qsbr.h>

void urcu_mb_register_thread(void);
void urcu_mb_unregister_thread(void);

/* b is ~a as long as a reader may look: who frees one early lets another's number appear. */
struct node {
	atomic_ulong a, b;
	struct rcu_ptr link;
	unsigned char rest[];
};

enum { SLOTS = 8, WAYS = 10 };

static struct node *_Atomic slots[SLOTS];
static atomic_ulong numbers;
static atomic_bool stop;

static struct node *node_new(size_t size)
{
	struct node *node = TRIED(qslab_malloc(size));
	if (node) {
		unsigned long number = atomic_fetch_add(&numbers, 1);
		atomic_store(&node->a, number);
		atomic_store(&node->b, ~number);
	}
	return node;
}

static void *reader(void *unused)
{
	struct node *held[SLOTS];
	unsigned long number[SLOTS];

	urcu_mb_register_thread(); /* the linker leaves liburcu-mb out: nothing else of it is named */
	urcu_mb_unregister_thread();
	urcu_qsbr_register_thread();
	while (!atomic_load(&stop)) {
		for (unsigned i = 0; i < SLOTS; i++)
			if ((held[i] = atomic_load(&slots[i])))
				number[i] = atomic_load(&held[i]->a);
		nanosleep(&(struct timespec){0, 20000}, NULL);
		for (unsigned i = 0; i < SLOTS; i++)
			if (held[i])
				REQUIRE(atomic_load(&held[i]->a) == number[i] && atomic_load(&held[i]->b) == ~number[i]);
		urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	return unused;
}

/* Nobody can find it any more. */
static void retire(struct node *node, unsigned way)
{
	struct qslab_free_q queue;
	void *objects[2] = {NULL, node};
	int result = 0;

	switch (way) {
	case 0:
		KEPT(qslab_free_rcu(node, link));
		break;
	case 1:
		KEPT(qslab_free_rcu_head(&node->link));
		break;
	case 2:
		KEPT(qslab_free_rcu_nolock(node, link));
		break;
	case 3:
		qslab_free_q_init(&queue);
		qslab_free_q_add(&queue, node, link);
		KEPT(qslab_free_q_flush_rcu(&queue));
		break;
	case 4:
		KEPT(qslab_free_rcu_mightsleep(node));
		break;
	case 5:
		KEPT(result = qslab_free_rcu_try(node));
		break;
	case 6:
		KEPT(result = qslab_free_rcu_bulk(2, objects) == 2 ? 0 : ENOMEM);
		break;
	case 7:
		KEPT(result = qslab_free_rcu_poll(qslab_rcu_get(), node));
		break;
	case 8:
		KEPT(result = qslab_free_rcu_poll(qslab_rcu_start(), node));
		break;
	case 9: { /* the caller's own way */
		qslab_rcu_cookie cookie = qslab_rcu_start();
		KEPT(qslab_rcu_wait(cookie));
		REQUIRE(qslab_rcu_poll(cookie));
		qslab_free_q_init(&queue);
		qslab_free_q_add(&queue, node, link);
		KEPT(qslab_free_q_flush(&queue));
		break;
	}
	}
	REQUIRE(!result || (result == ENOMEM && fault_happened()));
	if (result) {
		REQUIRE(atomic_load(&node->b) == ~atomic_load(&node->a)); /* still ours */
		KEPT(qslab_free_rcu(node, link));
	}
}

void deferred_all_ways(unsigned seed)
{
	static const size_t sizes[] = {32, 64, 200, 3000, 20000, 400000};
	enum { SIZES = sizeof sizes / sizeof *sizes };

	for (unsigned i = 0; i < SIZES * WAYS; i++) {
		unsigned way = (i + seed) % WAYS;
		if (way == 9 && i >= WAYS)
			way = 0; /* waiting once is enough */
		struct node *node = node_new(sizes[i / WAYS]);
		node = atomic_exchange(&slots[(i + seed) % SLOTS], node);
		if (node)
			retire(node, way);
	}
	for (unsigned i = 0; i < 300; i++) { /* arrays of one class fill */
		struct node *node = node_new(64);
		if (node)
			retire(node, i % 3 ? 0 : 5);
	}
}

void deferred_done(void)
{
	struct qslab_rcu_stats stats;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct node *node = atomic_exchange(&slots[i], NULL);
		if (node)
			retire(node, 0);
	}
	KEPT(qslab_rcu_barrier());
	qslab_rcu_stats(&stats);
	REQUIRE(stats.waiting == 0);
	REQUIRE(stats.waiting_bytes == 0);
	REQUIRE(stats.retired == stats.reclaimed);
}

void deferred_run(void)
{
	pthread_t thread;

	REQUIRE(!pthread_create(&thread, NULL, reader, NULL));
	for (unsigned seed = 0; seed < 3; seed++) {
		deferred_all_ways(seed);
		if (seed == 1)
			KEPT(qslab_rcu_barrier());
	}
	deferred_done();
	atomic_store(&stop, true);
	urcu_qsbr_thread_offline();
	pthread_join(thread, NULL);
	urcu_qsbr_thread_online();
	atomic_store(&stop, false);
}

/* ---- caches ---------------------------------------------------------------------------------------------------- */

static int construct(void *object)
{
	memset(object, 0x42, 120);
	return 0;
}

/* total = live + deferred + magazines + ready + slab_free */
static void check_counts(struct qslab_cache *cache)
{
	struct qslab_cache_stats stats;

	qslab_cache_stats(cache, &stats);
	size_t all = stats.live + stats.deferred + stats.magazines + stats.ready + stats.slab_free;
	REQUIRE(stats.merged || getenv("QSLAB_RCU_DEBUG") || stats.total == all);
}

static void use(struct qslab_cache *cache, unsigned flags, bool constructed)
{
	enum { COUNT = 150 };
	unsigned char *objects[COUNT];

	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < COUNT; i++) {
			bool zeroed = i % 2 && !constructed;
			objects[i] = zeroed ? TRIED(qslab_cache_zalloc(cache)) : TRIED(qslab_cache_alloc(cache));
			if (!objects[i])
				continue;
			if (zeroed)
				REQUIRE(!objects[i][0] && !memcmp(objects[i], objects[i] + 1, 119));
			else if (constructed)
				REQUIRE(objects[i][0] == 0x42 && objects[i][119] == 0x42);
			if (!constructed)
				content_put(objects[i], 120, i);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			if (!objects[i])
				continue;
			if (!constructed)
				content_check(objects[i], 120, i);
			int result = i % 3 ? ENOMEM : 0;
			if (!result)
				KEPT(result = qslab_cache_free_rcu(cache, objects[i]));
			REQUIRE(i % 3 || !result || (!(flags & QSLAB_CACHE_RCU) && fault_happened()));
			if (result)
				KEPT(qslab_cache_free(cache, objects[i]));
		}
		if (turn)
			continue;
		check_counts(cache);
		qslab_cache_shrink(cache);
		KEPT(qslab_cache_barrier(cache));
	}
	check_counts(cache);
}

void caches_run(void)
{
	static const unsigned flags[] = {0, QSLAB_CACHE_ISOLATE, QSLAB_CACHE_RCU, QSLAB_CACHE_TYPESAFE_BY_RCU,
	                                 QSLAB_CACHE_ZERO_ON_FREE, QSLAB_CACHE_HWALIGN};

	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
		bool constructed = flags[i] == QSLAB_CACHE_TYPESAFE_BY_RCU;
		struct qslab_cache *cache =
			TRIED(qslab_cache_create("fault", 120, 0, flags[i], constructed ? construct : NULL));
		if (!cache)
			continue;
		use(cache, flags[i], constructed);
		REQUIRE(qslab_cache_destroy(cache) == 0);
	}
}
