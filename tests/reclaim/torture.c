#define _GNU_SOURCE
#include "torture.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READERS = 4, UPDATERS = 3, FLOODERS = 1, SPAWNERS = 1, THREADS = READERS + UPDATERS + FLOODERS + SPAWNERS };

extern const struct rcu_flavor_struct urcu_qsbr_flavor, urcu_memb_flavor, urcu_mb_flavor, urcu_bp_flavor;

static const struct {
	const char *name;
	const struct rcu_flavor_struct *flavor;
} flavors[] = {{"qsbr", &urcu_qsbr_flavor}, {"memb", &urcu_memb_flavor}, {"mb", &urcu_mb_flavor}, {"bp", &urcu_bp_flavor}};

const struct rcu_flavor_struct *flavor = &urcu_qsbr_flavor;
atomic_ulong count_signals;
static atomic_ulong crossings;
static const char *volatile doing = "the first barrier";

static void on_hard_limit(size_t bytes)
{
	(void)bytes;
	atomic_fetch_add(&crossings, 1);
}

/* ---- signals ---- */

static void on_signal(int number)
{
	(void)number;
	static atomic_uint next;
	atomic_fetch_add_explicit(&count_signals, 1, memory_order_relaxed);
	for (int i = 0; i < 4; i++)
		element_replace_in_handler(atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % SLOTS);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (reading)
		fail(EARLY, "torture: early reuse: a reader's element is unmapped: fault at %p", info->si_addr);
	signal(number, SIG_DFL);
}

static void on_alarm(int number)
{
	(void)number;
	fail(HANG, "torture: no progress for two minutes: %s", doing);
}

/* To any thread but this one, which forks. */
static timer_t start_signals(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct itimerspec every = {{0, SANITIZED ? 5000000 : 500000}, {0, SANITIZED ? 5000000 : 500000}};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigset_t set;
	timer_t timer;

	sigaction(SIGUSR2, &action, NULL);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &every, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return timer;
}

/* ---- fork ---- */

static _Noreturn void child(uint64_t random, bool online)
{
	struct collector collector;
	pthread_t threads[3];

	alarm(60);
	collector_init(&collector);
	for (unsigned s = 0; s < SLOTS; s++) {
		struct hold hold = element_hold(s, "child");
		element_check(&hold, "child");
	}
	if (random % 4 == 0)
		_exit(0);
	if (random % 4 == 1)
		exit(0);
	for (unsigned s = 0; s < SLOTS; s += 1 + (unsigned)next_random(&random) % 8)
		element_replace(s, &collector, &random, true);
	collector_flush(&collector);
	for (uintptr_t i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, short_life, (void *)i))
			fail(LOSS, "torture: no thread in a child");
	if (online)
		flavor->thread_offline();
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	qslab_rcu_barrier();
	struct qslab_rcu_stats now;
	qslab_rcu_stats(&now);
	if (now.waiting > THREADS + 4) /* as many as were inside a call at fork */
		fail(LOSS, "torture: %lu objects wait after a child's barrier", (unsigned long)now.waiting);
	exit(0);
}

static void fork_once(uint64_t *random)
{
	unsigned state = (unsigned)(next_random(random) % 3); /* unregistered, offline, online */
	int status;

	if (state)
		flavor->register_thread();
	if (state == 1)
		flavor->thread_offline();
	pid_t pid = fork();
	if (pid == 0)
		child(next_random(random) | 2 * (*random % 2), state == 2);
	if (state == 2)
		flavor->thread_offline();
	if (pid > 0) {
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status))
			_exit(WEXITSTATUS(status)); /* it has said why */
		if (status)
			fail(WTERMSIG(status) == SIGALRM ? HANG : LOSS, "torture: a forked child ended with status %x",
			     (unsigned)status);
	}
	if (state) {
		flavor->thread_online();
		flavor->unregister_thread();
	}
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
	struct qslab_rcu_stats before, now;
	struct qslab_memory memory;
	pthread_t threads[THREADS];
	uint64_t random = (uint64_t)(seconds() * 1e9) | 1;
	int running = 0;

	qslab_rcu_barrier();
	qslab_rcu_stats(&before);
	qslab_memory(&memory);
	elements_init();
	for (int kind = 0; kind < 4; kind++)
		for (int i = 0; i < counts[kind]; i++)
			if (pthread_create(&threads[running++], NULL, kinds[kind], (void *)(uintptr_t)i))
				fail(HANG, "torture: no thread");
	timer_t timer = start_signals();
	unsigned long reads = 0, replaced = 0, completed = 0;
	double progress = seconds();
	for (double end = seconds() + length; seconds() < end;) {
		alarm(120);
		doing = "fork";
		sleep_us(200000 + next_random(&random) % 1500000, false);
		if (flavor == &urcu_qsbr_flavor && !SANITIZED)
			fork_once(&random);
		qslab_rcu_stats(&now);
		if (count_reads > reads && count_replaced > replaced && now.completed > completed) {
			reads = count_reads, replaced = count_replaced, completed = now.completed;
			progress = seconds();
		}
		if (seconds() - progress > 60)
			fail(HANG, "torture: no progress: %lu reads, %lu replaced, %lu of %lu grace periods", count_reads,
			     count_replaced, (unsigned long)now.completed, (unsigned long)now.started);
	}
	doing = "the threads' ends";
	atomic_store(&stop, true);
	for (int i = 0; i < running; i++)
		pthread_join(threads[i], NULL);
	timer_delete(timer);
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
		} else {
			flavor = NULL;
		}
	}
	if (!flavor || length <= 0) {
		fprintf(stderr, "usage: torture [--seconds N | --soak HOURS] [--flavor qsbr|memb|mb|bp]\n");
		return 64;
	}
	if (flavor != &urcu_qsbr_flavor && qslab_rcu_set_flavor(flavor))
		fail(LOSS, "torture: flavour refused");
	sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, NULL);
	sigaction(SIGBUS, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, NULL);
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm}, NULL);
	qslab_rcu_set_limits((size_t)16 << 20, (size_t)96 << 20, on_hard_limit);
	alarm(120);
	qslab_free(qslab_malloc(1));
	run(length);
	return GOOD;
}
