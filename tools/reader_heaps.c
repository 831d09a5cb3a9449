/* Heaps and their magazines; sums. */
#define _GNU_SOURCE
#include "reader_parts.h"

#define HEAPS_MOST 1000000
#define QUARANTINE_MOST (1 << 20)
#define STRIDE_MOST 64
#define HEAP_SIZE_MOST ((size_t)1 << 20)
#define SLOTS_MOST 4096
#define TRIES 16

/* ---- magazines ------------------------------------------------------------------------------------------------ */

struct magazine {
	uint64_t top[2], slots[2]; /* read before and after */
	uint64_t objects[SLOTS_MOST];
	size_t count;
};

/* Entries of a magazine as of one look; 0 if it is empty, or being exchanged. */
static size_t entries_of(const struct work *work, unsigned class, uint64_t top, uint64_t slots)
{
	uint64_t bytes = top - slots;
	size_t count = slots && top > slots && bytes % 8 == 0 ? bytes / 8 : 0;

	return count <= work->out->classes[class].capacity && count <= SLOTS_MOST ? count : 0;
}

static bool read_magazine(struct work *work, uint64_t at, unsigned class, struct magazine *magazine)
{
	const struct qslab_segment_heaps *offsets = &work->segment->heaps;

	for (unsigned tries = 0; tries < TRIES; tries++) {
		magazine->count = entries_of(work, class, magazine->top[0], magazine->slots[0]);
		struct piece pieces[] = {
			{magazine->slots[0] + 8, magazine->objects, magazine->count * 8, false},
			{at + offsets->slots, &magazine->slots[1], 8, false},
			{at + offsets->top, &magazine->top[1], 8, false},
		};
		if (!magazine->count)
			pieces[0] = pieces[1];
		if (!source_read_pieces(work->source, pieces, 3))
			return false;
		if (magazine->slots[0] == magazine->slots[1] && magazine->top[0] == magazine->top[1])
			return true;
		size_t now = entries_of(work, class, magazine->top[1], magazine->slots[1]);
		if (magazine->slots[0] == magazine->slots[1] && tries + 1 == TRIES) {
			magazine->count = now < magazine->count ? now : magazine->count;
			return true; /* those below were there all the time */
		}
		magazine->slots[0] = magazine->slots[1];
		magazine->top[0] = magazine->top[1];
	}
	magazine->count = 0;
	work->out->torn++;
	return true;
}

/* The magazines at an address, of which `bytes` are a copy. */
static bool read_magazines(struct work *work, uint64_t at, const char *bytes, struct heap_view *heap)
{
	const struct qslab_segment_heaps *offsets = &work->segment->heaps;
	struct allocator *out = work->out;
	struct magazine magazine;

	for (unsigned class = 1; class < out->class_count; class++) {
		uint32_t offset = class * offsets->magazine_stride;
		if (!out->classes[class].size)
			continue;
		magazine.top[0] = word_at(bytes, offset + offsets->top);
		magazine.slots[0] = word_at(bytes, offset + offsets->slots);
		if (!magazine.slots[0])
			continue;
		if (!read_magazine(work, at + offset, class, &magazine))
			return false;
		for (size_t i = 0; i < magazine.count; i++) {
			uint64_t size = mark(work, &(struct found){magazine.objects[i], magazine.slots[1] + 8 + i * 8, 0,
			                                           (uint16_t)class, MAGAZINE, false});
			heap->objects += size != 0;
			heap->bytes += size;
		}
	}
	return true;
}

