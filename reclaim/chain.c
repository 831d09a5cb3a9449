#define _GNU_SOURCE
#include "chain.h"
#include "alloc/cache.h"
#include "alloc/misuse.h"
#include "alloc/object.h"
#include "alloc/segment.h"
#include "pressure.h"
#include "rcu/grace.h"
#include "release.h"

#include <qslab/rcu.h>

static struct {
	_Alignas(CACHE_LINE) struct rcu_ptr *_Atomic incoming;
	_Alignas(CACHE_LINE) struct lock lock;
	struct rcu_ptr *ripening;     /* lock */
	uint64_t cookie;              /* lock: of ripening */
	size_t bytes;                 /* lock: of ripening */
	uint64_t retired, reclaimed;  /* lock: counted when taken; when freed */
	atomic_bool waiting;          /* written under the lock: ripening is not empty */
} chain;

static _Thread_local bool locked_for_fork __attribute__((tls_model("initial-exec")));

bool chain_push(struct rcu_ptr *first, struct rcu_ptr *last)
{
	struct rcu_ptr *old = load_relaxed(&chain.incoming);

	MARK(chain_push);
	do
		__atomic_store_n(&last->next, old, __ATOMIC_RELAXED);
	while (!atomic_compare_exchange_weak_explicit(&chain.incoming, &old, first, memory_order_seq_cst, relaxed));
	return !old; /* pairs with chain_advance, and with chain_is_empty */
}

bool chain_is_empty(void)
{
	/* if the list was taken since, acquire brings `waiting` with it */
	return !atomic_load_explicit(&chain.incoming, memory_order_seq_cst) && !load_relaxed(&chain.waiting);
}

void chain_free(struct rcu_ptr *first, bool ripe)
{
	void *objects[MAGAZINE_MAX];
	unsigned count = 0;

	for (struct rcu_ptr *next; first; first = next) {
		struct object object;
		next = __atomic_load_n(&first->next, __ATOMIC_RELAXED);
		if (!object_find(first, &object))
			misuse_pointer("deferred free", first);
		if (object.class == CLASS_LARGE) {
			release_large(object.start);
			continue;
		}
		if (unlikely(!ripe && (classes[object.class].traits & CLASS_DEFER))) {
			own_free("qslab_free_q_flush", object.class, object.start);
			continue;
		}
		objects[count++] = object.start;
		if (count == MAGAZINE_MAX) {
			release_objects(objects, count);
			count = 0;
		}
	}
	release_objects(objects, count);
}

/* Lock held, so that no one takes the list: pushers only put more before it. */
static uint64_t measure(const struct rcu_ptr *first, size_t *bytes)
{
	uint64_t count = 0;

	*bytes = 0;
	for (; first; first = __atomic_load_n(&first->next, __ATOMIC_RELAXED)) {
		struct object object;
		if (object_find(first, &object))
			*bytes += object.size;
		count++;
	}
	return count;
}

uint64_t chain_advance(void)
{
	uint64_t cookie = 0;

	lock_take(&chain.lock);
	if (chain.ripening && grace_over(chain.cookie)) {
		chain_free(chain.ripening, true);
		chain.reclaimed = chain.retired;
		pressure_remove(chain.bytes);
		chain.ripening = NULL;
		store_relaxed(&chain.waiting, false);
	}
	if (!chain.ripening) {
		store_relaxed(&chain.waiting, true); /* before it is taken: chain_is_empty */
		chain.ripening = atomic_exchange_explicit(&chain.incoming, NULL, acq_rel); /* pairs with chain_push, chain_is_empty */
		MARK(chain_taken);
		chain.cookie = grace_cookie(); /* after it was taken */
		chain.retired += measure(chain.ripening, &chain.bytes);
		pressure_add(chain.bytes);
		store_relaxed(&chain.waiting, chain.ripening != NULL);
	}
	if (chain.ripening)
		cookie = chain.cookie;
	lock_drop(&chain.lock);
	return cookie;
}

void chain_count(uint64_t *retired, uint64_t *reclaimed, size_t *incoming_bytes)
{
	lock_take(&chain.lock);
	*retired = chain.retired + measure(atomic_load_explicit(&chain.incoming, acquire), incoming_bytes);
	*reclaimed = chain.reclaimed;
	lock_drop(&chain.lock);
}

void chain_each(void (*callback)(const struct rcu_ptr *link, void *argument), void *argument)
{
	lock_take(&chain.lock);
	const struct rcu_ptr *lists[] = {chain.ripening, atomic_load_explicit(&chain.incoming, acquire)};
	for (int i = 0; i < 2; i++)
		for (const struct rcu_ptr *link = lists[i]; link; link = __atomic_load_n(&link->next, __ATOMIC_RELAXED))
			callback(link, argument);
	lock_drop(&chain.lock);
}

void chain_lock_for_fork(void)
{
	locked_for_fork = lock_take_for_fork(&chain.lock);
}

void chain_unlock_after_fork(void)
{
	if (locked_for_fork)
		lock_drop(&chain.lock);
}

void chain_publish(struct qslab_segment_chain *out)
{
	*out = (struct qslab_segment_chain){
		.lock = PUBLISH_WORD(chain.lock.held, 4),
		.incoming = PUBLISH_WORD(chain.incoming, 8),
		.ripening = PUBLISH_WORD(chain.ripening, 8),
		.cookie = PUBLISH_WORD(chain.cookie, 8),
		.bytes = PUBLISH_WORD(chain.bytes, 8),
		.retired = PUBLISH_WORD(chain.retired, 8),
		.reclaimed = PUBLISH_WORD(chain.reclaimed, 8),
	};
}
