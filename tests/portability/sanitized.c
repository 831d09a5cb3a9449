/*
 * Two threads hand buffers to each other, and fork, under a sanitizer of the compiler's over the preload library.
 *
 *     sanitized           everything is right: status 0
 *     sanitized race      two threads write the same object: for ThreadSanitizer
 *     sanitized unset     what decides was never written: for MemorySanitizer
 *     sanitized overflow  a byte behind an object is written: for AddressSanitizer
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 2000, SLOTS = 64, LARGEST = 300000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { unsigned char *bytes; size_t size; unsigned char mark; } slots[SLOTS];
static int wrong;

static size_t size_of(unsigned random) { return random % 16 ? 1 + random / 16 % 2000 : 1 + random / 16 % LARGEST; }

static void *hand_over(void *seed)
{
	unsigned random = *(unsigned *)seed;

	for (unsigned round = 0; round < ROUNDS; round++) {
		random = random * 1103515245 + 12345;
		size_t size = size_of(random >> 8);
		unsigned char *bytes = round % 2 ? malloc(size) : aligned_alloc(64, (size + 63) / 64 * 64);
		unsigned char mark = (unsigned char)random;
		if (!bytes)
			abort();
		memset(bytes, mark, size);
		pthread_mutex_lock(&lock);
		unsigned slot = (random >> 4) % SLOTS;
		unsigned char *old = slots[slot].bytes;
		size_t old_size = slots[slot].size;
		unsigned char old_mark = slots[slot].mark;
		slots[slot].bytes = bytes;
		slots[slot].size = size;
		slots[slot].mark = mark;
		pthread_mutex_unlock(&lock);
		for (size_t i = 0; old && i < old_size; i++)
			if (old[i] != old_mark)
				__atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
		free(old);
	}
	return NULL;
}

static void in_two_threads(void *work(void *), void *first, void *second)
{
	pthread_t other;

	if (pthread_create(&other, NULL, work, second))
		abort();
	work(first);
	pthread_join(other, NULL);
}

static void *add(void *count)
{
	for (unsigned i = 0; i < 1000; i++)
		++*(volatile int *)count;
	return NULL;
}

int main(int count, char **words)
{
	const char *fault = count > 1 ? words[1] : "";

	if (!strcmp(fault, "race")) {
		int *shared = calloc(1, sizeof *shared);
		in_two_threads(add, shared, shared);
		free(shared);
	} else if (!strcmp(fault, "unset")) {
		volatile int *never = malloc(sizeof *never);
		if (never[0] == 42)
			puts("never written, and yet 42");
	} else if (!strcmp(fault, "overflow")) {
		volatile char *small = malloc(24);
		small[24] = 1;
	} else {
		unsigned seeds[] = {1, 2};
		in_two_threads(hand_over, &seeds[0], &seeds[1]);
		int status;
		pid_t child = fork();
		if (child == 0) {
			free(realloc(malloc(100), 100000));
			_exit(wrong);
		}
		if (waitpid(child, &status, 0) != child || status || wrong)
			return 1;
		puts("handed over");
	}
	return 0;
}
