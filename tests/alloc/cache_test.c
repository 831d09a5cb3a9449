/* Caches: errors, merging, flags, constructors, class numbers used anew, leaks, threads' ends beside a destroy, fork. */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <qslab/cache.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { OWN_MOST = 173 };

static struct qslab_cache_stats stats_of(struct qslab_cache *cache)
{
	struct qslab_cache_stats stats;
	qslab_cache_stats(cache, &stats);
	cr_assert_eq(stats.total, stats.live + stats.deferred + stats.magazines + stats.ready + stats.slab_free);
	return stats;
}

static struct qslab_cache *isolated(size_t size)
{
	struct qslab_cache *cache = qslab_cache_create("isolated", size, 0, QSLAB_CACHE_ISOLATE, NULL);
	cr_assert(cache);
	return cache;
}

static int no_work(void *object) { return 0; }

static void refused(size_t size, size_t align, unsigned flags, int (*ctor)(void *))
{
	errno = 0;
	cr_assert_null(qslab_cache_create("bad", size, align, flags, ctor));
	cr_assert_eq(errno, EINVAL);
}

Test(cache, errors)
{
	refused(0, 0, 0, NULL);
	refused(0, 64, QSLAB_CACHE_ISOLATE, NULL);
	refused((256 << 10) + 1, 0, 0, NULL);
	refused((256 << 10) - 4, 0, QSLAB_CACHE_RCU, NULL);
	refused(SIZE_MAX, 0, QSLAB_CACHE_RCU, NULL);
	refused(64, 3, 0, NULL);
	refused(64, 8192, 0, NULL);
	refused(64, SIZE_MAX, 0, NULL);
	refused(64, 0, 32, NULL);
	refused(64, 0, QSLAB_CACHE_ZERO_ON_FREE, no_work);
	refused(64, 0, QSLAB_CACHE_ZERO_ON_FREE | QSLAB_CACHE_TYPESAFE_BY_RCU, NULL);
	struct qslab_cache *cache = qslab_cache_create(NULL, 64, 0, 0, no_work);
	errno = 0;
	cr_assert_null(qslab_cache_zalloc(cache));
	cr_assert_eq(errno, EINVAL);
	qslab_cache_free(cache, NULL);
	cr_assert_eq(qslab_cache_free_rcu(cache, NULL), 0);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
	cr_assert_eq(qslab_cache_destroy(NULL), 0);
}

Test(cache, numbers_run_out_and_come_back)
{
	struct qslab_cache *caches[OWN_MOST];
	void *first[OWN_MOST];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < OWN_MOST; i++) {
			caches[i] = isolated(8 + (size_t)(i * 40 + round * 1000) % 9000);
			first[i] = memset(qslab_cache_alloc(caches[i]), i, 8);
		}
		errno = 0;
		cr_assert_null(qslab_cache_create("more", 64, 0, QSLAB_CACHE_ISOLATE, NULL));
		cr_assert_eq(errno, ENOSPC);
		struct qslab_cache *merged = qslab_cache_create("merged", 64, 0, 0, NULL);
		cr_assert(merged);
		cr_assert_eq(qslab_cache_destroy(merged), 0);
		freopen("/dev/null", "w", stderr);
		for (int i = 0; i < OWN_MOST; i++) {
			cr_assert_eq(stats_of(caches[i]).live, 1);
			void *object = qslab_cache_alloc(caches[i]);
			cr_assert_eq(qslab_cache_destroy(caches[i]), 2);
			qslab_free(object);
			void *other = qslab_cache_alloc(caches[i]); /* it remains in use */
			cr_assert_eq(qslab_cache_destroy(caches[i]), 2);
			qslab_cache_free(caches[i], other);
		}
		for (int i = 0; i < OWN_MOST; i++) {
			cr_assert_eq(*(unsigned char *)first[i], i);
			qslab_free(first[i]);
			cr_assert_eq(qslab_cache_destroy(caches[i]), 0);
		}
	}
}

