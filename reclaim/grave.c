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

static _Thread_local bool locked_for_fork __attribute__((tls_model("initial-exec")));

/* alloc's slab_undertaker. */
static void bury(struct slab *slab)
{
	bool taken = lock_take_for_fork(&graves.lock); /* else inside fork, in a handler of another library's */
	slab->next = NULL;
	slab->cookie = grace_cookie();
	if (graves.first)
		graves.last->next = slab;
	else
		graves.first = slab;
	graves.last = slab;
	if (taken)
		lock_drop(&graves.lock);
	reclaimer_mention();
}

/* Gives the oldest back, if it may go: true. Else its cookie, 0 without one. Under the lock to the end: graves_of. */
static bool give_back(uint64_t *cookie)
{
	lock_take(&graves.lock);
	struct slab *slab = graves.first;
	bool ripe = slab && grace_over(slab->cookie);

	*cookie = slab ? slab->cookie : 0;
	if (ripe) {
		graves.first = slab->next;
		slab_release(slab);
	}
	lock_drop(&graves.lock);
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

	lock_take(&graves.lock);
	for (struct slab *slab = graves.first; slab; slab = slab->next)
		if (slab->class == class)
			cookie = slab->cookie;
	lock_drop(&graves.lock);
	return cookie;
}

void graves_lock_for_fork(void)
{
	locked_for_fork = lock_take_for_fork(&graves.lock);
}

void graves_unlock_after_fork(void)
{
	if (locked_for_fork)
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
