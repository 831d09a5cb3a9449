/*
 * qslab/stats.h: every live object, and statistics as a struct, as JSON, and as Prometheus text.
 *
 * Rules for all calls here: any thread; not from signal handlers; they wait for nothing but short internal locks, and
 * take nothing from the memory they look at. What they say is exact when no other thread allocates or frees meanwhile,
 * and close to it otherwise. The qslab command says the same of another process (qslab(1), qslab/segment.h).
 */
#ifndef QSLAB_STATS_H
#define QSLAB_STATS_H

#include <qslab/cache.h>

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* a struct and a function of one name, as stat */
extern "C" {
#endif

/* ---- the heap walk ------------------------------------------------------------------------------------------------ */

enum qslab_object_state {
	QSLAB_OBJECT_LIVE = 1,     /* the program holds it */
	QSLAB_OBJECT_DEFERRED = 2, /* retired: it waits for a grace period, readers may still look */
};

/*
 * Calls `visit` for every object that is live or deferred: those of a cache with slabs of its own, or, for NULL, all of
 * the process, large ones included. `size` is what may be used of it, its class's size. By rising addresses, from a
 * snapshot that is complete before the first call: visit holds no lock and may allocate and free. A visit other than 0
 * ends the walk. Returns the number of calls, or -1 with ENOMEM, or EINVAL for a merged cache, whose objects nothing
 * tells from others. Cost: some nanoseconds an object, and a mapping of a twentieth of the heap, most of it untouched.
 * Source: tcmalloc's and CPython's heap iterators; JEP's heap walks.
 */
QSLAB_API long qslab_heap_walk(struct qslab_cache *cache,
                               int (*visit)(void *object, size_t size, enum qslab_object_state state, void *argument),
                               void *argument);

/* ---- statistics ------------------------------------------------------------------------------------------------------ */

#define QSLAB_STATS_VERSION 1

/*
 * Fields are only ever added, at the end. `version` changes if one changes its meaning; `size` says how many bytes the
 * library filled in: a field beyond it is unknown to it, and zero.
 */
struct qslab_stats {
	uint32_t version, size;
	/* bytes; as struct qslab_memory, which explains them */
	uint64_t live_bytes, live_large_bytes, slab_free_bytes, magazine_bytes, span_cache_bytes, source_free_bytes;
	uint64_t metadata_bytes, mapped_bytes, purged_bytes;
	uint64_t slabs, heaps, caches;
	/* as struct qslab_rcu_stats */
	uint64_t retired, reclaimed, waiting, waiting_bytes, peak_waiting_bytes;
	uint64_t grace_periods_started, grace_periods_completed;
	uint64_t exchanged, flushed, chained, over_hard, stalls;
};

/* Fills the first `size` bytes, sizeof *stats: how a newer library serves an older program, and the other way round. */
QSLAB_API void qslab_stats(struct qslab_stats *stats, size_t size);

/*
 * The same, and every cache, as one JSON object, or in the text format of Prometheus (0.0.4). Both are UTF-8, as caches'
 * names are taken to be; a byte of these that belongs to no character becomes U+FFFD. As snprintf: writes at
 * most `size` bytes, the last of them 0, and returns the length without it of the whole: if that is not below `size`,
 * the text was cut. The text grows with the number of caches: call again with more room.
 */
QSLAB_API size_t qslab_stats_json(char *text, size_t size);
QSLAB_API size_t qslab_stats_prometheus(char *text, size_t size);

#ifdef __cplusplus
}
#pragma GCC diagnostic pop
#endif
#endif