Test(cache, merged)
{
	for (size_t size = 1; size <= 256 << 10; size += 1 + size / 3) {
		struct qslab_cache *cache = qslab_cache_create("merged", size, 0, 0, NULL);
		cr_assert(stats_of(cache).merged);
		void *object = qslab_cache_zalloc(cache), *plain = qslab_malloc(size);
		for (size_t i = 0; i < size; i++)
			cr_assert_eq(((char *)object)[i], 0);
		cr_assert_eq(qslab_usable_size(object), qslab_good_size(size));
		memset(object, 1, size);
		qslab_free(object);
		qslab_cache_free(cache, plain);
		cr_assert_eq(qslab_cache_alloc(cache), plain); /* the same magazine */
		qslab_free(plain);
		cr_assert_eq(qslab_cache_destroy(cache), 0);
	}
}

Test(cache, alignment_and_interior_pointers)
{
	static const unsigned flags[] = {0, QSLAB_CACHE_HWALIGN, QSLAB_CACHE_ISOLATE,
	                                 QSLAB_CACHE_ISOLATE | QSLAB_CACHE_HWALIGN, QSLAB_CACHE_RCU};
	for (size_t size = 1; size <= 200 << 10; size += 1 + size / 2) {
		for (size_t align = 0; align <= 4096; align = align ? align * 2 : 1) {
			for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
				struct qslab_cache *cache = qslab_cache_create("aligned", size, align, flags[f], NULL);
				void *objects[20];
				cr_assert_eq(qslab_cache_alloc_bulk(cache, 20, objects), 20);
				for (int i = 0; i < 20; i++) {
					uintptr_t at = (uintptr_t)objects[i];
					cr_assert(!align || at % align == 0);
					cr_assert(!(flags[f] & QSLAB_CACHE_HWALIGN) || size > 64 || at / 64 == (at + size - 1) / 64);
					cr_assert_eq(qslab_object_start((void *)(at + size - 1)), objects[i]);
					cr_assert_geq(qslab_usable_size(objects[i]), size);
					memset(objects[i], i, size);
				}
				for (int i = 0; i < 20; i++)
					cr_assert_eq(*(unsigned char *)objects[i], i);
				qslab_cache_free_bulk(cache, 20, objects);
				cr_assert_eq(qslab_cache_destroy(cache), 0);
			}
		}
	}
}

/* ---- constructors and zeroes ------------------------------------------------------------------------------------ */

enum { WORDS = 6 };
static unsigned constructed;

static int fill(void *object)
{
	for (unsigned i = 0; i < WORDS; i++)
		((uint64_t *)object)[i] = 0xc0de000000000000 + i;
	constructed++;
	return 0;
}

static bool is_filled(const uint64_t *object)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (object[i] != 0xc0de000000000000 + i)
			return false;
	return true;
}

Test(cache, constructed_once_and_kept)
{
	enum { MOST = 5000 };
	static void *objects[MOST];
	struct qslab_cache *cache = qslab_cache_create("built", WORDS * 8, 0, 0, fill);
	uint64_t random = 3;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < MOST; i++)
			cr_assert(is_filled(objects[i] = qslab_cache_alloc(cache)));
		cr_assert_eq(stats_of(cache).live, MOST);
		cr_assert_geq(constructed, stats_of(cache).total);
		if (!round)
			cr_assert_eq(constructed, stats_of(cache).total);
		for (int i = 0; i < MOST; i++) {
			if (next_random(&random) % 2)
				qslab_free(objects[i]);
			else
				qslab_cache_free(cache, objects[i]);
			cr_assert(is_filled(objects[i]), "something of ours is in a free object");
		}
		cr_assert_eq(stats_of(cache).live, 0);
	}
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

static int fails_late(void *object)
{
	return ++constructed % 1000 == 0 ? EDOM : 0;
}

Test(cache, constructor_that_fails)
{
	struct qslab_cache *cache = qslab_cache_create("fails", 100, 0, 0, fails_late);
	struct qslab_memory before, after;
	void *objects[5000];
	unsigned made = 0, failed = 0;

	qslab_memory(&before);
	for (int i = 0; i < 5000; i++) {
		errno = 0;
		void *object = qslab_cache_alloc(cache);
		if (object)
			objects[made++] = object;
		else
			failed += errno == EDOM;
	}
	cr_assert_geq(failed, 1);
	cr_assert_eq(made + failed, 5000);
	cr_assert_eq(stats_of(cache).live, made);
	qslab_cache_free_bulk(cache, made, objects);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
	qslab_memory(&after);
	cr_assert_eq(before.slabs, after.slabs);
}

