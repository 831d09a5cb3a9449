/*
 * A free queue: what is unlinked under a lock is freed after it.
 *
 * A cache of sessions under one mutex: a list by age, and buckets. Every so often the oldest thousand expire at once.
 * Freeing them inside the lock would keep all others out for as long as it takes; a queue through the objects' links
 * costs two stores each, and is emptied when the lock is free again: at once (qslab_free_q_flush) where nobody looks
 * without the lock, or after a grace period (flush_rcu, constant time), where readers do, as here.
 */
#include <pthread.h>
#include <qslab/rcu.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu-qsbr.h>
#include <urcu/rculist.h>
#include <urcu/rcuhlist.h>

enum { BUCKETS = 4096, MOST = 20000, EXPIRE = 1000, LOGINS = 300000, READERS = 2 };

struct session {
	struct cds_hlist_node bucket; /* readers walk along it */
	struct cds_list_head age;     /* the lock's holder only */
	unsigned long id, twice;
	struct rcu_ptr rcu;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cds_hlist_head buckets[BUCKETS];
static CDS_LIST_HEAD(by_age);
static unsigned long count;
static atomic_bool stop;
static atomic_ulong newest, hits;

/* Under the lock: unlinks the oldest into a queue; readers that hold them go on undisturbed. */
static void expire(struct qslab_free_q *dead, unsigned long how_many)
{
	while (how_many-- && !cds_list_empty(&by_age)) {
		struct session *oldest = cds_list_entry(by_age.next, struct session, age);
		cds_list_del(&oldest->age);
		cds_hlist_del_rcu(&oldest->bucket);
		count--;
		qslab_free_q_add(dead, oldest, rcu);
	}
}

static void login(unsigned long id)
{
	struct qslab_free_q dead;
	struct session *session = qslab_malloc(sizeof *session);

	if (!session)
		abort();
	session->id = id;
	session->twice = 2 * id;
	qslab_free_q_init(&dead);
	pthread_mutex_lock(&lock);
	cds_list_add_tail(&session->age, &by_age);
	cds_hlist_add_head_rcu(&session->bucket, &buckets[id % BUCKETS]);
	if (++count > MOST)
		expire(&dead, EXPIRE);
	pthread_mutex_unlock(&lock);
	qslab_free_q_flush_rcu(&dead); /* nothing to do if it is empty */
}

static bool known(unsigned long id)
{
	struct session *session;

	cds_hlist_for_each_entry_rcu_2(session, &buckets[id % BUCKETS], bucket)
		if (session->id == id) {
			if (session->twice != 2 * id)
				abort();
			return true;
		}
	return false;
}

static void *reader(void *unused)
{
	unsigned long n = 0, seed = 1;

	rcu_register_thread();
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		seed = seed * 6364136223846793005ul + 1;
		unsigned long last = atomic_load_explicit(&newest, memory_order_relaxed);
		unsigned long back = (seed >> 33) % MOST;
		rcu_read_lock();
		n += known(last > back ? last - back : 0);
		rcu_read_unlock();
		rcu_quiescent_state();
	}
	rcu_unregister_thread();
	atomic_fetch_add(&hits, n);
	return unused;
}

int main(void)
{
	pthread_t readers[READERS];

	for (int i = 0; i < READERS; i++)
		if (pthread_create(&readers[i], NULL, reader, NULL))
			abort();
	for (unsigned long id = 1; id <= LOGINS; id++) {
		login(id);
		atomic_store_explicit(&newest, id, memory_order_relaxed);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);

	struct qslab_free_q rest; /* no reader is left: free at once */
	qslab_free_q_init(&rest);
	pthread_mutex_lock(&lock);
	expire(&rest, count);
	pthread_mutex_unlock(&lock);
	qslab_free_q_flush(&rest);

	qslab_rcu_barrier();
	struct qslab_rcu_stats stats;
	struct qslab_memory memory;
	qslab_rcu_stats(&stats);
	qslab_memory(&memory);
	printf("%d logins, %lu sessions expired under readers, who found %lu\n", LOGINS, (unsigned long)stats.retired, hits);
	return !(stats.waiting == 0 && memory.live == 0 && stats.retired >= LOGINS - MOST - EXPIRE);
}
