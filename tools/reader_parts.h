/* What the files of the reader share. A `work` is one snapshot of one allocator in the making. */
#ifndef QSLAB_TOOLS_READER_PARTS_H
#define QSLAB_TOOLS_READER_PARTS_H

#include "reader.h"

#include <stdlib.h>
#include <string.h>

#define PAGE SOURCE_PAGE

/* Whose a page of the region is: what, and which of them. */
enum owner { OWNER_NONE, OWNER_SLAB, OWNER_LARGE, OWNER_SPAN, OWNER_CHUNK, OWNER_SOURCE, OWNER_HELD };
#define OWNER_SHIFT 29
#define OWNER_MAKE(what, index) ((uint32_t)(what) << OWNER_SHIFT | (uint32_t)(index))
#define OWNER_WHAT(word) ((enum owner)((word) >> OWNER_SHIFT))
#define OWNER_INDEX(word) ((word) & ((1u << OWNER_SHIFT) - 1))

/* Memory of the allocator outside the region. */
struct range {
	uint64_t start, end;
	enum kind kind;
};

struct work {
	struct source *source;
	struct allocator *out;
	const struct qslab_segment *segment;
	bool with_memory, with_profile, with_lists;
	uint64_t map;            /* address of the page map */
	uint64_t map_size;       /* its bytes */
	uint64_t *entries;       /* the page map */
	size_t pages;            /* of the region */
	uint32_t *owners;        /* by page: OWNER_MAKE */
	uint8_t *resident;       /* by page, if with_memory */
	struct range *ranges;
	size_t range_count;
	unsigned naps;           /* left to take, waiting for locks */
	unsigned looks;          /* left to take at single objects that were in doubt */
};

/* ---- reading words of the process ------------------------------------------------------------------- */

static inline uint64_t word_at(const void *bytes, uint32_t offset)
{
	uint64_t word;
	memcpy(&word, (const char *)bytes + offset, sizeof word);
	return word;
}

static inline uint32_t half_at(const void *bytes, uint32_t offset)
{
	uint32_t half;
	memcpy(&half, (const char *)bytes + offset, sizeof half);
	return half;
}

static inline uint16_t quarter_at(const void *bytes, uint32_t offset)
{
	uint16_t quarter;
	memcpy(&quarter, (const char *)bytes + offset, sizeof quarter);
	return quarter;
}

/* A word of the process; 0 if its address is 0 or it cannot be read. */
uint64_t read_word(struct work *work, uint64_t at);
uint32_t read_half(struct work *work, uint64_t at);

void doubt(struct work *work, int kind, uint64_t address, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* A moment for the holder of a lock to go on; false when the snapshot has waited enough. */
bool nap(struct work *work);

/* A walk along a list, to find that it has come back to where it was: it keeps one place, a later one after 1, 2, 4... steps. */
struct round {
	uint64_t place;
	size_t steps;
};

static inline bool comes_back(struct round *round, uint64_t at)
{
	if (at == round->place)
		return true;
	if (!(round->steps & (round->steps - 1)))
		round->place = at;
	round->steps++;
	return false;
}

/* ---- what is believed ------------------------------------------------------------------------------- */

/* Does a field of `width` bytes lie in a struct of `size`? */
bool within(uint32_t offset, size_t width, size_t size);

/* Do all offsets that the parts use in their copies? Those of heaps and deferrers the parts check. */
bool segment_fits(const struct qslab_segment *segment);

/* ---- the parts, in this order ------------------------------------------------------------------------ */

bool read_region(struct work *work);   /* region, page map, chunks, residency */
bool read_small(struct work *work);    /* slabs */
bool read_spans(struct work *work);    /* large objects, the span cache */
bool read_heaps(struct work *work);
bool read_rcu(struct work *work);
bool read_profile(struct work *work);  /* if with_profile */
void sum_up(struct work *work);        /* classes and heaps from slabs */
void read_lists(struct work *work);    /* doubts only; if with_lists */

/* An object that was found somewhere, listed by address. */
struct found {
	uint64_t object;
	uint64_t slot;           /* address of the word that says so; 0: none can be looked at again */
	uint64_t cookie;         /* of a sealed array, or the ripening chain; else 0 */
	uint16_t class;          /* 0: any */
	uint8_t place;           /* enum place */
	bool interior;           /* the address may lie anywhere in the object */
};

/* It is not live, then. Its size; 0 if there is no such object, or if it is somewhere else too. */
uint64_t mark(struct work *work, const struct found *found);

/* ---- memory -------------------------------------------------------------------------------------------- */

void count_free(struct work *work, struct slab_view *slab, const uint64_t *free_bits, const uint64_t *remote);
void read_memory(struct source *source, struct work *works, size_t count, const struct mappings *mappings,
                 uint64_t rss_before, struct memory_view *memory);

#endif
