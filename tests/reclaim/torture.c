#define _GNU_SOURCE
#include "torture.h"

#ifdef QSLAB_TEST
#include "tests/planted.h"
#endif

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READERS = 4, UPDATERS = 3, FLOODERS = 1, SPAWNERS = 1, THREADS = READERS + UPDATERS + FLOODERS + SPAWNERS };

extern const struct rcu_flavor_struct urcu_memb_flavor, urcu_mb_flavor, urcu_bp_flavor;

static const struct {
	const char *name;
	const struct rcu_flavor_struct *flavor;
} flavors[] = {{"qsbr", &urcu_qsbr_flavor}, {"memb", &urcu_memb_flavor}, {"mb", &urcu_mb_flavor}, {"bp", &urcu_bp_flavor}};

static bool forks = true;
static atomic_ulong crossings;

static void on_hard_limit(size_t bytes)
{
	(void)bytes;
	atomic_fetch_add(&crossings, 1);
}

/* ---- the account ---- */

static void account(size_t live_before, uint64_t retired_before)
{
	struct qslab_rcu_stats now;
	struct qslab_memory memory;
	unsigned long retired = count_retired + count_flooded;

	doing = "barrier at the end";
	qslab_rcu_barrier();
	qslab_rcu_stats(&now);
	qslab_memory(&memory);
	if (now.waiting || now.waiting_bytes || now.retired != now.reclaimed)
		fail(LOSS, "torture: lost: retired %lu, reclaimed %lu, waiting %lu of %lu bytes", (unsigned long)now.retired,
		     (unsigned long)now.reclaimed, (unsigned long)now.waiting, (unsigned long)now.waiting_bytes);
	unsigned long counted = now.retired - retired_before; /* what is freed at once after a cookie need not count */
	if (counted > retired || counted + count_polled < retired)
		fail(LOSS, "torture: lost: the library saw %lu of %lu retired", counted, retired);
	if (memory.live != live_before + elements_bytes())
		fail(LOSS, "torture: lost: %zu bytes live, not %zu", memory.live, live_before + elements_bytes());
	for (int i = 0; now.over_hard != crossings && i < 1000; i++)
		sleep_us(20000, false); /* qslab's own thread may be about to call it */
	if (now.over_hard != crossings)
		fail(LOSS, "torture: %lu crossings of the hard limit, the callback saw %lu", (unsigned long)now.over_hard,
		     (unsigned long)crossings);
	for (unsigned s = 0; s < SLOTS; s++) {
		struct hold hold = element_hold(s, "the end");
		element_check(&hold, "the end");
		qslab_free_rcu_mightsleep(atomic_exchange(&slots[s].current, NULL));
		qslab_free(atomic_exchange(&slots[s].ammunition, NULL));
	}
	qslab_rcu_barrier();
	qslab_memory(&memory);
	if (memory.live != live_before)
		fail(LOSS, "torture: lost: %zu bytes live at the end, %zu at the start", memory.live, live_before);
	printf("torture: good: %lu reads, %lu of them long, %lu retired, %lu flooded, %lu short threads, %lu signals; "
	       "%lu grace periods, peak %lu MiB, %lu exchanged, %lu flushed, %lu chained, %lu stalls\n", count_reads,
	       count_long, count_retired, count_flooded, count_threads, count_signals, (unsigned long)now.completed,
	       (unsigned long)now.peak_bytes >> 20, (unsigned long)now.exchanged, (unsigned long)now.flushed,
	       (unsigned long)now.chained, (unsigned long)now.stalls);
}

static void run(double length)
{
	void *(*const kinds[])(void *) = {reader, updater, flooder, spawner};
	const int counts[] = {READERS, UPDATERS, FLOODERS, SPAWNERS};
	struct qslab_rcu_stats before;
	struct qslab_memory memory;
	pthread_t threads[THREADS];
	uint64_t random = seed | 1;
	int running = 0;

	qslab_rcu_barrier();
	qslab_rcu_stats(&before);
	qslab_memory(&memory);
	elements_init();
	for (int kind = 0; kind < 4; kind++)
		for (int i = 0; i < counts[kind]; i++)
			if (pthread_create(&threads[running++], NULL, kinds[kind], (void *)(uintptr_t)i))
				fail(HANG, "torture: no thread");
	signals_start(SANITIZED ? 5000 : 500);
	for (double end = seconds() + length; seconds() < end;) {
		doing = "fork";
		sleep_us(200000 + next_random(&random) % 1500000, false);
		if (forks && flavor != &urcu_bp_flavor && !SANITIZED)
			fork_once(&random, THREADS + 4);
		check_progress();
	}
	doing = "the threads' ends";
	atomic_store(&stop, true);
	for (int i = 0; i < running; i++)
		pthread_join(threads[i], NULL);
	signals_stop();
	account(memory.live, before.retired);
}

int main(int count, char **arguments)
{
	const char *soak = getenv("QSLAB_SOAK");
	double length = soak ? 3600 * atof(soak) : 20;

	for (int i = 1; i < count; i++) {
		if (i + 1 < count && strcmp(arguments[i], "--seconds") == 0) {
			length = atof(arguments[++i]);
		} else if (i + 1 < count && strcmp(arguments[i], "--soak") == 0) {
			length = 3600 * atof(arguments[++i]);
		} else if (i + 1 < count && strcmp(arguments[i], "--flavor") == 0) {
			flavor = NULL;
			for (int f = 0; f < 4; f++)
				if (strcmp(arguments[i + 1], flavors[f].name) == 0)
					flavor = flavors[f].flavor;
			i++;
		} else if (strcmp(arguments[i], "--no-forks") == 0) {
			forks = false;
		} else if (strcmp(arguments[i], "--brisk") == 0) {
			brisk = true;
#ifdef QSLAB_TEST
		} else if (i + 1 < count && strcmp(arguments[i], "--plant") == 0 && plant(arguments[i + 1])) {
			i++;
#endif
		} else {
			flavor = NULL;
		}
	}
	if (!flavor || length <= 0) {
		fprintf(stderr, "usage: torture [--seconds N | --soak HOURS] [--flavor qsbr|memb|mb|bp] [--brisk] [--no-forks]\n");
		return 64;
	}
	if (flavor != &urcu_qsbr_flavor && qslab_rcu_set_flavor(flavor))
		fail(LOSS, "torture: flavour refused");
	handlers_install();
	seed = (uint64_t)(seconds() * 1e9);
	qslab_rcu_set_limits((size_t)16 << 20, (size_t)96 << 20, on_hard_limit);
	alarm(120);
	qslab_free(qslab_malloc(1));
	run(length);
	return GOOD;
}
