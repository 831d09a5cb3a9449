/*
 * A process whose memory has one known ailment, for `qslab why` and its like. It says on stdout, as one line of
 * JSON, what is to be found, and stays until its stdin ends.
 *
 *     patient fragmented    of many objects of one size, and of a cache, one of each hundred is left
 *     patient leaking       objects of one size are allocated and never freed
 *     patient stalled       a reader sleeps without being quiescent; objects wait for it
 *     patient hoarding      a thread keeps free objects in its magazines
 *     patient caching       freed memory is kept for reuse
 *     patient healthy       nothing of this
 *     patient sites         objects that live, wait for a grace period, or pin slabs, each from a function of its own
 *     patient swinging      takes memory and gives it back, as fast as it can
 *     patient replacing     frees and allocates objects that are few to a slab, so that slabs' lists change all the time
 *     patient growing       grows to half a GiB, in a second or two, once its stdin says so
 *     patient layout        slabs of one size, each as full as it says; large objects
 */
#define _GNU_SOURCE
#include <qslab/cache.h>
#include <qslab/qslab.h>
#include <qslab/rcu.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

static void *object(size_t size)
{
	void *new = qslab_malloc(size);
	memset(new, 1, size);
	return new;
}

static void wait_for_end(void)
{
	char byte;
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
}

static void nap(long milliseconds)
{
	nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

static void fragmented(void)
{
	enum { COUNT = 200000, SIZE = 256, STEP = 100, ROUTES = 40000, ROUTE = 96 };
	static void *all[COUNT];

	for (unsigned i = 0; i < COUNT; i++)
		all[i] = object(SIZE);
	for (unsigned i = 0; i < COUNT; i++)
		if (i % STEP)
			qslab_free(all[i]);
	struct qslab_cache *routes = qslab_cache_create("route", ROUTE, 0, QSLAB_CACHE_ISOLATE, NULL);
	for (unsigned i = 0; i < ROUTES; i++)
		all[i] = memset(qslab_cache_alloc(routes), 1, ROUTE);
	for (unsigned i = 0; i < ROUTES; i++)
		if (i % STEP)
			qslab_cache_free(routes, all[i]);
	printf("{\"size\": %d, \"left\": %d, \"routes\": %d}\n", SIZE, COUNT / STEP, ROUTES / STEP);
	wait_for_end();
}

static void *leak(void *nothing)
{
	for (;;) {
		for (unsigned i = 0; i < 1000; i++)
			object(48);
		nap(10);
	}
	return nothing;
}

static void leaking(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, leak, NULL);
	puts("{\"size\": 48}");
	wait_for_end();
	_exit(0);
}

static pthread_barrier_t begun;
static int reader_tid;

static void *sleep_as_reader(void *nothing)
{
	urcu_qsbr_register_thread();
	pthread_setname_np(pthread_self(), "slow-reader");
	reader_tid = (int)gettid();
	pthread_barrier_wait(&begun);
	pause();
	return nothing;
}

static void stalled(void)
{
	enum { COUNT = 3000, SIZE = 1024 };
	pthread_t thread;

	pthread_barrier_init(&begun, NULL, 2);
	pthread_create(&thread, NULL, sleep_as_reader, NULL);
	pthread_barrier_wait(&begun);
	for (unsigned i = 0; i < COUNT; i++) {
		struct rcu_ptr *retired = object(SIZE);
		qslab_free_rcu_link(retired, retired);
	}
	printf("{\"tid\": %d, \"objects\": %d, \"bytes\": %d}\n", reader_tid, COUNT, COUNT * SIZE);
	wait_for_end();
	_exit(0);
}

static void *hoard(void *nothing)
{
	enum { COUNT = 64 };
	void *mine[COUNT];

	pthread_setname_np(pthread_self(), "hoarder");
	reader_tid = (int)gettid();
	for (size_t size = 1024; size <= 256 << 10; size += size / 5)
		for (unsigned turn = 0; turn < 50; turn++) { /* its magazine grows */
			for (unsigned i = 0; i < COUNT; i++)
				mine[i] = object(size);
			for (unsigned i = 0; i < COUNT; i++)
				qslab_free(mine[i]);
		}
	pthread_barrier_wait(&begun);
	pause();
	return nothing;
}

static void hoarding(void)
{
	pthread_t thread;
	void *live = qslab_malloc((size_t)4 << 30); /* untouched; beside so much nothing is purged, which would empty magazines */

	pthread_barrier_init(&begun, NULL, 2);
	pthread_create(&thread, NULL, hoard, NULL);
	pthread_barrier_wait(&begun);
	qslab_free(live);
	qslab_trim();
	printf("{\"tid\": %d}\n", reader_tid);
	wait_for_end();
	_exit(0);
}

static void caching(void)
{
	void *all[40];

	for (unsigned turn = 0; turn < 3; turn++) { /* it swings, so it is worth keeping */
		for (unsigned i = 0; i < 40; i++)
			all[i] = object(400000);
		for (unsigned i = 0; i < 40; i++)
			qslab_free(all[i]);
	}
	puts("{}");
	wait_for_end();
}

static void healthy(void)
{
	for (unsigned i = 0; i < 40000; i++)
		object(16 + i % 500);
	puts("{}");
	wait_for_end();
}

/* ---- sites ------------------------------------------------------------------------------------------------------- */

#define SITE __attribute__((noinline))

