/*
 * A reader that never becomes quiescent is named on stderr: once when the grace period is older than QSLAB_RCU_STALL
 * (set by CMakeLists.txt to 1), once at three times that, and never again. Readers that do, or are offline, are not.
 * By retired objects; with "wait", by a thread that waits for a cookie when nothing was ever retired; with "memb" or "mb",
 * by a reader of that flavour that stays in its section.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <qslab/rcu.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <urcu/flavor.h>

extern const struct rcu_flavor_struct urcu_qsbr_flavor, urcu_memb_flavor, urcu_mb_flavor;

static const struct rcu_flavor_struct *flavor = &urcu_qsbr_flavor;
static atomic_bool stop;
static atomic_int stuck_tid;

static void *stuck(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "stuck-reader");
	flavor->register_thread();
	flavor->read_lock();
	stuck_tid = gettid();
	while (!stop)
		usleep(1000);
	flavor->read_unlock();
	flavor->unregister_thread();
	return NULL;
}

static void *quiescent(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "good-reader");
	flavor->register_thread();
	while (!stop) {
		flavor->read_lock();
		usleep(1000);
		flavor->read_unlock();
		flavor->read_quiescent_state();
	}
	flavor->unregister_thread();
	return NULL;
}

static void *offline(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "offline-reader");
	flavor->register_thread();
	flavor->thread_offline();
	while (!stop)
		usleep(1000);
	flavor->unregister_thread();
	return NULL;
}

static void *waits(void *unused)
{
	(void)unused;
	qslab_rcu_wait(qslab_rcu_get());
	return NULL;
}

static unsigned count(const char *text, const char *what)
{
	unsigned found = 0;
	for (const char *at = text; (at = strstr(at, what)); at++)
		found++;
	return found;
}

static void check(bool good, const char *what, const char *said)
{
	if (good)
		return;
	printf("failed: %s; stderr was:\n%s", what, said);
	exit(1);
}

int main(int arguments, char **argument)
{
	const char *how = arguments > 1 ? argument[1] : "";
	unsigned objects = strcmp(how, "wait") ? 1000 : 0;
	static char said[8192];
	char name[64], counted[64];
	int pipe_ends[2];
	pthread_t threads[3], waiter;
	void *(*run[])(void *) = {stuck, quiescent, offline};
	struct qslab_rcu_stats stats;

	if (strcmp(how, "memb") == 0)
		flavor = &urcu_memb_flavor;
	else if (strcmp(how, "mb") == 0)
		flavor = &urcu_mb_flavor;
	if (qslab_rcu_set_flavor(flavor))
		return 1;
	if (pipe(pipe_ends) || dup2(pipe_ends[1], STDERR_FILENO) < 0)
		return 1;
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, run[i], NULL);
	while (!stuck_tid)
		usleep(1000);
	if (!objects)
		pthread_create(&waiter, NULL, waits, NULL);
	for (unsigned i = 0; i < objects; i++)
		qslab_free_rcu_mightsleep(qslab_malloc(1000));
	for (time_t end = time(NULL) + 60; time(NULL) < end; usleep(50000)) { /* it takes three seconds */
		qslab_rcu_stats(&stats);
		if (stats.stalls >= 2)
			break;
	}
	sleep(2); /* a third report would come now */
	qslab_rcu_stats(&stats);
	check(stats.stalls == 2, "two reports", said);
	check(stats.waiting == objects, "so many objects wait", said);
	stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	if (!objects)
		pthread_join(waiter, NULL);
	qslab_rcu_barrier();
	close(STDERR_FILENO);
	close(pipe_ends[1]);
	for (ssize_t got, used = 0; (got = read(pipe_ends[0], said + used, sizeof said - 1 - (size_t)used)) > 0;)
		used += got;
	snprintf(name, sizeof name, "thread %d (stuck-reader)", stuck_tid);
	check(count(said, "has not ended for") == 2, "two lines", said);
	check(count(said, name) == 2, "the reader is named twice", said);
	snprintf(counted, sizeof counted, "; %u objects", objects);
	check(count(said, counted) == 2, "what waits is counted", said);
	check(!strstr(said, "good-reader") && !strstr(said, "offline-reader"), "no other is named", said);
	return 0;
}
