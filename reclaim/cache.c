/* The public calls of include/qslab/cache.h, over alloc/cache.c. */
#define _GNU_SOURCE
#include "cache.h"
#include "alloc/bulk.h"
#include "alloc/misuse.h"
#include "alloc/report.h"
#include "append.h"
#include "barrier.h"
#include "chain.h"
#include "debug.h"
#include "deferrer.h"
#include "grave.h"
#include "rcu/grace.h"
#include "reclaimer.h"

#include <errno.h>
#include <stdio.h>

#define FLAGS (QSLAB_CACHE_TYPESAFE_BY_RCU | QSLAB_CACHE_RCU | QSLAB_CACHE_ISOLATE | QSLAB_CACHE_ZERO_ON_FREE | \
	QSLAB_CACHE_HWALIGN)
#define FIRST_LEAKS 4

/* ---- creation -------------------------------------------------------------------------------------------------- */

/* The alignment meant; 0 if it is absurd. */
static size_t alignment(size_t size, size_t align, unsigned flags)
{
	if (align > PAGE_SIZE || (align & (align - 1)))
		return 0;
	if (!align)
		align = (size & -size) < 16 ? size & -size : 16;
	if (flags & QSLAB_CACHE_HWALIGN) {
		size_t line = CACHE_LINE;
		while (line > 8 && size <= line / 2)
			line /= 2;
		align = line > align ? line : align;
	}
	return align > OBJECT_SIZE_MIN ? align : OBJECT_SIZE_MIN;
}

struct qslab_cache *qslab_cache_create(const char *name, size_t size, size_t align, unsigned flags,
                                       int (*ctor)(void *object))
{
	struct cache_wish wish = {
		.name = name,
		.size = size,
		.align = alignment(size, align, flags),
		.flags = flags,
		.traits = (flags & QSLAB_CACHE_TYPESAFE_BY_RCU ? CLASS_TYPESAFE : 0) |
		          (flags & QSLAB_CACHE_RCU ? CLASS_DEFER : 0) |
		          (flags & QSLAB_CACHE_ZERO_ON_FREE ? CLASS_WIPE : 0),
		.own = ctor || (flags & ~(unsigned)QSLAB_CACHE_HWALIGN),
		.ctor = ctor,
	};
	bool zeroes = flags & QSLAB_CACHE_ZERO_ON_FREE;

	if (!size || size > MEDIUM_MAX || !wish.align || (flags & ~(unsigned)FLAGS) ||
	    (zeroes && (ctor || (flags & QSLAB_CACHE_TYPESAFE_BY_RCU)))) {
		errno = EINVAL;
		return NULL;
	}
	return cache_create(&wish);
}

/* ---- objects ---------------------------------------------------------------------------------------------------- */

void *qslab_cache_alloc(struct qslab_cache *cache)
{
	return cache_alloc(cache);
}

void *qslab_cache_zalloc(struct qslab_cache *cache)
{
	if (unlikely(cache->has_ctor)) {
		errno = EINVAL;
		return NULL;
	}
	void *object = cache_alloc(cache);
	if (likely(object) && !(cache->traits & CLASS_WIPE))
		memset(object, 0, cache->object_size);
	return object;
}

static _Noreturn COLD void refuse(const char *call, const struct qslab_cache *cache, const void *object)
{
	uint64_t entry = region_has(object) ? entry_of(object) : 0;

	if (!cache->class)
		misuse_cache(call, object, "to a destroyed cache");
	if (is_start(entry, object, classes[entry_class(entry)].divisor))
		misuse_cache(call, object, "an object of another cache or size");
	misuse_pointer(call, object);
}

/* Every free of the object is deferred; it has room for a link at its end. */
static void retire(const char *call, void *object)
{
	if (likely(append_fast(object, 0)) || append_slow(call, object, 0))
		return;
	size_t size = classes[entry_class(entry_of(object))].size;
	struct rcu_ptr *link = (void *)((char *)object + size - sizeof *link);
	if (unlikely(watched))
		debug_retire(call, object);
	if (chain_push(link, link))
		reclaimer_wake();
	reclaimer_notice(true);
}

/* After what may have killed a slab: its end needs the reclaimer, which none of alloc's slow paths could start. */
static void bury_dead(void)
{
	if (unlikely(reclaimer_is_wanted()))
		reclaimer_notice(true);
}

static inline void free_one(const char *call, struct qslab_cache *cache, void *object)
{
	if (unlikely(!cache_has(cache, object))) {
		if (cache_has_sampled(cache, object))
			fast_free(call, object);
		else if (object)
			refuse(call, cache, object);
		return;
	}
	if (!cache_is_own(cache)) {
		fast_free(call, object);
	} else if (cache->traits & CLASS_DEFER) {
		retire(call, object);
	} else if (unlikely(!own_push(&thread_heap->magazines[cache->class], cache->class, object))) {
		own_free(call, cache->class, object);
		bury_dead();
	}
}

void qslab_cache_free(struct qslab_cache *cache, void *object)
{
	free_one("qslab_cache_free", cache, object);
}

int qslab_cache_free_rcu(struct qslab_cache *cache, void *object)
{
	static const char call[] = "qslab_cache_free_rcu";

	if (unlikely(!cache_has(cache, object) && !cache_has_sampled(cache, object))) {
		if (object)
			refuse(call, cache, object);
		return 0;
	}
	if (cache->traits & CLASS_DEFER)
		retire(call, object);
	else if (!append_fast(object, 0) && !append_slow(call, object, 0))
		return ENOMEM;
	return 0;
}

