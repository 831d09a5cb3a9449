/* Objects whose grace period is over go back to where they came from. */
#ifndef QSLAB_RECLAIM_RELEASE_H
#define QSLAB_RECLAIM_RELEASE_H

#include <stddef.h>

/* Any thread; `count` slab objects, at most MAGAZINE_MAX, of one class or several. */
void release_objects(void **objects, unsigned count);

void release_large(void *object);

#endif
