/* While a reader holds an object no byte of it changes but its link; with a headless call, none. */
#include "retire.h"

enum { HELD_MOST = CLASSES_MOST * CALLS };

static struct held {
	void *object;
	size_t size, seed, skip; /* skip: where the link is; SIZE_MAX if the call has none */
	const char *call;
} held[HELD_MOST];
static int held_count;
static size_t churn_sizes[CLASSES_MOST];
static int churn_count;

static void look(void *unused)
{
	for (int i = 0; i < held_count; i++) {
		size_t at = changed(held[i].object, held[i].size, held[i].seed, held[i].skip);
		cr_assert_eq(at, SIZE_MAX, "%s: byte %zu of %zu changed under a reader", held[i].call, at, held[i].size);
	}
}

/* One object of every class for every call; large ones only for some, their bytes take time to read. */
static void make(void)
{
	churn_count = every_size(churn_sizes);
	for (int c = 0; c < CALLS; c++) {
		for (int i = 0; i < churn_count; i++) {
			size_t size = churn_sizes[i];
			if (size > 100000 && (c + i) % (SANITIZED ? 20 : 5))
				continue;
			void *object = qslab_malloc(size);
			size_t seed = (size_t)(held_count * 13), offset = (size_t)(c * 40) % size & ~(size_t)7;
			if (offset + sizeof(struct rcu_ptr) > size)
				offset = 0;
			fill(object, size, seed);
			held[held_count++] = (struct held){object, size, seed, calls[c].linked ? offset : SIZE_MAX, calls[c].name};
		}
	}
}

static void retire_all(void)
{
	int done = 0;
	for (int c = 0; c < CALLS; c++)
		for (; done < held_count && held[done].call == calls[c].name; done++)
			calls[c].retire(held[done].object, link_at(held[done].object, held[done].skip == SIZE_MAX ? 0 : held[done].skip));
}

/* Whoever got one of the held objects back would write over it. */
static void *churn(void *seconds_long)
{
	void *slots[64] = {0};
	uint64_t random = (uintptr_t)slots | 1;
	for (double end = seconds() + *(double *)seconds_long; seconds() < end;) {
		for (int i = 0; i < 200; i++) {
			void **slot = &slots[next_random(&random) % 64];
			size_t size = churn_sizes[next_random(&random) % (uint64_t)(churn_count - (i ? 12 : 0))];
			qslab_free(*slot);
			*slot = qslab_malloc(size);
			memset(*slot, 0xa5, size < 20000 ? size : 20000);
			if (i % 8 == 0) { /* arrays fill up, are sealed and queued */
				qslab_free_rcu_link(*slot, *slot);
				*slot = NULL;
			}
		}
	}
	for (int i = 0; i < 64; i++)
		qslab_free(slots[i]);
	return NULL;
}

static void churn_by_three(double seconds_long)
{
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, churn, &seconds_long);
	churn(&seconds_long);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void ends_balanced(size_t before)
{
	qslab_rcu_barrier();
	struct qslab_rcu_stats now = stats();
	cr_assert_eq(now.waiting, 0);
	cr_assert_eq(now.retired, now.reclaimed);
	cr_assert_eq(live(), before);
}

Test(hold, another_thread_reads)
{
	size_t before = account_open().live;
	struct reader reader = {.look = look};

	make();
	reader_start(&reader);
	retire_all();
	churn_by_three(2.5);
	cr_assert(!atomic_load(&reader.left));
	reader_stop(&reader);
	ends_balanced(before);
}

/* No retiring call is a quiescent state of its caller, nor is its malloc or free. */
Test(hold, the_retiring_thread_reads)
{
	size_t before = account_open().live;

	urcu_qsbr_register_thread();
	make();
	retire_all();
	churn_by_three(2.5);
	look(NULL);
	urcu_qsbr_quiescent_state();
	urcu_qsbr_unregister_thread();
	ends_balanced(before);
}

/* A reader that came before is still there when one that came later has gone: grace periods overlap. */
Test(hold, readers_that_take_turns)
{
	size_t before = account_open().live;
	struct reader readers[2] = {0};

	reader_start(&readers[0]);
	make();
	retire_all();
	for (int turn = 1; turn < 20; turn++) {
		for (int i = 0; i < 64; i++)
			qslab_free_rcu_mightsleep(qslab_malloc(64));
		qslab_rcu_start();
		pause_ms(30);
		readers[turn % 2] = (struct reader){0};
		reader_start(&readers[turn % 2]);
		void *object = qslab_malloc(300);
		fill(object, 300, 7);
		qslab_free_rcu_head(link_at(object, 100));
		reader_stop(&readers[(turn + 1) % 2]);
		pause_ms(turn % 3 * 20);
		cr_assert_eq(changed(object, 300, 7, 100), SIZE_MAX, "freed by a grace period that began before");
	}
	reader_stop(&readers[1]);
	ends_balanced(before);
}

/* A call that cannot wait does not, even while the lock its caller holds is what a reader waits for. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool at_lock;

static void *locks(void *unused)
{
	urcu_qsbr_register_thread();
	atomic_store(&at_lock, true);
	pthread_mutex_lock(&lock); /* online */
	pthread_mutex_unlock(&lock);
	urcu_qsbr_unregister_thread();
	return NULL;
}

Test(hold, with_a_lock_a_reader_waits_for)
{
	struct account before = account_open();
	pthread_t thread;
	int rounds = SCALE(100000);

	pthread_mutex_lock(&lock);
	pthread_create(&thread, NULL, locks, NULL);
	AWAIT(atomic_load(&at_lock));
	for (int i = 0; i < rounds; i++) {
		void *object = qslab_malloc(i % 1000 ? 200 : 300000);
		calls[i % CALLS].retire(object, object);
	}
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
	qslab_rcu_barrier();
	account_balances(&before, (uint64_t)rounds);
}
