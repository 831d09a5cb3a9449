#define _GNU_SOURCE
#include "alloc/debug.h"
#include "alloc/large.h"
#include "alloc/meta.h"
#include "alloc/misuse.h"
#include "alloc/thread.h"
#include "internal.h"
#include "pressure.h"
#include "rcu/grace.h"
#include "reclaimer.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/sdt.h>

#define APPETITE_MOST 256             /* arrays */
#define LARGE_BYTES ((size_t)1 << 20) /* of large objects in one array */

struct deferrer deferrer_none = {
	.pending = {[0 ... CLASS_LARGE] = {.top = pending_none, .limit = pending_none}},
};

_Thread_local struct deferrer *thread_deferrer __attribute__((tls_model("initial-exec"))) = &deferrer_none;
static _Thread_local bool thread_gone __attribute__((tls_model("initial-exec")));
static _Thread_local atomic_bool list_locked __attribute__((tls_model("initial-exec")));
static _Thread_local struct deferrer *_Atomic locked __attribute__((tls_model("initial-exec")));

struct deferrers deferrers;
static pthread_key_t exit_key;
static bool have_key;

void deferrer_lock(struct deferrer *deferrer)
{
	store_relaxed(&locked, deferrer);
	atomic_signal_fence(memory_order_seq_cst);
	lock_take(&deferrer->lock);
}

void deferrer_unlock(struct deferrer *deferrer)
{
	lock_drop(&deferrer->lock);
	atomic_signal_fence(memory_order_seq_cst);
	store_relaxed(&locked, NULL);
}

void deferrers_lock(void)
{
	store_relaxed(&list_locked, true);
	atomic_signal_fence(memory_order_seq_cst);
	lock_take(&deferrers.lock);
}

void deferrers_unlock(void)
{
	lock_drop(&deferrers.lock);
	atomic_signal_fence(memory_order_seq_cst);
	store_relaxed(&list_locked, false);
}

/* ---- append ------------------------------------------------------------------------------------------ */

struct appended {
	bool done;
	unsigned pressure; /* PRESSURE_*, if an array was sealed */
	uint64_t cookie;   /* of that array, else 0 */
};

/* Lock held; by the owner, or anyone if there is none. */
static struct appended append(struct deferrer *deferrer, unsigned class, void *object, const char *call)
{
	struct pending *pending = &deferrer->pending[class];
	unsigned capacity = heap_array_capacity(class);
	struct appended result = {true, 0, 0};

	if (pending_count(pending) == capacity) {
		result.pressure = array_seal(deferrer, class);
		result.cookie = queue_cookie(queue_of(deferrer, class));
		queue_release_surplus(deferrer, class);
	}
	struct array *array = pending->array;
	if (!array && !(array = array_begin(deferrer, class))) {
		result.done = false;
		return result;
	}
	void **top = load_relaxed(&pending->top);
	if (*top == object && pending_count(pending) > array->first)
		misuse_double_free(call, object, class == CLASS_LARGE ? large_find(object)->size : classes[class].size);
	__atomic_store_n(top + 1, object, __ATOMIC_RELAXED);
	atomic_store_explicit(&pending->top, top + 1, release); /* pairs with pending_count */
	if (class != CLASS_LARGE) {
		store_relaxed(&pending->limit, array->slots + capacity);
		return result;
	}
	array->bytes += large_find(object)->size;
	if (pending_count(pending) == capacity || array->bytes >= LARGE_BYTES) {
		result.pressure |= array_seal(deferrer, class);
		result.cookie = array->cookie;
	}
	return result;
}

/* ---- threads ---------------------------------------------------------------------------------------- */

/* Deferrers lock held. */
static struct deferrer *create(enum deferrer_state state)
{
	struct deferrer *deferrer = meta_alloc(sizeof *deferrer);
	if (!deferrer)
		return NULL;
	deferrer->state = state; /* the rest is zero: deferrers are never freed, and nothing else has their size */
	for (unsigned c = 0; c <= CLASS_LARGE; c++)
		deferrer->pending[c] = (struct pending){pending_none, pending_none, classes[c].divisor, NULL};
	deferrer->all_next = load_relaxed(&deferrers.all);
	atomic_store_explicit(&deferrers.all, deferrer, release); /* pairs with readers of the list */
	return deferrer;
}

static struct deferrer *acquire_deferrer(void)
{
	deferrers_lock();
	struct deferrer *deferrer = deferrers.orphans;
	if (deferrer) {
		deferrers.orphans = deferrer->orphan_next;
		deferrer_lock(deferrer);
		deferrer->state = DEFERRER_OWNED;
		deferrer_unlock(deferrer);
	} else {
		deferrer = create(DEFERRER_OWNED);
	}
	deferrers_unlock();
	return deferrer;
}

static struct deferrer *late_deferrer(void)
{
	deferrers_lock();
	if (!deferrers.late)
		deferrers.late = create(DEFERRER_ORPHAN);
	struct deferrer *deferrer = deferrers.late;
	deferrers_unlock();
	return deferrer;
}

