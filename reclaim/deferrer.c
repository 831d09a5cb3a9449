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

#define SPARES 2
#define APPETITE_MOST 256                    /* arrays */
#define PERIOD 512                           /* arrays sealed between two looks at surplus */
#define READY_BYTES ((size_t)128 << 10)
#define SURPLUS_AT_ONCE 2                    /* arrays an append may bring back to slabs */
#define LARGE_BYTES ((size_t)1 << 20)        /* of large objects in one array */

static void *empty_slots[1];

struct deferrer deferrer_none = {
	.pending = {[0 ... CLASS_LARGE] = {.top = empty_slots, .limit = empty_slots}},
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

/* ---- lists of arrays (lock held) ------------------------------------------------------------------------ */

static void append_to(struct array **head, struct array **tail, struct array *array)
{
	array->next = NULL;
	if (*tail)
		(*tail)->next = array;
	else
		*head = array;
	*tail = array;
}

static struct array *take_first(struct array **head, struct array **tail)
{
	struct array *array = *head;

	*head = array->next;
	if (!*head)
		*tail = NULL;
	return array;
}

static void add_arrays(struct queue *queue, unsigned change)
{
	store_relaxed(&queue->arrays, load_relaxed(&queue->arrays) + change);
}

/* ---- arrays (lock held) --------------------------------------------------------------------------- */

static void set_empty(struct pending *pending)
{
	store_relaxed(&pending->limit, empty_slots);
	store_relaxed(&pending->top, empty_slots);
	pending->array = NULL;
}

unsigned array_seal(struct deferrer *deferrer, unsigned class)
{
	struct pending *pending = &deferrer->pending[class];
	struct queue *queue = queue_of(deferrer, class);
	struct array *array = pending->array;

	array->count = pending_count(pending);
	if (class != CLASS_LARGE)
		array->bytes = (size_t)(array->count - array->first) * classes[class].size;
	array->cookie = grace_cookie(); /* after the last append */
	append_to(&queue->head, &queue->tail, array);
	add_arrays(queue, 1);
	queue->sealed++;
	queue->note_count = 0;
	deferrer->sealed_objects += array->count;
	set_empty(pending);
	DTRACE_PROBE4(qslab, seal, class, array->count - array->first, array->bytes, array->cookie);
	return pressure_add(array->bytes);
}

/* Ready arrays to keep at hand. */
static unsigned ready_most(unsigned class)
{
	size_t bytes = (size_t)classes[class].size * heap_array_capacity(class);
	return bytes ? 1 + (unsigned)(READY_BYTES / bytes) : 0;
}

void queue_ripen(struct deferrer *deferrer, unsigned class)
{
	struct queue *queue = queue_of(deferrer, class);
	struct array *array;

	while ((array = queue->head) && grace_over(array->cookie)) {
		take_first(&queue->head, &queue->tail);
		deferrer->reclaimed += array->count - array->first;
		pressure_remove(array->bytes);
		if (class != CLASS_LARGE)
			atomic_fetch_add_explicit(&heap_stock, array->bytes, relaxed);
		if (queue->nready < ready_most(class)) {
			array->next = queue->ready;
			queue->ready = array;
			queue->nready++;
		} else {
			append_to(&queue->surplus, &queue->surplus_tail, array);
			queue->nsurplus++;
		}
	}
}

static void leaves_stock(struct queue *queue, unsigned class, const struct array *array)
{
	add_arrays(queue, -1u);
	if (class != CLASS_LARGE)
		atomic_fetch_sub_explicit(&heap_stock, array->bytes, relaxed);
}

static struct array *take_surplus(struct queue *queue, unsigned class)
{
	struct array *array = take_first(&queue->surplus, &queue->surplus_tail);

	queue->nsurplus--;
	if (queue->nsurplus < queue->low_water)
		queue->low_water = queue->nsurplus;
	leaves_stock(queue, class, array);
	return array;
}

/* A ready array, or NULL. */
static struct array *take_ready(struct queue *queue, unsigned class)
{
	struct array *array = queue->ready;

