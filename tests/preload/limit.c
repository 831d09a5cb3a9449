/* RLIMIT_AS and RLIMIT_DATA set late: NULL and ENOMEM, nothing harmed, what is freed can be had in any size; less never fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define MOST MIB /* objects */
#define LIMIT (96 * MIB)       /* beside what is in use at its start */
#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
			_exit(1); \
		} \
	} while (0)

static const size_t sizes[] = {100, 3000, 40000, MIB, 700};
static unsigned char *objects[MOST], *live[1000];

static void *by_malloc(size_t size) { return malloc(size); }
static void *by_calloc(size_t size) { return calloc(size / 4, 4); }
static void *by_aligned_alloc(size_t size) { return aligned_alloc(64, size); }

static void *by_realloc(size_t size)
{
	unsigned char *small = malloc(20), *object;
	if (!small || (object = realloc(memset(small, 7, 20), size)))
		return small ? object : NULL;
	CHECK(errno == ENOMEM && small[0] == 7 && small[19] == 7);
	free(small);
	errno = ENOMEM;
	return NULL;
}

static void *(*const ways[])(size_t) = {by_malloc, by_calloc, by_aligned_alloc, by_realloc};

static unsigned char mark(size_t i) { return (unsigned char)(i % 251 + 1); }

static void check_marks(unsigned char **all, size_t count, size_t step, size_t size)
{
	for (size_t i = 0; i < count; i += step)
		for (size_t at = 0; at < size; at += size > 4096 ? 512 : 1)
			CHECK(all[i][at] == mark(i));
}

/* Until NULL, or `most` bytes; the count of objects. */
static size_t fill(void *(*way)(size_t), size_t size, size_t most)
{
	size_t count = 0;
	for (; count < MOST && count * size < most; count++) {
		errno = 0;
		if (!(objects[count] = way(size)))
			break;
		memset(objects[count], mark(count), size);
	}
	CHECK(count * size >= most || errno == ENOMEM);
	return count;
}

static void give_back(size_t count, size_t from, size_t step)
{
	for (size_t i = from; i < count; i += step)
		free(objects[i]);
}

/* The limit's current use, in bytes. */
static size_t in_use(int resource)
{
	size_t all, data;
	FILE *file = fopen("/proc/self/statm", "r");
	CHECK(file && fscanf(file, "%zu %*u %*u %*u %*u %zu", &all, &data) == 2);
	fclose(file);
	return (resource == RLIMIT_AS ? all : data) * (size_t)sysconf(_SC_PAGESIZE);
}

static void under_rlimit(int resource)
{
	struct rlimit old;
	getrlimit(resource, &old);
	setrlimit(resource, &(struct rlimit){in_use(resource) + LIMIT, old.rlim_max});
	if (mmap(NULL, 2 * LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		_exit(77);
	for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
		for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
			size_t count = fill(ways[w], sizes[s], SIZE_MAX), half = count / 2;
			CHECK(count * sizes[s] > LIMIT / 3 * 2);
			check_marks(objects, count, 1, sizes[s]);
			give_back(count, 1, 2);
			for (size_t i = 1; i < half; i += 2) { /* half of that half */
				CHECK(objects[i] = ways[w](sizes[s]));
				memset(objects[i], mark(i), sizes[s]);
			}
			check_marks(objects, half, 1, sizes[s]);
			check_marks(objects, count, 2, sizes[s]);
			give_back(half, 1, 2);
			give_back(count, 0, 2);
		}
	}
	setrlimit(resource, &old);
	CHECK(malloc(3 * LIMIT));
}

/* ---- buffers that are resized by some threads, while another sets limits below what is in use and lifts them ---- */

enum { RESIZERS = 4, BUFFERS = 8, PIECE = 65536, PIECES = 64, LIMITS = 500 };
static atomic_bool resized_enough;
static atomic_ulong refused;

static void check_pages(const unsigned char *buffer, size_t size, unsigned char tag)
{
	for (size_t at = 0; at < size; at += 4096)
		CHECK(buffer[at] == tag);
}

static void *resize(void *seed)
{
	struct { unsigned char *start; size_t size; unsigned char tag; } buffers[BUFFERS] = {0}, *b;
	unsigned random = (unsigned)(uintptr_t)seed;

	while (!resized_enough) {
		size_t size = (size_t)PIECE * (1 + (size_t)rand_r(&random) % PIECES);
		b = &buffers[rand_r(&random) % BUFFERS];
		check_pages(b->start, b->size, b->tag);
		if (b->start && rand_r(&random) % 8 == 0) {
			free(b->start);
			b->start = NULL;
			b->size = 0;
			continue;
		}
		errno = 0;
		unsigned char *now = realloc(b->start, size);
		if (!now) {
			CHECK(errno == ENOMEM);
			refused++;
			check_pages(b->start, b->size, b->tag);
			continue;
		}
		check_pages(now, size < b->size ? size : b->size, b->tag);
		b->start = now, b->size = size, b->tag = (unsigned char)rand_r(&random);
		for (size_t at = 0; at < size; at += 4096)
			now[at] = b->tag;
	}
	for (int i = 0; i < BUFFERS; i++)
		free(buffers[i].start);
	return NULL;
}

