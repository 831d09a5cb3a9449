/*
 * A process that exits with objects pending, grace periods in flight and readers that never end: it does not wait for
 * them (or the alarm kills it), and has its own status, nothing on stderr. A plain program: Criterion has exit handlers.
 */
#include <pthread.h>
#include <qslab/rcu.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

static void retire_many(int count)
{
	for (int i = 0; i < count; i++)
		qslab_free_rcu_mightsleep(qslab_malloc(i % 1000 ? (size_t)i % 2000 : 300000));
}

static void *reads_for_ever(void *unused)
{
	(void)unused;
	urcu_qsbr_register_thread();
	while (pause())
		;
	return NULL;
}

/* So far that nobody reaches the hard limit, where a retirement would wait for a reader that never ends. */
static void *retires_long(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++) {
		retire_many(100);
		usleep(100);
	}
	while (pause())
		;
	return NULL;
}

static void *exits(void *unused)
{
	(void)unused;
	retire_many(1000);
	exit(42);
}

static void at_exit(void)
{
	retire_many(100);
}

static void run(int way)
{
	pthread_t thread;
	atexit(at_exit);
	for (int i = 0; i < (way & 1 ? 2 : 0); i++)
		pthread_create(&thread, NULL, reads_for_ever, NULL);
	for (int i = 0; i < (way & 2 ? 2 : 0); i++)
		pthread_create(&thread, NULL, retires_long, NULL);
	retire_many(5000);
	usleep((unsigned)(way & 12) * 2500);
	if (way & 16)
		urcu_qsbr_register_thread();
	if (way & 32) {
		pthread_create(&thread, NULL, exits, NULL);
		pause();
	}
	exit(42);
}

int main(void)
{
	int failed = 0;
	for (int way = 0; way < 64; way++) {
		int ends[2], status;
		char said[200] = "";
		if (pipe(ends))
			return 1;
		pid_t child = fork();
		if (child == 0) {
			alarm(60);
			dup2(ends[1], STDERR_FILENO);
			close(ends[0]);
			close(ends[1]);
			run(way);
		}
		close(ends[1]);
		ssize_t length = read(ends[0], said, sizeof said - 1);
		waitpid(child, &status, 0);
		close(ends[0]);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 42 || length) {
			fprintf(stderr, "way %d: status %x, stderr: %s\n", way, (unsigned)status, said);
			failed++;
		}
	}
	return failed != 0;
}
