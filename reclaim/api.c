/* The public calls of include/qslab/rcu.h. */
#define _GNU_SOURCE
#include "alloc/large.h"
#include "alloc/misuse.h"
#include "alloc/object.h"
#include "append.h"
#include "barrier.h"
#include "chain.h"
#include "debug.h"
#include "deferrer.h"
#include "pressure.h"
#include "rcu/flavor.h"
#include "rcu/grace.h"
#include "reclaimer.h"

#include <errno.h>
#include <qslab/rcu.h>

/* The class and size of an object whose start this is, or a report. Looked up once: retired twice, it may go any time. */
static unsigned class_at(const char *call, const void *start, size_t *size)
{
	uint64_t entry = region_has(start) ? entry_of(start) : 0;
	unsigned class = entry_class(entry);
	struct large *large;

	*size = classes[class].size;
	if (is_start(entry, start, classes[class].divisor))
		return class;
	large = large_find(start);
	if (!large || large_start(large) != start)
		misuse_pointer(call, start);
	*size = large_usable(large);
	return CLASS_LARGE;
}

/* The link, at `offset` in an object of that size, lies inside, all of it; or a report. */
static void check_link(const char *call, const void *object, size_t offset, size_t size)
{
	if (offset > size - sizeof(struct rcu_ptr))
		misuse_link(call, object, offset, size);
}

bool append_slow(const char *call, void *object, size_t offset)
{
	size_t size;
	unsigned class = class_at(call, object, &size);

	check_link(call, object, offset, size);
	if (likely(!watched))
		return deferrer_append(call, class, object, size);
	debug_retire(call, object);
	bool done = deferrer_append(call, class, object, size);
	if (!done)
		debug_retire_failed(object);
	return done;
}

static void push(struct rcu_ptr *first, struct rcu_ptr *last)
{
	if (chain_push(first, last))
		reclaimer_wake();
}

SLOW static void free_rcu_slow(void *object, struct rcu_ptr *link)
{
	if (!object)
		return;
	if (!append_slow("qslab_free_rcu", object, (uintptr_t)link - (uintptr_t)object)) {
		if (unlikely(watched))
			debug_retire("qslab_free_rcu", object);
		push(link, link);
		reclaimer_notice(true);
	}
}

void qslab_free_rcu_link(void *object, struct rcu_ptr *link)
{
	if (unlikely(!append_fast(object, (uintptr_t)link - (uintptr_t)object)))
		free_rcu_slow(object, link);
}

void qslab_free_rcu_head(struct rcu_ptr *link)
{
	struct object object;

	if (!link)
		return;
	if (!object_find(link, &object))
		misuse_pointer("qslab_free_rcu_head", link);
	qslab_free_rcu_link(object.start, link);
}

void qslab_free_rcu_nolock_link(void *object, struct rcu_ptr *link)
{
	struct object found;

	if (!object)
		return;
	if (!object_find(object, &found) || found.start != object)
		misuse_pointer("qslab_free_rcu_nolock", object);
	check_link("qslab_free_rcu_nolock", object, (uintptr_t)link - (uintptr_t)object, found.size);
	if (unlikely(watched))
		debug_retire("qslab_free_rcu_nolock", object);
	push(link, link);
}

int qslab_free_rcu_try(void *object)
{
	if (likely(append_fast(object, 0)) || !object)
		return 0;
	return append_slow("qslab_free_rcu_try", object, 0) ? 0 : ENOMEM;
}

void qslab_free_rcu_mightsleep(void *object)
{
	if (!object)
		return;
	if (!append_fast(object, 0) && !append_slow("qslab_free_rcu_mightsleep", object, 0)) {
		grace_wait(grace_cookie(), "qslab_free_rcu_mightsleep");
		fast_free("qslab_free_rcu_mightsleep", object);
	} else if (unlikely(pressure_is_hard())) {
		grace_wait(grace_cookie(), "qslab_free_rcu_mightsleep");
		deferrers_free(CLASS_NONE);
	}
}

size_t qslab_free_rcu_bulk(size_t count, void *const *objects)
{
	for (size_t i = 0; i < count; i++)
		if (!append_fast(objects[i], 0) && objects[i] && !append_slow("qslab_free_rcu_bulk", objects[i], 0))
			return i;
	return count;
}

/* ---- cookies -------------------------------------------------------------------------------------------------- */

qslab_rcu_cookie qslab_rcu_get(void)
{
	return grace_cookie();
}

qslab_rcu_cookie qslab_rcu_start(void)
{
	uint64_t cookie = grace_cookie();
	grace_demand(cookie, true);
	reclaimer_notice(false); /* it looks for stalls */
	return cookie;
}

bool qslab_rcu_poll(qslab_rcu_cookie cookie)
{
	return grace_poll(cookie);
}

void qslab_rcu_wait(qslab_rcu_cookie cookie)
{
	if (grace_over(cookie))
		return;
	reclaimer_notice(false); /* it looks for stalls */
	grace_wait(cookie, "qslab_rcu_wait");
}

int qslab_free_rcu_poll(qslab_rcu_cookie cookie, void *object)
{
	if (!grace_over(cookie))
		return qslab_free_rcu_try(object); /* its own cookie will be no earlier */
	fast_free("qslab_free_rcu_poll", object);
	return 0;
}

void qslab_rcu_barrier(void)
{
	int saved = errno;
	barrier_wait("qslab_rcu_barrier", CLASS_NONE);
	errno = saved;
}

/* ---- free queue ------------------------------------------------------------------------------------------------ */

void qslab_free_q_flush(struct qslab_free_q *q)
{
	int saved = errno;
	struct rcu_ptr *first = q->first;

	qslab_free_q_init(q);
	if (unlikely(watched))
		debug_free_list("qslab_free_q_flush", first);
	else
		chain_free(first, false);
	errno = saved;
}

void qslab_free_q_flush_rcu(struct qslab_free_q *q)
{
	struct rcu_ptr *first = q->first, *last = q->last;

	qslab_free_q_init(q);
	if (!first)
		return;
	int saved = errno;
	if (unlikely(watched))
		debug_retire_list("qslab_free_q_flush_rcu", first);
	push(first, last);
	reclaimer_notice(true);
	errno = saved;
}

/* ---- the rest --------------------------------------------------------------------------------------------------- */

int qslab_rcu_set_flavor(const struct rcu_flavor_struct *flavor)
{
	if (flavor_is_signal(flavor))
		return EINVAL;
	return flavor_set(flavor) ? 0 : EBUSY;
}

void qslab_rcu_set_limits(size_t soft, size_t hard, void (*callback)(size_t bytes))
{
	pressure_set(soft, hard, callback);
}

void qslab_rcu_stats(struct qslab_rcu_stats *stats)
{
	struct deferrer_counts counts;
	uint64_t chained, unchained;
	size_t incoming;

	if (reclaimer_is_wanted())
		reclaimer_notice(true); /* a signal handler could not start it */
	deferrers_count(&counts);
	chain_count(&chained, &unchained, &incoming);
	*stats = (struct qslab_rcu_stats){
		.retired = counts.retired + chained,
		.reclaimed = counts.reclaimed + unchained,
		.waiting = counts.retired + chained - counts.reclaimed - unchained,
		.waiting_bytes = counts.waiting_bytes + incoming,
		.peak_bytes = pressure_peak(),
		.started = load_relaxed(&grace.started),
		.completed = load_relaxed(&grace.completed),
		.exchanged = counts.exchanged,
		.flushed = counts.flushed,
		.chained = chained,
		.over_hard = pressure_over_hard(),
		.stalls = reclaimer_stalls(),
	};
}
