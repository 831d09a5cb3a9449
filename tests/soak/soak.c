#define _GNU_SOURCE
#include "soak.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Of RSS: once memory has been given back, and before, when as much as spans hold and QSLAB_RETAIN may be kept for a
 * program that swings. The hardened mode has quarantines, takes objects from slabs at random, and counts 256 MiB of
 * addresses that it protects among what spans hold. Not in the debug mode: records of addresses are never removed.
 */
#define BOUND(live, mapped) ((live) / 10 * 13 + MAPS(mapped) + (exact ? 64 : 128) * MIB)
/* The budget (alloc/span.h). */
#define BOUND_KEPT(live, mapped, spans) (BOUND(live, mapped) + (spans) / 32 * 65 + (exact ? 324 : 580) * MIB)
#define FLAT (4 * MIB) /* no more growth than this, and three standard errors */
/* Addresses, by the most that waited at once and the most seen live beside it: looks are seldom, it was more in between. */
#define BOUND_MAPPED(demand) (4 * (demand) + 512 * MIB)
enum { THREADS_MOST = 256, LINE_SECONDS = 10, FIT_LEAST = 12 }; /* fewer phases say nothing about growth */

static const struct mode {
	const char *name, *variable, *value;
} modes[] = {
	{"default", NULL, NULL},
	{"harden", "QSLAB_HARDEN", "1"},
	{"profile", "QSLAB_PROFILE", "64K"},
	{"debug", "QSLAB_RCU_DEBUG", "1"},
};

bool debug_mode, exact;
atomic_ulong count_lives;

static const char *checks, *tool;
static int log_file = STDOUT_FILENO;
static double begin;
static unsigned long phases, rss_most;
static size_t held_most, demand, mapped;

/* ---- threads ---- */

static void *family_once(void *number)
{
	family_life((uintptr_t)number);
	return NULL;
}

static void *caches_once(void *number)
{
	caches_life((uintptr_t)number);
	return NULL;
}

/* Lives one after the other, each in a thread of its own. */
static void relay(uint64_t random, void *(*life)(void *))
{
	while (!atomic_load(&stop)) {
		unsigned before = atomic_load(&limits);
		pthread_t thread;
		if (pthread_create(&thread, NULL, life, (void *)(uintptr_t)(next_random(&random) | 1))) {
			null_explained(before, 0);
			sleep_us(1000, true);
			continue;
		}
		pthread_join(thread, NULL);
		atomic_fetch_add(&count_lives, 1);
	}
}

static void *families(void *number)
{
	relay(seed + (uintptr_t)number, family_once);
	return NULL;
}

static void *cachers(void *number)
{
	relay(seed + (uintptr_t)number, caches_once);
	return NULL;
}

static void *(*const kinds[])(void *) = {reader, updater, families, cachers, reader, spawner, families, flooder};

void demand_look(void)
{
	struct qslab_memory memory;
	struct qslab_rcu_stats rcu;

	qslab_memory(&memory);
	qslab_rcu_stats(&rcu);
	size_t held = memory.live > rcu.waiting_bytes ? memory.live - rcu.waiting_bytes : 0;
	held_most = held > held_most ? held : held_most;
	demand = held_most + rcu.peak_bytes;
}

/* ---- the log ---- */

static void __attribute__((format(printf, 1, 2))) note(const char *format, ...)
{
	char line[600];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (write(log_file, line, (size_t)length) != length)
		fail(LOSS, "soak: the log cannot be written: %m");
}

static void note_counts(const char *what)
{
	struct qslab_rcu_stats rcu;
	struct qslab_memory memory;
	struct stat by_tool = {.st_size = 0};

	qslab_rcu_stats(&rcu);
	qslab_memory(&memory);
	if (checks)
		stat(checks, &by_tool);
	note("%6.0f %-5s ops %lu, threads %lu, forks %lu, signals %lu, spikes %lu, guests %lu, NULLs %lu in %lu limits, RSS %zu MiB, "
	     "live %zu, waiting %lu, grace periods %lu, phases %lu, checks %lu\n", seconds() - begin, what,
	     count_reads + count_replaced + count_family + count_cached, count_threads + count_lives, count_forks,
	     count_signals, count_spikes, count_guests, count_nulls, count_limits, resident() >> 20, memory.live >> 20,
	     (unsigned long)rcu.waiting_bytes >> 20, (unsigned long)rcu.completed, phases, (unsigned long)by_tool.st_size);
}

/* Where the memory is, into the log. */
static void explain(void)
{
	char self[24];
	char *arguments[] = {(char *)"qslab", (char *)"stat", self, NULL};
	posix_spawn_file_actions_t actions;
	pid_t child;

	if (!tool)
		return;
	snprintf(self, sizeof self, "%d", (int)getpid());
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, log_file, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, log_file, STDERR_FILENO);
	if (posix_spawn(&child, tool, &actions, NULL, arguments, NULL) || waitpid(child, NULL, 0) != child)
		note("%s cannot be run\n", tool);
	posix_spawn_file_actions_destroy(&actions);
}

/* ---- phases ---- */

static void busy(double length, unsigned count, uint64_t *random)
{
	static unsigned events;
	static double noted;
	pthread_t threads[THREADS_MOST];

	atomic_store(&stop, false);
	seed = next_random(random);
	for (uintptr_t i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, kinds[i % 8], (void *)i))
			fail(HANG, "soak: no thread");
	signals_start(200 + next_random(random) % 800);
	for (double end = seconds() + length; seconds() < end;) {
		check_progress();
		event(events++, random, 4 * count + 64);
		demand_look();
		doing = "the threads' work";
		sleep_us(next_random(random) % 300000, false);
		if (seconds() > noted + LINE_SECONDS) {
			noted = seconds();
			note_counts("busy");
		}
	}
	doing = "the threads' ends";
	check_progress();
	atomic_store(&stop, true);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	signals_stop();
}

