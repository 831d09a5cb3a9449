/* Grace periods by cookie: get, start, poll, wait; and what is freed after one. */
#include "tests/reclaim/retire.h"

Test(cookie, start_ends_without_further_calls)
{
	qslab_rcu_cookie cookie = qslab_rcu_start();
	AWAIT(qslab_rcu_poll(cookie));
	for (int i = 0; i < 1000; i++)
		cr_assert(qslab_rcu_poll(cookie), "over, then not over");
}

/* Only noted: nothing asks for the grace period; somebody else's request serves. */
Test(cookie, get_is_over_once_somebody_waited)
{
	for (int i = 0; i < SCALE(500); i++) {
		qslab_rcu_cookie noted = qslab_rcu_get(), asked = qslab_rcu_start();
		qslab_rcu_wait(asked);
		cr_assert(qslab_rcu_poll(asked));
		cr_assert(qslab_rcu_poll(noted), "taken before the one that is over");
		qslab_rcu_cookie later = qslab_rcu_get();
		cr_assert(!qslab_rcu_poll(later), "over before it began");
		qslab_rcu_wait(later);
		cr_assert(qslab_rcu_poll(later));
		cr_assert(qslab_rcu_poll(noted));
	}
}

Test(cookie, does_not_end_before_its_readers)
{
	struct reader reader = {0};
	reader_start(&reader);
	qslab_rcu_cookie first = qslab_rcu_start();
	for (int i = 0; i < 300; i++) {
		cr_assert(!qslab_rcu_poll(first), "a reader was there before it and still is");
		cr_assert(!qslab_rcu_poll(qslab_rcu_start()));
		pause_ms(1);
	}
	reader_stop(&reader);
	AWAIT(qslab_rcu_poll(first));
}

/* A grace period already under way when the cookie is taken does not count for it. */
Test(cookie, one_under_way_is_not_enough)
{
	for (int i = 0; i < SCALE(100) + 5; i++) {
		struct reader early = {0}, late = {0};
		reader_start(&early);
		qslab_rcu_cookie before = qslab_rcu_start();
		pause_ms((unsigned)i % 5);
		reader_start(&late); /* after that grace period began: it does not wait for this one */
		qslab_rcu_cookie after = qslab_rcu_start(), noted = qslab_rcu_get();
		reader_stop(&early);
		pause_ms(5);
		cr_assert(!qslab_rcu_poll(after));
		cr_assert(!qslab_rcu_poll(noted));
		reader_stop(&late);
		AWAIT(qslab_rcu_poll(before) && qslab_rcu_poll(after));
	}
}

/* wait by an online reader is a quiescent state of its own: it does not wait for itself. */
static void *waits_online(void *number)
{
	urcu_qsbr_register_thread();
	for (int i = 0; i < SCALE(200); i++) {
		qslab_rcu_cookie cookie = (uintptr_t)number % 2 ? qslab_rcu_get() : qslab_rcu_start();
		qslab_rcu_wait(cookie);
		cr_assert(qslab_rcu_poll(cookie));
		cr_assert(urcu_qsbr_read_ongoing(), "came back offline");
		if (i % 16 == 0) {
			urcu_qsbr_thread_offline();
			qslab_rcu_barrier();
			cr_assert(!urcu_qsbr_read_ongoing(), "came back online");
			urcu_qsbr_thread_online();
			qslab_rcu_barrier();
		}
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

Test(cookie, waiters_that_are_online_readers)
{
	pthread_t threads[4];
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, waits_online, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

Test(cookie, free_after_one_that_is_over_is_now)
{
	struct account before = account_open();
	qslab_rcu_cookie cookie = qslab_rcu_start();
	qslab_rcu_wait(cookie);
	for (size_t size = 16; size < 3000000; size *= 3) {
		void *object = qslab_malloc(size);
		cr_assert_eq(qslab_free_rcu_poll(cookie, object), 0);
		cr_assert_eq(live(), before.live, "%zu bytes not free though the cookie is over", size);
	}
	cr_assert_eq(stats().waiting, 0);
}

Test(cookie, free_after_one_that_is_not_over_waits_for_it)
{
	enum { COUNT = 3000 };
	static unsigned char *objects[COUNT];
	struct account before = account_open();
	struct reader reader = {0};

	reader_start(&reader);
	for (int i = 0; i < COUNT; i++) {
		size_t size = i % 50 ? (size_t)i % 600 + 16 : 300000;
		objects[i] = qslab_malloc(size);
		fill(objects[i], 16, (size_t)i);
		qslab_rcu_cookie cookie = i % 2 ? qslab_rcu_start() : qslab_rcu_get();
		cr_assert_eq(qslab_free_rcu_poll(cookie, objects[i]), 0);
		qslab_free(memset(qslab_malloc(size), 0xee, size));
	}
	pause_ms(1500);
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(changed(objects[i], 16, (size_t)i, SIZE_MAX), SIZE_MAX);
	reader_stop(&reader);
	cr_assert(drains_by_itself());
	qslab_rcu_barrier();
	polled = COUNT;
	account_balances(&before, COUNT);
}

/* Cookies of all ages, kept long, in any order, while grace periods come and go. */
Test(cookie, kept_long)
{
	enum { KEPT = 512 };
	qslab_rcu_cookie cookies[KEPT];
	bool over[KEPT] = {0};
	uint64_t random = 3;

	for (int i = 0; i < KEPT; i++)
		cookies[i] = qslab_rcu_get();
	for (int i = 0; i < SCALE(20000); i++) {
		unsigned k = next_random(&random) % KEPT;
		bool now = qslab_rcu_poll(cookies[k]);
		cr_assert(now || !over[k], "over, then not over");
		over[k] = now;
		if (now && i % 3 == 0) {
			cookies[k] = i % 2 ? qslab_rcu_start() : qslab_rcu_get();
			over[k] = false;
		}
		if (i % 4096 == 0)
			qslab_rcu_wait(cookies[k]);
	}
	for (int i = 0; i < KEPT; i++)
		qslab_rcu_wait(cookies[i]);
	for (int i = 0; i < KEPT; i++)
		cr_assert(qslab_rcu_poll(cookies[i]));
}
