/* The parts of the published segment (include/qslab/segment.h) that alloc/ does not know. */
#include "alloc/segment.h"
#include "chain.h"
#include "grave.h"
#include "internal.h"
#include "pressure.h"
#include "rcu/grace.h"
#include "rcu/readers.h"
#include "reclaimer.h"

static void publish_array(struct qslab_segment_array *out)
{
	*out = (struct qslab_segment_array){
		.next = PUBLISH(struct array, next, 8),
		.cookie = PUBLISH(struct array, cookie, 8),
		.bytes = PUBLISH(struct array, bytes, 8),
		.first = PUBLISH(struct array, first, 4),
		.count = PUBLISH(struct array, count, 4),
		.slots = offsetof(struct array, slots),
	};
}

static void publish_deferrers(struct qslab_segment_deferrers *out)
{
	*out = (struct qslab_segment_deferrers){
		.first = PUBLISH_WORD(deferrers.all, 8),
		.size = sizeof(struct deferrer),
		.next = PUBLISH(struct deferrer, all_next, 8),
		.lock = PUBLISH(struct deferrer, lock.held, 4),
		.state = PUBLISH(struct deferrer, state, 4),
		.pending = offsetof(struct deferrer, pending),
		.pending_stride = sizeof(struct pending),
		.top = PUBLISH(struct pending, top, 8),
		.array = PUBLISH(struct pending, array, 8),
		.queues = offsetof(struct deferrer, queues),
		.queue_stride = sizeof(struct queue),
		.own_queues = offsetof(struct deferrer, own_queues),
		.head = PUBLISH(struct queue, head, 8),
		.ready = PUBLISH(struct queue, ready, 8),
		.surplus = PUBLISH(struct queue, surplus, 8),
		.arrays = PUBLISH(struct queue, arrays, 4),
		.sealed = PUBLISH(struct queue, sealed, 8),
		.sealed_objects = PUBLISH(struct deferrer, sealed_objects, 8),
		.reclaimed = PUBLISH(struct deferrer, reclaimed, 8),
		.exchanged = PUBLISH(struct deferrer, exchanged, 8),
		.flushed = PUBLISH(struct deferrer, flushed, 8),
	};
}

static void publish_grace(struct qslab_segment_grace *out)
{
	out->address = (uintptr_t)&grace;
	out->started = PUBLISH(struct grace, started, 8);
	out->completed = PUBLISH(struct grace, completed, 8);
	out->began = PUBLISH(struct grace, began, 8);
	out->wanted = PUBLISH(struct grace, wanted, 8);
	pressure_publish(out);
	reclaimer_publish(out);
}

/* After alloc's. */
__attribute__((constructor(102))) static void start(void)
{
	if (!segment)
		return;
	publish_array(&segment->array);
	publish_deferrers(&segment->deferrers);
	chain_publish(&segment->chain);
	graves_publish(&segment->held);
	publish_grace(&segment->grace);
	readers_publish(&segment->readers);
}
