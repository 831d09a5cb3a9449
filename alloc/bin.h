/* A heap's slabs of one class, in lists. The heap's lock is held, unless a function says otherwise. */
#ifndef QSLAB_ALLOC_BIN_H
#define QSLAB_ALLOC_BIN_H

#include "layout.h"

void bin_unlink(struct bin *bin, struct slab *slab, bool partial);
void bin_add_full(struct bin *bin, struct slab *slab);
void bin_add_first(struct bin *bin, struct slab *slab);

/* Slabs that got a free object wait at the end: the longer, the likelier they empty. */
void bin_add_last(struct bin *bin, struct slab *slab);

/* Up to `want` objects from partial slabs to *end, end[-1] ...; how many: none only if there are none. */
unsigned bin_take(struct bin *bin, void **end, unsigned want);

/* An all-free slab leaves the page map, for the chain of dead ones. */
void bin_retire(struct bin *bin, struct slab *slab, struct slab **dead);

/*
 * The slab had `before` free objects and has more now: relists it. All free, it goes to the chain of dead slabs,
 * unless `keep` allows it and the bin has been busy: such a bin keeps one, until a second empties with nothing
 * taken in between. Slabs of one object are never kept: the span cache serves them as fast.
 */
void bin_relist(struct heap *heap, struct slab *slab, unsigned before, bool keep, struct slab **dead);

/* No lock held: it may make system calls. */
void bin_bury(struct slab *dead);

#endif