Test(cache, zero_on_free)
{
	struct qslab_cache *cache = qslab_cache_create("zero", 200, 0, QSLAB_CACHE_ZERO_ON_FREE, NULL);
	static unsigned char *objects[3000];
	static const unsigned char zero[200];

	free(memset(malloc(300000), 255, 300000));
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 3000; i++) {
			objects[i] = i % 2 ? qslab_cache_zalloc(cache) : qslab_cache_alloc(cache);
			cr_assert(!memcmp(objects[i], zero, 200));
			memset(objects[i], 255, 200);
		}
		for (int i = 0; i < 3000; i++) {
			i % 3 ? qslab_cache_free(cache, objects[i]) : qslab_free(objects[i]);
			cr_assert(round != 3 || !memcmp(objects[i], zero, 200));
		}
	}
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

Test(cache, shrink_and_memory)
{
	struct qslab_memory before, after;
	struct qslab_cache *cache = isolated(72);
	static void *objects[20000];

	qslab_memory(&before);
	cr_assert_eq(qslab_cache_alloc_bulk(cache, 20000, objects), 20000);
	struct qslab_cache_stats full = stats_of(cache);
	cr_assert_eq(full.stride, 72);
	cr_assert_geq(full.bytes, 20000 * 72);
	qslab_cache_free_bulk(cache, 19999, objects);
	qslab_cache_shrink(cache);
	cr_assert_eq(stats_of(cache).slabs, 1);
	qslab_cache_free(cache, objects[19999]);
	cr_assert_eq(qslab_cache_shrink(cache), full.bytes / full.slabs);
	cr_assert_eq(stats_of(cache).total, 0);
	qslab_memory(&after);
	cr_assert_eq(before.slabs, after.slabs);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

static void leave_room(size_t bytes)
{
	size_t pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");

	if (!statm || fscanf(statm, "%zu", &pages) != 1)
		_exit(1);
	fclose(statm);
	struct rlimit limit = {pages * 4096 + bytes, RLIM_INFINITY};
	setrlimit(RLIMIT_AS, &limit);
}

/* Up to the last object that 64 MiB more have room for, when fresh memory has long been refused now and then. */
static void allocates_to_the_end(void)
{
	struct qslab_cache *caches[] = {isolated(1000), qslab_cache_create("merged", 1000, 0, 0, NULL)};
	size_t made = 0;

	leave_room(64 << 20);
	for (errno = 77; qslab_cache_alloc(caches[made % 2]); made++)
		if (errno != 77)
			_exit(2);
	_exit(errno == ENOMEM && made > 10000 ? 0 : 3);
}

Test(cache, errno_is_kept_when_memory_is_scarce)
{
	if (!SANITIZED)
		expect_success(allocates_to_the_end);
}

/* ---- many at once --------------------------------------------------------------------------------------------------- */

static const size_t bulk_counts[] = {0, 1, 2, 64, 128, 129, 700}; /* a magazine holds up to 128 */

static struct qslab_cache *of_kind(int kind, size_t size)
{
	static const unsigned flags[] = {0, QSLAB_CACHE_ISOLATE, QSLAB_CACHE_ZERO_ON_FREE, QSLAB_CACHE_TYPESAFE_BY_RCU,
	                                 QSLAB_CACHE_RCU};
	return qslab_cache_create("bulk", size, 0, flags[kind], kind == 3 ? fill : NULL);
}

/* What an object of the kind holds when it is free, and when it comes. */
static void check_content(int kind, const unsigned char *object)
{
	static const unsigned char zero[WORDS * 8];
	if (kind == 2)
		cr_assert(!memcmp(object, zero, sizeof zero));
	else if (kind == 3)
		cr_assert(is_filled((const void *)object));
}

Test(cache, bulk)
{
	static void *objects[701];

	for (int kind = 0; kind < 5; kind++) {
		struct qslab_cache *cache = of_kind(kind, WORDS * 8);
		for (int round = 0; round < 4; round++) {
			for (size_t c = 0; c < sizeof bulk_counts / sizeof *bulk_counts; c++) {
				size_t count = bulk_counts[c];
				objects[count] = &objects;
				errno = 77;
				cr_assert_eq(qslab_cache_alloc_bulk(cache, count, objects), count);
				cr_assert_eq(objects[count], &objects, "one more than asked for");
				for (size_t i = 0; i < count; i++) {
					check_content(kind, objects[i]);
					cr_assert_eq(qslab_object_start(objects[i]), objects[i]);
					if (kind != 3)
						memset(objects[i], (int)i | 1, WORDS * 8);
				}
				for (size_t i = 0; i < count; i++)
					cr_assert(kind == 3 || *(unsigned char *)objects[i] == (unsigned char)(i | 1), "not distinct");
				cr_assert(kind == 0 || stats_of(cache).live == count);
				if (round == 3)
					for (size_t i = 0; i < count; i++)
						qslab_cache_free(cache, objects[i]);
				else
					qslab_cache_free_bulk(cache, count, objects);
				cr_assert_eq(errno, 77);
				for (size_t i = 0; i < count && kind != 4; i++)
					check_content(kind, objects[i]);
				cr_assert(kind == 0 || stats_of(cache).live == 0);
			}
		}
		cr_assert_eq(qslab_cache_destroy(cache), 0);
	}
}

/* In any order, of many slabs, with NULLs between them. */
Test(cache, bulk_shuffled)
{
	enum { MOST = 6000 };
	static void *objects[MOST];
	struct qslab_memory before, after;
	uint64_t random = 11;

	for (int kind = 0; kind < 5; kind++) {
		qslab_memory(&before);
		struct qslab_cache *cache = of_kind(kind, 100);
		cr_assert_eq(qslab_cache_alloc_bulk(cache, MOST, objects), MOST);
		for (int i = MOST - 1; i > 0; i--) {
			int other = (int)(next_random(&random) % (unsigned)(i + 1));
			void *object = objects[i];
			objects[i] = objects[other];
			objects[other] = object;
		}
		for (int i = 0; i < MOST; i += 7) {
			qslab_cache_free(cache, objects[i]);
			objects[i] = NULL;
		}
		for (int i = 0; i < MOST; i += 60)
			qslab_cache_free_bulk(cache, 60, objects + i);
		cr_assert(kind == 0 || stats_of(cache).live == 0);
		cr_assert_eq(qslab_cache_destroy(cache), 0);
		qslab_memory(&after);
		cr_assert_eq(after.live, before.live);
	}
}

static void takes_all_memory(unsigned flags)
{
	enum { MOST = 1 << 17 };
	static void *objects[MOST];
	struct qslab_cache *cache = qslab_cache_create("bulk", 1000, 0, flags, NULL);

	leave_room(32 << 20);
	errno = 77;
	size_t made = qslab_cache_alloc_bulk(cache, MOST, objects);
	if (errno != ENOMEM || made < 10000 || made >= MOST)
		_exit(2);
	for (size_t i = 0; i < made; i++)
		*(size_t *)objects[i] = i;
	for (size_t i = 0; i < made; i++)
		if (*(size_t *)objects[i] != i)
			_exit(3);
	qslab_cache_free_bulk(cache, made, objects);
	errno = 77;
	_exit(qslab_cache_alloc_bulk(cache, 64, objects) == 64 && errno == 77 ? 0 : 4);
}

static void takes_all_merged(void) { takes_all_memory(0); }
static void takes_all_own(void) { takes_all_memory(QSLAB_CACHE_ISOLATE); }

Test(cache, bulk_without_memory)
{
	if (SANITIZED)
		return;
	expect_success(takes_all_merged);
	expect_success(takes_all_own);
}

/* What stands behind two good objects, or behind two of different slabs, which are looked up one by one. */
struct misuse {
	unsigned flags;
	bool far_apart;
	void *(*bad)(struct qslab_cache *cache, void *good);
};

static void *bad_other(struct qslab_cache *cache, void *good) { return qslab_cache_alloc(isolated(64)); }
static void *bad_size(struct qslab_cache *cache, void *good) { return qslab_malloc(200); }
static void *bad_inside(struct qslab_cache *cache, void *good) { return (char *)qslab_cache_alloc(cache) + 16; }
static void *bad_foreign(struct qslab_cache *cache, void *good) { static char foreign[64]; return foreign; }
static void *bad_again(struct qslab_cache *cache, void *good) { return good; }

static void frees_bulk_badly(void *argument)
{
	static void *objects[3000];
	const struct misuse *misuse = argument;
	struct qslab_cache *cache = qslab_cache_create("bulk", 64, 0, misuse->flags, NULL);

	qslab_cache_alloc_bulk(cache, 3000, objects);
	objects[1] = misuse->far_apart ? objects[2999] : objects[1];
	objects[2] = misuse->bad(cache, objects[1]);
	qslab_cache_free_bulk(cache, 3, objects);
}

static void frees_bulk_first(void *argument)
{
	struct qslab_cache *cache = isolated(64);
	void *object = qslab_cache_alloc(isolated(64));
	qslab_cache_free(cache, qslab_cache_alloc(cache)); /* its magazine has room */
	qslab_cache_free_bulk(cache, 1, &object);
}

static void frees_bulk_to_destroyed(void *argument)
{
	struct qslab_cache *cache = isolated(64);
	void *object = qslab_malloc(64);
	qslab_cache_destroy(cache);
	qslab_cache_free_bulk(cache, 1, &object);
}

Test(cache, bulk_misuse)
{
	static const struct {
		void *(*bad)(struct qslab_cache *cache, void *good);
		const char *text;
	} cases[] = {{bad_other, "an object of another cache or size"}, {bad_size, "an object of another cache or size"},
	             {bad_inside, "interior pointer: 16 bytes"}, {bad_foreign, "not a qslab object"},
	             {bad_again, "double free of a 64-byte object"}};

	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		for (int i = 0; i < 4; i++) {
			struct misuse misuse = {i % 2 ? QSLAB_CACHE_ISOLATE : 0, i / 2, cases[c].bad};
			expect_abort(frees_bulk_badly, &misuse, "qslab_cache_free_bulk(", cases[c].text);
		}
	}
	expect_abort(frees_bulk_first, NULL, "qslab_cache_free_bulk(", "another cache");
	expect_abort(frees_bulk_to_destroyed, NULL, "qslab_cache_free_bulk(", "destroyed cache");
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, EACH = 300 };

