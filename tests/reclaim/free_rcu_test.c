/* Deferred free, call by call: every size, every place of the link, nothing lost, nothing touched. */
#include "retire.h"

#include <errno.h>

Test(free_rcu, every_call_every_size_every_offset)
{
	size_t sizes[CLASSES_MOST];
	int count = every_size(sizes);
	struct account before = account_open();
	uint64_t retired = 0;

	for (int c = 0; c < CALLS; c++) {
		for (int i = 0; i < count; i++) {
			size_t last = sizes[i] - sizeof(struct rcu_ptr);
			size_t offsets[] = {0, last / 2 & ~(size_t)7, last & ~(size_t)7, 4096 + 8, 8};
			for (int o = 0; o < 5; o++) {
				if (offsets[o] > last)
					continue;
				for (int n = 0; n < 3; n++) {
					char *object = qslab_malloc(sizes[i]);
					cr_assert_not_null(object);
					object[0] = object[sizes[i] - 1] = 1;
					calls[c].retire(object, link_at(object, offsets[o]));
					retired++;
				}
			}
		}
		qslab_rcu_barrier();
		account_balances(&before, retired);
	}
}

/* As many as fill arrays several times over, of one class and mixed, retired by all calls in turn. */
Test(free_rcu, many)
{
	struct account before = account_open();
	uint64_t random = 5;
	int rounds = SCALE(300000);

	for (int i = 0; i < rounds; i++) {
		size_t size = i < rounds / 2 ? 64 : random_size(&random) + 8;
		void *object = qslab_malloc(size);
		calls[i % CALLS].retire(object, object);
	}
	qslab_rcu_barrier();
	account_balances(&before, (uint64_t)rounds);
	struct qslab_rcu_stats now = stats();
	cr_assert_geq(now.started, now.completed);
	cr_assert_gt(now.completed, 0);
	cr_assert_gt(now.peak_bytes, 0);
}

struct linked {
	char before[40];
	struct rcu_ptr rcu;
	char after[5000];
	struct rcu_head head;
};

static int evaluated;
static struct linked *once(struct linked *object)
{
	evaluated++;
	return object;
}

Test(free_rcu, macros)
{
	struct account before = account_open();
	struct qslab_free_q queue;
	struct linked *none = NULL;

	qslab_free_rcu(once(qslab_malloc(sizeof *none)), rcu);
	qslab_free_rcu(once(qslab_malloc(sizeof *none)), head);
	qslab_free_rcu_nolock(once(qslab_malloc(sizeof *none)), rcu);
	qslab_free_rcu_nolock(once(qslab_malloc(sizeof *none)), head);
	qslab_free_q_init(&queue);
	qslab_free_q_add(&queue, once(qslab_malloc(sizeof *none)), rcu);
	qslab_free_q_add(&queue, once(qslab_malloc(sizeof *none)), head);
	qslab_free_q_flush_rcu(&queue);
	cr_assert_eq(evaluated, 6);
	if (none == NULL)
		qslab_free_rcu(none, rcu);
	else
		qslab_free_rcu(none, head);
	qslab_free_rcu(once(NULL), head);
	qslab_free_rcu_nolock(none, rcu);
	qslab_free_q_add(&queue, none, rcu);
	cr_assert(!queue.first && !queue.last);
	cr_assert_eq(evaluated, 7);
	qslab_rcu_barrier();
	account_balances(&before, 6);
}

/* The head field of an object that goes by call_rcu at other times. */
static void free_linked(struct rcu_head *head)
{
	qslab_free((char *)head - offsetof(struct linked, head));
}

Test(free_rcu, beside_call_rcu, .disabled = SANITIZED) /* TSan cannot see into call_rcu */
{
	struct account before = account_open();
	urcu_qsbr_register_thread();
	for (int i = 0; i < 1000; i++) {
		struct linked *object = qslab_malloc(sizeof *object);
		if (i % 2)
			urcu_qsbr_call_rcu(&object->head, free_linked);
		else
			qslab_free_rcu(object, head);
	}
	urcu_qsbr_unregister_thread();
	urcu_qsbr_barrier();
	qslab_rcu_barrier();
	cr_assert_eq(stats().retired - before.retired, 500);
	cr_assert_eq(stats().waiting, 0);
	/* the thread of call_rcu keeps what it freed in magazines: those are not live */
	cr_assert_leq(live(), before.live);
}

