/* Every call of rcu.h that retires, as one table, and the account that must balance after it. */
#ifndef QSLAB_TESTS_RETIRE_H
#define QSLAB_TESTS_RETIRE_H

#include "tests/alloc/check.h"

#include <pthread.h>
#include <qslab/rcu.h>
#include <stdatomic.h>
#include <time.h>
#include <urcu/urcu-qsbr.h>
/* call-rcu.h and flavor.h declare only what belongs to the flavour included first */
#include <urcu/urcu-bp.h>
#include <urcu/urcu-mb.h>
#include <urcu/urcu-memb.h>

extern const struct rcu_flavor_struct urcu_qsbr_flavor, urcu_memb_flavor, urcu_mb_flavor, urcu_bp_flavor;

static void by_link(void *object, struct rcu_ptr *link) { qslab_free_rcu_link(object, link); }
static void by_head(void *object, struct rcu_ptr *link) { qslab_free_rcu_head(link); }
static void by_nolock(void *object, struct rcu_ptr *link) { qslab_free_rcu_nolock_link(object, link); }
static void by_queue(void *object, struct rcu_ptr *link)
{
	struct qslab_free_q queue;
	qslab_free_q_init(&queue);
	qslab_free_q_link(&queue, link);
	qslab_free_q_flush_rcu(&queue);
	cr_assert(!queue.first && !queue.last);
}
static void by_try(void *object, struct rcu_ptr *link) { cr_assert_eq(qslab_free_rcu_try(object), 0); }
static void by_mightsleep(void *object, struct rcu_ptr *link) { qslab_free_rcu_mightsleep(object); }
static void by_bulk(void *object, struct rcu_ptr *link) { cr_assert_eq(qslab_free_rcu_bulk(1, &object), 1); }

/* These may free at once, and then do not count as retired. */
static atomic_ulong polled;
static void by_poll(void *object, struct rcu_ptr *link)
{
	atomic_fetch_add(&polled, 1);
	cr_assert_eq(qslab_free_rcu_poll(qslab_rcu_get(), object), 0);
}
static void by_poll_started(void *object, struct rcu_ptr *link)
{
	atomic_fetch_add(&polled, 1);
	cr_assert_eq(qslab_free_rcu_poll(qslab_rcu_start(), object), 0);
}

static const struct call {
	const char *name;
	void (*retire)(void *object, struct rcu_ptr *link);
	bool linked; /* writes to the link */
} calls[] = {
	{"link", by_link, true},       {"head", by_head, true},     {"nolock", by_nolock, true},
	{"free_q", by_queue, true},    {"try", by_try, false},      {"mightsleep", by_mightsleep, false},
	{"bulk", by_bulk, false},      {"poll", by_poll, false},    {"poll_started", by_poll_started, false},
};
enum { CALLS = sizeof calls / sizeof *calls, CLASSES_MOST = 200 };

static inline struct rcu_ptr *link_at(void *object, size_t offset)
{
	return (struct rcu_ptr *)((char *)object + offset);
}

/* One size of every class, then some large ones; how many. */
static inline int every_size(size_t *sizes)
{
	int count = 0;
	for (size_t size = 1; size < 300000; count++) {
		void *object = qslab_malloc(size);
		sizes[count] = qslab_good_size(size);
		size = sizes[count] + 1;
		qslab_free(object);
	}
	sizes[count++] = 1 << 20;
	sizes[count++] = 5 << 20;
	cr_assert_leq(count, CLASSES_MOST);
	return count;
}

static inline unsigned char pattern(size_t seed, size_t at)
{
	return (unsigned char)(seed * 31 + at * 7 + (at >> 8));
}

static inline void fill(void *object, size_t size, size_t seed)
{
	unsigned char *bytes = object;
	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(seed, i);
}

/* The first byte that changed outside the word at `skip`; SIZE_MAX if none. */
static inline size_t changed(const void *object, size_t size, size_t seed, size_t skip)
{
	const unsigned char *bytes = object;
	for (size_t i = 0; i < size; i++) {
		if (i == skip) {
			i += sizeof(struct rcu_ptr) - 1;
			continue;
		}
		if (bytes[i] != pattern(seed, i))
			return i;
	}
	return SIZE_MAX;
}

static inline struct qslab_rcu_stats stats(void)
{
	struct qslab_rcu_stats now;
	qslab_rcu_stats(&now);
	return now;
}

static inline size_t live(void)
{
	struct qslab_memory memory;
	qslab_memory(&memory);
	return memory.live;
}

struct account {
	size_t live;
	uint64_t retired;
};

static inline struct account account_open(void)
{
	qslab_free(qslab_malloc(1));
	qslab_rcu_barrier();
	polled = 0;
	return (struct account){live(), stats().retired};
}

/* After a barrier, with no other thread running: what was retired is free, and nothing else. */
static inline void account_balances(const struct account *before, uint64_t retired)
{
	struct qslab_rcu_stats now = stats();
	cr_assert_eq(now.waiting, 0, "%lu objects wait", (unsigned long)now.waiting);
	cr_assert_eq(now.waiting_bytes, 0, "%lu bytes wait", (unsigned long)now.waiting_bytes);
	cr_assert_eq(now.retired, now.reclaimed, "retired %lu, reclaimed %lu", (unsigned long)now.retired,
	             (unsigned long)now.reclaimed);
	uint64_t counted = now.retired - before->retired;
	cr_assert(counted <= retired && counted + polled >= retired, "retired %lu of %lu", (unsigned long)counted,
	          (unsigned long)retired);
	cr_assert_eq(live(), before->live, "%zu bytes live, %zu before", live(), before->live);
}

static inline double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline void pause_ms(unsigned ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
	while (nanosleep(&left, &left))
		;
}

/* Nobody calls anything but stats: objects must not wait for a caller that never comes. */
static inline bool drains_by_itself(void)
{
	for (double end = seconds() + 20; seconds() < end; pause_ms(20))
		if (stats().waiting == 0)
			return true;
	return false;
}

#define AWAIT(condition)                                                                                   \
	do {                                                                                              \
		double end_ = seconds() + 20;                                                             \
		while (!(condition)) {                                                                    \
			cr_assert(seconds() < end_, "not within 20 s: %s", #condition);                   \
			pause_ms(1);                                                                      \
		}                                                                                         \
	} while (0)

/* A reader that goes online, says so, and stays until told, without a quiescent state. */
struct reader {
	pthread_t thread;
	atomic_bool in, leave, left;
	void (*look)(void *); /* again and again while it stays */
	void *argument;
};

static inline void *reader_run(void *self)
{
	struct reader *reader = self;
	urcu_qsbr_register_thread();
	atomic_store(&reader->in, true);
	while (!atomic_load(&reader->leave)) {
		if (reader->look)
			reader->look(reader->argument);
		pause_ms(1);
	}
	atomic_store(&reader->left, true);
	urcu_qsbr_unregister_thread();
	return NULL;
}

static inline void reader_start(struct reader *reader)
{
	cr_assert(pthread_create(&reader->thread, NULL, reader_run, reader) == 0);
	AWAIT(atomic_load(&reader->in));
}

static inline void reader_stop(struct reader *reader)
{
	atomic_store(&reader->leave, true);
	pthread_join(reader->thread, NULL);
}

#endif
