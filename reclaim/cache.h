/* What statistics need of caches beside qslab/cache.h. */
#ifndef QSLAB_RECLAIM_CACHE_H
#define QSLAB_RECLAIM_CACHE_H

#include "alloc/cache.h"

#include <qslab/cache.h>

/* Reads nothing of the program's: any thread, under the caches lock too. */
void cache_stats(const struct qslab_cache *cache, struct qslab_cache_stats *stats);

#endif
