#define _GNU_SOURCE
#include "walk.h"
#include "debug.h"
#include "harden.h"
#include "heap.h"
#include "large.h"
#include "profile.h"
#include "region.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_PAGES_MIN 8     /* less than any slab has */
#define WORDS_PER_PAGE (PAGE_SIZE / OBJECT_SIZE_MIN / 64)

struct walk_slab {
	uintptr_t first;
	uint32_t size, objects, words;
	uint64_t *live, *deferred; /* bitmaps */
	uint16_t *beyond;          /* in the hardened mode: of each object, the bytes behind what may be used; 0: no seal */
};

struct walk_large {
	void *start;
	size_t size;
	bool live, deferred;
};

struct walk {
	size_t bytes;              /* of this mapping */
	size_t pages;              /* of the region as it was then */
	size_t slab_count, large_count, word_count;
	size_t slab_most, word_most; /* words of bitmaps; half as many may be live[] */
	uint32_t *owner;           /* by page, of a span's every page: 0, or slab number * 2 + 1, or large number * 2 + 2 */
	struct walk_slab *slabs;
	struct walk_large *larges; /* as many as pages */
	uint64_t *words;
	uint16_t *beyond;          /* 64 for each word of live[]; NULL but in the hardened mode */
};

/* ---- taking it ------------------------------------------------------------------------------------------------ */

static size_t carve(size_t *used, size_t bytes)
{
	size_t at = *used;
	*used = ALIGN_UP(at + bytes, CACHE_LINE);
	return at;
}

/* Room for whatever a region of that size can hold; only what is used becomes resident. */
static struct walk *reserve(size_t pages)
{
	size_t slabs = pages / SLAB_PAGES_MIN + 1, words = pages * WORDS_PER_PAGE * 2 + slabs * 2, bytes = 0;
	carve(&bytes, sizeof(struct walk));
	size_t owner = carve(&bytes, pages * sizeof(uint32_t));
	size_t slab = carve(&bytes, slabs * sizeof(struct walk_slab));
	size_t large = carve(&bytes, pages * sizeof(struct walk_large));
	size_t word = carve(&bytes, words * sizeof(uint64_t));
	size_t beyond = carve(&bytes, hardened ? words / 2 * 64 * sizeof(uint16_t) : 0);
	char *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (start == MAP_FAILED)
		return NULL;
	struct walk *walk = (void *)start;
	*walk = (struct walk){
		.bytes = bytes,
		.pages = pages,
		.slab_most = slabs,
		.word_most = words,
		.owner = (void *)(start + owner),
		.slabs = (void *)(start + slab),
		.larges = (void *)(start + large),
		.words = (void *)(start + word),
		.beyond = hardened ? (void *)(start + beyond) : NULL,
	};
	return walk;
}

static void own(struct walk *walk, const void *start, size_t pages, size_t owner)
{
	for (size_t page = region_page(start), end = page + pages; page < end && page < walk->pages; page++)
		walk->owner[page] = (uint32_t)owner;
}

static void *object_at(const struct walk_slab *slab, unsigned index)
{
	return (void *)(slab->first + (size_t)index * slab->size);
}

/*
 * Heap's lock. An object's size is in its seal (harden.h), which is there as long as its slab: before any visit, which
 * may free it, and before other threads do.
 */
static void note_sizes(const struct walk_slab *slab)
{
	for (uint32_t w = 0; w < slab->words; w++)
		for (uint64_t bits = slab->live[w]; bits; bits &= bits - 1) {
			unsigned index = w * 64 + (unsigned)__builtin_ctzll(bits);
			size_t usable = harden_usable(object_at(slab, index), slab->size);
			slab->beyond[index] = usable ? (uint16_t)(slab->size - usable) : 0;
		}
}

/* Heap's lock. What came after the region was measured is left out. */
static void add_slab(struct walk *walk, struct slab *slab)
{
	size_t page = region_page(slab_span(slab).start), words = slab->words;

	if (page >= walk->pages || walk->owner[page] || walk->slab_count == walk->slab_most ||
	    walk->word_count + 2 * words > walk->word_most)
		return; /* or adopted by another heap meanwhile, and seen before */
	struct walk_slab *to = &walk->slabs[walk->slab_count];
	*to = (struct walk_slab){
		.first = slab->first,
		.size = slab->size,
		.objects = slab->objects,
		.words = slab->words,
		.live = walk->words + walk->word_count,
		.deferred = walk->words + walk->word_count + words,
		.beyond = hardened && slab->class < CLASS_OWN ? walk->beyond + walk->word_count / 2 * 64 : NULL,
	};
	walk->word_count += 2 * words;
	for (unsigned w = 0; w < words; w++) {
		unsigned left = slab->objects - w * 64;
		uint64_t all = left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
		to->live[w] = all & ~(load_relaxed(&slab_bits(slab)[w]) | load_relaxed(&slab->remote[w]));
	}
	if (to->beyond)
		note_sizes(to);
	own(walk, slab_span(slab).start, classes[slab->class].pages, walk->slab_count++ * 2 + 1);
}

static void add_large(const struct large *large, void *argument)
{
	struct walk *walk = argument;
	size_t page = region_page(large->span.start);

	if (page >= walk->pages || walk->owner[page])
		return;
	walk->larges[walk->large_count] = (struct walk_large){large_start(large), large_usable(large), true, false};
	own(walk, large->span.start, large->pages, walk->large_count++ * 2 + 2);
}