	if (!array)
		return queue->surplus ? take_surplus(queue, class) : NULL;
	queue->ready = array->next;
	queue->nready--;
	leaves_stock(queue, class, array);
	return array;
}

static void keep_spare(struct queue *queue, unsigned class, struct array *array)
{
	if (queue->spares >= SPARES) {
		heap_array_free(array, class);
		return;
	}
	array->slots[0] = NULL;
	array->next = queue->spare;
	queue->spare = array;
	queue->spares++;
}

static void bring_back(struct deferrer *deferrer, unsigned class, struct array *array)
{
	unsigned count = array->count - array->first;
	void **objects = array->slots + 1 + array->first;

	if (class == CLASS_LARGE)
		for (unsigned i = 0; i < count; i++)
			release_large(objects[i]);
	else
		release_objects(objects, count);
	deferrer->flushed += count;
	keep_spare(queue_of(deferrer, class), class, array);
}

unsigned queue_release(struct deferrer *deferrer, unsigned class, unsigned most)
{
	struct array *array;
	unsigned released = 0;

	for (; released < most && (array = take_ready(queue_of(deferrer, class), class)); released++)
		bring_back(deferrer, class, array);
	return released;
}

/* NULL without memory. */
static struct queue *queue_ready(struct deferrer *deferrer, unsigned class)
{
	struct queue *queue = queue_of(deferrer, class);

	if (unlikely(!queue) && (queue = span_meta_alloc(sizeof *queue))) {
		memset(queue, 0, sizeof *queue);
		store_relaxed(&deferrer->own_queues[class - CLASS_OWN], queue);
	}
	return queue;
}

/* An empty pending array, or NULL without memory. */
static struct array *new_array(struct deferrer *deferrer, unsigned class)
{
	struct queue *queue = queue_ready(deferrer, class);
	struct array *array = queue ? queue->spare : NULL;

	if (!queue)
		return NULL;
	if (array) {
		queue->spare = array->next;
		queue->spares--;
	} else if (!(array = heap_array_new(class))) {
		return NULL;
	}
	array->first = 0;
	array->bytes = 0;
	deferrer->pending[class].array = array;
	deferrer->pending[class].divisor = classes[class].divisor;
	store_relaxed(&deferrer->pending[class].top, array->slots);
	store_relaxed(&deferrer->pending[class].limit, array->slots); /* disarmed */
	deferrer->used[class / 64] |= (uint64_t)1 << class % 64;
	queue->seen_count = 0;
	return array;
}

/* ---- append ------------------------------------------------------------------------------------------ */

/*
 * Lock held, once for each array sealed. A thread that allocates what it retires comes back for its ready arrays: only
 * those that lay in surplus through a whole period go back to slabs, one at a time. Of a thread that does not
 * come back, nothing is kept.
 */
static void release_surplus(struct deferrer *deferrer, unsigned class)
{
	struct queue *queue = queue_of(deferrer, class);

	queue_ripen(deferrer, class);
	if (!queue->appetite) {
		queue_release(deferrer, class, SURPLUS_AT_ONCE);
		return;
	}
	queue->appetite--;
	if (queue->sealed % PERIOD == 0) {
		queue->excess = queue->low_water;
		queue->low_water = queue->nsurplus;
	}
	if (queue->excess && queue->surplus) {
		queue->excess--;
		bring_back(deferrer, class, take_surplus(queue, class));
	}
}

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
		result.cookie = queue_of(deferrer, class)->tail->cookie;
		release_surplus(deferrer, class);
	}
	struct array *array = pending->array;
	if (!array && !(array = new_array(deferrer, class))) {
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
		deferrer->pending[c] = (struct pending){empty_slots, empty_slots, classes[c].divisor, NULL};
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
		cookie = queue_of(deferrer, c)->tail->cookie;
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
		for (EACH_USED_CLASS(d, c, class)) {
			struct queue *queue = queue_of(d, c);
			struct array *array = d->pending[c].array;
			if (array) {
				assert(pending_count(&d->pending[c]) == array->first);
				d->sealed_objects += array->first;
				heap_array_free(array, c);
			}
			set_empty(&d->pending[c]);
			d->pending[c].divisor = 0;
			assert(!queue->head && !queue->ready && !queue->surplus);
			while ((array = queue->spare)) {
				queue->spare = array->next;
				heap_array_free(array, c);
			}
			memset(queue, 0, sizeof *queue);
			d->used[c / 64] &= ~((uint64_t)1 << c % 64);
		}
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
	struct array *array = take_ready(queue, class);
	if (array) {
		release_wipe(array->slots + 1 + array->first, array->count - array->first, class);
		struct array *old = heap_exchange(heap, class, array);
		if (old)
			keep_spare(queue, class, old);
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
