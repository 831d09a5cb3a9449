/* The script: allocation of all sizes, threads, fork; at its end memory is to be had again, and all must be free. */
#define _GNU_SOURCE
#include "workload.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <urcu/urcu-qsbr.h>

_Noreturn void workload_fail(const char *file, int line, const char *what)
{
	const char *name = strrchr(file, '/');
	fprintf(stderr, "%s:%d: not so: %s\n", name ? name + 1 : file, line, what);
	_exit(1);
}

void *workload_tried(void *object, const char *file, int line, const char *call)
{
	if (!object && (errno != ENOMEM || !fault_happened()))
		workload_fail(file, line, call);
	return object;
}

/* ---- content ------------------------------------------------------------------------------------------------- */

/* A word at each step: of small objects all, of large ones some pages'. */
static size_t step(size_t at)
{
	return at < 512 ? 8 : at < 65536 ? 2048 : 65536;
}

static uint64_t word_at(size_t at, unsigned seed)
{
	return seed * 0x9e3779b97f4a7c15 + at;
}

void content_put(void *object, size_t size, unsigned seed)
{
	unsigned char *bytes = object;

	if (size < 16)
		memset(object, (int)seed, size);
	for (size_t at = 0; size >= 16 && at + 8 <= size; at += step(at))
		memcpy(bytes + at, &(uint64_t){word_at(at, seed)}, 8);
}

void content_check(const void *object, size_t size, unsigned seed)
{
	const unsigned char *bytes = object;

	for (size_t at = 0; size < 16 && at < size; at++)
		REQUIRE(bytes[at] == (unsigned char)seed);
	for (size_t at = 0; size >= 16 && at + 8 <= size; at += step(at)) {
		uint64_t word = word_at(at, seed);
		REQUIRE(!memcmp(bytes + at, &word, 8));
	}
}

/* ---- a table of objects ------------------------------------------------------------------------------------------ */

static struct thing {
	void *object;
	size_t size;
} things[1200];
static unsigned thing_count;

static const size_t sizes[] = {1, 16, 40, 100, 500, 1000, 4000, 9000, 30000, 100000, 250000, 400000, 1100000};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void keep(void *object, size_t size)
{
	if (!object)
		return;
	REQUIRE(thing_count < sizeof things / sizeof *things);
	REQUIRE(qslab_usable_size(object) >= size);
	content_put(object, size, thing_count);
	things[thing_count++] = (struct thing){object, size};
}

static void check_all(void)
{
	for (unsigned i = 0; i < thing_count; i++)
		if (things[i].object)
			content_check(things[i].object, things[i].size, i);
}

/* Those that `every` divides. */
static void free_some(unsigned every)
{
	for (unsigned i = 0; i < thing_count; i += every) {
		if (things[i].object)
			content_check(things[i].object, things[i].size, i);
		KEPT(qslab_free(things[i].object));
		things[i].object = NULL;
	}
	if (every == 1)
		thing_count = 0;
}

static void check_zero(const void *object, size_t size)
{
	const unsigned char *bytes = object;

	for (size_t at = 0; object && at < size; at += at < 65536 ? 1 : 4096)
		REQUIRE(!bytes[at]);
}

/* ---- allocation ------------------------------------------------------------------------------------------------ */

/* By steps, each of which may fail and then has changed nothing; the last ones by moving pages. */
static void grow(void)
{
	size_t size = 24;
	unsigned char *object = TRIED(qslab_malloc(size)), *grown;

	if (!object)
		return;
	content_put(object, size, 7);
	for (size_t next = 60; next < 4000000; next = next * 5 / 2) {
		grown = TRIED(qslab_realloc(object, next));
		object = grown ? grown : object;
		content_check(object, size, 7);
		if (!grown)
			continue;
		size = next;
		content_put(object, size, 7);
		keep(TRIED(qslab_malloc(next > 100000 ? next : 50)), 50); /* in the way of the next step */
	}
	for (size_t next = size / 2; next > 1000; next /= 3) {
		grown = TRIED(qslab_realloc(object, next));
		object = grown ? grown : object;
		content_check(object, next, 7);
	}
	KEPT(qslab_free(object));
}

static void allocate(unsigned turns)
{
	void *bulk[150];

	for (unsigned turn = 0; turn < turns; turn++) {
		for (unsigned i = 0; i < SIZES; i++) {
			unsigned count = sizes[i] < 2000 ? 12 : sizes[i] < 50000 ? 3 : 1;
			for (unsigned k = 0; k < count; k++)
				keep(TRIED(qslab_malloc(sizes[i])), sizes[i]);
			void *zero = TRIED(qslab_calloc(1, sizes[i]));
			check_zero(zero, sizes[i]);
			keep(zero, sizes[i]);
		}
		for (size_t alignment = 32; alignment <= (size_t)4 << 20; alignment *= 8) {
			void *aligned = TRIED(qslab_aligned_alloc(alignment, 3000));
			REQUIRE((uintptr_t)aligned % alignment == 0);
			keep(aligned, 3000);
		}
		errno = 0;
		size_t got = qslab_malloc_bulk(72, 150, bulk);
		REQUIRE(got == 150 || (errno == ENOMEM && fault_happened()));
		for (size_t i = 0; i < got; i++)
			keep(bulk[i], 72);
		check_all();
		free_some(2);
		qslab_trim();
		check_all();
	}
	volatile size_t too_much = (size_t)PTRDIFF_MAX + 1;
	REQUIRE(!qslab_malloc(too_much) && errno == ENOMEM);
	grow();
	free_some(3);
}

