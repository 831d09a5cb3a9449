/*
 * A lock-free hash table, liburcu's rculfhash, whose entries are replaced and deleted while readers walk over them.
 *
 * With call_rcu each entry needs a struct rcu_head (two words) and a callback that finds the entry and frees it, run
 * by another thread, whose frees go to the allocator as a stranger's. Here one word, and the line qslab_free_rcu.
 *
 * Readers are QSBR's: rcu_read_lock() costs nothing, and each thread says now and then that it holds no pointer.
 */
#include <pthread.h>
#include <qslab/rcu.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

struct entry {
	struct cds_lfht_node node;
	unsigned long key;
	unsigned long value[4]; /* all equal: a reader can tell whether it sees one state */
	struct rcu_ptr rcu;
};

enum { KEYS = 5000, WRITES = 200000, WRITERS = 2, READERS = 2 };

static struct cds_lfht *table;
static atomic_bool stop;
static atomic_ulong lookups, hits;

static unsigned long hash(unsigned long key)
{
	return key * 0x9e3779b97f4a7c15ul >> 17;
}

static int matches(struct cds_lfht_node *node, const void *key)
{
	return caa_container_of(node, struct entry, node)->key == *(const unsigned long *)key;
}

/* Under the read lock; good until the caller's next quiescent state. */
static struct entry *find(unsigned long key)
{
	struct cds_lfht_iter iterator;
	cds_lfht_lookup(table, hash(key), matches, &key, &iterator);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iterator);
	return node ? caa_container_of(node, struct entry, node) : NULL;
}

/* Puts a new entry in the place of the old one, in one step for readers. */
static void set(unsigned long key, unsigned long value)
{
	struct entry *entry = qslab_malloc(sizeof *entry);
	if (!entry)
		abort();
	cds_lfht_node_init(&entry->node);
	entry->key = key;
	for (int i = 0; i < 4; i++)
		entry->value[i] = value;
	rcu_read_lock();
	struct cds_lfht_node *old = cds_lfht_add_replace(table, hash(key), matches, &key, &entry->node);
	rcu_read_unlock();
	if (old) {
		struct entry *replaced = caa_container_of(old, struct entry, node);
		qslab_free_rcu(replaced, rcu);
	}
}

static void forget(unsigned long key)
{
	rcu_read_lock();
	struct entry *entry = find(key);
	if (entry && !cds_lfht_del(table, &entry->node)) /* else another writer was first, and frees it */
		qslab_free_rcu(entry, rcu);
	rcu_read_unlock();
}

static void *reader(void *argument)
{
	unsigned long seed = (unsigned long)(size_t)argument, n = 0, found = 0;

	rcu_register_thread();
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		seed = seed * 6364136223846793005ul + 1;
		rcu_read_lock();
		struct entry *entry = find((seed >> 33) % KEYS);
		if (entry) {
			found++;
			for (int i = 1; i < 4; i++)
				if (entry->value[i] != entry->value[0])
					abort(); /* it was freed, or never whole */
		}
		rcu_read_unlock();
		if (++n % 64 == 0) /* often enough that grace periods end, seldom enough that it costs nothing */
			rcu_quiescent_state();
	}
	rcu_unregister_thread();
	atomic_fetch_add(&lookups, n);
	atomic_fetch_add(&hits, found);
	return NULL;
}

static void *writer(void *argument)
{
	unsigned long seed = (unsigned long)(size_t)argument;

	rcu_register_thread();
	for (int i = 0; i < WRITES; i++) {
		seed = seed * 6364136223846793005ul + 1;
		unsigned long key = (seed >> 33) % KEYS;
		if (seed >> 62)
			set(key, seed);
		else
			forget(key);
		rcu_quiescent_state();
	}
	rcu_unregister_thread();
	return NULL;
}

int main(void)
{
	pthread_t readers[READERS], writers[WRITERS];

	table = cds_lfht_new_flavor(1024, 1024, 0, CDS_LFHT_AUTO_RESIZE, &urcu_qsbr_flavor, NULL);
	for (size_t i = 0; i < READERS; i++)
		if (pthread_create(&readers[i], NULL, reader, (void *)(i + 1)))
			abort();
	for (size_t i = 0; i < WRITERS; i++)
		if (pthread_create(&writers[i], NULL, writer, (void *)(i + 100)))
			abort();
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);

	rcu_register_thread();
	for (unsigned long key = 0; key < KEYS; key++)
		forget(key);
	rcu_unregister_thread();
	if (cds_lfht_destroy(table, NULL))
		abort(); /* it is not empty */

	qslab_rcu_barrier();
	struct qslab_rcu_stats stats;
	struct qslab_memory memory;
	qslab_rcu_stats(&stats);
	qslab_memory(&memory);
	printf("%lu lookups, %lu hits; %lu entries retired, in %lu grace periods; at most %lu KiB waited\n",
	       lookups, hits, (unsigned long)stats.retired, (unsigned long)stats.completed,
	       (unsigned long)stats.peak_bytes / 1024);
	return !(stats.waiting == 0 && memory.live == 0 && stats.retired > WRITES / 2);
}
