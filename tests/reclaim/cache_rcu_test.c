/* Caches and grace periods: typesafe memory under readers, frees that are all deferred, barrier and destroy. */
#include "retire.h"

#include <errno.h>
#include <qslab/cache.h>
#include <sys/resource.h>
#include <sys/mman.h>

enum { TYPE = 0x7e57ab1e, SLOTS = 512 };

struct thing {
	uint32_t type;      /* the constructor's: never changes while the memory is a thing's */
	atomic_uint uses;   /* each reuse counts */
	struct rcu_ptr rcu;
	uint64_t value, check;
};

static int make_thing(void *object)
{
	memset(object, 0, sizeof(struct thing));
	((struct thing *)object)->type = TYPE;
	return 0;
}

static struct qslab_cache_stats counts(struct qslab_cache *cache)
{
	struct qslab_cache_stats now;
	qslab_cache_stats(cache, &now);
	return now;
}

/* A reader that stays in a read-side section until told. */
struct holder {
	pthread_t thread;
	atomic_bool inside, leave;
};

static void *holds(void *argument)
{
	struct holder *holder = argument;
	urcu_qsbr_register_thread();
	atomic_store(&holder->inside, true);
	while (!atomic_load(&holder->leave))
		pause_ms(1);
	urcu_qsbr_unregister_thread();
	return NULL;
}

static void hold(struct holder *holder)
{
	atomic_store(&holder->inside, false);
	atomic_store(&holder->leave, false);
	pthread_create(&holder->thread, NULL, holds, holder);
	AWAIT(atomic_load(&holder->inside));
}

static void let_go(struct holder *holder)
{
	atomic_store(&holder->leave, true);
	pthread_join(holder->thread, NULL);
}

/* ---- every free is deferred --------------------------------------------------------------------------------------- */

enum { WAYS = 9 };

static void free_somehow(struct qslab_cache *cache, int way, struct thing *thing)
{
	struct qslab_free_q queue;
	void *object = thing;

	switch (way) {
	case 0: qslab_free(thing); break;
	case 1: qslab_cache_free(cache, thing); break;
	case 2: qslab_free_bulk(1, &object); break;
	case 3: qslab_cache_free_bulk(cache, 1, &object); break;
	case 4: cr_assert_eq(qslab_cache_free_rcu(cache, thing), 0); break;
	case 5: qslab_free_rcu(thing, rcu); break;
	case 6: cr_assert_eq(qslab_free_rcu_try(thing), 0); break;
	case 7:
		qslab_free_q_init(&queue);
		qslab_free_q_add(&queue, thing, rcu);
		qslab_free_q_flush(&queue);
		break;
	case 8: cr_assert_null(qslab_realloc(thing, 0)); break;
	}
}

Test(cache_rcu, every_free_is_deferred)
{
	struct qslab_cache *cache = qslab_cache_create("rcu", sizeof(struct thing), 0, QSLAB_CACHE_RCU, NULL);
	static struct thing *things[WAYS * 100];
	struct holder holder;

	for (int round = 0; round < 3; round++) {
		hold(&holder);
		for (int i = 0; i < WAYS * 100; i++) {
			things[i] = qslab_cache_alloc(cache);
			things[i]->value = things[i]->check = (uint64_t)i;
		}
		for (int i = 0; i < WAYS * 100; i++)
			free_somehow(cache, i % WAYS, things[i]);
		pause_ms(250); /* the reclaimer looks twice */
		cr_assert_eq(counts(cache).deferred, WAYS * 100);
		cr_assert_eq(counts(cache).live, 0);
		for (int i = 0; i < 2000; i++) {
			struct thing *other = qslab_cache_alloc(cache);
			other->value = other->check = UINT64_MAX;
			i % 2 ? qslab_cache_free(cache, other) : qslab_free(other);
		}
		for (int i = 0; i < WAYS * 100; i++)
			cr_assert(things[i]->value == (uint64_t)i && things[i]->check == (uint64_t)i);
		let_go(&holder);
		qslab_cache_barrier(cache);
		cr_assert_eq(counts(cache).deferred, 0);
	}
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

/*
 * No array is to be had: the link behind each object serves. In a child; an assertion that fails without memory would not
 * end, so its status says which of these checks did.
 */
static _Noreturn void without_memory(void)
{
	enum { MANY = 600000 }; /* more than what is mapped ahead has arrays for */
	static unsigned char *objects[MANY];
	struct qslab_cache *cache = qslab_cache_create("rcu", 24, 0, QSLAB_CACHE_RCU, NULL);
	struct rlimit none = {1, 1};
	struct holder holder;

	alarm(60);
	hold(&holder);
	if (!cache || qslab_cache_alloc_bulk(cache, MANY, (void **)objects) != MANY)
		_exit(2);
	for (int i = 0; i < MANY; i++)
		memset(objects[i], i, 24);
	if (setrlimit(RLIMIT_AS, &none))
		_exit(3);
	errno = 77;
	qslab_cache_free_bulk(cache, MANY, (void **)objects);
	if (errno != 77) /* the reclaimer's thread could not be started */
		_exit(4);
	if (!stats().chained)
		_exit(5);
	for (int i = 0; i < MANY; i++)
		for (int b = 0; b < 24; b++)
			if (objects[i][b] != (unsigned char)i)
				_exit(6);
	let_go(&holder);
	_exit(qslab_cache_destroy(cache) ? 7 : 0);
}

Test(cache_rcu, never_fails_without_memory)
{
	if (!SANITIZED)
		expect_success(without_memory);
}

Test(cache_rcu, zeroed_after_the_grace_period)
{
	struct qslab_cache *cache = qslab_cache_create("zero", 128, 0, QSLAB_CACHE_ZERO_ON_FREE, NULL);
	static const unsigned char zero[128];
	struct holder holder;
	static void *objects[1000];

	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < 1000; i++) {
			objects[i] = qslab_cache_alloc(cache);
			cr_assert(!memcmp(objects[i], zero, 128));
			memset(objects[i], 255, 128);
		}
		hold(&holder);
		for (int i = 0; i < 1000; i++)
			cr_assert_eq(qslab_cache_free_rcu(cache, objects[i]), 0);
		for (int i = 0; i < 1000; i++)
			cr_assert_eq(*(unsigned char *)objects[i], 255);
		let_go(&holder);
		if (round % 2)
			qslab_cache_barrier(cache);
		else
			qslab_rcu_wait(qslab_rcu_get()); /* arrays become magazines */
	}
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

