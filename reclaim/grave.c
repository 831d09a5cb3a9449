#define _GNU_SOURCE
#include "grave.h"
#include "alloc/segment.h"
#include "alloc/slab.h"
#include "rcu/grace.h"
#include "reclaimer.h"

static struct {
	struct lock lock;
	struct slab *first;         /* lock; linked by next; cookies never fall */
	struct slab *last;          /* lock */
} graves;

static _Thread_local atomic_bool locked __attribute__((tls_model("initial-exec")));

static void lock_graves(void)
{
	store_relaxed(&locked, true);
	atomic_signal_fence(memory_order_seq_cst);
	lock_take(&graves.lock);
}

static void unlock_graves(void)
{
	lock_drop(&graves.lock);
	atomic_signal_fence(memory_order_seq_cst);
	store_relaxed(&locked, false);
}

/* alloc's slab_undertaker. */
static void bury(struct slab *slab)
{
	lock_graves();
	slab->next = NULL;
	slab->cookie = grace_cookie();
	if (graves.first)
		graves.last->next = slab;
	else
		graves.first = slab;
	graves.last = slab;
	unlock_graves();
	reclaimer_mention();
}

/* Gives the oldest back, if it may go: true. Else its cookie, 0 without one. Under the lock to the end: graves_of. */
static bool give_back(uint64_t *cookie)
{
	lock_graves();
	struct slab *slab = graves.first;
	bool ripe = slab && grace_over(slab->cookie);

	*cookie = slab ? slab->cookie : 0;
	if (ripe) {
		graves.first = slab->next;
		slab_release(slab);
	}
	unlock_graves();
	return ripe;
}

uint64_t graves_advance(void)
{
	uint64_t cookie = 0;

	while (give_back(&cookie))
		continue;
	return cookie;
}

uint64_t graves_of(unsigned class)
{
	uint64_t cookie = 0;

	lock_graves();
	for (struct slab *slab = graves.first; slab; slab = slab->next)
		if (slab->class == class)
			cookie = slab->cookie;
	unlock_graves();
	return cookie;
}

void graves_lock_for_fork(void)
{
	if (!load_relaxed(&locked))
		lock_take(&graves.lock);
}

void graves_unlock_after_fork(void)
{
	if (!load_relaxed(&locked))
		lock_drop(&graves.lock);
}

__attribute__((constructor(102))) static void start(void)
{
	atomic_store_explicit(&slab_undertaker, bury, release);
}

void graves_publish(struct qslab_segment_held *out)
{
	out->graves = PUBLISH_WORD(graves.first, 8);
}
