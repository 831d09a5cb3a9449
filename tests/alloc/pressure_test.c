/* Memory that goes back, and memory that is not to be had. */
#include "alloc/gate.h"
#include "alloc/option.h"
#include "alloc/region.h"
#include "alloc/span.h"
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

static size_t resident(void)
{
	size_t size = 0, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	cr_assert(fscanf(file, "%zu %zu", &size, &pages) == 2);
	fclose(file);
	return pages * 4096;
}

#define MIB ((size_t)1 << 20)

static size_t live(void)
{
	struct qslab_memory memory;
	qslab_memory(&memory);
	return memory.live;
}

static void **fill(size_t bytes, size_t (*size)(uint64_t *), size_t *count)
{
	void **objects = calloc(bytes / 16, sizeof *objects); /* libc's */
	uint64_t random = 11;
	size_t n = 0;
	for (size_t sum = 0; sum < bytes; n++) {
		size_t s = size(&random);
		objects[n] = qslab_malloc(s);
		cr_assert_not_null(objects[n]);
		memset(objects[n], 1, s);
		sum += s;
	}
	*count = n;
	return objects;
}

static size_t small(uint64_t *random) { return 64 + next_random(random) % 960; }
static size_t any(uint64_t *random) { return random_size(random); }

static void spike(size_t (*size)(uint64_t *), size_t part)
{
	size_t live_count, spike_count;
	void **live = fill(100 * MIB, small, &live_count);
	size_t before = resident();
	void **objects = fill(1024 * MIB, size, &spike_count);
	for (size_t i = 0; i < spike_count; i++)
		qslab_free(objects[i]);
	free(objects);
	/* no call of ours from here on */
	/* beside the live set: what magazines pin in each class, and jemalloc's and our maps of the spike's pages */
	size_t after = resident();
	cr_assert_leq(after, before + before / part, "%zu KiB before, %zu after", before / 1024, after / 1024);
	cr_assert(qslab_trim());
	for (size_t i = 0; i < live_count; i++)
		qslab_free(live[i]);
	qslab_trim();
	free(live);
}

Test(pressure, a_spike_of_small_objects_goes_back, .disabled = SANITIZED)
{
	spike(small, 11);
}

Test(pressure, a_spike_of_mixed_objects_goes_back, .disabled = SANITIZED)
{
	spike(any, 10);
}

Test(pressure, trim_gives_all_back, .disabled = SANITIZED)
{
	size_t count;
	qslab_free(qslab_malloc(1));
	size_t before = resident();
	void **objects = fill(200 * MIB, any, &count);
	for (size_t i = 0; i < count; i++)
		qslab_free(objects[i]);
	free(objects);
	qslab_trim();
	cr_assert_leq(resident(), before + 8 * MIB, "%zu MiB more", (resident() - before) / MIB);
}

/* What was freed while another thread forked waits for the next free, which may never come. */
Test(pressure, trim_gives_back_what_a_fork_held_up, .disabled = SANITIZED)
{
	char *held_up = qslab_malloc(64 * MIB);
	memset(held_up, 1, 64 * MIB);
	gate_close();
	qslab_free(held_up);
	gate_open(); /* and here fork.c finds the span cache's lock taken */
	size_t before = resident();
	qslab_trim();
	cr_assert_leq(resident(), before - 60 * MIB);
}

/* 20 MiB and what 17 MiB have in common is a size class of spans: they keep the rest, but not when memory is to go back. */
Test(pressure, trim_gives_back_what_large_objects_do_not_use, .disabled = SANITIZED)
{
	char *objects[8];
	for (int i = 0; i < 8; i++) {
		objects[i] = qslab_malloc(20 * MIB);
		memset(objects[i], i, 20 * MIB);
		objects[i] = qslab_realloc(objects[i], 17 * MIB);
	}
	size_t before = resident();
	qslab_trim();
	cr_assert_leq(resident(), before - 22 * MIB);
	for (int i = 0; i < 8; i++) {
		objects[i] = qslab_realloc(objects[i], 20 * MIB);
		memset(objects[i] + 17 * MIB, i, 3 * MIB);
		for (size_t at = 0; at < 20 * MIB; at++)
			cr_assert_eq(objects[i][at], (char)i);
		qslab_free(objects[i]);
	}
}

/* ---- slabs that one object keeps ---- */

enum { SPREAD = 64 * 2048, OBJECT = 512, KEPT_OF = 128 }; /* 64 MiB, and one object of each slab */
static char *spread[SPREAD];

static void spread_out(void)
{
	for (size_t i = 0; i < SPREAD; i++)
		spread[i] = memset(qslab_malloc(OBJECT), (int)(i / KEPT_OF), OBJECT);
	for (size_t i = 0; i < SPREAD; i++)
		if (i % KEPT_OF)
			qslab_free(spread[i]);
}

