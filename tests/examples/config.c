/*
 * A configuration that is replaced under its readers: read on every request, written once in a while.
 *
 * Readers follow one pointer: no lock, no reference count, no atomic read-modify-write. A writer copies, changes the
 * copy, publishes it, and retires what was there: the configuration and what it points to, an object each. None of
 * these has room for RCU in it: the list is plain C strings, so they go headless, many at once.
 */
#include <pthread.h>
#include <qslab/rcu.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <urcu-qsbr.h>

enum { SERVERS = 8, RELOADS = 20000, READERS = 3 };

struct config {
	unsigned generation;
	unsigned timeout_ms;
	unsigned count;
	char *servers[SERVERS];
};

static struct config *current;
static pthread_mutex_t writers = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool stop;
static atomic_ulong requests;

static char *text(const char *format, unsigned a, unsigned b)
{
	char line[64];
	int length = snprintf(line, sizeof line, format, a, b);
	char *copy = qslab_malloc((size_t)length + 1);
	return copy ? memcpy(copy, line, (size_t)length + 1) : NULL;
}

/* A whole configuration, never seen by a reader until it is complete. */
static struct config *load(unsigned generation)
{
	struct config *config = qslab_malloc(sizeof *config);
	if (!config)
		return NULL;
	*config = (struct config){.generation = generation, .timeout_ms = generation % 1000, .count = SERVERS};
	for (unsigned i = 0; i < SERVERS; i++)
		if (!(config->servers[i] = text("10.%u.0.%u", generation, i)))
			abort();
	return config;
}

static void discard(struct config *config)
{
	void *parts[SERVERS + 1];
	size_t count = 0, taken;

	if (!config)
		return;
	while (count < config->count) {
		parts[count] = config->servers[count];
		count++;
	}
	parts[count++] = config; /* nothing was freed: readers may still be in any of these */
	taken = qslab_free_rcu_bulk(count, parts);
	while (taken < count) /* only when memory for arrays is exhausted */
		qslab_free_rcu_mightsleep(parts[taken++]);
}

static void reload(unsigned generation)
{
	struct config *fresh = load(generation);
	if (!fresh)
		return; /* the old one stays in force */
	pthread_mutex_lock(&writers);
	struct config *old = current;
	rcu_assign_pointer(current, fresh);
	pthread_mutex_unlock(&writers);
	discard(old);
}

/* One request; the configuration it starts with is the one it ends with. */
static void serve(void)
{
	const struct config *config = rcu_dereference(current);
	char expected[64];

	for (unsigned i = 0; i < config->count; i++) {
		snprintf(expected, sizeof expected, "10.%u.0.%u", config->generation, i);
		if (strcmp(config->servers[i], expected) || config->timeout_ms != config->generation % 1000)
			abort();
	}
}

static void *reader(void *unused)
{
	unsigned long n = 0;

	rcu_register_thread();
	for (; !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
		rcu_read_lock();
		serve();
		rcu_read_unlock();
		rcu_quiescent_state(); /* between requests no pointer is held */
	}
	rcu_unregister_thread();
	atomic_fetch_add(&requests, n);
	return unused;
}

int main(void)
{
	pthread_t threads[READERS];

	reload(0);
	for (int i = 0; i < READERS; i++)
		if (pthread_create(&threads[i], NULL, reader, NULL))
			abort();
	for (unsigned generation = 1; generation <= RELOADS; generation++)
		reload(generation);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	reload(0);
	discard(current);

	qslab_rcu_barrier();
	struct qslab_rcu_stats stats;
	struct qslab_memory memory;
	qslab_rcu_stats(&stats);
	qslab_memory(&memory);
	printf("%lu requests during %d reloads; %lu objects retired\n", requests, RELOADS, (unsigned long)stats.retired);
	return !(stats.waiting == 0 && stats.retired == (RELOADS + 2ul) * (SERVERS + 1) && memory.live == 0);
}
