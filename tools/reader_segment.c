/* Do the segment's offsets lie inside what the reader copies, and uses them in? It believes none that does not. */
#define _GNU_SOURCE
#include "reader_parts.h"

#define CLASSES_MOST 256
#define STRIDE_MOST 4096
#define HEADER_MOST 1024

bool within(uint32_t offset, size_t width, size_t size)
{
	return size >= width && offset <= size - width;
}

static bool classes_fit(const struct qslab_segment_classes *at)
{
	return at->count <= CLASSES_MOST && at->large && at->large < at->own && at->own <= at->count &&
	       at->stride <= STRIDE_MOST && within(at->size, 4, at->stride) && within(at->objects, 2, at->stride) &&
	       within(at->pages, 2, at->stride) && within(at->capacity, 2, at->stride);
}

/* All fields lie before the bitmaps. */
static bool slab_fits(const struct qslab_segment_slab *at)
{
	size_t size = at->remote;

	return size <= HEADER_MOST && within(at->first, 8, size) && within(at->size, 4, size) &&
	       within(at->objects, 2, size) && within(at->words, 2, size) && within(at->klass, 1, size) &&
	       within(at->nfree, 4, size) && within(at->announced, 4, size) && within(at->heap, 8, size) &&
	       within(at->next, 8, size) && within(at->prev, 8, size) && within(at->born, 4, size);
}

static bool magazines_fit(const struct qslab_segment_heaps *at)
{
	return at->magazine_stride <= STRIDE_MOST && within(at->top, 8, at->magazine_stride) &&
	       within(at->slots, 8, at->magazine_stride);
}

static bool array_fits(const struct qslab_segment_array *at)
{
	size_t size = at->slots;

	return size <= HEADER_MOST && within(at->next, 8, size) && within(at->cookie, 8, size) &&
	       within(at->first, 4, size) && within(at->count, 4, size);
}

static bool queues_fit(const struct qslab_segment_deferrers *at)
{
	size_t pending = at->pending_stride, queue = at->queue_stride;

	return pending <= STRIDE_MOST && queue <= STRIDE_MOST && within(at->top, 8, pending) &&
	       within(at->array, 8, pending) && within(at->head, 8, queue) && within(at->ready, 8, queue) &&
	       within(at->surplus, 8, queue) && within(at->arrays, 4, queue);
}

static bool samples_fit(const struct qslab_segment_profile *at)
{
	size_t size = at->stride;

	return size <= STRIDE_MOST && within(at->object, 8, size) && within(at->shadow, 8, size) &&
	       within(at->sample_rate, 8, size) && within(at->sample_size, 8, size) && within(at->stack, 4, size) &&
	       within(at->klass, 4, size);
}

bool segment_fits(const struct qslab_segment *segment)
{
	return classes_fit(&segment->classes) && slab_fits(&segment->slab) && magazines_fit(&segment->heaps) &&
	       (!segment->deferrers.first || (array_fits(&segment->array) && queues_fit(&segment->deferrers))) &&
	       (!segment->profile.rate || samples_fit(&segment->profile));
}
