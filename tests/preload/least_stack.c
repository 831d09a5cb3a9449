/*
 * A thread with the least stack there is, 16 KiB on x86-64, may use 3 of them itself, and all of the family: also if it is
 * the one whose memory starts jemalloc, exceeds the budget of dirty pages, or is another's.
 */
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANY = 3000, SIZES = 12 };
static const size_t sizes[SIZES] = {1, 24, 64, 200, 700, 3000, 9000, 40000, 100000, 270000, 1000000, 9000000};

static char *objects[MANY];

static void fail(const char *what)
{
	fprintf(stderr, "least_stack: %s\n", what);
	_exit(1);
}

/* So many of a size that 12 MiB are taken, or MANY. */
static int count_of(size_t size)
{
	size_t count = ((size_t)12 << 20) / size;
	return count < MANY ? (int)count + 1 : MANY;
}

static void *fill(void *size)
{
	size_t bytes = *(const size_t *)size;

	for (int i = 0; i < count_of(bytes); i++) {
		objects[i] = i % 3 == 0 ? calloc(1, bytes) : i % 3 == 1 ? malloc(bytes) : memalign(64, bytes);
		if (!objects[i])
			fail("no memory");
		objects[i][0] = objects[i][bytes - 1] = (char)i;
	}
	return NULL;
}

static void *change(void *size)
{
	size_t bytes = *(const size_t *)size;

	for (int i = 0; i < count_of(bytes); i++) {
		objects[i] = realloc(objects[i], bytes + bytes / 2 + 1);
		if (!objects[i] || objects[i][0] != (char)i || objects[i][bytes - 1] != (char)i)
			fail("realloc");
	}
	return NULL;
}

static void *empty(void *size)
{
	for (int i = 0; i < count_of(*(const size_t *)size); i++)
		free(objects[i]);
	malloc_trim(0);
	return NULL;
}

static void *(*body)(void *);

static void *deeper(void *size)
{
	volatile char own[3 << 10];

	own[0] = own[sizeof own - 1] = 1;
	body(size);
	return own[0] ? NULL : size;
}

static void run(void *(*body_now)(void *), size_t size)
{
	pthread_attr_t attributes;
	pthread_t thread;

	body = body_now;
	pthread_attr_init(&attributes);
	if (pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)) ||
	    pthread_create(&thread, &attributes, deeper, &size) || pthread_join(thread, NULL))
		fail("no thread");
	pthread_attr_destroy(&attributes);
}

int main(void)
{
	for (int turn = 0; turn < 2 * SIZES; turn++) {
		size_t size = sizes[turn < SIZES ? turn : 2 * SIZES - 1 - turn];
		run(fill, size);
		run(change, size);
		run(empty, size); /* another thread's */
	}
	return 0;
}
