/* Threads that end, sleep or leave with objects pending: nothing is stranded, nothing needs a further call. */
#include "retire.h"

enum { EACH = 40 };

struct how {
	bool registered, offline, quits; /* quits: ends at once; else stays, calling nothing */
	atomic_bool done, leave;
	uint64_t retired;
};

/* Few objects: no array becomes full. */
static void retire_some(struct how *how)
{
	uint64_t random = (uintptr_t)how | 1;
	for (int i = 0; i < EACH; i++) {
		size_t size = i % 20 ? next_random(&random) % 5000 + 16 : 500000;
		void *object = qslab_malloc(size);
		calls[next_random(&random) % CALLS].retire(object, object);
		how->retired++;
	}
}

static void *defers(void *argument)
{
	struct how *how = argument;
	if (how->registered)
		urcu_qsbr_register_thread();
	retire_some(how);
	if (how->registered && how->offline)
		urcu_qsbr_thread_offline();
	atomic_store(&how->done, true);
	while (!how->quits && !atomic_load(&how->leave)) {
		pause_ms(2);
		if (how->registered && !how->offline)
			urcu_qsbr_quiescent_state(); /* the only sign of life */
	}
	if (how->registered && how->offline)
		urcu_qsbr_thread_online();
	if (how->registered)
		urcu_qsbr_unregister_thread();
	return NULL;
}

/* By itself, then by barrier: the thread still sleeps. */
static void sleepers(bool registered, bool offline)
{
	struct account before = account_open();
	uint64_t retired = 0;

	for (int round = 0; round < 2; round++) {
		struct how hows[3] = {{0}};
		pthread_t threads[3];
		for (int i = 0; i < 3; i++) {
			hows[i].registered = registered;
			hows[i].offline = offline;
			pthread_create(&threads[i], NULL, defers, &hows[i]);
			AWAIT(atomic_load(&hows[i].done));
		}
		if (round == 0)
			cr_assert(drains_by_itself(), "%lu objects of a sleeping thread still wait",
			          (unsigned long)stats().waiting);
		else
			qslab_rcu_barrier();
		cr_assert_eq(stats().waiting, 0);
		cr_assert_eq(live(), before.live, "a thread that sleeps holds %zu bytes", live() - before.live);
		for (int i = 0; i < 3; i++) {
			atomic_store(&hows[i].leave, true);
			pthread_join(threads[i], NULL);
			retired += hows[i].retired;
		}
	}
	qslab_rcu_barrier();
	account_balances(&before, retired);
}

Test(life, unregistered_sleeper) { sleepers(false, false); }
Test(life, offline_sleeper) { sleepers(true, true); }
Test(life, online_thread_that_only_reads) { sleepers(true, false); }

static void ends(bool by_barrier)
{
	struct account before = account_open();
	uint64_t retired = 0;
	for (int i = 0; i < SCALE(1000); i++) {
		struct how how = {.registered = i % 2, .offline = i % 4 == 3, .quits = true};
		pthread_t thread;
		pthread_create(&thread, NULL, defers, &how);
		pthread_join(thread, NULL);
		retired += how.retired;
		if (by_barrier && i % 100 == 0)
			qslab_rcu_barrier();
	}
	if (by_barrier)
		qslab_rcu_barrier();
	else
		cr_assert(drains_by_itself());
	qslab_rcu_barrier();
	account_balances(&before, retired);
}

Test(life, threads_end_with_objects_pending) { ends(false); }
Test(life, threads_end_and_barriers) { ends(true); }

/* Two barriers at once, one by a thread whose own objects are pending, among threads that come and go. */
static atomic_bool stop;
static atomic_ulong churned;

static void *churns(void *unused)
{
	while (!atomic_load(&stop)) {
		struct how how = {.registered = true, .quits = true};
		pthread_t thread;
		pthread_create(&thread, NULL, defers, &how);
		pthread_join(thread, NULL);
		atomic_fetch_add(&churned, how.retired);
	}
	return NULL;
}

static void *barriers(void *number)
{
	uint64_t mine = 0;
	for (int i = 0; i < SCALE(200); i++) {
		struct how how = {0};
		/* Before the objects: one taken after them may name a later period than theirs, which barrier owes nobody. */
		qslab_rcu_cookie cookie = qslab_rcu_get();
		retire_some(&how);
		mine += how.retired;
		qslab_rcu_barrier();
		cr_assert(qslab_rcu_poll(cookie), "barrier came back before the objects' grace period was over");
	}
	return (void *)(uintptr_t)mine;
}

