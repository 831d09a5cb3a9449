#define _GNU_SOURCE
#include "alloc/debug.h"
#include "alloc/harden.h"
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

struct deferrers deferrers;
static pthread_key_t exit_key;
static bool have_key;

/* ---- append ------------------------------------------------------------------------------------------ */

struct appended {
	bool done;
	bool hurry;      /* an array was sealed, and its grace period should */
	uint64_t cookie; /* of that array, else 0 */
};

/* Lock held; by the owner, or anyone if there is none. */
static struct appended append(struct deferrer *deferrer, unsigned class, void *object, size_t size, const char *call)
{
	struct pending *pending = &deferrer->pending[class];
	unsigned capacity = heap_array_capacity(class);
	struct appended result = {true, false, 0};

	if (pending_count(pending) == capacity) {
		result.hurry = array_seal(deferrer, class);
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
		misuse_double_free(call, object, size);
	__atomic_store_n(top + 1, object, __ATOMIC_RELAXED);
	atomic_store_explicit(&pending->top, top + 1, release); /* pairs with pending_count */
	if (class != CLASS_LARGE) {
		store_relaxed(&pending->limit, array->slots + capacity);
		return result;
	}
	array->bytes += size;
	if (pending_count(pending) == capacity || array->bytes >= LARGE_BYTES) {
		result.hurry |= array_seal(deferrer, class);
		result.cookie = array->cookie;
	}
	return result;
}

/* ---- threads ---------------------------------------------------------------------------------------- */

/* Deferrers lock held. An ORPHAN. */
static struct deferrer *create(void)
{
	struct deferrer *deferrer = meta_alloc(sizeof *deferrer);
	if (!deferrer)
		return NULL;
	deferrer->state = DEFERRER_ORPHAN; /* the rest is zero: deferrers are never freed, and nothing else has their size */
	for (unsigned c = 0; c <= CLASS_LARGE; c++)
		deferrer->pending[c] = (struct pending){pending_none, pending_none, classes[c].divisor, NULL};
	deferrer->all_next = load_relaxed(&deferrers.all);
	atomic_store_explicit(&deferrers.all, deferrer, release); /* pairs with readers of the list */
	return deferrer;
}

/* An orphan or a new one becomes this thread's. Not OWNED before it is: a child forked in between would not know whose. */
static struct deferrer *acquire_deferrer(void)
{
	lock_take(&deferrers.lock);
	struct deferrer *deferrer = deferrers.orphans;
	if (deferrer)
		deferrers.orphans = deferrer->orphan_next;
	else
		deferrer = create();
	if (deferrer) {
		thread_deferrer = deferrer;
		lock_take(&deferrer->lock);
		deferrer->state = DEFERRER_OWNED;
		lock_drop(&deferrer->lock);
	}
	lock_drop(&deferrers.lock);
	return deferrer;
}

static struct deferrer *late_deferrer(void)
{
	lock_take(&deferrers.lock);
	if (!deferrers.late)
		deferrers.late = create();
	struct deferrer *deferrer = deferrers.late;
	lock_drop(&deferrers.lock);
	return deferrer;
}

/* What this thread has pending is sealed; the next thread takes the deferrer over. */
static void give_up(struct deferrer *deferrer)
{
	uint64_t cookie = 0;

	lock_take(&deferrers.lock);
	lock_take(&deferrer->lock);
	for (EACH_USED_CLASS(deferrer, c, CLASS_NONE)) {
		if (!deferrer->pending[c].array)
			continue;
		array_seal(deferrer, c);
		uint64_t last = queue_cookie(queue_of(deferrer, c));
		cookie = last > cookie ? last : cookie;
	}
	deferrer->state = DEFERRER_ORPHAN;
	lock_drop(&deferrer->lock);
	deferrer->orphan_next = deferrers.orphans;
	deferrers.orphans = deferrer;
	thread_deferrer = &deferrer_none; /* in one step with the list, for a child forked beside it */
	lock_drop(&deferrers.lock);
	pressure_tell();
	if (cookie)
		grace_demand(cookie, false);
	reclaimer_notice(true);
}

static void thread_exit(void *deferrer)
{
	thread_gone = true;
	give_up(deferrer);
}

/* This thread's, made if need be; NULL past its end, in the debug mode, or without memory. */
static struct deferrer *get(void)
{
	if (likely(thread_deferrer != &deferrer_none))
		return thread_deferrer;
	if (thread_gone || !have_key || tracking)
		return NULL;
	struct deferrer *deferrer = acquire_deferrer();
	if (deferrer && unlikely(pthread_setspecific(exit_key, deferrer))) { /* nobody would end it */
		give_up(deferrer);
		return NULL;
	}
	return deferrer;
}

bool deferrer_append(const char *call, unsigned class, void *object, size_t size)
{
	int saved = errno;
	struct deferrer *deferrer = NULL;

	if (likely(!lock_is_mine(&deferrers.lock)) && !(deferrer = get())) /* else inside fork, as in donate */
		deferrer = late_deferrer();
	if (!deferrer) {
		errno = saved;
		return false;
	}
	lock_take(&deferrer->lock);
	struct appended result = append(deferrer, class, object, size, call);
	lock_drop(&deferrer->lock);
	pressure_tell();
	if (result.cookie)
		grace_demand(result.cookie, result.hurry);
	reclaimer_notice((class == CLASS_LARGE && result.cookie) || (result.cookie && pressure_is_soft()));
	errno = saved;
	return result.done;
}

void deferrers_forget(unsigned class)
{
	for (EACH_DEFERRER(d)) {
		lock_take(&d->lock);
		for (EACH_USED_CLASS(d, c, class))
			queue_forget(d, c);
		lock_drop(&d->lock);
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
	if (unlikely(lock_is_mine(&deferrer->lock)))
		return; /* inside fork, in a handler of another library's: prepare has it */
	if (unlikely(hardened) && class < CLASS_OWN)
		return; /* each one is looked at, and goes through the quarantine */
	grace_poll(grace_wanted());
	lock_take(&deferrer->lock);
	queue->appetite = queue->appetite < APPETITE_MOST - 2 ? queue->appetite + 2 : APPETITE_MOST;
	queue_ripen(deferrer, class);
	struct array *array = queue_take_ready(queue, class);
	if (array) {
		release_wipe(array->slots + 1 + array->first, array->count - array->first, class);
		MARK(exchange);
		struct array *old = heap_exchange(heap, class, array);
		if (old)
			queue_keep_spare(queue, class, old);
		deferrer->exchanged++;
		DTRACE_PROBE2(qslab, exchange, class, array->count - array->first);
	}
	lock_drop(&deferrer->lock);
}

/* ---- fork ---------------------------------------------------------------------------------------------- */

/* From prepare on: what the code that this thread's signal handler interrupted has locked, and goes on with. */
static _Thread_local struct {
	bool list;
	struct deferrer *deferrer; /* at most one */
} interrupted __attribute__((tls_model("initial-exec")));

void deferrers_lock_all(void)
{
	interrupted.list = !lock_take_for_fork(&deferrers.lock);
	interrupted.deferrer = NULL;
	for (struct deferrer *d = load_relaxed(&deferrers.all); d; d = d->all_next)
		if (!lock_take_for_fork(&d->lock))
			interrupted.deferrer = d;
}

void deferrers_unlock_all(void)
{
	for (struct deferrer *d = load_relaxed(&deferrers.all); d; d = d->all_next)
		if (d != interrupted.deferrer)
			lock_drop(&d->lock);
	if (!interrupted.list)
		lock_drop(&deferrers.lock);
}

/* In the child, all locks taken: what dead threads had pending is sealed. */
void deferrers_after_fork(void)
{
	if (!interrupted.list)
		deferrers.orphans = NULL;
	for (struct deferrer *d = load_relaxed(&deferrers.all); d; d = d->all_next) {
		if (d == thread_deferrer || d == interrupted.deferrer)
			continue;
		for (EACH_USED_CLASS(d, c, CLASS_NONE))
			if (d->pending[c].array)
				array_seal(d, c);
		d->state = DEFERRER_ORPHAN;
		if (d != deferrers.late && !interrupted.list) {
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
