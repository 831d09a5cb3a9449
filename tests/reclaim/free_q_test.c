/* Queues that are freed or retired whole, and the limits on bytes that wait. */
#include "retire.h"

struct node {
	uint64_t first;
	struct rcu_ptr rcu;
	unsigned char rest[];
};

static struct node *node(size_t more)
{
	struct node *made = qslab_malloc(sizeof *made + more);
	cr_assert_not_null(made);
	made->first = 0x1234567890abcdef;
	return made;
}

Test(free_q, flush_frees_at_once)
{
	struct account before = account_open();
	struct qslab_free_q queue;
	uint64_t random = 2;

	qslab_free_q_init(&queue);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 500; i++)
			qslab_free_q_add(&queue, node(i % 100 ? random_size(&random) % 9000 : 400000), rcu);
		qslab_free_q_flush(&queue);
		cr_assert(!queue.first && !queue.last);
		cr_assert_eq(live(), before.live);
	}
	cr_assert_eq(stats().retired, before.retired);
}

Test(free_q, flush_rcu_waits_for_readers)
{
	enum { COUNT = 2000 };
	static struct node *nodes[COUNT];
	struct account before = account_open();
	struct reader reader = {0};
	struct qslab_free_q queue;

	qslab_free_q_init(&queue);
	reader_start(&reader);
	for (int i = 0; i < COUNT; i++) {
		nodes[i] = node(i % 100 ? (size_t)i : 400000);
		qslab_free_q_add(&queue, nodes[i], rcu);
		if (i % 64 == 63 || i == COUNT - 1)
			qslab_free_q_flush_rcu(&queue);
	}
	pause_ms(1200);
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(nodes[i]->first, 0x1234567890abcdef);
	cr_assert_eq(stats().waiting, COUNT);
	reader_stop(&reader);
	cr_assert(drains_by_itself());
	qslab_rcu_barrier();
	account_balances(&before, COUNT);
}

/* Collected under a lock by one thread, flushed by another. */
static void *flushes(void *queue)
{
	qslab_free_q_flush_rcu(queue);
	return NULL;
}

Test(free_q, another_thread_flushes)
{
	struct account before = account_open();
	for (int round = 0; round < 50; round++) {
		struct qslab_free_q queue;
		pthread_t thread;
		qslab_free_q_init(&queue);
		for (int i = 0; i < 300; i++)
			qslab_free_q_add(&queue, node((size_t)i * 8), rcu);
		pthread_create(&thread, NULL, flushes, &queue);
		pthread_join(thread, NULL);
		cr_assert(!queue.first && !queue.last);
	}
	qslab_rcu_barrier();
	account_balances(&before, 50 * 300);
}

/* ---- limits ---- */

#define MIB ((size_t)1 << 20)

static atomic_int crossings;
static _Atomic size_t reported;

static void on_hard(size_t bytes)
{
	atomic_fetch_add(&crossings, 1);
	atomic_store(&reported, bytes);
}

static void retire_mib(size_t mib)
{
	for (size_t i = 0; i < mib * 64; i++)
		qslab_free_rcu(node(16384 - 200), rcu);
}

Test(limits, callback_once_per_crossing)
{
	account_open();
	qslab_rcu_set_limits(2 * MIB, 8 * MIB, on_hard);
	for (int round = 1; round <= 3; round++) {
		struct reader reader = {0};
		reader_start(&reader);
		retire_mib(4);
		pause_ms(100);
		cr_assert_eq(atomic_load(&crossings), round - 1, "below the limit");
		retire_mib(60);
		cr_assert_eq(atomic_load(&crossings), round);
		cr_assert_gt(atomic_load(&reported), 8 * MIB);
		cr_assert_eq(stats().over_hard, (uint64_t)round);
		reader_stop(&reader);
		qslab_rcu_barrier();
		cr_assert_eq(stats().waiting_bytes, 0);
		cr_assert_geq(stats().peak_bytes, 32 * MIB);
	}
}

/* A list is counted when it is taken over, which qslab's own thread does. */
Test(limits, callback_for_lists)
{
	account_open();
	qslab_rcu_set_limits(2 * MIB, 8 * MIB, on_hard);
	for (int round = 1; round <= 3; round++) {
		struct reader reader = {0};
		struct qslab_free_q queue;
		qslab_free_q_init(&queue);
		reader_start(&reader);
		for (size_t i = 0; i < 64 * 64; i++)
			qslab_free_q_add(&queue, node(16384 - 200), rcu);
		qslab_free_q_flush_rcu(&queue);
		AWAIT(atomic_load(&crossings) == round);
		cr_assert_gt(atomic_load(&reported), 8 * MIB);
		cr_assert_eq(stats().over_hard, (uint64_t)round);
		reader_stop(&reader);
		qslab_rcu_barrier();
	}
}

/* Too few of each class to fill an array: they are counted at the thread's end. */
static void *leaves_pending(void *unused)
{
	(void)unused;
	for (size_t size = 16384; size <= 262144; size *= 2)
		cr_assert_eq(qslab_free_rcu_try(qslab_malloc(size - 200)), 0);
	return NULL;
}

Test(limits, callback_at_a_threads_end)
{
	struct reader reader = {0};
	pthread_t thread;

	account_open();
	qslab_rcu_set_limits(65536, 131072, on_hard);
	reader_start(&reader);
	pthread_create(&thread, NULL, leaves_pending, NULL);
	pthread_join(thread, NULL);
	cr_assert_eq(atomic_load(&crossings), 1);
	cr_assert_gt(atomic_load(&reported), 131072);
	cr_assert_eq(stats().over_hard, 1);
	reader_stop(&reader);
	qslab_rcu_barrier();
}

/* Over the soft limit nothing sits until an array is full or old. */
Test(limits, soft_limit_hurries)
{
	account_open();
	qslab_rcu_set_limits(MIB, 512 * MIB, NULL);
	uint64_t completed = stats().completed;
	retire_mib(64);
	AWAIT(stats().completed > completed);
	AWAIT(stats().waiting_bytes <= MIB);
}

static struct reader *slow;
static void *leaves_later(void *unused)
{
	pause_ms(400);
	atomic_store(&slow->leave, true);
	return NULL;
}

Test(limits, mightsleep_waits_over_the_hard_limit)
{
	struct account before = account_open();
	struct reader reader = {0};
	pthread_t thread;

	qslab_rcu_set_limits(MIB, 4 * MIB, NULL);
	reader_start(slow = &reader);
	retire_mib(64);
	pthread_create(&thread, NULL, leaves_later, NULL);
	qslab_free_rcu_mightsleep(qslab_malloc(100));
	cr_assert(atomic_load(&reader.left), "came back while %lu bytes waited",
	          (unsigned long)stats().waiting_bytes);
	pthread_join(thread, NULL);
	reader_stop(&reader);
	qslab_rcu_barrier();
	account_balances(&before, 64 * 64 + 1);
}