Test(free_rcu, null_is_ignored)
{
	struct account before = account_open();
	void *nulls[3] = {0};
	struct qslab_free_q queue;

	qslab_free_rcu_head(NULL);
	cr_assert_eq(qslab_free_rcu_try(NULL), 0);
	qslab_free_rcu_mightsleep(NULL);
	cr_assert_eq(qslab_free_rcu_bulk(3, nulls), 3);
	cr_assert_eq(qslab_free_rcu_bulk(0, NULL), 0);
	cr_assert_eq(qslab_free_rcu_poll(qslab_rcu_get(), NULL), 0);
	qslab_free_q_init(&queue);
	qslab_free_q_flush(&queue);
	qslab_free_q_flush_rcu(&queue);
	cr_assert(!queue.first && !queue.last);
	qslab_rcu_barrier();
	account_balances(&before, 0);
}

Test(free_rcu, errno_is_kept)
{
	for (int i = 0; i < SCALE(20000); i++) {
		void *object = qslab_malloc(i % 100 ? 64 : 1 << 20);
		errno = 4711;
		calls[i % CALLS].retire(object, object);
		cr_assert_eq(errno, 4711, "%s", calls[i % CALLS].name);
		if (i % 1000 == 0)
			qslab_rcu_barrier();
		qslab_rcu_poll(qslab_rcu_start());
		stats();
		cr_assert_eq(errno, 4711);
	}
}

/* The arrays' content is the caller's own order of mixed classes, large ones and NULLs. */
Test(free_rcu, bulk)
{
	enum { COUNT = 20000 };
	static void *objects[COUNT];
	struct account before = account_open();
	uint64_t random = 9, retired = 0;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < COUNT; i++) {
			objects[i] = i % 7 ? qslab_malloc(i % 500 ? random_size(&random) % 2000 : 700000) : NULL;
			retired += objects[i] != NULL;
		}
		size_t at = 0;
		for (size_t step = 0; at < COUNT; at += step) {
			step = (size_t)(next_random(&random) % 600);
			if (step > COUNT - at)
				step = COUNT - at;
			cr_assert_eq(qslab_free_rcu_bulk(step, objects + at), step);
		}
	}
	qslab_rcu_barrier();
	account_balances(&before, retired);
}

/* What waits is counted, in objects and bytes, while a reader keeps the grace period from ending. */
Test(free_rcu, waiting_is_counted)
{
	struct account before = account_open();
	struct reader reader = {0};
	size_t bytes = 0;

	reader_start(&reader);
	for (int i = 0; i < 5000; i++) {
		void *object = qslab_malloc(i % 100 ? 100 : 300000);
		bytes += qslab_usable_size(object);
		calls[i % CALLS].retire(object, object);
	}
	pause_ms(300);
	struct qslab_rcu_stats now = stats();
	cr_assert_eq(now.waiting, 5000, "%lu", (unsigned long)now.waiting);
	cr_assert_eq(now.waiting_bytes, bytes, "%lu of %zu", (unsigned long)now.waiting_bytes, bytes);
	cr_assert_eq(now.retired, now.reclaimed + now.waiting);
	reader_stop(&reader);
	cr_assert(drains_by_itself());
	qslab_rcu_barrier();
	account_balances(&before, 5000);
}

/*
 * The barrier covers what was retired before it, however far that has come: seen by the reclaimer or not, waiting for
 * a grace period or not, by arrays and by links.
 */
static void *leaves_soon(void *argument)
{
	struct reader *reader = argument;
	pause_ms(5);
	atomic_store(&reader->leave, true);
	return NULL;
}

Test(free_rcu, barrier_covers_all_before_it)
{
	struct account before = account_open();
	uint64_t random = 8, retired = 0;

	for (int round = 0; round < (getenv("QSLAB_SOAK") ? 1000 : 40); round++) {
		struct reader reader = {0};
		pthread_t leaver;
		bool held = next_random(&random) % 2;
		if (held)
			reader_start(&reader);
		for (int part = 0; part < 3; part++) {
			for (uint64_t i = next_random(&random) % 30; i; i--, retired++) {
				uint64_t r = next_random(&random); /* now and then by links only: nolock, free_q */
				const struct call *call = &calls[round % 4 ? r % CALLS : 2 + r % 2];
				void *object = qslab_malloc(next_random(&random) % 16 ? 64 : 400000);
				call->retire(object, object);
			}
			pause_ms(next_random(&random) % 4 ? (unsigned)(next_random(&random) % 3) : 250);
		}
		if (held)
			pthread_create(&leaver, NULL, leaves_soon, &reader);
		qslab_rcu_barrier();
		struct qslab_rcu_stats now = stats();
		cr_assert_eq(now.waiting, 0, "round %d: %lu objects, %lu bytes wait after a barrier", round,
		             (unsigned long)now.waiting, (unsigned long)now.waiting_bytes);
		cr_assert_eq(live(), before.live);
		if (held) {
			pthread_join(leaver, NULL);
			reader_stop(&reader);
		}
	}
	account_balances(&before, retired);
}
