/* Objects whose grace period is over go back to where they came from. */
#ifndef QSLAB_RECLAIM_RELEASE_H
#define QSLAB_RECLAIM_RELEASE_H

#include <stddef.h>

/* Any thread; `count` slab objects, at most MAGAZINE_MAX, of one class or several. */
void release_objects(void **objects, unsigned count);

/* Objects of one class that are free now; zeroes them if the class wants that. */
void release_wipe(void **objects, unsigned count, unsigned class);

void release_large(void *object);

#endif
