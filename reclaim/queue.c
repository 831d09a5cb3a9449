/* A deferrer's arrays of one class, under its lock: pending, sealed, ready, surplus, spare. */
#define _GNU_SOURCE
#include "internal.h"
#include "alloc/heap.h"
#include "alloc/meta.h"
#include "pressure.h"
#include "rcu/grace.h"

#include <string.h>
#include <sys/sdt.h>

#define SPARES 2
#define PERIOD 512           /* arrays sealed between two looks at surplus */
#define READY_BYTES ((size_t)128 << 10)
#define SURPLUS_AT_ONCE 2    /* arrays an append may bring back to slabs */

/* ---- lists ------------------------------------------------------------------------------------------------- */

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

/* ---- from pending to sealed -------------------------------------------------------------------------------- */

void *pending_none[1];

static void set_empty(struct pending *pending)
{
	store_relaxed(&pending->limit, pending_none);
	store_relaxed(&pending->top, pending_none);
	pending->array = NULL;
}

void queue_keep_spare(struct queue *queue, unsigned class, struct array *array)
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

bool array_seal(struct deferrer *deferrer, unsigned class)
{
	struct pending *pending = &deferrer->pending[class];
	struct queue *queue = queue_of(deferrer, class);
	struct array *array = pending->array;

	array->count = pending_count(pending);
	deferrer->sealed_objects += array->count;
	queue->sealed++;
	MARK(seal);
	queue->note_count = 0;
	set_empty(pending);
	if (array->count == array->first) { /* notes freed all of it: nothing to wait for */
		queue_keep_spare(queue, class, array);
		return false;
	}
	if (class != CLASS_LARGE)
		array->bytes = (size_t)(array->count - array->first) * classes[class].size;
	array->cookie = grace_cookie(); /* after the last append */
	MARK(seal_cookie);
	append_to(&queue->head, &queue->tail, array);
	add_arrays(queue, 1);
	DTRACE_PROBE4(qslab, seal, class, array->count - array->first, array->bytes, array->cookie);
	return pressure_add(array->bytes);
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

struct array *array_begin(struct deferrer *deferrer, unsigned class)
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

/* ---- from sealed to ready, and from there ------------------------------------------------------------------- */

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

struct array *queue_take_ready(struct queue *queue, unsigned class)
{
	struct array *array = queue->ready;

	if (!array)
		return queue->surplus ? take_surplus(queue, class) : NULL;
	queue->ready = array->next;
	queue->nready--;
	leaves_stock(queue, class, array);
	return array;
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
	queue_keep_spare(queue_of(deferrer, class), class, array);
}

unsigned queue_release(struct deferrer *deferrer, unsigned class, unsigned most)
{
	struct array *array;
	unsigned released = 0;

	for (; released < most && (array = queue_take_ready(queue_of(deferrer, class), class)); released++)
		bring_back(deferrer, class, array);
	return released;
}

void queue_release_surplus(struct deferrer *deferrer, unsigned class)
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

void queue_forget(struct deferrer *deferrer, unsigned class)
{
	struct queue *queue = queue_of(deferrer, class);
	struct array *array;

	if (deferrer->pending[class].array) {
		assert(pending_count(&deferrer->pending[class]) == deferrer->pending[class].array->first);
		array_seal(deferrer, class);
	}
	deferrer->pending[class].divisor = 0;
	assert(!queue->head && !queue->ready && !queue->surplus);
	while ((array = queue->spare)) {
		queue->spare = array->next;
		heap_array_free(array, class);
	}
	memset(queue, 0, sizeof *queue);
	deferrer->used[class / 64] &= ~((uint64_t)1 << class % 64);
}
