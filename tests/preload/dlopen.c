/* Shared objects that come and go while threads allocate: memory of either side, TLS and its destructors. */
#define _GNU_SOURCE
#include "guest/guest.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 500

/* Each thread has its own copy of the object, so that every dlclose unloads one. */
static void *visitor(void *number)
{
	char path[sizeof GUESTS + 20];
	snprintf(path, sizeof path, GUESTS "%d.so", (int)(size_t)number);
	for (int round = 0; round < ROUNDS; round++)
		guest_visit(path, round);
	return NULL;
}

static size_t in_use_after_visits(void)
{
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, visitor, (void *)i))
			abort();
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	struct mallinfo2 memory = mallinfo2();
	return memory.uordblks + memory.hblkhd;
}

int main(void)
{
	alarm(240); /* a deadlock dies of it */
	size_t first = in_use_after_visits();
	size_t second = in_use_after_visits();
	dlclose(guest_open(GUESTS "0.so")); /* glibc unloads those that stayed for a thread at the next dlclose */
	if (guests_come != guests_gone || guests_come < THREADS * ROUNDS || guest_errors) {
		fprintf(stderr, "%d guests came, %d went; %d objects not intact\n", guests_come, guests_gone, guest_errors);
		return 1;
	}
	if (second > first + 200000) {
		fprintf(stderr, "%zu bytes in use, %zu after as many visits again\n", first, second);
		return 1;
	}
	printf("%zu bytes in use, %zu after as many visits again\n", first, second);
	return 0;
}
