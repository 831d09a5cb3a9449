#define _GNU_SOURCE
#include "soak.h"

#include <malloc.h>
#include <math.h>
#include <qslab/stats.h>
#include <unistd.h>

/* libc's own: threads' vectors of TLS, buffers. */
enum { LIBC = 256 << 10, QUARANTINE = 24 << 20 };

struct sums {
	size_t live, deferred;
};

/* Of phase k at second x, y is what is resident beyond live and MAPS. Written in quiet phases, by the main thread. */
static double begin, from = 1e300, first_x, last_x;
static double count, sum_x, sum_y, sum_xx, sum_xy, sum_yy;

size_t resident(void)
{
	size_t pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	if (!file || fscanf(file, "%*u %zu", &pages) != 1)
		fail(LOSS, "soak: no /proc/self/statm");
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static int visit(void *object, size_t size, enum qslab_object_state state, void *argument)
{
	struct sums *sums = argument;
	(void)object;
	*(state == QSLAB_OBJECT_LIVE ? &sums->live : &sums->deferred) += size;
	return 0;
}

/* Everything is live or free; what is live is what the program holds, and what libc held at the first time. */
static void identities(struct qslab_memory *memory)
{
	static size_t libc;
	struct qslab_rcu_stats rcu;
	struct sums walked = {0};
	size_t held = elements_usable() + family_bytes() + caches_bytes();

	qslab_rcu_barrier();
	qslab_rcu_stats(&rcu);
	qslab_memory(memory);
	if (rcu.waiting || rcu.waiting_bytes || rcu.retired != rcu.reclaimed)
		fail(LOSS, "soak: retired %lu, reclaimed %lu, waiting %lu of %lu bytes after a barrier", (unsigned long)rcu.retired,
		     (unsigned long)rcu.reclaimed, (unsigned long)rcu.waiting, (unsigned long)rcu.waiting_bytes);
	if (rcu.stalls)
		fail(HANG, "soak: a grace period stalled");
	if (qslab_heap_walk(NULL, visit, &walked) < 0)
		fail(LOSS, "soak: the heap walk failed");
	if ((exact ? walked.live != memory->live : walked.live > memory->live) || walked.deferred)
		fail(LOSS, "soak: %zu bytes live, the walk found %zu, and %zu deferred", memory->live, walked.live, walked.deferred);
	if (!libc)
		libc = walked.live - held;
	if (walked.live < held || walked.live - held > libc + LIBC + (exact ? 0 : QUARANTINE))
		fail(LOSS, "soak: lost: %zu bytes live, %zu held, and %zu more at first", walked.live, held, libc);
	for (unsigned s = 0; s < SLOTS; s++) {
		struct hold hold = element_hold(s, "quiet phase");
		element_check(&hold, "quiet phase");
	}
}

void quiet_warm(double warm)
{
	begin = seconds();
	from = begin + warm;
}

static void take_in(double rest)
{
	double x = seconds() - begin;
	if (begin + x < from)
		return;
	if (count == 0)
		first_x = x;
	last_x = x;
	count++;
	sum_x += x, sum_y += rest;
	sum_xx += x * x, sum_xy += x * rest, sum_yy += rest * rest;
}

struct quiet quiet(double idle)
{
	struct quiet now;

	doing = "a quiet phase";
	identities(&now.memory);
	sleep_us((uint64_t)(idle * 1e6), false);
	now.kept = resident();
	malloc_trim(0);
	now.rss = resident();
	take_in((double)now.rss - (double)now.memory.live - (double)MAPS(now.memory.mapped));
	return now;
}

struct fit quiet_fit(void)
{
	struct fit fit = {(unsigned)count, 0, 0};
	double xx = sum_xx - sum_x * sum_x / count, xy = sum_xy - sum_x * sum_y / count, yy = sum_yy - sum_y * sum_y / count;

	if (count < 3)
		return fit;
	double slope = xy / xx, left = yy - slope * xy;
	fit.growth = slope * (last_x - first_x);
	fit.error = sqrt((left > 0 ? left : 0) / (count - 2) / xx) * (last_x - first_x);
	return fit;
}
