/*
 * A snapshot of every object, for the walk over live ones: each slab's bitmaps as of one moment under its heap's lock,
 * the large objects, less what lies in magazines. Whoever else holds free or deferred objects takes these off. In
 * memory of its own, so that looking changes nothing. Exact when no other thread allocates or frees.
 */
#ifndef QSLAB_ALLOC_WALK_H
#define QSLAB_ALLOC_WALK_H

#include "base.h"

struct walk;

/* Of one slab class, or of everything for CLASS_NONE. NULL with ENOMEM. */
struct walk *walk_new(unsigned class);
void walk_free(struct walk *walk);

/* The object is free; it waits for a grace period. Others than the snapshot's, and its free ones, are ignored. */
void walk_clear(struct walk *walk, const void *object);
void walk_defer(struct walk *walk, const void *object);

/* Calls back for each object that is left, in the order of addresses, until that is not 0; how many calls. */
size_t walk_visit(struct walk *walk, int (*visit)(void *object, size_t size, bool deferred, void *argument),
                  void *argument);

#endif
