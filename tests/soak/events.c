#define _GNU_SOURCE
#include "soak.h"
#include "../preload/guest/guest.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <qslab/stats.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

atomic_ulong count_forks, count_spikes, count_limits, count_guests;

/* ---- spikes ---- */

/* By its first word each names the next. */
static void *free_list(void *list)
{
	while (list) {
		void *next = *(void **)list;
		free(list);
		list = next;
	}
	return NULL;
}

static void *retire_list(void *list)
{
	while (list) {
		void *next = *(void **)list;
		qslab_free_rcu_mightsleep(list);
		atomic_fetch_add_explicit(&count_retired, 1, memory_order_relaxed);
		list = next;
	}
	return NULL;
}

void spike(uint64_t *random)
{
	static const size_t sizes[] = {48, 300, 2000, 9000, 70000, MIB, 0};
	void *(*const ways[])(void *) = {free_list, retire_list};
	size_t size = sizes[next_random(random) % (sizeof sizes / sizeof *sizes)], bytes = 0;
	size_t most = (64 + next_random(random) % 320) * MIB, objects = debug_mode ? 100000 : 2000000;
	void *list = NULL;
	pthread_t thread;

	while (bytes < most && objects--) {
		size_t mine = size ? size : sizeof list + draw_size(random);
		void **object = memset(obtain(mine), 0x5a, mine);
		*object = list;
		list = object;
		bytes += mine;
	}
	demand_look();
	uint64_t r = next_random(random);
	if (r % 2)
		sleep_us((r >> 8) % 700000, true);
	if ((r >> 1) % 2 && pthread_create(&thread, NULL, ways[(r >> 2) % 2], list) == 0)
		pthread_join(thread, NULL);
	else
		ways[(r >> 2) % 2](list);
	atomic_fetch_add(&count_spikes, 1);
}

/* ---- limits ---- */

static size_t address_space(void)
{
	size_t pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	if (!file || fscanf(file, "%zu", &pages) != 1)
		fail(LOSS, "soak: no /proc/self/statm");
	fclose(file);
	return pages * 4096;
}

/* Little more than is mapped now, for all threads, until some allocations have failed. */
static void limit(uint64_t *random)
{
	enum { MOST = 4096, WIDE_LIMITS = 5 };
	static void *objects[MOST];
	/* Each fills all there is, and the room: with more of it the process would need more addresses each time, for ever. */
	size_t room = atomic_load(&count_limits) < WIDE_LIMITS ? (8 + next_random(random) % 56) * MIB : MIB;
	size_t count = 0, size = (size_t)65536 << next_random(random) % 6;
	struct rlimit old;

	getrlimit(RLIMIT_AS, &old);
	size_t most = address_space() + room;
	atomic_fetch_add(&limits, 1);
	if (setrlimit(RLIMIT_AS, &(struct rlimit){most, old.rlim_max}))
		fail(LOSS, "soak: no limit can be set: %m");
	while (count < MOST && (objects[count] = malloc(size)))
		count++;
	if (count < MOST && errno != ENOMEM)
		fail(LOSS, "soak: malloc failed with another error than ENOMEM: %m");
	if (count < MOST)
		atomic_fetch_add(&count_nulls, 1);
	sleep_us(100000 + next_random(random) % 700000, true);
	while (count)
		free(objects[--count]);
	if (setrlimit(RLIMIT_AS, &old))
		fail(LOSS, "soak: the limit cannot be lifted: %m");
	atomic_fetch_add(&limits, 1);
	atomic_fetch_add(&count_limits, 1);
}

/* ---- guests, and looks from inside ---- */

static void guests(void)
{
	static int round;
	for (int i = 0; i < 9; i++)
		guest_visit(GUESTS "0.so", round++);
	if (guest_errors)
		fail(EARLY, "soak: %d objects of guests have changed", guest_errors);
	atomic_fetch_add(&count_guests, 9);
}

static int visit(void *object, size_t size, enum qslab_object_state state, void *bytes)
{
	(void)object, (void)state;
	*(size_t *)bytes += size;
	return 0;
}

static void look(void)
{
	static char text[1 << 16];
	struct qslab_stats stats;
	size_t bytes = 0;

	if (qslab_heap_walk(NULL, visit, &bytes) <= 0)
		fail(LOSS, "soak: the heap walk failed");
	qslab_stats(&stats, sizeof stats);
	if (!qslab_stats_json(text, sizeof text) || !qslab_stats_prometheus(text, sizeof text))
		fail(LOSS, "soak: no statistics");
	malloc_trim(0);
}

void event(unsigned number, uint64_t *random, unsigned inside)
{
	switch (number % 8) {
	case 0:
		doing = "a spike";
		spike(random);
		break;
	case 3:
		doing = "a limit";
		limit(random);
		break;
	case 5:
		doing = "guests";
		guests();
		break;
	case 6:
		doing = "a look";
		look();
		break;
	default:
		doing = "fork";
		fork_once(random, inside);
		atomic_fetch_add(&count_forks, 1);
	}
}