struct shared {
	struct qslab_cache *cache;
	void *objects[THREADS][EACH];
	pthread_barrier_t step;
	atomic_bool over;
};

struct worker {
	struct shared *shared;
	int number;
};

static void use(struct shared *shared, int number, pthread_barrier_t *step)
{
	for (int i = 0; i < EACH; i++)
		shared->objects[number][i] = memset(qslab_cache_alloc(shared->cache), number, 8);
	pthread_barrier_wait(step);
	for (int i = 0; i < EACH; i++) { /* a quarter each */
		void *object = shared->objects[(number + i) % THREADS][i];
		i % 2 ? qslab_cache_free(shared->cache, object) : qslab_free(object);
	}
}

static void *uses_each_cache(void *argument)
{
	struct worker *worker = argument;
	struct shared *shared = worker->shared;

	for (;;) {
		pthread_barrier_wait(&shared->step); /* a cache is there */
		if (atomic_load(&shared->over))
			return NULL;
		use(shared, worker->number, &shared->step);
		pthread_barrier_wait(&shared->step); /* nobody uses it any more */
	}
}

/* The same threads live on, with magazines of each cache in turn; most caches get the same number. */
Test(cache, number_used_anew_by_living_threads)
{
	static struct shared shared;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	pthread_barrier_init(&shared.step, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){&shared, i};
		pthread_create(&threads[i], NULL, uses_each_cache, &workers[i]);
	}
	for (int round = 0; round < SCALE(200); round++) {
		constructed = 0;
		shared.cache = qslab_cache_create("round", 8 + (size_t)(round * 56) % 5000, 0,
		                                  round % 3 ? QSLAB_CACHE_ISOLATE : QSLAB_CACHE_ZERO_ON_FREE, NULL);
		cr_assert(shared.cache);
		for (int i = 0; i < 3; i++)
			pthread_barrier_wait(&shared.step);
		cr_assert_eq(stats_of(shared.cache).live, 0);
		cr_assert_eq(qslab_cache_destroy(shared.cache), 0);
	}
	atomic_store(&shared.over, true);
	pthread_barrier_wait(&shared.step);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static atomic_int inside;
