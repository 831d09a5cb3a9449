/*
 * Vacant pages: those of a slab that only free objects lie on. The slab lives as long as one of its objects does, or is
 * in a magazine; after a spike that may be one of hundreds, held by a thread that sleeps. Its other pages go back in a
 * trim; and, after a purge that gave much back, from heaps whose threads have made no slow calls for some seconds, by
 * the next slow calls of another thread.
 */
#ifndef QSLAB_ALLOC_VACANT_H
#define QSLAB_ALLOC_VACANT_H

#include "layout.h"

/* Of all heaps' slabs of size classes; true if there were any that had not gone before. Any thread, no lock held. */
bool vacant_discard(void);

/* The heap's thread says that it is awake, and once a second looks for those that are not. No lock held. */
void vacant_tick(struct heap *heap);

#endif
