/* fork while other threads hold stdio's locks and want memory: the classic deadlock of malloc's fork handlers. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_bool stop;

static void *use_stdio(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		FILE *file = fopen("/dev/null", "w");
		char *line = NULL;
		if (!file || fprintf(file, "%d\n", rand()) < 0 || asprintf(&line, "%p", (void *)file) < 0)
			abort();
		free(line);
		fclose(file);
		free(malloc((size_t)rand() % 400000));
		fflush(NULL); /* walks the list under its lock */
	}
	return NULL;
}

static void fork_in_handler(int number)
{
	(void)number;
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	if (child > 0)
		waitpid(child, NULL, 0);
}

int main(void)
{
	pthread_t threads[3];
	alarm(120); /* a deadlock dies of it */
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, use_stdio, NULL);
	for (int i = 0; i < 300; i++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(30);
			FILE *file = fopen("/dev/null", "w");
			fprintf(file, "child");
			fclose(file);
			free(malloc(500000));
			_exit(0);
		}
		int status = 0;
		if (child < 0 || waitpid(child, &status, 0) < 0 || status) {
			fprintf(stderr, "round %d: child's status %x\n", i, status);
			return 1;
		}
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);

	/* from a handler that may have interrupted malloc itself */
	signal(SIGUSR1, fork_in_handler);
	pid_t shooter = fork();
	if (shooter == 0) {
		for (int i = 0; i < 200; i++) {
			kill(getppid(), SIGUSR1);
			usleep(1000);
		}
		_exit(0);
	}
	int status;
	while (waitpid(shooter, &status, WNOHANG) == 0)
		for (int i = 0; i < 1000; i++)
			free(malloc((size_t)i * 300));
	return 0;
}