static pthread_barrier_t all_have;

static void *uses_and_ends(void *argument)
{
	struct worker *worker = argument;
	use(worker->shared, worker->number, &all_have);
	atomic_fetch_add_explicit(&inside, 1, memory_order_release);
	if (worker->number == 0)
		qslab_trim();
	return NULL; /* its magazines go back while the cache is destroyed */
}

Test(cache, destroyed_while_threads_end)
{
	static struct shared shared;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	pthread_barrier_init(&all_have, NULL, THREADS);
	for (int round = 0; round < SCALE(300); round++) {
		shared.cache = isolated(16 + (size_t)(round * 72) % 2000);
		atomic_store(&inside, 0);
		for (int i = 0; i < THREADS; i++) {
			workers[i] = (struct worker){&shared, i};
			pthread_create(&threads[i], NULL, uses_and_ends, &workers[i]);
		}
		while (atomic_load_explicit(&inside, memory_order_acquire) < THREADS)
			sched_yield();
		cr_assert_eq(qslab_cache_destroy(shared.cache), 0);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
	}
}

/* ---- fork --------------------------------------------------------------------------------------------------------- */

static void *churns(void *argument)
{
	struct shared *shared = argument;
	while (!atomic_load(&shared->over)) {
		void *objects[200];
		qslab_cache_alloc_bulk(shared->cache, 200, objects);
		qslab_cache_free_bulk(shared->cache, 200, objects);
	}
	return NULL;
}

