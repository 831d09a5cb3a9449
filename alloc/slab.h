/* Slabs: a span of one class's objects and its bitmaps. The protocol stands in layout.h. */
#ifndef QSLAB_ALLOC_SLAB_H
#define QSLAB_ALLOC_SLAB_H

#include "layout.h"
#include "misuse.h"

/*
 * All objects free, constructed, in no list, not in the page map; NULL with errno. No lock held. Of a bin that `grows` all
 * of it is likely to be used.
 */
struct slab *slab_create(unsigned class, struct heap *heap, bool grows);

/*
 * Heap's lock. Into the page map, or out of it: with the step into a list, or out of one. A child that is forked by a
 * signal handler, with no lock held, makes lists of what is in the map, and goes on with what it was about to do.
 */
void slab_map(struct slab *slab, bool set);

/* All free, in no list, not in the page map. No heap's lock need be held. */
void slab_destroy(struct slab *slab);

/*
 * Takes what slab_destroy leaves of a slab of a CLASS_TYPESAFE class: to call slab_release on it when no reader can be
 * at its objects. May be called with locks of reclaim/ held.
 */
extern void (*_Atomic slab_undertaker)(struct slab *slab);
void slab_release(struct slab *slab);

/*
 * Heap's lock. Moves up to `want` free objects, in address order, to *end, end[-1] ...; returns how many: at least one if there
 * is any, but fewer than there are if the rest would break up a whole word of the bitmap.
 */
unsigned slab_take(struct slab *slab, void **end, unsigned want);

/* Heap's lock. Sets bits of one word of free[], given with its number; aborts if one was set already. */
static inline void slab_set_free(struct slab *slab, _Atomic uint64_t *free_bits, unsigned word, uint64_t bits)
{
	uint64_t here = load_relaxed(free_bits);

	if (unlikely(bits & here))
		misuse_double_free("free", slab_first_object(slab, word, bits & here), slab->size);
	store_relaxed(free_bits, here | bits);
	if (word < slab->scan)
		slab->scan = (uint16_t)word;
}

/* Heap's lock. Steps D2 and D3: true if more announced bits are on their way. */
bool slab_collect(struct slab *slab);

#endif