/* Larger than what stays mapped by a budget, and zero where it is said to be. */
static void reuse_large(void)
{
	for (unsigned turn = 0; turn < 3; turn++) {
		size_t size = turn == 1 ? 2400000 : 400000;
		void *object = TRIED(qslab_malloc(size));
		for (size_t at = 0; object && at < size; at += 4096)
			((unsigned char *)object)[at] = 0xff;
		KEPT(qslab_free(object));
		if (turn)
			qslab_trim();
		void *zero = TRIED(qslab_calloc(size / 2, 2));
		check_zero(zero, size);
		KEPT(qslab_free(zero));
	}
}

/* ---- threads and fork -------------------------------------------------------------------------------------------- */

static struct thing handed[100];

static void *producer(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < 100; i++) {
		size_t size = sizes[i % 9];
		void *object = TRIED(qslab_malloc(size));
		if (object)
			content_put(object, size, 1000 + i);
		handed[i] = (struct thing){object, size};
	}
	deferred_all_ways(3);
	return unused;
}

/* Frees what another has made, and leaves things for a third. */
static void *consumer(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < 100; i += 2) {
		if (handed[i].object)
			content_check(handed[i].object, handed[i].size, 1000 + i);
		KEPT(qslab_free(handed[i].object));
		handed[i].object = TRIED(qslab_malloc(handed[i].size));
		if (handed[i].object)
			content_put(handed[i].object, handed[i].size, 1000 + i);
	}
	return unused;
}

static void run_thread(void *(*body)(void *))
{
	pthread_t thread;

	urcu_qsbr_thread_offline();
	REQUIRE(!pthread_create(&thread, NULL, body, NULL));
	pthread_join(thread, NULL);
	urcu_qsbr_thread_online();
}

static void threads(void)
{
	run_thread(producer);
	run_thread(consumer);
	run_thread(consumer); /* adopts what the one before left */
	for (unsigned i = 0; i < 100; i++) {
		if (handed[i].object)
			content_check(handed[i].object, handed[i].size, 1000 + i);
		KEPT(qslab_free(handed[i].object));
	}
}

/* The debug mode works, or has said that it cannot. */
static void debug_mode(void)
{
	char said[200] = "";
	unsigned char *volatile object = getenv("QSLAB_RCU_DEBUG") ? TRIED(qslab_malloc(100)) : NULL;

	if (!object)
		return;
	qslab_free(object);
	if (object[50] == 0x6b) /* in quarantine */
		return;
	REQUIRE(pread(STDERR_FILENO, said, sizeof said - 1, 0) > 0 && strstr(said, "QSLAB_RCU_DEBUG"));
}

/* What must hold when nothing fails any more. */
static void finish(void)
{
	struct qslab_memory memory;

	fault_end();
	check_all();
	free_some(1);
	deferred_done();
	for (unsigned i = 0; i < SIZES; i++)
		for (unsigned k = 0; k < (sizes[i] < 10000 ? 40 : 1); k++) {
			void *object = qslab_calloc(1, sizes[i]);
			REQUIRE(object);
			check_zero(object, sizes[i]);
			content_put(object, sizes[i], k);
			content_check(object, sizes[i], k);
			qslab_free(object);
		}
	deferred_all_ways(9);
	deferred_done();
	qslab_trim();
	qslab_memory(&memory);
	REQUIRE(memory.heaps <= 4); /* this thread's, one more's, and that of threads at their ends */
	if (!getenv("QSLAB_RCU_DEBUG")) { /* there objects in quarantine count as live */
		REQUIRE(memory.live_large == 0);
		REQUIRE(memory.live == 0);
	}
}

static int visit(void *object, size_t size, enum qslab_object_state state, void *found)
{
	(void)object, (void)size;
	*(size_t *)found += state == QSLAB_OBJECT_LIVE;
	return 0;
}

static void fork_and_go_on(void)
{
	deferred_all_ways(4);
	pid_t child = fork();
	REQUIRE(child >= 0);
	if (child == 0) {
		alarm(60);
		check_all();
		allocate(1);
		deferred_all_ways(5);
		caches_run();
		finish();
		exit(0);
	}
	int status;
	deferred_all_ways(6);
	allocate(1);
	urcu_qsbr_thread_offline();
	REQUIRE(waitpid(child, &status, 0) == child);
	urcu_qsbr_thread_online();
	REQUIRE(status == 0);
}

void workload_run(void)
{
	size_t live = 0;

	debug_mode();
	allocate(2);
	reuse_large();
	urcu_qsbr_register_thread();
	caches_run();
	deferred_run();
	threads();
	fork_and_go_on();
	threads();
	errno = 0;
	long walked = qslab_heap_walk(NULL, visit, &live);
	REQUIRE(walked >= 0 || (errno == ENOMEM && fault_happened()));
	finish();
	live = 0;
	REQUIRE(qslab_heap_walk(NULL, visit, &live) >= 0 && live == 0);
	urcu_qsbr_unregister_thread();
}