static bool read_heap(struct work *work, uint64_t at, const char *bytes)
{
	const struct qslab_segment_heaps *offsets = &work->segment->heaps;
	struct allocator *out = work->out;
	size_t size = out->class_count * offsets->magazine_stride;

	GROW(out->heaps, out->heap_count);
	struct heap_view *heap = &out->heaps[out->heap_count++];
	*heap = (struct heap_view){.address = at, .owned = half_at(bytes, offsets->state) == 1,
	                           .tid = (int)half_at(bytes, offsets->tid)};
	if (!read_magazines(work, at + offsets->magazines, bytes + offsets->magazines, heap))
		return false;
	uint64_t returns = word_at(bytes, work->segment->profile.returns);
	if (!returns)
		return true;
	char *more = need(malloc(size + 64));
	bool done = source_read(work->source, returns, more, size) && read_magazines(work, returns, more, heap);
	free(more);
	return done;
}

/* The hardened or the debug mode's: as free, and as far from use, as what is in a magazine. */
static bool read_quarantine(struct work *work)
{
	const struct qslab_segment_quarantine *quarantine = &work->segment->quarantine;
	size_t count = quarantine->objects ? quarantine->count : 0, stride = quarantine->stride ? quarantine->stride : 8;

	if (!count)
		return true;
	if (count > QUARANTINE_MOST || stride % 8 || stride > STRIDE_MOST)
		return false;
	char *places = need(malloc(count * stride));
	bool done = source_read(work->source, quarantine->objects, places, count * stride);
	for (size_t at = 0; done && at < count * stride; at += stride)
		if (word_at(places, at) > 1)
			mark(work, &(struct found){word_at(places, at), quarantine->objects + at, 0, 0, MAGAZINE, false});
	free(places);
	return done;
}

bool read_heaps(struct work *work)
{
	const struct qslab_segment_heaps *offsets = &work->segment->heaps;
	size_t size = offsets->magazines + work->out->class_count * offsets->magazine_stride; /* and no further */
	uint64_t at = read_word(work, offsets->first);

	if (size > offsets->size || size > HEAP_SIZE_MOST || !within(offsets->next, 8, size) ||
	    !within(offsets->state, 4, size) || !within(offsets->tid, 4, size) ||
	    !within(work->segment->profile.returns, 8, size))
		return false;
	char *bytes = need(malloc(size + 64));
	struct round round = {0, 0};
	bool done = true;
	for (size_t i = 0; at && i < HEAPS_MOST && done && !comes_back(&round, at); i++) {
		done = source_read(work->source, at, bytes, size) && read_heap(work, at, bytes);
		at = word_at(bytes, offsets->next);
	}
	free(bytes);
	return done && read_quarantine(work);
}

/* ---- sums ------------------------------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
	const struct heap_view *x = *(struct heap_view *const *)a, *y = *(struct heap_view *const *)b;
	return x->address < y->address ? -1 : x->address > y->address;
}

static struct heap_view *find_heap(struct heap_view **sorted, size_t count, uint64_t address)
{
	struct heap_view key = {.address = address}, *wanted = &key;
	struct heap_view **found = bsearch(&wanted, sorted, count, sizeof *sorted, by_address);
	return found ? *found : NULL;
}

void sum_up(struct work *work)
{
	struct allocator *out = work->out;
	struct heap_view **sorted = need(malloc((out->heap_count + 1) * sizeof *sorted));

	for (size_t i = 0; i < out->heap_count; i++)
		sorted[i] = &out->heaps[i];
	qsort(sorted, out->heap_count, sizeof *sorted, by_address);
	for (size_t i = 0; i < out->slab_count; i++) {
		const struct slab_view *slab = &out->slabs[i];
		struct class_view *class = &out->classes[slab->class];
		struct heap_view *heap = find_heap(sorted, out->heap_count, slab->heap);
		class->slabs++;
		class->total += slab->objects;
		class->resident += slab->resident * PAGE;
		for (unsigned p = 0; p < PLACES; p++) {
			class->count[p] += slab->count[p];
			class->resident_bytes[p] += slab->resident_bytes[p];
		}
		if (heap) {
			heap->slabs++;
			heap->live += slab->count[LIVE];
		} else if (!slab->torn) {
			doubt(work, DOUBT_LIST, slab->address, "slab 0x%lx: its heap is not in the list of heaps", slab->address);
		}
	}
	free(sorted);
}
