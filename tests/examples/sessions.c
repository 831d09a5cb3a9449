/*
 * Sessions in a typesafe cache: looked up without a lock, held by reference, replaced at the speed of plain free.
 *
 * A lookup that takes a reference may keep its object past its next quiescent state, for as long as it likes; so RCU
 * need not delay the free, only what the reader does between finding the object and taking the reference must be
 * safe. QSLAB_CACHE_TYPESAFE_BY_RCU promises just that: freed memory may be another session at once, the next
 * qslab_cache_alloc returns it while it is warm, but it stays a session until readers have passed a quiescent state.
 * So a reader may meet a session that is over, or one that began after it looked. It
 *
 *     1  increments the reference count unless it is zero: zero is free, or not begun
 *     2  checks, now that nothing can change under it, that this is the session it looked for
 *
 * and else looks again. For 1 to make sense in free memory too, the count and the lock are set up by the constructor,
 * when the memory is made, and every user leaves them as it found them. As the kernel's SLAB_TYPESAFE_BY_RCU is used.
 */
#include <pthread.h>
#include <qslab/cache.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu-qsbr.h>

enum { IDS = 64, CHANGES = 200000, WRITERS = 2, READERS = 2, HELD = 8 };

struct session {
	atomic_uint references; /* the constructor's: 0 in every free session */
	pthread_mutex_t lock;   /* the constructor's: free in every free session */
	unsigned long visits;   /* lock */
	unsigned long id;       /* constant while there are references */
};

static struct qslab_cache *cache;
static struct session *table[IDS]; /* one reference each */
static atomic_bool stop;
static atomic_ulong constructed, begun, ended, visits, over, reused;

static int construct(void *memory)
{
	struct session *session = memory;

	atomic_init(&session->references, 0);
	atomic_fetch_add(&constructed, 1);
	return pthread_mutex_init(&session->lock, NULL);
}

/* ---- references --------------------------------------------------------------------------------------------------- */

static void drop(struct session *session)
{
	if (session && atomic_fetch_sub_explicit(&session->references, 1, memory_order_acq_rel) == 1) {
		atomic_fetch_add(&ended, 1);
		qslab_cache_free(cache, session); /* readers may be looking at it */
	}
}

/* A reference to what was found where the session of that id should be, if it still is that. In a read-side section. */
static bool take(struct session *session, unsigned long id)
{
	unsigned references = atomic_load_explicit(&session->references, memory_order_relaxed);

	do {
		if (!references) {
			atomic_fetch_add(&over, 1);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(&session->references, &references, references + 1,
	                                                memory_order_acquire, memory_order_relaxed)); /* begin */
	if (session->id == id)
		return true;
	atomic_fetch_add(&reused, 1);
	drop(session); /* somebody else's, and maybe the last reference to it by now */
	return false;
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */

/* The session of that id, and a reference to it, or NULL. Whoever fails to take one finds the table changed. */
static struct session *lookup(unsigned long id)
{
	struct session *session;

	rcu_read_lock();
	do
		session = rcu_dereference(table[id]);
	while (session && !take(session, id));
	rcu_read_unlock();
	return session;
}

/* Ends the session of that id, if there is one, once nobody holds it. */
static void end(unsigned long id)
{
	drop(rcu_xchg_pointer(&table[id], NULL));
}

/* The same, and begins a new one in its place. */
static void begin(unsigned long id)
{
	struct session *session = qslab_cache_alloc(cache);

	if (!session || atomic_load(&session->references))
		abort();
	session->id = id; /* before the count: no reader looks at it while that is 0 */
	session->visits = 0;
	atomic_store_explicit(&session->references, 1, memory_order_release); /* take */
	atomic_fetch_add(&begun, 1);
	drop(rcu_xchg_pointer(&table[id], session));
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

static void visit(struct session *session, unsigned long id)
{
	if (session->id != id)
		abort(); /* it is another one now, in spite of the reference */
	pthread_mutex_lock(&session->lock);
	session->visits++;
	pthread_mutex_unlock(&session->lock);
	atomic_fetch_add(&visits, 1);
}

static void *reader(void *argument)
{
	unsigned long seed = (unsigned long)(size_t)argument, ids[HELD];
	struct session *held[HELD] = {NULL};

	rcu_register_thread();
	for (unsigned n = 0; !atomic_load_explicit(&stop, memory_order_relaxed); n = (n + 1) % HELD) {
		if (held[n])
			visit(held[n], ids[n]); /* found HELD lookups and as many quiescent states ago */
		drop(held[n]);
		seed = seed * 6364136223846793005ul + 1;
		ids[n] = (seed >> 33) % IDS;
		held[n] = lookup(ids[n]);
		rcu_quiescent_state();
	}
	rcu_unregister_thread();
	for (unsigned i = 0; i < HELD; i++)
		drop(held[i]);
	return NULL;
}

static void *writer(void *argument)
{
	unsigned long seed = (unsigned long)(size_t)argument;

	for (unsigned i = 0; i < CHANGES; i++) {
		seed = seed * 6364136223846793005ul + 1;
		(seed >> 62 ? begin : end)((seed >> 33) % IDS);
		if (i % 1000 == 0)
			qslab_cache_shrink(cache); /* free slabs go too, when no reader can be in them */
	}
	return NULL;
}

/* What a reader meets that is slow between finding and taking; in one thread, so that it is sure to. */
static bool slow_reader_notices(void)
{
	begin(1);
	struct session *found = table[1];
	end(1);
	bool is_over = !take(found, 1);
	begin(2);
	bool is_reused = table[2] == found && !take(found, 1) && take(found, 2);
	if (is_reused)
		drop(found);
	end(2);
	return is_over && is_reused && over == 1 && reused == 1;
}

int main(void)
{
	pthread_t readers[READERS], writers[WRITERS];

	cache = qslab_cache_create("session", sizeof(struct session), 0, QSLAB_CACHE_TYPESAFE_BY_RCU, construct);
	if (!cache || !slow_reader_notices())
		return 1;
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
	for (unsigned long id = 0; id < IDS; id++)
		end(id);

	printf("%lu sessions in memory constructed %lu times; %lu visits; readers met %lu that were over, %lu reused\n",
	       begun, constructed, visits, over, reused);
	return !(begun == ended && constructed < begun && qslab_cache_destroy(cache) == 0);
}
