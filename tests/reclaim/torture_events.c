#define _GNU_SOURCE
#include "torture.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const struct rcu_flavor_struct *flavor = &urcu_qsbr_flavor;
atomic_ulong count_signals;
const char *volatile doing = "the first barrier";
static timer_t timer;

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

void signals_start(unsigned microseconds)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct timespec each = {0, (long)microseconds * 1000};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigset_t set;

	sigaction(SIGUSR2, &action, NULL);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &(struct itimerspec){each, each}, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void signals_stop(void)
{
	sigset_t set;

	timer_delete(timer);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* threads to come inherit it */
}

void handlers_install(void)
{
	sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, NULL);
	sigaction(SIGBUS, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, NULL);
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm}, NULL);
}

/* ---- fork ---- */

static _Noreturn void child(uint64_t random, bool online, unsigned inside)
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
	if (now.waiting > inside)
		fail(LOSS, "torture: %lu objects wait after a child's barrier", (unsigned long)now.waiting);
	exit(0);
}

void fork_once(uint64_t *random, unsigned inside)
{
	unsigned state = (unsigned)(next_random(random) % 3); /* unregistered, offline, online */
	int status;

	if (state)
		flavor->register_thread();
	if (state == 1)
		flavor->thread_offline();
	pid_t pid = fork();
	if (pid == 0)
		child(next_random(random) | 2 * (*random % 2), state == 2, inside);
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

/* ---- progress ---- */

void check_progress(void)
{
	static unsigned long reads, replaced, completed;
	static double since;
	struct qslab_rcu_stats now;

	alarm(120);
	qslab_rcu_stats(&now);
	if (since == 0 || (count_reads > reads && count_replaced > replaced && now.completed > completed)) {
		reads = count_reads, replaced = count_replaced, completed = now.completed;
		since = seconds();
	}
	if (seconds() - since > 60)
		fail(HANG, "torture: no progress: %lu reads, %lu replaced, %lu of %lu grace periods", count_reads,
		     count_replaced, (unsigned long)now.completed, (unsigned long)now.started);
}