/* The object's slab and index; or, for a large object, NULL and its number. */
static struct walk_slab *find(struct walk *walk, const void *object, size_t *number)
{
	size_t page = region_has(object) ? region_page(object) : walk->pages;
	uint32_t owner = page < walk->pages ? walk->owner[page] : 0;

	*number = SIZE_MAX;
	if (owner && owner % 2 == 0) {
		size_t large = owner / 2 - 1;
		if (walk->larges[large].start == object)
			*number = large;
		return NULL;
	}
	struct walk_slab *slab = owner ? &walk->slabs[owner / 2] : NULL;
	uintptr_t offset = slab ? (uintptr_t)object - slab->first : 0;
	if (!slab || offset % slab->size || offset / slab->size >= slab->objects)
		return NULL;
	*number = offset / slab->size;
	return slab;
}

void walk_clear(struct walk *walk, const void *object)
{
	size_t number;
	struct walk_slab *slab = find(walk, object, &number);

	if (slab)
		slab->live[number / 64] &= ~((uint64_t)1 << number % 64);
	else if (number != SIZE_MAX)
		walk->larges[number].live = false;
}

void walk_defer(struct walk *walk, const void *object)
{
	size_t number;
	struct walk_slab *slab = find(walk, object, &number);

	if (slab)
		slab->deferred[number / 64] |= (uint64_t)1 << number % 64;
	else if (number != SIZE_MAX)
		walk->larges[number].deferred = true;
}

/* Of other threads, as of some moment; the array's memory stays mapped whatever becomes of it. */
__attribute__((no_sanitize("thread"))) static void clear_magazine(struct walk *walk, struct magazine *magazine, unsigned class)
{
	void **slots = load_relaxed(&magazine->slots);
	unsigned count = slots ? magazine_count(magazine, class) : 0;

	for (unsigned i = 1; i <= count; i++)
		walk_clear(walk, slots[i]);
}

static void clear_magazines(struct walk *walk, struct heap *heap, unsigned class)
{
	struct magazine *both[2];
	unsigned count = heap_magazines_of(heap, class, both);

	for (unsigned i = 0; i < count; i++)
		clear_magazine(walk, both[i], class);
}

static void clear_quarantined(void *object, void *walk)
{
	walk_clear(walk, object);
}

/* The program has the sampled object instead. */
static void clear_shadow(const struct profiled *profiled, void *walk)
{
	if (profiled->shadow)
		walk_clear(walk, profiled->shadow);
}

struct walk *walk_new(unsigned class)
{
	unsigned first = class ? class : 1, end = class ? class + 1 : load_relaxed(&class_end);
	struct walk *walk = reserve(load_relaxed(&region.size) >> PAGE_SHIFT);

	if (!walk) {
		errno = ENOMEM;
		return NULL;
	}
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next) {
		lock_take(&heap->lock);
		for (unsigned c = first; c < end; c++) {
			struct bin *bin = heap_bin(heap, c);
			for (struct slab *slab = bin ? bin->partial : NULL; slab; slab = slab->next)
				add_slab(walk, slab);
			for (struct slab *slab = bin ? bin->full : NULL; slab; slab = slab->next)
				add_slab(walk, slab);
		}
		lock_drop(&heap->lock);
	}
	if (!class)
		large_each(add_large, walk);
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next)
		for (unsigned c = first; c < end; c++)
			clear_magazines(walk, heap, c);
	if (unlikely(tracking))
		debug_each_quarantined(clear_quarantined, walk);
	if (unlikely(hardened))
		harden_each_quarantined(clear_quarantined, walk);
	if (unlikely(profiling))
		profile_each(clear_shadow, walk);
	return walk;
}

void walk_free(struct walk *walk)
{
	munmap(walk, walk->bytes);
}

/* ---- looking at it ---------------------------------------------------------------------------------------------- */

struct visitor {
	int (*visit)(void *object, size_t size, bool deferred, void *argument);
	void *argument;
	size_t calls;
};

static size_t size_of(const struct walk_slab *slab, unsigned index)
{
	if (likely(!slab->beyond))
		return slab->size;
	return slab->beyond[index] ? slab->size - slab->beyond[index] : 0;
}

static bool visit_slab(const struct walk_slab *slab, struct visitor *visitor)
{
	for (uint32_t w = 0; w < slab->words; w++) {
		for (uint64_t bits = slab->live[w]; bits; bits &= bits - 1) {
			unsigned index = w * 64 + (unsigned)__builtin_ctzll(bits);
			bool deferred = slab->deferred[w] >> index % 64 & 1;
			visitor->calls++;
			if (visitor->visit(object_at(slab, index), size_of(slab, index), deferred, visitor->argument))
				return false;
		}
	}
	return true;
}

static bool visit_large(const struct walk_large *large, struct visitor *visitor)
{
	if (!large->live)
		return true;
	visitor->calls++;
	return !visitor->visit(large->start, large->size, large->deferred, visitor->argument);
}

size_t walk_visit(struct walk *walk, int (*visit)(void *object, size_t size, bool deferred, void *argument),
                  void *argument)
{
	struct visitor visitor = {visit, argument, 0};
	uint32_t before = 0;

	for (size_t page = 0; page < walk->pages; page++) {
		uint32_t owner = walk->owner[page];
		bool on = true;
		if (owner && owner != before)
			on = owner % 2 ? visit_slab(&walk->slabs[owner / 2], &visitor)
			               : visit_large(&walk->larges[owner / 2 - 1], &visitor);
		if (!on)
			break;
		before = owner;
	}
	return visitor.calls;
}
