/* jemalloc starts once a process is no longer small; spans go back to where they came from, whoever forks meanwhile. */
#include "alloc/gate.h"
#include "alloc/thread.h"
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#define PAGES 16
#define BYTES (PAGES * (size_t)4096)

/* The private copy's; none with another source. */
int qslab_je_mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length) __attribute__((weak));

static struct span take(void)
{
	struct span span = gate_alloc(PAGES, 4096, false);

	if (span.start)
		memset(span.start, 7, BYTES);
	return span;
}

static void check_and_free(struct span span)
{
	for (size_t i = 0; i < BYTES; i++)
		if (((char *)span.start)[i] != 7)
			abort();
	while (!gate_free(span, PAGES)) /* somebody forks */
		sched_yield();
}

/* In a child of a process that may have it, of its own or the runner's, nothing can be said. */
static bool is_new(void)
{
	struct span span = gate_alloc(PAGES, 4096, false);
	bool new = span.from_mmap;

	gate_free(span, PAGES);
	return new && qslab_je_mallctl;
}

Test(gate, a_small_process_has_no_jemalloc)
{
	enum { MOST = 2 * BEGIN_BYTES / BYTES };
	struct span spans[MOST];

	qslab_free(qslab_malloc(1));
	if (!is_new())
		return;
	size_t bytes = BYTES; /* is_new's */
	for (unsigned i = 0; i < MOST; i++) {
		spans[i] = take();
		bytes += BYTES;
		if (bytes <= BEGIN_BYTES / 2)
			cr_assert(spans[i].from_mmap);
		if (bytes > BEGIN_BYTES)
			cr_assert(!spans[i].from_mmap);
	}
	for (unsigned i = 0; i < MOST; i += 2)
		check_and_free(spans[i]);
	for (unsigned i = 1; i < MOST; i += 2)
		check_and_free(spans[i]);
}

Test(gate, a_large_object_starts_it)
{
	qslab_free(qslab_malloc(1));
	if (!is_new())
		return;
	void *large = qslab_malloc(BEGIN_BYTES);
	cr_assert(large);
	struct span span = take();
	cr_assert(!span.from_mmap);
	check_and_free(span);
	qslab_free(large);
}

/* A span of the beginning, and what it grows to, stay the mmap source's. */
Test(gate, growth_starts_it)
{
	qslab_free(qslab_malloc(1));
	if (!is_new())
		return;
	struct span first = take();
	cr_assert(gate_resize(first, PAGES, PAGES + 2 * BEGIN_BYTES / 4096));
	memset((char *)first.start + BYTES, 7, 2 * BEGIN_BYTES);
	struct span next = take();
	cr_assert(!next.from_mmap);
	check_and_free(next);
	cr_assert(gate_resize(first, PAGES + 2 * BEGIN_BYTES / 4096, PAGES));
	check_and_free(first);
}

static size_t address_space(void)
{
	size_t pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%zu", &pages) != 1)
		_exit(9);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* At a limit it does not start, for it could not be tried again; when there is room, it does. */
static void limited(void)
{
	struct rlimit limit = {0, RLIM_INFINITY};
	bool started = false;

	qslab_free(qslab_malloc(1));
	if (!is_new())
		_exit(0);
	limit.rlim_cur = address_space() + (14 << 20);
	if (setrlimit(RLIMIT_AS, &limit))
		_exit(1);
	for (size_t bytes = 0; bytes < BEGIN_BYTES + (1 << 20); bytes += BYTES) {
		struct span span = take();
		if (!span.start || !span.from_mmap)
			_exit(2);
	}
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_AS, &limit);
	for (size_t bytes = 0; bytes <= BEGIN_BYTES && !started; bytes += BYTES)
		started = !take().from_mmap;
	_exit(started ? 0 : 3);
}

Test(gate, without_room_it_waits)
{
	if (!SANITIZED)
		expect_success(limited);
}

/* ---- many at once ------------------------------------------------------------------------------------------------- */

enum { THREADS = 6, EACH = 40 };
static pthread_barrier_t ready;

static void *takes_and_gives(void *unused)
{
	struct span spans[EACH];

	pthread_barrier_wait(&ready);
	for (int i = 0; i < EACH; i++)
		spans[i] = take();
	for (int i = 0; i < EACH; i++)
		check_and_free(spans[i]);
	return unused;
}

static void start_threads(pthread_t threads[THREADS])
{
	qslab_free(qslab_malloc(1));
	pthread_barrier_init(&ready, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, takes_and_gives, NULL) == 0);
	pthread_barrier_wait(&ready);
}

Test(gate, threads_start_it_together)
{
	pthread_t threads[THREADS];

	start_threads(threads);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert(!qslab_je_mallctl || !is_new());
}

/* While its threads start it the process forks; the child starts it, or goes on with it. */
static void forks_meanwhile(void)
{
	pthread_t threads[THREADS];
	int status;

	alarm(60);
	start_threads(threads);
	nanosleep(&(struct timespec){0, getpid() % 97 * 3000}, NULL); /* in each process another moment */
	pid_t child = fork();
	if (child == 0) {
		alarm(30);
		for (int i = 0; i < 4; i++) {
			char *object = qslab_malloc(3 << 20);
			if (!object)
				_exit(3);
			memset(object, i, 3 << 20);
			qslab_free(object);
		}
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		_exit(4);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

Test(gate, fork_while_it_starts)
{
	for (int i = 0; !NO_THREADS_IN_CHILD && i < SCALE(100); i++)
		expect_success(forks_meanwhile);
}
