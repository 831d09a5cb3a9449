/* Deferrers seen from outside: by the reclaimer, the barrier, and statistics. */
#define _GNU_SOURCE
#include "internal.h"
#include "pressure.h"
#include "rcu/grace.h"

#include <sys/sdt.h>

#define ARRAYS_AT_ONCE 16 /* released with one deferrer's lock held */

/* ---- one class of one deferrer (lock held) ------------------------------------------------------------ */

/* A pending array nobody may append to beside us can be sealed; true if it was, or there is none. */
static bool sealed_whole(struct deferrer *deferrer, unsigned class)
{
	struct pending *pending = &deferrer->pending[class];

	if (deferrer->state == DEFERRER_OWNED && class != CLASS_LARGE)
		return !pending->array;
	if (pending_count(pending))
		array_seal(deferrer, class);
	return true;
}

/* P1. The reclaimer leaves a note that stands; the barrier widens it. Returns the note's cookie, 0 without one. */
static uint64_t note(struct deferrer *deferrer, unsigned class, bool widen)
{
	struct pending *pending = &deferrer->pending[class];
	struct queue *queue = queue_of(deferrer, class);
	unsigned count = pending_count(pending);

	if (queue->note_count && !widen)
		return queue->note_cookie;
	if (count == pending->array->first)
		return 0;
	MARK(note);
	queue->note_count = count;
	queue->note_sealed = queue->sealed;
	queue->note_cookie = grace_cookie(); /* after count was read */
	return queue->note_cookie;
}

/* P2, if the note's cookie is over. */
static void settle(struct deferrer *deferrer, unsigned class)
{
	struct queue *queue = queue_of(deferrer, class);
	struct array *array = deferrer->pending[class].array;

	if (!queue->note_count || queue->note_sealed != queue->sealed || !grace_over(queue->note_cookie))
		return;
	unsigned count = queue->note_count - array->first;
	MARK(settle);
	release_objects(array->slots + 1 + array->first, count);
	array->first = queue->note_count;
	DTRACE_PROBE2(qslab, settle, class, count);
	deferrer->reclaimed += count;
	deferrer->flushed += count;
	queue->note_count = 0;
}

static void raise_to(uint64_t *highest, uint64_t cookie)
{
	*highest = cookie > *highest ? cookie : *highest;
}

/* The reclaimer's look at one class: DEFERRER_*. Demand comes later, without the lock: it may start a thread. */
static unsigned scan(struct deferrer *deferrer, unsigned class, bool all, uint64_t *cookie)
{
	struct pending *pending = &deferrer->pending[class];
	struct queue *queue = queue_of(deferrer, class);
	bool whole = sealed_whole(deferrer, class);
	bool busy = queue->sealed != queue->seen_sealed && !whole;
	unsigned state = 0;

	queue->seen_sealed = queue->sealed;
	if (!busy || all) {
		queue_ripen(deferrer, class);
		queue_release(deferrer, class, ARRAYS_AT_ONCE);
	}
	if (load_relaxed(&queue->arrays))
		state |= DEFERRER_WORK | (whole || all ? DEFERRER_EAGER : 0);
	raise_to(cookie, queue_cookie(queue));
	if (!pending->array)
		return state;

	settle(deferrer, class);
	unsigned count = pending_count(pending);
	bool idle = !busy && count == queue->seen_count;
	queue->seen_count = count;
	if (count > pending->array->first) {
		if (idle)
			raise_to(cookie, note(deferrer, class, false));
		return state | DEFERRER_WORK;
	}
	if (load_relaxed(&pending->limit) == pending->array->slots)
		return state;
	if (idle)
		store_relaxed(&pending->limit, pending->array->slots); /* the next append arms it, and tells us */
	return state | DEFERRER_ARMED;
}

/* ---- all of them ------------------------------------------------------------------------------------------ */

unsigned deferrers_scan(bool all, uint64_t *cookie)
{
	unsigned state = 0;

	for (EACH_DEFERRER(d)) {
		lock_take(&d->lock);
		for (EACH_USED_CLASS(d, c, CLASS_NONE))
			state |= scan(d, c, all, cookie);
		lock_drop(&d->lock);
	}
	return state;
}

uint64_t deferrers_note(unsigned only)
{
	uint64_t highest = 0;

	for (EACH_DEFERRER(d)) {
		lock_take(&d->lock);
		for (EACH_USED_CLASS(d, c, only)) {
			if (sealed_whole(d, c))
				continue;
			raise_to(&highest, note(d, c, true));
		}
		lock_drop(&d->lock);
	}
	return highest;
}

uint64_t deferrers_settle(unsigned only)
{
	uint64_t highest = 0;

	for (EACH_DEFERRER(d)) {
		lock_take(&d->lock);
		for (EACH_USED_CLASS(d, c, only)) {
			raise_to(&highest, queue_cookie(queue_of(d, c)));
			settle(d, c);
		}
		lock_drop(&d->lock);
	}
	return highest;
}

void deferrers_free(unsigned only)
{
	for (EACH_DEFERRER(d)) {
		lock_take(&d->lock);
		for (EACH_USED_CLASS(d, c, only)) {
			queue_ripen(d, c);
			queue_release(d, c, UINT32_MAX);
		}
		lock_drop(&d->lock);
	}
}

void deferrers_count(struct deferrer_counts *counts)
{
	*counts = (struct deferrer_counts){.waiting_bytes = pressure_bytes()};
	for (EACH_DEFERRER(d)) {
		lock_take(&d->lock);
		counts->retired += d->sealed_objects;
		counts->reclaimed += d->reclaimed;
		counts->exchanged += d->exchanged;
		counts->flushed += d->flushed;
		for (EACH_USED_CLASS(d, c, CLASS_NONE)) {
			struct pending *pending = &d->pending[c];
			unsigned count = pending_count(pending);
			counts->retired += count;
			if (!count)
				continue;
			counts->waiting_bytes += c == CLASS_LARGE ? pending->array->bytes
			                                          : (size_t)(count - pending->array->first) * classes[c].size;
		}
		lock_drop(&d->lock);
	}
}

struct each {
	void (*callback)(void *object, bool waits, void *argument);
	void *argument;
};

static void each_object(const struct each *each, const struct array *array, unsigned count, bool waits)
{
	for (unsigned i = array->first + 1; i <= count; i++)
		each->callback(array->slots[i], waits, each->argument);
}

static void each_array(const struct each *each, const struct array *array, bool waits)
{
	for (; array; array = array->next)
		each_object(each, array, array->count, waits);
}

void deferrers_each(unsigned only, void (*callback)(void *object, bool waits, void *argument), void *argument)
{
	const struct each each = {callback, argument};

	for (EACH_DEFERRER(d)) {
		lock_take(&d->lock);
		for (EACH_USED_CLASS(d, c, only)) {
			struct queue *queue = queue_of(d, c);
			if (d->pending[c].array)
				each_object(&each, d->pending[c].array, pending_count(&d->pending[c]), true);
			each_array(&each, queue->head, true);
			each_array(&each, queue->ready, false);
			each_array(&each, queue->surplus, false);
		}
		lock_drop(&d->lock);
	}
}

static void count_object(void *object, bool waits, void *argument)
{
	size_t *const *counts = argument;

	(void)object;
	++*counts[waits];
}

void deferrers_count_class(unsigned class, size_t *waiting, size_t *ready)
{
	*waiting = *ready = 0;
	deferrers_each(class, count_object, (size_t *[]){ready, waiting});
}
