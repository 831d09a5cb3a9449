/* A fork handler that was registered before the allocator's own constructor ran may allocate in the child. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 200

extern int early_calls;

static void *_Atomic shared[1024];

/* Threads that free each other's objects, so that all locks are in use. */
static void *exchanging(void *argument)
{
	unsigned random = (unsigned)(size_t)argument;

	for (;;) {
		random = random * 1103515245 + 12345;
		size_t size = (random >> 8) % 5 ? (random >> 10) % 20000 : 100000 + (random >> 12) % 600000;
		free(atomic_exchange(&shared[(random >> 16) % 1024], malloc(size)));
	}
	return NULL;
}

/* A child that hangs blocks signals in fork: nothing but SIGKILL ends it. */
static bool ends_well(pid_t child)
{
	int status;

	for (int waited = 0; waited < 10000; waited++) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status == 0;
		usleep(1000);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return false;
}

int main(void)
{
	for (size_t i = 1; i <= 4; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, exchanging, (void *)i))
			return 1;
	}
	for (int i = 0; i < FORKS; i++) {
		pid_t child = fork();
		if (child == 0)
			_exit(early_calls == 1 ? 0 : 1);
		if (!ends_well(child)) {
			fprintf(stderr, "child %d of %d did not end, or its handler did not run\n", i, FORKS);
			return 1;
		}
	}
	return 0;
}