/* ---- typesafe ------------------------------------------------------------------------------------------------------- */

static struct {
	struct qslab_cache *cache;
	struct thing *_Atomic slots[SLOTS];
	atomic_bool stop;
	atomic_ulong seen, reused, unlike;
} race;

/* Holds what it found for a while: it may be freed and reused, but it stays a thing. */
static void *looks(void *argument)
{
	uint64_t random = (uintptr_t)argument | 1;
	unsigned long seen = 0, reused = 0;

	urcu_qsbr_register_thread();
	while (!atomic_load(&race.stop)) {
		struct thing *held[64];
		unsigned uses[64];
		for (int i = 0; i < 64; i++) {
			held[i] = atomic_load_explicit(&race.slots[next_random(&random) % SLOTS], memory_order_acquire);
			uses[i] = held[i] ? atomic_load(&held[i]->uses) : 0;
		}
		pause_ms(1);
		for (int i = 0; i < 64; i++) {
			if (!held[i])
				continue;
			if (__atomic_load_n(&held[i]->type, __ATOMIC_RELAXED) != TYPE)
				atomic_fetch_add(&race.unlike, 1);
			reused += atomic_load(&held[i]->uses) != uses[i];
		}
		seen++;
		urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	atomic_fetch_add(&race.seen, seen);
	atomic_fetch_add(&race.reused, reused);
	return NULL;
}

/* Takes pages that the cache gave up, and dirties them. */
static void dirty_memory(void)
{
	void *spans[16];
	for (int i = 0; i < 16; i++)
		spans[i] = memset(qslab_malloc(64 << 10), 0xee, 64 << 10); /* as large as a slab */
	qslab_free_bulk(16, spans);
}

static void *changes(void *argument)
{
	uint64_t random = (uintptr_t)argument * 77 | 1;

	for (int round = 0; round < SCALE(1000); round++) {
		for (int i = 0; i < 600; i++) {
			struct thing *new = qslab_cache_alloc(race.cache);
			if (__atomic_load_n(&new->type, __ATOMIC_RELAXED) != TYPE)
				atomic_fetch_add(&race.unlike, 1);
			atomic_fetch_add(&new->uses, 1);
			struct thing *old = atomic_exchange(&race.slots[next_random(&random) % SLOTS], new);
			if (old && i % 8)
				qslab_cache_free(race.cache, old);
			else if (old && i % 16)
				qslab_free_rcu(old, rcu);
			else
				qslab_free(old);
		}
		for (int i = 0; i < SLOTS; i++) /* slabs become free */
			qslab_cache_free(race.cache, atomic_exchange(&race.slots[i], NULL));
		qslab_cache_shrink(race.cache);
		dirty_memory();
	}
	return NULL;
}

Test(cache_rcu, type_never_changes_under_a_reader)
{
	enum { READERS = 3, WRITERS = 2 };
	pthread_t readers[READERS], writers[WRITERS];

	race.cache = qslab_cache_create("thing", 1024, 0, /* few in a slab: slabs die */
	                                QSLAB_CACHE_TYPESAFE_BY_RCU, make_thing);
	for (intptr_t i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, looks, (void *)(i + 1));
	for (intptr_t i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, changes, (void *)(i + 1));
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	atomic_store(&race.stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	cr_assert_eq(race.unlike, 0, "%lu objects of another type", race.unlike);
	cr_assert_gt(race.seen, 0);
	printf("%lu looks, %lu objects reused under them\n", race.seen, race.reused);
	cr_assert_eq(qslab_cache_destroy(race.cache), 0);
}

/* A dead slab's memory keeps still until the reader leaves, then goes without a further call. */
Test(cache_rcu, dead_slabs_wait)
{
	struct qslab_cache *cache = qslab_cache_create("thing", sizeof(struct thing), 0, QSLAB_CACHE_TYPESAFE_BY_RCU,
	                                               make_thing);
	enum { MANY = 20000 };
	static struct thing *things[MANY];
	struct qslab_memory memory, before;
	struct holder holder;

	qslab_rcu_wait(qslab_rcu_get()); /* a grace period that is over does not help */
	hold(&holder);
	for (int i = 0; i < MANY; i++)
		things[i] = qslab_cache_alloc(cache);
	for (int i = 0; i < MANY; i++)
		qslab_cache_free(cache, things[i]);
	qslab_cache_shrink(cache);
	cr_assert_eq(counts(cache).total, 0);
	pause_ms(250); /* the reclaimer looks twice */
	qslab_trim();
	for (int i = 0; i < 50; i++)
		dirty_memory();
	for (int i = 0; i < MANY; i++)
		cr_assert_eq(things[i]->type, TYPE);
	qslab_memory(&before);
	let_go(&holder);
	if (SANITIZED)
		qslab_cache_barrier(cache);
	else
		AWAIT((qslab_free(qslab_malloc(100)), qslab_memory(&memory), memory.span_cache + memory.source_free +
			memory.purged > before.span_cache + before.source_free + before.purged));
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

/* ---- destroy ---------------------------------------------------------------------------------------------------------- */

struct retirer {
	pthread_t thread;
	struct qslab_cache *cache;
	uint64_t random;
	struct thing *_Atomic *held;
	bool lives_on;
	atomic_bool done, leave;
};

static void *retires(void *argument)
{
	struct retirer *retirer = argument;
	unsigned count = (unsigned)(next_random(&retirer->random) % 900);

	for (unsigned i = 0; i < count; i++) {
		struct thing *thing = qslab_cache_alloc(retirer->cache);
		thing->value = thing->check = i;
		if (i % 5 == 0)
			free_somehow(retirer->cache, (int)(next_random(&retirer->random) % WAYS), thing);
		else if (i % 3)
			qslab_free_rcu(thing, rcu);
		else
			qslab_free_rcu_nolock(thing, rcu);
		if (next_random(&retirer->random) % 200 == 0)
			pause_ms(1);
	}
	atomic_store(&retirer->done, true);
	while (retirer->lives_on && !atomic_load(&retirer->leave))
		pause_ms(1);
	return NULL;
}

static void *destroys_later(void *argument)
{
	struct holder *holder = argument;
	uint64_t random = (uintptr_t)argument | 1;
	pause_ms((int)(next_random(&random) % 120));
	atomic_store(&holder->leave, true);
	return NULL;
}

/* Ten rounds: objects pending from living threads, ended ones, the reclaimer; a reader that leaves meanwhile. */
Test(cache_rcu, destroy_with_pending_objects)
{
	enum { THREADS = 5 };
	static const unsigned flags[] = {QSLAB_CACHE_ISOLATE, QSLAB_CACHE_RCU, QSLAB_CACHE_TYPESAFE_BY_RCU,
	                                 QSLAB_CACHE_TYPESAFE_BY_RCU | QSLAB_CACHE_RCU, QSLAB_CACHE_ZERO_ON_FREE};
	uint64_t random = 99;

	for (int round = 0; round < 10; round++) {
		struct retirer retirers[THREADS];
		struct holder holder;
		pthread_t later;
		struct qslab_cache *cache = qslab_cache_create("pending", sizeof(struct thing) + (size_t)round * 24, 0,
		                                               flags[round % 5], NULL);
		struct thing *seen = qslab_cache_zalloc(cache);
		seen->value = 4711;
		hold(&holder);
		for (int i = 0; i < THREADS; i++) {
			retirers[i] = (struct retirer){.cache = cache, .random = next_random(&random), .lives_on = i % 2};
			pthread_create(&retirers[i].thread, NULL, retires, &retirers[i]);
		}
		for (int i = 0; i < THREADS; i++) {
			AWAIT(atomic_load(&retirers[i].done));
			if (!retirers[i].lives_on)
				pthread_join(retirers[i].thread, NULL);
		}
		qslab_free_rcu(seen, rcu);
		pause_ms((int)(next_random(&random) % 150));
		cr_assert_eq(seen->value, 4711);
		pthread_create(&later, NULL, destroys_later, &holder);
		cr_assert_eq(qslab_cache_destroy(cache), 0);
		cr_assert(atomic_load(&holder.leave), "destroyed under a reader");
		pthread_join(later, NULL);
		let_go(&holder);
		for (int i = 0; i < THREADS; i++) {
			atomic_store(&retirers[i].leave, true);
			if (retirers[i].lives_on)
				pthread_join(retirers[i].thread, NULL);
		}
	}
	struct qslab_rcu_stats now = stats();
	cr_assert_eq(now.retired, now.reclaimed + now.waiting);
}

/*
 * A thread whose objects a barrier has freed ends while the cache is being destroyed: its array, empty by then, must not
 * be found in a queue by the end of the destroy, which waits here for the holder's grace period.
 */
static void *destroys(void *cache)
{
	return (void *)qslab_cache_destroy(cache);
}

Test(cache_rcu, thread_ends_during_destroy)
{
	for (int round = 0; round < 10; round++) {
		struct retirer retirer = {.random = 5 + (uint64_t)round, .lives_on = true};
		struct holder holder;
		pthread_t destroyer;
		void *live;
		struct qslab_cache *cache = qslab_cache_create("ending", sizeof(struct thing), 0, QSLAB_CACHE_TYPESAFE_BY_RCU,
		                                               NULL);
		retirer.cache = cache;
		pthread_create(&retirer.thread, NULL, retires, &retirer);
		AWAIT(atomic_load(&retirer.done));
		qslab_cache_barrier(cache);
		qslab_cache_free(cache, qslab_cache_alloc(cache)); /* a slab, which waits in its grave */
		AWAIT(stats().started == stats().completed);
		hold(&holder);
		pthread_create(&destroyer, NULL, destroys, cache);
		AWAIT(stats().started > stats().completed); /* for the grave: nothing else waits */
		atomic_store(&retirer.leave, true);
		pthread_join(retirer.thread, NULL);
		let_go(&holder);
		pthread_join(destroyer, &live);
		cr_assert_null(live);
	}
}

Test(cache_rcu, leaks_beside_deferred_objects)
{
	struct qslab_cache *cache = qslab_cache_create("leaky", 64, 0, QSLAB_CACHE_TYPESAFE_BY_RCU, NULL);
	void *objects[500];

	cr_assert_eq(qslab_cache_alloc_bulk(cache, 500, objects), 500);
	for (int i = 0; i < 490; i++)
		cr_assert_eq(qslab_cache_free_rcu(cache, objects[i]), 0);
	cr_assert_eq(counts(cache).deferred + counts(cache).ready + counts(cache).slab_free + counts(cache).magazines + 10,
	             counts(cache).total);
	freopen("/dev/null", "w", stderr);
	cr_assert_eq(qslab_cache_destroy(cache), 10);
	qslab_cache_free_bulk(cache, 10, objects + 490);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

/* ---- fork --------------------------------------------------------------------------------------------------------------- */

Test(cache_rcu, forked_with_dead_slabs, .disabled = NO_FORK)
{
	struct qslab_cache *cache = qslab_cache_create("forked", 2000, 0, QSLAB_CACHE_TYPESAFE_BY_RCU, NULL);
	void *objects[400];

	cr_assert_eq(qslab_cache_alloc_bulk(cache, 400, objects), 400);
	qslab_cache_free_bulk(cache, 300, objects);
	qslab_cache_shrink(cache);
	pid_t child = fork();
	if (child == 0) {
		alarm(60);
		qslab_cache_free_bulk(cache, 100, objects + 300);
		if (qslab_cache_destroy(cache))
			_exit(1);
		cache = qslab_cache_create("child's", 100, 0, QSLAB_CACHE_RCU, NULL);
		for (int i = 0; i < 1000; i++)
			qslab_cache_free(cache, qslab_cache_alloc(cache));
		_exit(qslab_cache_destroy(cache) ? 2 : 0);
	}
	int status;
	waitpid(child, &status, 0);
	cr_assert_eq(status, 0);
	qslab_cache_free_bulk(cache, 100, objects + 300);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}