size_t qslab_cache_alloc_bulk(struct qslab_cache *cache, size_t count, void **objects)
{
	size_t done = 0;

	while (done < count) {
		done += bulk_take(&thread_heap->magazines[cache->class], !cache_is_own(cache), count - done, objects + done);
		if (done == count)
			break;
		if (unlikely(!(objects[done] = cache_alloc_slow(cache))))
			break;
		done++;
	}
	return done;
}

/* The first objects, as many as are simply the cache's; how many. The next is for a single free. */
static inline size_t give(struct qslab_cache *cache, size_t count, void *const *objects)
{
	uint64_t entry = region_has(objects[0]) ? entry_of(objects[0]) : 0, divisor = cache->divisor;
	unsigned class = cache->class;

	if (unlikely(entry_class(entry) != class))
		return 0;
	if (!cache_is_own(cache))
		return bulk_give(&thread_frees[class], true, false, class, divisor, entry, count, objects);
	if (cache->traits & CLASS_DEFER)
		return 0;
	return bulk_give(&thread_heap->magazines[class], false, cache->traits & CLASS_WIPE, class, divisor, entry, count,
	                 objects);
}

void qslab_cache_free_bulk(struct qslab_cache *cache, size_t count, void *const *objects)
{
	while (count) {
		size_t given = give(cache, count, objects);
		if (given == count)
			break;
		free_one("qslab_cache_free_bulk", cache, objects[given]);
		objects += given + 1;
		count -= given + 1;
	}
}

/* ---- the cache as a whole ---------------------------------------------------------------------------------------- */

size_t qslab_cache_shrink(struct qslab_cache *cache)
{
	int saved = errno;
	struct heap *heap = thread_heap_get();
	struct class_counts before, after;

	class_count(cache->class, &before);
	deferrers_free(cache->class);
	if (heap)
		heap_flush(heap, cache->class, false);
	heap_trim(cache->class);
	bury_dead();
	class_count(cache->class, &after);
	errno = saved;
	return before.pages > after.pages ? (before.pages - after.pages) << PAGE_SHIFT : 0;
}

void qslab_cache_barrier(struct qslab_cache *cache)
{
	int saved = errno;
	barrier_wait("qslab_cache_barrier", cache->class);
	errno = saved;
}

static void report_leaks(const struct qslab_cache *cache, size_t live, void *const *first)
{
	char text[FIRST_LEAKS * 24] = "";
	size_t used = 0;

	for (size_t i = 0; i < live && i < FIRST_LEAKS; i++)
		used += (size_t)snprintf(text + used, sizeof text - used, " %p", first[i]);
	report_line("qslab: qslab_cache_destroy: cache '%s' still has %zu live objects of %zu bytes:%s%s", cache->name,
	            live, cache->object_size, text, live > FIRST_LEAKS ? " ..." : "");
}

size_t qslab_cache_destroy(struct qslab_cache *cache)
{
	static const char call[] = "qslab_cache_destroy";
	void *first[FIRST_LEAKS];
	int saved = errno;

	if (!cache)
		return 0;
	if (!cache->class)
		misuse_cache(call, cache, "destroyed already");
	barrier_wait(call, cache->class);
	if (cache_is_own(cache)) {
		if (unlikely(tracking))
			debug_empty_quarantine();
		size_t live = cache_empty(cache, first, FIRST_LEAKS);
		grace_wait(graves_of(cache->class), call);
		graves_advance();
		if (live) {
			report_leaks(cache, live, first);
			errno = saved;
			return live;
		}
		deferrers_forget(cache->class);
	}
	cache_delete(cache);
	errno = saved;
	return 0;
}

struct class_count {
	unsigned class;
	size_t count;
};

static void count_link(const struct rcu_ptr *link, void *argument)
{
	struct class_count *count = argument;
	count->count += entry_class(entry_of(link)) == count->class;
}

static void count_object(void *object, void *argument)
{
	count_link(object, argument);
}

void cache_stats(const struct qslab_cache *cache, struct qslab_cache_stats *stats)
{
	struct class_counts counts;

	*stats = (struct qslab_cache_stats){
		.object_size = cache->object_size,
		.stride = classes[cache->class].size,
		.align = cache->align,
		.flags = cache->flags,
		.merged = !cache_is_own(cache),
	};
	memcpy(stats->name, cache->name, sizeof stats->name);
	if (stats->merged)
		return;
	struct class_count links = {cache->class, 0}, quarantined = links;
	reclaimer_hold(); /* or it frees what was counted as deferred */
	deferrers_count_class(cache->class, &stats->deferred, &stats->ready);
	chain_each(count_link, &links);
	if (tracking)
		debug_each_quarantined(count_object, &quarantined);
	class_count(cache->class, &counts);
	reclaimer_go_on();
	stats->deferred += links.count;
	stats->slabs = counts.slabs;
	stats->bytes = counts.pages << PAGE_SHIFT;
	stats->total = counts.objects;
	stats->slab_free = counts.slab_free;
	stats->magazines = counts.magazines + quarantined.count;
	size_t rest = stats->deferred + stats->ready + stats->slab_free + stats->magazines;
	stats->live = stats->total > rest ? stats->total - rest : 0;
}

void qslab_cache_stats(struct qslab_cache *cache, struct qslab_cache_stats *stats)
{
	int saved = errno;
	cache_stats(cache, stats);
	errno = saved;
}

__attribute__((constructor(102))) static void start(void)
{
	atomic_store_explicit(&own_retire, retire, release);
}