/* And the others can be had again, once each. */
static void check_spread(void)
{
	for (size_t i = 0; i < SPREAD; i++)
		if (i % KEPT_OF)
			spread[i] = memset(qslab_malloc(OBJECT), (int)(i / KEPT_OF), OBJECT);
	for (size_t i = 0; i < SPREAD; i++) {
		for (size_t at = 0; at < OBJECT; at++)
			cr_assert_eq(spread[i][at], (char)(i / KEPT_OF));
		qslab_free(spread[i]);
	}
}

Test(pressure, trim_gives_back_pages_of_slabs_that_stay, .disabled = SANITIZED)
{
	qslab_free(qslab_malloc(1));
	memset(spread, 1, sizeof spread);
	size_t before = resident();
	spread_out();
	cr_assert(qslab_trim());
	cr_assert_not(qslab_trim());
	cr_assert_leq(resident(), before + 16 * MIB, "%zu MiB more", (resident() - before) / MIB);
	check_spread();
	cr_assert_eq(live(), 0);
}

static void *spread_and_sleep(void *both)
{
	spread_out();
	pthread_barrier_wait(both);
	pthread_barrier_wait(both);
	check_spread();
	return NULL;
}

/* Which the calls of another thread find out, once much was purged. */
Test(pressure, a_thread_that_sleeps_keeps_no_vacant_pages, .disabled = SANITIZED)
{
	pthread_t thread;
	pthread_barrier_t both;
	void *objects[64];

	qslab_free(qslab_malloc(1));
	memset(spread, 1, sizeof spread);
	options.retain = 0;
	pthread_barrier_init(&both, NULL, 2);
	size_t before = resident();
	cr_assert(pthread_create(&thread, NULL, spread_and_sleep, &both) == 0);
	pthread_barrier_wait(&both);
	qslab_free(memset(qslab_malloc(8 * MIB), 1, 8 * MIB));
	alarm(120);
	while (resident() > before + 16 * MIB) {
		for (int i = 0; i < 64; i++)
			objects[i] = qslab_malloc(16384);
		for (int i = 0; i < 64; i++)
			qslab_free(objects[i]);
		usleep(10000);
	}
	alarm(0);
	pthread_barrier_wait(&both);
	pthread_join(thread, NULL);
	cr_assert_eq(live(), 0);
}

/* What is kept leaves room under the control group's limit, whatever a program that swings would have it. */
Test(pressure, a_limited_group_has_room_left)
{
	const size_t limit = 400 * MIB;
	void *blocks[20] = {0};
	uint64_t random = 6;
	struct span_stats now;

	qslab_free(qslab_malloc(1));
	span_limit(limit);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned slot = (unsigned)(next_random(&random) % 20);
		qslab_free(blocks[slot]);
		blocks[slot] = qslab_malloc((5 + next_random(&random) % 10) * MIB);
		cr_assert_not_null(blocks[slot]);
		span_stats(&now);
		cr_assert_leq(now.cached + now.dirty_in_source, now.live / 32 + 2 * MIB + (limit - now.live) / 2, "%u", i);
	}
	for (unsigned i = 0; i < 20; i++)
		qslab_free(blocks[i]);
}

/* ---- what is cut off ---- */

Test(pressure, what_realloc_cuts_off_goes_back, .disabled = SANITIZED)
{
	char *p = memset(qslab_malloc(512 * MIB), 1, 512 * MIB);
	char *q = qslab_realloc(p, 64 * MIB);
	cr_assert_eq(q, p, "not in place");
	cr_assert_leq(resident(), 80 * MIB, "%zu MiB resident", resident() / MIB);
	void *other = qslab_malloc(300 * MIB);
	cr_assert(other > (void *)p && other < (void *)(p + 512 * MIB), "what was cut off is not used again");
	for (size_t i = 0; i < 64 * MIB; i += 512)
		cr_assert_eq(q[i], 1);
	qslab_free(other);
	qslab_trim(); /* behind it lies one piece again */
	cr_assert_eq(qslab_realloc(q, 512 * MIB), p, "nor grown into");
}

/* What was read into a large buffer and trimmed does not keep the buffer's place. */
Test(pressure, trimmed_buffers_do_not_spread, .disabled = SANITIZED)
{
	enum { KEPT = 100 };
	char *kept[KEPT];
	for (size_t i = 0; i < KEPT; i++) {
		char *buffer = memset(qslab_malloc(32 * MIB), (int)i, 32 * MIB);
		cr_assert_not_null(kept[i] = qslab_realloc(buffer, 300000));
	}
	cr_assert_leq(load_relaxed(&region.size), 256 * MIB, "%zu MiB of addresses", load_relaxed(&region.size) / MIB);
	for (size_t i = 0; i < KEPT; i++)
		for (size_t at = 0; at < 300000; at++)
			cr_assert_eq(kept[i][at], (char)i);
}