static volatile sig_atomic_t ended; /* by SIGTERM: the phase in hand is the last, and judged as any */

static void end_early(int signal)
{
	(void)signal;
	ended = 1;
}

static void run(double length, unsigned count, uint64_t random)
{
	double longest = length / 4 < 16 ? length / 4 : 16;

	caches_init();
	elements_init();
	begin = seconds();
	quiet_warm(length / 4);
	for (double left; !ended && (left = begin + length - seconds()) > 1;) {
		double next = longest * (0.3 + (double)(next_random(&random) % 70) / 100);
		busy(next < left ? next : left, count, &random);
		if (next_random(&random) % 2)
			spike(&random);
		struct quiet now = quiet(2 + (double)(next_random(&random) % 1000) / 1000);
		phases++;
		rss_most = now.rss > rss_most ? now.rss : rss_most;
		size_t live = now.memory.live, spans = live + now.memory.slab_free + now.memory.magazines;
		note("%6.0f quiet live %zu MiB, RSS %zu, trimmed %zu; free in slabs %zu, in magazines %zu, cached %zu, in the source %zu, "
		     "metadata %zu\n", seconds() - begin, live / MIB, now.kept / MIB, now.rss / MIB, now.memory.slab_free / MIB,
		     now.memory.magazines / MIB, now.memory.span_cache / MIB, now.memory.source_free / MIB,
		     now.memory.metadata / MIB);
		mapped = now.memory.mapped;
		if (debug_mode || (now.rss <= BOUND(live, mapped) && now.kept <= BOUND_KEPT(live, mapped, spans)))
			continue;
		explain();
		fail(LOSS, "soak: %zu MiB resident, %zu after a trim, for %zu MiB live", now.kept / MIB, now.rss / MIB, live / MIB);
	}
	struct fit fit = quiet_fit();
	note_counts("end");
	note("%u quiet phases: RSS beyond live and maps grew by %.2f MiB, +- %.2f; most RSS %lu MiB; addresses %zu MiB, for up to %zu "
	     "in demand\n", fit.phases, fit.growth / MIB, fit.error / MIB, rss_most >> 20, mapped / MIB, demand / MIB);
	if (!debug_mode && fit.phases >= FIT_LEAST && fit.growth - 3 * fit.error > FLAT)
		fail(LOSS, "soak: RSS grows: %.1f MiB in %.0f s", fit.growth / MIB, seconds() - begin);
	if (!debug_mode && mapped > BOUND_MAPPED(demand))
		fail(LOSS, "soak: %zu MiB of addresses for %zu MiB", mapped / MIB, demand / MIB);
	if (!count_nulls || !count_forks || !count_signals || !count_spikes || !count_guests)
		fail(LOSS, "soak: too short: something never happened");
	note("good\n");
}

int main(int count, char **arguments)
{
	const struct mode *mode = modes;
	double length = 0;
	uint64_t number = 1;
	const char *log = NULL;

	for (int i = 1; i < count; i += 2) {
		const char *name = arguments[i], *value = i + 1 < count ? arguments[i + 1] : "";
		if (strcmp(name, "--seconds") == 0)
			length = atof(value);
		else if (strcmp(name, "--seed") == 0)
			number = strtoull(value, NULL, 0);
		else if (strcmp(name, "--log") == 0)
			log = value;
		else if (strcmp(name, "--checks") == 0)
			checks = value;
		else if (strcmp(name, "--tool") == 0)
			tool = value;
		else
			for (mode = modes; mode < modes + 4 && (strcmp(name, "--mode") || strcmp(mode->name, value));)
				mode++;
		if (mode == modes + 4)
			break;
	}
	if (length <= 0 || mode == modes + 4) {
		fprintf(stderr, "usage: soak --seconds N [--seed S] [--mode default|harden|profile|debug] [--log FILE] "
		        "[--checks FILE] [--tool QSLAB]\n");
		return 64;
	}
	if (!getenv("SOAK_STARTED")) {
		setenv("SOAK_STARTED", "1", 1);
		setenv("LD_PRELOAD", PRELOAD, 1);
		setenv("QSLAB_RCU_STALL", "60", 1);
		if (mode->variable)
			setenv(mode->variable, mode->value, 1);
		execvp(arguments[0], arguments);
		fail(LOSS, "soak: cannot be started anew: %m");
	}
	if (log && (log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0)
		fail(LOSS, "soak: %s: %m", log);
	debug_mode = strcmp(mode->name, "debug") == 0;
	exact = mode == modes || strcmp(mode->name, "profile") == 0;
	handlers_install();
	signal(SIGTERM, end_early);
	qslab_rcu_set_limits(16 * MIB, 96 * MIB, NULL);
	alarm(120);
	unsigned threads = 4 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	threads = threads < 8 ? 8 : threads > THREADS_MOST ? THREADS_MOST : threads;
	note("soak --seconds %g --seed %lu --mode %s: process %d, %u threads beside those that come and go\n", length,
	     (unsigned long)number, mode->name, (int)getpid(), threads);
	run(length, threads, number * 0x9e3779b97f4a7c15u | 1);
	return GOOD;
}
