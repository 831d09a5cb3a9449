/* Misuse is named in one line, then the process aborts: at the call, or at the latest when the object is freed. */
#include "retire.h"

#include <errno.h>

struct wrong {
	void *object;
	struct rcu_ptr *link;
	const struct call *call;
};

static void retire_wrongly(void *argument)
{
	struct wrong *wrong = argument;
	wrong->call->retire(wrong->object, wrong->link);
	qslab_rcu_barrier();
}

static void expect_refused(const struct call *call, void *object, void *link, const char *text)
{
	expect_abort(retire_wrongly, &(struct wrong){object, link, call}, text, "");
}

static const size_t sizes[] = {16, 48, 64, 1000, 20000, 100000, 1 << 20};

Test(misuse_rcu, foreign_objects)
{
	static struct rcu_ptr data[8] = {{data}}; /* not bss: that is an anonymous mapping */
	struct rcu_ptr local[8];
	void *libc = malloc(64);

	account_open();
	for (int c = 0; c < CALLS; c++) {
		expect_refused(&calls[c], data, data, "not a qslab object");
		expect_refused(&calls[c], local, local, "not a qslab object");
		expect_refused(&calls[c], libc, libc, "not a qslab object");
	}
	free(libc);
}

Test(misuse_rcu, interior_objects)
{
	account_open();
	for (int i = 0; i < 7; i++) {
		char *object = qslab_malloc(sizes[i]);
		for (int c = 0; c < CALLS; c++) {
			if (calls[c].retire == by_head || calls[c].retire == by_queue)
				continue; /* these take the link */
			expect_refused(&calls[c], object + 8, object + 8, "interior pointer");
			if (sizes[i] > 9000)
				expect_refused(&calls[c], object + 4096, object + 4096, "interior pointer");
		}
		qslab_free(object);
	}
}

Test(misuse_rcu, links_outside)
{
	static struct rcu_ptr data[2];
	account_open();
	for (int i = 0; i < 7; i++) {
		char *object = qslab_malloc(sizes[i]), *other = qslab_malloc(sizes[i]);
		size_t size = qslab_usable_size(object);
		for (int c = 0; c < CALLS; c++) {
			if (calls[c].retire != by_link && calls[c].retire != by_nolock)
				continue;
			expect_refused(&calls[c], object, object - 8, "link");
			expect_refused(&calls[c], object, object + size, "link");
			expect_refused(&calls[c], object, object + size - 4, "link");
			expect_refused(&calls[c], object, other, "link");
			expect_refused(&calls[c], object, data, "link");
			expect_refused(&calls[c], object, NULL, "link");
		}
		qslab_free(object);
		qslab_free(other);
	}
}

static void flush_foreign(void *unused)
{
	static struct rcu_ptr data[2];
	struct qslab_free_q queue;
	qslab_free_q_init(&queue);
	qslab_free_q_link(&queue, &data[0]);
	qslab_free_q_flush(&queue);
}

Test(misuse_rcu, flush_of_a_foreign_link)
{
	account_open();
	expect_abort(flush_foreign, NULL, "not a qslab object", "");
}

/* A good object between bad ones does not hide them. */
static void bulk_with_one_bad(void *at)
{
	void *objects[100];
	for (int i = 0; i < 100; i++)
		objects[i] = qslab_malloc(200);
	objects[(size_t)at] = (char *)objects[(size_t)at] + 16;
	if (qslab_free_rcu_bulk(100, objects) == 100)
		qslab_rcu_barrier();
}

Test(misuse_rcu, one_bad_object_in_bulk)
{
	account_open();
	for (size_t at = 0; at < 100; at += 33)
		expect_abort(bulk_with_one_bad, (void *)at, "interior pointer: 16 bytes", "");
}

/* A thread that retires and ends leaves nothing in magazines, so both frees reach the slab. */
static void *retire_in_thread(void *object)
{
	qslab_free_rcu_mightsleep(object);
	return NULL;
}

static void in_thread(void *(*body)(void *), void *object)
{
	pthread_t thread;
	pthread_create(&thread, NULL, body, object);
	pthread_join(thread, NULL);
}

static void retire_twice(void *size)
{
	void *object = qslab_malloc((size_t)size);
	in_thread(retire_in_thread, object);
	in_thread(retire_in_thread, object);
	qslab_rcu_barrier();
	qslab_trim();
}

static void free_retired(void *size)
{
	void *object = qslab_malloc((size_t)size);
	qslab_free_rcu_mightsleep(object);
	qslab_free(object);
	qslab_rcu_barrier();
	qslab_trim();
}

Test(misuse_rcu, twice)
{
	account_open();
	for (int i = 0; i < 7; i++) {
		expect_abort(retire_twice, (void *)sizes[i], "", "");
		expect_abort(free_retired, (void *)sizes[i], "", "");
	}
}

static void wait_inside_section(void *barrier)
{
	cr_assert_eq(qslab_rcu_set_flavor(&urcu_memb_flavor), 0);
	urcu_memb_register_thread();
	urcu_memb_read_lock();
	if (barrier)
		qslab_rcu_barrier();
	else
		qslab_rcu_wait(qslab_rcu_start());
}

Test(misuse_rcu, waiting_inside_a_section)
{
	expect_abort(wait_inside_section, NULL, "qslab_rcu_wait", "");
	expect_abort(wait_inside_section, (void *)1, "qslab_rcu_barrier", "");
}

Test(misuse_rcu, flavor_after_use)
{
	cr_assert_eq(qslab_rcu_set_flavor(&urcu_memb_flavor), 0);
	qslab_rcu_start();
	cr_assert_eq(qslab_rcu_set_flavor(&urcu_qsbr_flavor), EBUSY);
}
