/* Slabs: a span of one class's objects and its bitmaps. The protocol stands in layout.h. */
#ifndef QSLAB_ALLOC_SLAB_H
#define QSLAB_ALLOC_SLAB_H

#include "layout.h"

/* All objects free, constructed, in no list, in the page map; NULL with errno. No lock held. */
struct slab *slab_create(unsigned class, struct heap *heap);

/* All free, in no list. No heap's lock need be held. */
void slab_destroy(struct slab *slab);

/*
 * Takes what slab_destroy leaves of a slab of a CLASS_TYPESAFE class: to call slab_release on it when no reader can be
 * at its objects. May be called with locks of reclaim/ held.
 */
extern void (*_Atomic slab_undertaker)(struct slab *slab);
void slab_release(struct slab *slab);

/* Heap's lock. Moves up to `want` free objects, in address order, to *end, end[-1] ...; returns how many. */
unsigned slab_take(struct slab *slab, void **end, unsigned want);

/* Heap's lock. Takes objects of one bitmap word back; aborts if one's bit was set already. */
void slab_put(struct slab *slab, unsigned word, uint64_t bits);

/* Heap's lock. Steps D2 and D3: true if more announced bits are on their way. */
bool slab_collect(struct slab *slab);

#endif