/* ---- threads that are gone ---- */

enum { GONE = 48, OF_EACH = 2000 };

static void *use_many_classes(void *all)
{
	void *objects[OF_EACH];
	uint64_t random = (uintptr_t)&random;

	for (int i = 0; i < OF_EACH; i++) {
		size_t size = 16 + next_random(&random) % 2000;
		objects[i] = memset(qslab_malloc(size), 1, size);
	}
	pthread_barrier_wait(all); /* each has a heap of its own */
	for (int i = 0; i < OF_EACH; i++)
		qslab_free(objects[i]);
	return NULL;
}

/* Their heaps wait for others, but few of them with free slabs. (48 threads: 40 MiB, if each had one a class.) */
Test(pressure, threads_that_are_gone_keep_little, .disabled = SANITIZED)
{
	pthread_t threads[GONE];
	pthread_barrier_t all;
	pthread_attr_t small_stacks;

	qslab_free(qslab_malloc(1));
	options.retain = 0;
	pthread_attr_init(&small_stacks);
	pthread_attr_setstacksize(&small_stacks, 128 << 10);
	pthread_barrier_init(&all, NULL, GONE);
	size_t before = resident();
	for (int i = 0; i < GONE; i++)
		cr_assert(pthread_create(&threads[i], &small_stacks, use_many_classes, &all) == 0);
	for (int i = 0; i < GONE; i++)
		pthread_join(threads[i], NULL);
	cr_assert_leq(resident(), before + 24 * MIB, "%zu MiB more", (resident() - before) / MIB);
}

/* ---- two threads that free ---- */

static void *free_it(void *object)
{
	qslab_free(object);
	return NULL;
}

/* What a thread frees while another one is busy giving memory back is not forgotten. */
Test(pressure, what_is_freed_beside_a_purge_goes_back, .disabled = SANITIZED)
{
	pthread_t thread;
	options.retain = 0; /* nothing is kept for what comes next */
	for (int i = 0; i < 5; i++) {
		char *long_one = memset(qslab_malloc(512 * MIB), 1, 512 * MIB);
		char *other = memset(qslab_malloc(256 * MIB), 1, 256 * MIB);
		size_t before = live();
		cr_assert(pthread_create(&thread, NULL, free_it, long_one) == 0);
		while (live() == before)
			continue;
		qslab_free(other); /* while the thread purges, mostly */
		pthread_join(thread, NULL);
		cr_assert_leq(resident(), 100 * MIB, "%zu MiB resident", resident() / MIB);
	}
}

/* Allocates until NULL; the count of objects, all intact. */
static size_t exhaust(void **objects, size_t most, size_t size)
{
	size_t n = 0;
	for (; n < most; n++) {
		errno = 0;
		unsigned char *p = qslab_malloc(size);
		if (!p) {
			cr_assert_eq(errno, ENOMEM);
			break;
		}
		p[0] = p[size - 1] = (unsigned char)n;
		objects[n] = p;
	}
	return n;
}

static void give_half_back(void **objects, size_t count, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		unsigned char *p = objects[i];
		cr_assert(p[0] == (unsigned char)i && p[size - 1] == (unsigned char)i);
		if (i % 2)
			qslab_free(p);
	}
	for (size_t i = 0; i < count / 4; i++) {
		void *p = qslab_malloc(size);
		cr_assert_not_null(p, "nothing to be had after half was freed");
		qslab_free(p);
	}
	for (size_t i = 0; i < count; i += 2)
		qslab_free(objects[i]);
}

static void under_limit(bool limit_first)
{
	static void *objects[1 << 20];
	size_t sizes[] = {100, 5000, 100000, 3000000};

	if (!limit_first)
		qslab_free(qslab_malloc(1));
	struct rlimit old;
	getrlimit(RLIMIT_AS, &old);
	size_t vm = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	cr_assert(fscanf(file, "%zu", &vm) == 1);
	fclose(file);
	setrlimit(RLIMIT_AS, &(struct rlimit){vm * 4096 + 256 * MIB, old.rlim_max});
	for (int i = 0; i < 4; i++) {
		size_t count = exhaust(objects, 1 << 20, sizes[i]);
		cr_assert_gt(count * sizes[i], i ? 100 * MIB : 50 * MIB, "only %zu of %zu", count, sizes[i]);
		give_half_back(objects, count, sizes[i]);
		qslab_trim();
	}
	setrlimit(RLIMIT_AS, &old);
	void *p = qslab_malloc(400 * MIB);
	cr_assert_not_null(p);
	qslab_free(p);
}

Test(pressure, address_space_limit_set_before_first_use, .disabled = SANITIZED)
{
	under_limit(true);
}

Test(pressure, address_space_limit_set_later, .disabled = SANITIZED)
{
	under_limit(false);
}