static void resized_under_limits(void)
{
	pthread_t threads[RESIZERS];
	struct rlimit old;
	unsigned random = 7;

	getrlimit(RLIMIT_AS, &old);
	for (uintptr_t i = 0; i < RESIZERS; i++)
		CHECK(pthread_create(&threads[i], NULL, resize, (void *)(i + 1)) == 0);
	for (int i = 0; i < LIMITS; i++) {
		size_t limit = in_use(RLIMIT_AS) + 2 * MIB - (size_t)rand_r(&random) % 9 * MIB;
		setrlimit(RLIMIT_AS, &(struct rlimit){limit, old.rlim_max});
		usleep(3000);
		setrlimit(RLIMIT_AS, &old);
		usleep(3000);
	}
	resized_enough = true;
	for (int i = 0; i < RESIZERS; i++)
		pthread_join(threads[i], NULL);
	if (!refused)
		_exit(77);
}

/* ---- what is made smaller when nothing can be had ---- */

static void smaller_at_the_limit(void)
{
	static const struct { size_t size, alignment, smaller; } cases[] = {
		{100, 16, 20}, {1000, 16, 16}, {5000, 4096, 1000}, {200000, 16, 20000}, {400000, 16, 200000}, {MIB, 16, 300000},
		{MIB, MIB, 1000}, {8 * MIB, 16, 5 * MIB}, {8 * MIB, 16, MIB + 1}, {16 * MIB, 16, 100},
	};
	enum { CASES = sizeof cases / sizeof *cases };
	unsigned char *smaller[CASES];
	struct rlimit old;
	size_t count = 0;

	for (size_t i = 0; i < CASES; i++)
		smaller[i] = memset(aligned_alloc(cases[i].alignment, cases[i].size), mark(i), cases[i].size);
	getrlimit(RLIMIT_AS, &old);
	setrlimit(RLIMIT_AS, &(struct rlimit){in_use(RLIMIT_AS) + LIMIT, old.rlim_max});
	if (mmap(NULL, 2 * LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		_exit(77);
	for (size_t size = 2 * LIMIT; size >= 8; size /= 2)
		while (count < MOST && (objects[count] = malloc(size)))
			count++;
	CHECK(count < MOST);
	for (size_t i = 0; i < CASES; i++) {
		errno = 0;
		CHECK((smaller[i] = realloc(smaller[i], cases[i].smaller)));
		CHECK(errno == 0);
		for (size_t at = 0; at < cases[i].smaller; at++)
			CHECK(smaller[i][at] == mark(i));
	}
	CHECK(objects[count++] = malloc(4 * MIB)); /* what the last had */
	for (size_t i = 0; i < CASES; i++)
		free(smaller[i]);
	give_back(count, 0, 1);
	setrlimit(RLIMIT_AS, &old);
}

/* For programs/cgroup.sh: where the limit means death, a program that lives within it must get through. */
static int within_limit(void)
{
	for (int round = 0; round < 10; round++) {
		for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
			size_t count = fill(by_malloc, sizes[s], LIMIT);
			CHECK(count * sizes[s] >= LIMIT);
			check_marks(objects, count, 1, sizes[s]);
			give_back(count, 0, 1);
		}
	}
	return 0;
}

int main(int count, char **arguments)
{
	static const char *const names[] = {"RLIMIT_AS", "RLIMIT_DATA", "resized under limits", "smaller at the limit"};
	int status, failures = 0, skipped = 0;
	if (count > 1 && !strcmp(arguments[1], "within"))
		return within_limit();
	for (size_t i = 0; i < 1000; i++)
		live[i] = memset(malloc(2000), mark(i), 2000);
	for (int i = 0; i < 4; i++) {
		pid_t child = fork();
		if (child == 0) {
			if (i == 3)
				smaller_at_the_limit();
			else if (i == 2)
				resized_under_limits();
			else
				under_rlimit(i ? RLIMIT_DATA : RLIMIT_AS);
			check_marks(live, 1000, 1, 2000);
			_exit(0);
		}
		waitpid(child, &status, 0);
		bool skip = status == 77 << 8;
		printf("%s: status %#x%s\n", names[i], status,
		       skip ? ": skipped, the system does not enforce it" : "");
		skipped += skip;
		failures += status && !skip;
	}
	return failures ? 1 : skipped == 4 ? 77 : 0;
}
