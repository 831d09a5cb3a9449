/* The lists of bins: neighbours know each other, and are of one heap and class. A slab all free may be in no list. */
#define _GNU_SOURCE
#include "reader_parts.h"

static int by_descriptor(const void *a, const void *b)
{
	const struct slab_view *x = *(struct slab_view *const *)a, *y = *(struct slab_view *const *)b;
	return x->descriptor < y->descriptor ? -1 : x->descriptor > y->descriptor;
}

static const struct slab_view *find(struct slab_view **sorted, size_t count, uint64_t descriptor)
{
	struct slab_view key = {.descriptor = descriptor}, *wanted = &key;
	struct slab_view **found = bsearch(&wanted, sorted, count, sizeof *sorted, by_descriptor);
	return found ? *found : NULL;
}

static bool are_neighbours(const struct slab_view *slab, const struct slab_view *next)
{
	return next && (next->torn || (next->prev == slab->descriptor && next->heap == slab->heap &&
	                               next->class == slab->class));
}

static bool is_mapped(struct work *work, uint64_t first, uint64_t descriptor)
{
	uint64_t page = (first - work->out->region_base) / PAGE;
	return page < work->map_size / 8 && QSLAB_ENTRY_DESCRIPTOR(read_word(work, work->map + page * 8)) == descriptor;
}

/*
 * The two were read at different moments, and between them lists may change at any rate. Now both at one: false only if
 * nobody has the heap, the slab's neighbour is the same as a moment ago, and that one does not know it.
 */
static bool are_neighbours_now(struct work *work, const struct slab_view *slab)
{
	const struct qslab_segment_slab *at = &work->segment->slab;
	uint64_t lock = slab->heap + work->segment->heaps.lock, here = slab->descriptor;
	uint64_t there = read_word(work, here + at->next), next, heap, prev = 0, other_heap = 0, first = 0;
	uint32_t before, after, nfree;
	uint8_t class = 0;
	struct piece pieces[] = {
		{lock, &before, 4, false},
		{here + at->heap, &heap, 8, false},
		{here + at->next, &next, 8, false},
		{here + at->nfree, &nfree, 4, false},
		{lock, &after, 4, false}, /* what follows may not be there */
		{there + at->prev, &prev, 8, false},
		{there + at->heap, &other_heap, 8, false},
		{there + at->klass, &class, 1, false},
		{there + at->first, &first, 8, false},
		{lock, &after, 4, false},
	};

	source_read_pieces(work->source, pieces, sizeof pieces / sizeof *pieces);
	if (!pieces[4].got || before || after || heap != slab->heap || next != there || !there || nfree == slab->objects)
		return true;
	return prev == here && other_heap == heap && class == slab->class && is_mapped(work, first, there);
}

void read_lists(struct work *work)
{
	struct allocator *out = work->out;
	size_t count = out->slab_count;
	struct slab_view **sorted = need(malloc((count + 1) * sizeof *sorted));

	for (size_t i = 0; i < count; i++)
		sorted[i] = &out->slabs[i];
	qsort(sorted, count, sizeof *sorted, by_descriptor);
	for (size_t i = 0; i < count; i++) {
		const struct slab_view *slab = &out->slabs[i];
		if (slab->torn || !slab->next || slab->nfree == slab->objects)
			continue;
		if (!are_neighbours(slab, find(sorted, count, slab->next)) && !are_neighbours_now(work, slab))
			doubt(work, DOUBT_LIST, slab->address, "slab 0x%lx: its list is broken after it", slab->address);
	}
	free(sorted);
}