Test(cache, forked_child_goes_on, .disabled = false)
{
	static struct shared shared;
	pthread_t threads[2];

	shared.cache = isolated(48);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, churns, &shared);
	for (int round = 0; round < 50; round++) {
		void *object = qslab_cache_alloc(shared.cache);
		pid_t child = fork();
		if (child == 0) {
			alarm(60);
			void *more[1000];
			struct qslab_cache *new = isolated(64);
			if (qslab_cache_alloc_bulk(shared.cache, 1000, more) != 1000)
				_exit(1);
			qslab_cache_free_bulk(shared.cache, 1000, more);
			qslab_free(object);
			qslab_free(qslab_cache_alloc(new));
			_exit(qslab_cache_destroy(new) ? 2 : 0);
		}
		int status;
		waitpid(child, &status, 0);
		cr_assert_eq(status, 0);
		qslab_cache_free(shared.cache, object);
	}
	atomic_store(&shared.over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(qslab_cache_destroy(shared.cache), 0);
}

Test(cache, destroyed_in_a_forked_child)
{
	struct qslab_cache *cache = qslab_cache_create("forked", 48, 0, QSLAB_CACHE_TYPESAFE_BY_RCU, NULL);
	void *object = qslab_cache_alloc(cache);
	pid_t child = fork();
	if (child == 0) {
		qslab_cache_free(cache, object);
		_exit((int)qslab_cache_destroy(cache));
	}
	int status;
	waitpid(child, &status, 0);
	cr_assert_eq(status, 0);
	qslab_cache_free(cache, object);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

/* ---- leaks and misuse ----------------------------------------------------------------------------------------------- */

/* How many leaked; `line` is zero before, and what was said of them after. */
static size_t destroy_reported(struct qslab_cache *cache, char line[512])
{
	int ends[2], keep = dup(2);

	cr_assert_eq(pipe(ends), 0);
	dup2(ends[1], 2);
	size_t leaked = qslab_cache_destroy(cache);
	dup2(keep, 2);
	cr_assert(read(ends[0], line, 511) > 0);
	return leaked;
}

Test(cache, leaks_are_reported)
{
	struct qslab_cache *cache = isolated(40);
	char *objects[1000], line[512] = "", expected[256];

	for (int i = 0; i < 1000; i++)
		objects[i] = qslab_cache_alloc(cache);
	for (int i = 0; i < 1000; i++)
		if (i != 3 && i != 700)
			qslab_cache_free(cache, objects[i]);
	strcpy(objects[700], "kept");
	cr_assert_eq(destroy_reported(cache, line), 2);
	cr_assert(strstr(line, "cache 'isolated' still has 2 live objects of 40 bytes:"), "%s", line);
	snprintf(expected, sizeof expected, " %p", (void *)objects[3]);
	cr_assert(strstr(line, expected), "%s", line);
	snprintf(expected, sizeof expected, " %p", (void *)objects[700]);
	cr_assert(strstr(line, expected), "%s", line);
	cr_assert_eq(strcmp(objects[700], "kept"), 0);
	qslab_free(objects[3]);
	qslab_cache_free(cache, objects[700]);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

/* A name that holds control characters makes neither two lines of the report, nor a terminal's command. */
Test(cache, leaks_are_one_line)
{
	struct qslab_cache *cache = qslab_cache_create("a\nb\x1b[2J\x7f", 40, 0, QSLAB_CACHE_ISOLATE, NULL);
	void *object = qslab_cache_alloc(cache);
	char line[512] = "";

	cr_assert_eq(destroy_reported(cache, line), 1);
	cr_assert(strstr(line, "cache 'a?b?[2J?' still has 1 live objects of 40 bytes:"), "%s", line);
	cr_assert_eq(strchr(line, '\n') + 1, strchr(line, '\0'));
	qslab_cache_free(cache, object);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

static void frees_other(void *flags)
{
	struct qslab_cache *one = isolated(64), *two = isolated(64);
	qslab_cache_free(two, qslab_cache_alloc(one));
}

static void frees_plain(void *flags)
{
	struct qslab_cache *cache = isolated(64);
	qslab_cache_free(cache, qslab_malloc(64));
}

static void frees_inside(void *flags)
{
	struct qslab_cache *cache = isolated(64);
	qslab_cache_free(cache, (char *)qslab_cache_alloc(cache) + 16);
}

static void frees_twice(void *flags)
{
	struct qslab_cache *cache = isolated(64);
	void *object = qslab_cache_alloc(cache);
	qslab_cache_free(cache, object);
	qslab_cache_free(cache, object);
}

static void frees_twice_plainly(void *flags)
{
	void *object = qslab_cache_alloc(isolated(64));
	qslab_free(object);
	qslab_free(object);
}

static void frees_twice_much_later(void *flags)
{
	struct qslab_cache *cache = isolated(64);
	void *objects[300];
	qslab_cache_alloc_bulk(cache, 300, objects);
	qslab_cache_free(cache, objects[7]);
	qslab_cache_free_bulk(cache, 300, objects);
	qslab_cache_shrink(cache);
}

static void uses_destroyed(void *flags)
{
	struct qslab_cache *cache = isolated(64);
	qslab_cache_destroy(cache);
	qslab_cache_alloc(cache);
}

Test(cache, misuse)
{
	expect_abort(frees_other, NULL, "qslab_cache_free(", "another cache");
	expect_abort(frees_plain, NULL, "qslab_cache_free(", "another cache");
	expect_abort(frees_inside, NULL, "qslab_cache_free(", "interior pointer: 16 bytes");
	expect_abort(frees_twice, NULL, "qslab_cache_free(", "double free of a 64-byte object");
	expect_abort(frees_twice_plainly, NULL, "qslab_free(", "double free of a 64-byte object");
	expect_abort(frees_twice_much_later, NULL, "free", "double free of a 64-byte object");
	expect_abort(uses_destroyed, NULL, "qslab_cache_alloc(", "destroyed cache");
}