Test(life, barriers_at_once)
{
	struct account before = account_open();
	pthread_t churner, threads[3];
	uint64_t retired = 0;

	pthread_create(&churner, NULL, churns, NULL);
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, barriers, (void *)i);
	for (int i = 0; i < 3; i++) {
		void *some;
		pthread_join(threads[i], &some);
		retired += (uintptr_t)some;
	}
	atomic_store(&stop, true);
	pthread_join(churner, NULL);
	qslab_rcu_barrier();
	account_balances(&before, retired + atomic_load(&churned));
}

/* Destructors that run after the thread's own state is gone, several rounds of them. */
static pthread_key_t early, late, again;
static atomic_ulong by_destructors;

static void destroy(void *object)
{
	unsigned long n = atomic_fetch_add(&by_destructors, 1);
	calls[n % CALLS].retire(object, object);
	if (n % 3) {
		void *next = qslab_malloc(n % 20 ? 64 : 400000);
		pthread_setspecific(again, next);
	}
}

static void *with_destructors(void *registered)
{
	if (registered)
		urcu_qsbr_register_thread();
	pthread_setspecific(early, qslab_malloc(32));
	pthread_setspecific(late, qslab_malloc(300));
	struct how how = {0};
	retire_some(&how);
	if (registered)
		urcu_qsbr_unregister_thread();
	return NULL;
}

Test(life, destructors_defer)
{
	pthread_key_create(&early, destroy); /* before qslab has made its own */
	struct account before = account_open();
	pthread_key_create(&late, destroy);
	pthread_key_create(&again, destroy);
	enum { ROUNDS = 100 };
	for (uintptr_t i = 0; i < ROUNDS; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, with_destructors, (void *)(i % 2));
		pthread_join(thread, NULL);
	}
	cr_assert_geq(atomic_load(&by_destructors), 2 * ROUNDS);
	cr_assert(drains_by_itself());
	qslab_rcu_barrier();
	/* what the last round of a thread's destructors set is never destroyed */
	struct qslab_rcu_stats now = stats();
	cr_assert_eq(now.retired, now.reclaimed);
	cr_assert_leq(now.retired - before.retired, by_destructors + ROUNDS * EACH);
	cr_assert_geq(now.retired - before.retired + polled, by_destructors + ROUNDS * EACH);
	cr_assert_leq(live(), before.live + ROUNDS * (size_t)401408);
}

/* The thread that retired is in a grace period's way, for a while: only so long is anything held. */
Test(life, a_reader_that_comes_back)
{
	struct account before = account_open();
	struct how how = {0};
	urcu_qsbr_register_thread();
	retire_some(&how);
	pause_ms(1500);
	cr_assert_gt(stats().waiting, 0);
	urcu_qsbr_quiescent_state();
	for (double end = seconds() + 20; seconds() < end && stats().waiting; urcu_qsbr_quiescent_state())
		pause_ms(5);
	cr_assert_eq(stats().waiting, 0);
	urcu_qsbr_unregister_thread();
	qslab_rcu_barrier();
	account_balances(&before, EACH);
}

/*
 * A thread's array that the reclaimer emptied while the thread slept, and that its end sealed with nothing in it: the
 * next thread gets it as a magazine, and must be able to allocate with it.
 */
enum { HANDED = 3 };
struct handed {
	void *objects[HANDED], *other;
};

static void *retires_and_ends(void *argument)
{
	struct handed *handed = argument;
	for (int i = 0; i < HANDED; i++)
		cr_assert_eq(qslab_free_rcu_try(handed->objects[i]), 0);
	cr_assert(drains_by_itself());
	return NULL;
}

static void *takes_over(void *argument)
{
	struct handed *handed = argument;
	void *objects[300];
	cr_assert_eq(qslab_free_rcu_try(handed->other), 0);
	qslab_rcu_wait(qslab_rcu_start());
	for (int i = 0; i < 300; i++) {
		objects[i] = qslab_malloc(2000);
		cr_assert_not_null(objects[i], "no memory at the %d. object", i);
		memset(objects[i], 1, 2000);
	}
	for (int i = 0; i < 300; i++)
		qslab_free(objects[i]);
	return NULL;
}

Test(life, an_array_left_empty)
{
	struct account before = account_open();
	for (int round = 0; round < 10; round++) {
		struct handed handed = {.other = qslab_malloc(100)};
		pthread_t thread;
		for (int i = 0; i < HANDED; i++)
			handed.objects[i] = qslab_malloc(2000);
		pthread_create(&thread, NULL, retires_and_ends, &handed);
		pthread_join(thread, NULL);
		pthread_create(&thread, NULL, takes_over, &handed);
		pthread_join(thread, NULL);
	}
	qslab_rcu_barrier();
	account_balances(&before, 10 * (HANDED + 1));
}