/* This thread's, made if need be; NULL past its end, in the debug mode, or without memory. */
static struct deferrer *get(void)
{
	if (likely(thread_deferrer != &deferrer_none))
		return thread_deferrer;
	if (thread_gone || !have_key || tracking)
		return NULL;
	struct deferrer *deferrer = acquire_deferrer();
	if (deferrer) {
		thread_deferrer = deferrer;
		pthread_setspecific(exit_key, deferrer);
	}
	return deferrer;
}

bool deferrer_append(const char *call, unsigned class, void *object)
{
	int saved = errno;
	struct deferrer *deferrer = get();

	if (!deferrer && !(deferrer = late_deferrer()))
		return false;
	deferrer_lock(deferrer);
	struct appended result = append(deferrer, class, object, call);
	deferrer_unlock(deferrer);
	if (result.pressure & PRESSURE_CROSSED)
		pressure_tell();
	if (result.cookie)
		grace_demand(result.cookie, result.pressure & PRESSURE_HURRY);
	reclaimer_notice((class == CLASS_LARGE && result.cookie) || (result.cookie && pressure_is_soft()));
	errno = saved;
	return result.done;
}

static void thread_exit(void *argument)
{
	struct deferrer *deferrer = argument;
	uint64_t cookie = 0;

	thread_gone = true;
	thread_deferrer = &deferrer_none;
	deferrers_lock();
	deferrer_lock(deferrer);
	for (EACH_USED_CLASS(deferrer, c, CLASS_NONE)) {
		if (!deferrer->pending[c].array)
			continue;
		array_seal(deferrer, c);
		uint64_t last = queue_cookie(queue_of(deferrer, c));
		cookie = last > cookie ? last : cookie;
	}
	deferrer->state = DEFERRER_ORPHAN;
	deferrer_unlock(deferrer);
	deferrer->orphan_next = deferrers.orphans;
	deferrers.orphans = deferrer;
	deferrers_unlock();
	if (cookie)
		grace_demand(cookie, false);
	reclaimer_notice(true);
}

void deferrers_forget(unsigned class)
{
	for (EACH_DEFERRER(d)) {
		deferrer_lock(d);
		for (EACH_USED_CLASS(d, c, class))
			queue_forget(d, c);
		deferrer_unlock(d);
	}
}

/* The donor of alloc's refill: a ready array becomes the class's magazine, whole. */
static void donate(struct heap *heap, unsigned class)
{
	struct deferrer *deferrer = thread_deferrer;
	struct queue *queue = queue_of(deferrer, class);

	if (likely(!queue || !load_relaxed(&queue->arrays))) {
		if (unlikely(reclaimer_is_wanted()))
			reclaimer_notice(true);
		return;
	}
	deferrer_lock(deferrer);
	queue->appetite = queue->appetite < APPETITE_MOST - 2 ? queue->appetite + 2 : APPETITE_MOST;
	queue_ripen(deferrer, class);
	struct array *array = queue_take_ready(queue, class);
	if (array) {
		release_wipe(array->slots + 1 + array->first, array->count - array->first, class);
		struct array *old = heap_exchange(heap, class, array);
		if (old)
			queue_keep_spare(queue, class, old);
		deferrer->exchanged++;
		DTRACE_PROBE2(qslab, exchange, class, array->count - array->first);
	}
	deferrer_unlock(deferrer);
}

/* ---- fork ---------------------------------------------------------------------------------------------- */

void deferrers_lock_all(void)
{
	if (!load_relaxed(&list_locked))
		lock_take(&deferrers.lock);
	for (struct deferrer *d = load_relaxed(&deferrers.all); d; d = d->all_next)
		if (d != load_relaxed(&locked))
			lock_take(&d->lock);
}

void deferrers_unlock_all(void)
{
	for (struct deferrer *d = load_relaxed(&deferrers.all); d; d = d->all_next)
		if (d != load_relaxed(&locked))
			lock_drop(&d->lock);
	if (!load_relaxed(&list_locked))
		lock_drop(&deferrers.lock);
}

/* In the child, all locks taken: what dead threads had pending is sealed. */
void deferrers_after_fork(void)
{
	if (!load_relaxed(&list_locked))
		deferrers.orphans = NULL;
	for (struct deferrer *d = load_relaxed(&deferrers.all); d; d = d->all_next) {
		if (d == thread_deferrer || d == load_relaxed(&locked))
			continue;
		for (EACH_USED_CLASS(d, c, CLASS_NONE))
			if (d->pending[c].array)
				array_seal(d, c);
		d->state = DEFERRER_ORPHAN;
		if (d != deferrers.late && !load_relaxed(&list_locked)) {
			d->orphan_next = deferrers.orphans;
			deferrers.orphans = d;
		}
	}
	deferrers_unlock_all();
}

__attribute__((constructor(102))) static void start(void)
{
	class_init();
	have_key = !pthread_key_create(&exit_key, thread_exit);
	atomic_store_explicit(&heap_donor, donate, release);
}
