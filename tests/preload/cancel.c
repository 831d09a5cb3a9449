/* malloc and free are no cancellation points: threads that wait for each other in them, cancelled before, run to their ends. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 16
#define BLOCKS 64

static atomic_int finished;
static pthread_barrier_t start;

/* Larger than any slab's object: every step takes the locks that all threads share. */
static void *allocates(void *unused)
{
	pthread_barrier_wait(&start);
	for (int round = 0; round < 200; round++) {
		char *blocks[BLOCKS];
		for (size_t i = 0; i < BLOCKS; i++) {
			blocks[i] = malloc(300000 + i * 37 % 11 * 40000);
			blocks[i][0] = 1;
		}
		for (size_t i = 0; i < BLOCKS; i++)
			free(blocks[i]);
	}
	finished++;
	return unused;
}

static void cancelled_threads(void)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&start, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, allocates, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_cancel(threads[i]);
	pthread_barrier_wait(&start); /* no cancellation point */
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
}

int main(void)
{
	int status;

	for (int round = 0; round < 10; round++)
		cancelled_threads();
	pid_t child = fork(); /* waits for whoever is inside jemalloc */
	if (child == 0)
		_exit(0);
	waitpid(child, &status, 0);
	if (finished == 10 * THREADS && !status)
		return 0;
	fprintf(stderr, "%d of %d threads ended in malloc or free\n", 10 * THREADS - finished, 10 * THREADS);
	return 1;
}
