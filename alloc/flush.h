/* Objects back to their slabs: own ones under the heap's lock, others as remote frees (layout.h). */
#ifndef QSLAB_ALLOC_FLUSH_H
#define QSLAB_ALLOC_FLUSH_H

#include "layout.h"
#include "region.h"

/* Objects of one bitmap word. */
struct group {
	struct slab *slab;
	_Atomic uint64_t *free_bits; /* the slab's, of that word */
	uint64_t bits;
	unsigned word;
	unsigned count;              /* of bits */
};

static inline struct slab *slab_of(const void *object)
{
	return entry_descriptor(entry_of(object));
}

/* Of one object, by its slab, that slab's bitmap words, and its index. */
static inline void group_at(struct group *group, struct slab *slab, unsigned words, unsigned index)
{
	group->slab = slab;
	group->free_bits = (_Atomic uint64_t *)((char *)slab + slab_free_offset(words)) + index / 64;
	group->bits = (uint64_t)1 << index % 64;
	group->word = index / 64;
	group->count = 1;
}

static inline struct group group_of(struct slab *slab, const void *object)
{
	struct group group;

	group_at(&group, slab, slab->words, slab_index_of_start(slab, object));
	return group;
}

/* Objects of any slabs. The heap's own thread, no lock held but an own class's. */
void flush(struct heap *heap, void **objects, unsigned count);

/* The same for the lowest of a magazine: the ones freed longest ago. */
void flush_lowest(struct heap *heap, struct magazine *magazine, unsigned count);

/* R1 to R4 for the first groups, as many as are of one slab; how many. Any thread, no lock held. */
unsigned put_remote(const struct group *groups, unsigned count);

/* D1 to D3: heap's lock held; any thread. */
void drain(struct heap *heap, bool keep, struct slab **dead);

/* The same, and dead slabs go. Any thread, no lock held. */
void drain_now(struct heap *heap);

void notify_push(struct heap *heap, struct slab *slab);

#endif