/* Not tail calls: each is to be on the stack. */
SITE void *keep_live(size_t size)
{
	return memset(qslab_malloc(size), 1, size);
}

SITE void *keep_waiting(size_t size)
{
	return memset(qslab_malloc(size), 2, size);
}

SITE void *keep_pinning(size_t size)
{
	return memset(qslab_malloc(size), 3, size);
}

SITE void *keep_briefly(size_t size)
{
	return memset(qslab_calloc(1, size), 4, size);
}

static void sites(void)
{
	enum { LIVE = 4000, LIVE_SIZE = 1024, WAITING = 4000, WAITING_SIZE = 512, BRIEF = 100000, STEP = 100, PIN = 256 };
	static void *brief[BRIEF];
	pthread_t thread;

	pthread_barrier_init(&begun, NULL, 2);
	pthread_create(&thread, NULL, sleep_as_reader, NULL);
	pthread_barrier_wait(&begun);
	for (unsigned i = 0; i < LIVE; i++)
		keep_live(LIVE_SIZE);
	for (unsigned i = 0; i < WAITING; i++) {
		struct rcu_ptr *retired = keep_waiting(WAITING_SIZE);
		qslab_free_rcu_link(retired, retired);
	}
	for (unsigned i = 0; i < BRIEF; i++)
		brief[i] = i % STEP ? keep_briefly(PIN) : keep_pinning(PIN);
	for (unsigned i = 0; i < BRIEF; i++)
		if (i % STEP)
			qslab_free(brief[i]);
	qslab_trim();
	struct qslab_cache *routes = qslab_cache_create("route", 96, 0, QSLAB_CACHE_ISOLATE, NULL);
	for (unsigned i = 0; i < 1000; i++)
		memset(qslab_cache_alloc(routes), 1, 96);
	printf("{\"live\": %d, \"waiting\": %d, \"pinning\": %d, \"pinned\": %d, \"routes\": 96000}\n", LIVE * LIVE_SIZE,
	       WAITING * WAITING_SIZE, BRIEF / STEP * PIN, BRIEF / STEP * 4096 /* a page each: the others go back */);
	wait_for_end();
	_exit(0);
}

/* ---- swinging ---------------------------------------------------------------------------------------------------- */

static void *swing(void *nothing)
{
	static void *all[400];

	for (;;) {
		for (unsigned i = 0; i < 400; i++)
			all[i] = object(200000);
		for (unsigned i = 0; i < 400; i++)
			qslab_free(all[i]);
		qslab_trim();
	}
	return nothing;
}

/* Beside so many small objects, which take a while to read. */
static void restless(unsigned objects, void *(*run)(void *nothing))
{
	pthread_t thread;

	for (unsigned i = 0; i < objects; i++)
		object(16 + i % 500);
	pthread_create(&thread, NULL, run, NULL);
	puts("{}");
	wait_for_end();
	_exit(0);
}

static void swinging(void)
{
	restless(40000, swing);
}

static void *replace(void *nothing)
{
	static void *all[2000];
	unsigned random = 1;

	for (;;) {
		for (unsigned i = 0; i < 300; i++) {
			random = random * 1103515245 + 12345;
			unsigned slot = (random >> 8) % 2000;
			qslab_free(all[slot]);
			all[slot] = NULL;
		}
		usleep(500);
		for (unsigned i = 0; i < 2000; i++)
			if (!all[i])
				all[i] = qslab_malloc(16384);
		usleep(500);
	}
	return nothing;
}

static void replacing(void)
{
	restless(1000000, replace);
}

static void *grow(void *nothing)
{
	for (unsigned i = 0; i < 512; i++) {
		for (unsigned j = 0; j < 1024; j++)
			object(1024);
		nap(2);
	}
	return nothing;
}

static void growing(void)
{
	pthread_t thread;
	char byte;

	puts("{}");
	fflush(stdout);
	if (read(STDIN_FILENO, &byte, 1) == 1)
		pthread_create(&thread, NULL, grow, NULL);
	wait_for_end();
	_exit(0);
}

/* Objects of one size; of each share's run of them, so many of four stay. */
static void layout(void)
{
	enum { RUN = 4096, SIZE = 1024 };
	static void *all[5][RUN];

	for (unsigned share = 0; share <= 4; share++)
		for (unsigned i = 0; i < RUN; i++)
			all[share][i] = object(SIZE);
	char *large = object(5 << 20);
	for (unsigned share = 0; share <= 4; share++)
		for (unsigned i = 0; i < RUN; i++)
			if ((uintptr_t)all[share][i] / SIZE % 4 >= share)
				qslab_free(all[share][i]);
	printf("{\"size\": %d, \"large\": %lu, \"large_bytes\": %d, \"runs\": [", SIZE, (uintptr_t)large, 5 << 20);
	for (unsigned share = 0; share <= 4; share++)
		printf("%s%lu", share ? ", " : "", (uintptr_t)all[share][RUN / 2]);
	puts("]}");
	wait_for_end();
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {{"fragmented", fragmented}, {"leaking", leaking}, {"stalled", stalled}, {"hoarding", hoarding},
	             {"caching", caching}, {"healthy", healthy}, {"sites", sites}, {"layout", layout},
	             {"swinging", swinging}, {"replacing", replacing}, {"growing", growing}};

	for (unsigned i = 0; count == 2 && i < sizeof modes / sizeof *modes; i++)
		if (!strcmp(arguments[1], modes[i].name)) {
			modes[i].run();
			return 0;
		}
	return 2;
}
