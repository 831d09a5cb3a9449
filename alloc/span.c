#define _GNU_SOURCE
#include "span.h"
#include "cgroup.h"
#include "gate.h"
#include "harden.h"
#include "meta.h"
#include "option.h"
#include "region.h"
#include "segment.h"
#include "source.h"

#include <errno.h>
#include <string.h>
#include <sys/sdt.h>

#define PURGED_MUCH ((size_t)2 << 20)
#define BUDGET_LEAST ((size_t)2 << 20)
#define BUDGET_LIVE_PART 32
#define REGRET_GAIN 64
#define CACHED_LEAST ((size_t)16 << 20) /* so much stays apart by size when a span of another size is wanted */
#define CACHED_LIVE_PART 16
#define PEAK_ABOVE ((size_t)128 << 20)
#define TWICE_MOST ((size_t)1 << 30)
#define CREDIT_LASTS 8 /* as many times what counts, so that it lasts some seconds longer */
#define ALIGNED_TRIED 16 /* cached spans of a length, for one that is aligned beyond a page */
#define META_SPAN_PAGES ((size_t)16)
_Static_assert(META_SPAN_PAGES << PAGE_SHIFT >= META_SIZE_MAX, "a span holds any descriptor");

/*
 * A cached span's first page map entry links it: class 0, bit 8 "from mmap", page number of the next
 * from bit 16, 0 for none (page 0 is always jemalloc's or a slab's first; link stores page + 1).
 */
#define LINK_FROM_MMAP ((uint64_t)1 << 8)
#define LINK_SHIFT 16

atomic_uint span_purges;

static struct {
	struct lock lock;
	uint64_t bins[SPAN_CACHED_PAGES + 1]; /* lock: page + 1 of the first, by page count */
	size_t cached;                        /* lock: bytes in bins */
	size_t taken;                         /* lock: bytes allocated since the last tick */
	size_t live;                          /* lock: bytes handed out */
	size_t peak;                          /* lock: the most of it lately; never less */
	size_t credit;                        /* lock */
	size_t purged_lately;                 /* lock: bytes purged that a regret may still claim */
	size_t purged_seen;                   /* lock: by the sources together, when span_purges last rose */
	uint32_t ticked;                      /* lock: second of the last tick */
	uint64_t limit;                       /* lock: of the control group */
	uint64_t waiting;                     /* lock: spans of jemalloc freed while the gate was closed */
	bool purging;                         /* lock: a thread purges the source, which lets no second one in */
	bool again;                           /* lock: another came by meanwhile, and the budget was exceeded */
} cache = {.limit = UINT64_MAX};

/* Lock held. */
static struct span bin_pop(uint64_t *bin)
{
	if (!*bin)
		return (struct span){0};
	size_t page = *bin - 1;
	uint64_t entry = load_relaxed(&region.map[page]);
	*bin = entry >> LINK_SHIFT;
	store_relaxed(&region.map[page], 0);
	return (struct span){region_address(page), entry & LINK_FROM_MMAP, false};
}

/* Lock held. */
static void bin_push(uint64_t *bin, struct span span)
{
	size_t page = region_page(span.start);
	store_relaxed(&region.map[page], *bin << LINK_SHIFT | (span.from_mmap ? LINK_FROM_MMAP : 0));
	*bin = page + 1;
}

void span_init(void)
{
	struct cgroup group;
	int saved = errno;

	if (cgroup_find(&group, ""))
		span_limit(cgroup_limit(&group));
	errno = saved;
}

void span_limit(uint64_t bytes)
{
	lock_take(&cache.lock);
	cache.limit = bytes;
	lock_drop(&cache.lock);
}

/* Lock held. */
static bool is_limited(void)
{
	return unlikely(cache.limit != UINT64_MAX);
}

/*
 * Lock held. What credit may count for: live and kept together fill the last peak twice, and QSLAB_RETAIN; and half of what
 * the control group's limit leaves, for beyond it the kernel ends the process, where without one malloc would just be slower.
 */
static size_t credit_most(void)
{
	size_t above = cache.live / 2 + PEAK_ABOVE;
	size_t peak = cache.peak - cache.live < above ? cache.peak : cache.live + above;
	size_t twice = peak < TWICE_MOST ? peak : TWICE_MOST;
	size_t most = options.retain ? options.retain + peak + twice - cache.live : 0;
	size_t left = cache.limit > cache.live ? (size_t)(cache.limit - cache.live) / 2 : 0;
	return most < left ? most : left;
}

/* Lock held. */
static size_t budget(void)
{
	size_t base = cache.live / BUDGET_LIVE_PART, most = credit_most();
	return (base > BUDGET_LEAST ? base : BUDGET_LEAST) + (cache.credit < most ? cache.credit : most);
}

/* Lock held. */
static void live_more(size_t bytes)
{
	cache.live += bytes;
	if (cache.peak < cache.live)
		cache.peak = cache.live;
}

/*
 * Lock held; may drop it in between. Everything cached goes to the source, unless a fork comes between; true if anything
 * did. One span at a time is in no bin: a child forked beside it loses no more.
 */
static bool empty_bins(void)
{
	bool any = false;

	for (size_t pages = 1; pages <= SPAN_CACHED_PAGES; pages++) {
		while (cache.bins[pages]) {
			struct span span = bin_pop(&cache.bins[pages]);
			cache.cached -= pages << PAGE_SHIFT;
			lock_drop(&cache.lock);
			bool freed = gate_free(span, pages);
			lock_take(&cache.lock);
			if (!freed) {
				cache.cached += pages << PAGE_SHIFT;
				bin_push(&cache.bins[pages], span);
				return any; /* forking: later */
			}
			any = true;
		}
	}
	return any;
}

/* Lock held; may drop it in between. Everything cached and dirty goes to the system; true if anything did. */
static bool purge(void)
{
	bool any = empty_bins();

	if (load_relaxed(&source_dirty) && !cache.purging) {
		size_t before = load_relaxed(&source_purged);
		cache.purging = true;
		lock_drop(&cache.lock);
		gate_purge(); /* forking: later */
		meta_trim();
		lock_take(&cache.lock);
		size_t purged = load_relaxed(&source_purged) - before;
		cache.purging = false;
		cache.purged_lately += purged;
		any = any || purged;
		DTRACE_PROBE1(qslab, purge, purged);
	}
	return any;
}

/* Lock held. */
static bool over_budget(void)
{
	return cache.cached + load_relaxed(&source_dirty) > budget();
}

/*
 * Lock held; may drop it in between. Who purges looks again at its end if others came by meanwhile, who left it to him:
 * what they freed was in the source by then. Of what is freed while the gate is closed the next free takes care.
 */
static void enforce_budget(void)
{
	while (over_budget() && !gate_is_closed()) {
		if (cache.purging) {
			cache.again = true;
			return;
		}
		cache.again = false;
		if (!purge() && !cache.again)
			return;
	}
}

/* Lock held. */
static void tick(void)
{
	uint32_t now = second_now();
	int32_t passed = (int32_t)(now - cache.ticked);

	if (passed < 1)
		return;
	cache.ticked = now;
	if (passed > 1 || cache.taken < cache.credit)
		cache.credit = passed < 40 ? cache.credit >> passed : 0;
	cache.taken = 0;
	cache.peak = passed < 40 ? cache.live + ((cache.peak - cache.live) >> passed) : cache.live;
	cache.purged_lately = passed < 2 ? cache.purged_lately / 2 : 0;
	enforce_budget();
}

void span_tick(void)
{
	if (!lock_try(&cache.lock))
		return;
	int saved = errno;
	tick();
	lock_drop(&cache.lock);
	errno = saved;
}

void span_settle(void)
{
	if (!lock_try(&cache.lock))
		return;
	int saved = errno;
	cache.peak = cache.live;
	tick();
	enforce_budget();
	lock_drop(&cache.lock);
	errno = saved;
}

/* Lock held. What was purged a moment ago would have served: that is regret. */
static void take_from_source(size_t bytes)
{
	size_t regret = bytes < cache.purged_lately ? bytes : cache.purged_lately;
	size_t credit = cache.credit + REGRET_GAIN * regret, most = CREDIT_LASTS * credit_most();

	cache.taken += bytes;
	cache.purged_lately -= regret;
	cache.credit = credit < most ? credit : most;
}

/* Lock held. One of the bin's first that starts at a multiple of the alignment. It leaves the bin by one store, as bin_pop's. */
static struct span bin_pop_aligned(uint64_t *bin, size_t alignment)
{
	_Atomic uint64_t *before = NULL;
	uint64_t at = *bin;

	for (unsigned tried = 0; at && tried < ALIGNED_TRIED; tried++) {
		_Atomic uint64_t *here = &region.map[at - 1];
		uint64_t entry = load_relaxed(here);
		if (((uintptr_t)region_address(at - 1) & (alignment - 1)) == 0) {
			if (!before)
				return bin_pop(bin);
			store_relaxed(before, entry >> LINK_SHIFT << LINK_SHIFT | (load_relaxed(before) & LINK_FROM_MMAP));
			store_relaxed(here, 0);
			return (struct span){region_address(at - 1), entry & LINK_FROM_MMAP, false};
		}
		before = here;
		at = entry >> LINK_SHIFT;
	}
	return (struct span){0};
}

/* Lock held. */
static struct span take_cached(size_t pages, size_t alignment)
{
	struct span span = {0};

	if (pages <= SPAN_CACHED_PAGES)
		span = likely(alignment <= PAGE_SIZE) ? bin_pop(&cache.bins[pages])
		                                      : bin_pop_aligned(&cache.bins[pages], alignment);
	if (span.start) {
		size_t bytes = pages << PAGE_SHIFT;
		cache.cached -= bytes;
		live_more(bytes);
		cache.taken += bytes;
	}
	return span;
}

struct span span_alloc_least(size_t *pages, size_t most, size_t alignment, bool zero)
{
	size_t bytes = *pages << PAGE_SHIFT;
	struct span span = {0};

	if (FAULT(SPAN) || *pages > PTRDIFF_MAX >> PAGE_SHIFT)
		return span;
	if (alignment > PAGE_SIZE)
		most = *pages; /* as long as asked: who aligns to the system's page may count on whole ones */
	lock_take(&cache.lock);
	for (size_t length = *pages; length <= most; length = span_whole(length + 1)) {
		span = take_cached(length, alignment);
		if (!span.start)
			continue;
		lock_drop(&cache.lock);
		if (zero && !hardened) /* where all are zero */
			memset(span.start, 0, bytes);
		*pages = length;
		return span;
	}
	if (cache.cached > CACHED_LEAST && cache.cached > cache.live / CACHED_LIVE_PART)
		empty_bins(); /* of other sizes: joined in the source they serve, and nothing fresh need be touched */
	take_from_source(bytes);
	lock_drop(&cache.lock);

	size_t dirty = load_relaxed(&source_dirty);
	span = gate_alloc(*pages, alignment, zero);
	if (!span.start && span_trim())
		span = gate_alloc(*pages, alignment, zero);
	if (!span.start)
		return span;
	span.fresh = load_relaxed(&source_dirty) >= dirty;
	DTRACE_PROBE2(qslab, span_alloc, span.start, *pages);
	lock_take(&cache.lock);
	live_more(bytes);
	if (is_limited())
		enforce_budget(); /* before the program fills what it got */
	lock_drop(&cache.lock);
	return span;
}

struct span span_alloc(size_t pages, size_t alignment, bool zero)
{
	return span_alloc_least(&pages, pages, alignment, zero);
}

void *span_meta_alloc(size_t size)
{
	void *piece = meta_alloc(size);
	if (likely(piece))
		return piece;
	struct span span = span_alloc(META_SPAN_PAGES, PAGE_SIZE, true);
	if (!span.start)
		return NULL;
	meta_add(span.start, META_SPAN_PAGES << PAGE_SHIFT);
	return meta_alloc(size);
}

static void drain_waiting(void);

/* Lock held; drops it. */
static void after_free(void)
{
	tick();
	enforce_budget();
	size_t purged = load_relaxed(&source_purged);
	if (purged - cache.purged_seen >= PURGED_MUCH) {
		cache.purged_seen = purged;
		store_relaxed(&span_purges, load_relaxed(&span_purges) + 1);
	}
	bool waiting = cache.waiting;
	lock_drop(&cache.lock);
	if (unlikely(waiting))
		drain_waiting();
}

void span_free(struct span span, size_t pages)
{
	size_t bytes = pages << PAGE_SHIFT;
	int saved = errno;

	if (pages > SPAN_CACHED_PAGES) {
		bool freed = gate_free(span, pages);
		lock_take(&cache.lock);
		cache.live -= bytes;
		if (!freed) {
			/* one link has no room for the count: the next entry keeps it */
			store_relaxed(&region.map[region_page(span.start) + 1], pages << LINK_SHIFT);
			bin_push(&cache.waiting, span);
		}
	} else {
		lock_take(&cache.lock);
		cache.live -= bytes;
		cache.cached += bytes;
		bin_push(&cache.bins[pages], span);
	}
	after_free();
	errno = saved;
}

bool span_shrink(struct span span, size_t pages, size_t new_pages)
{
	size_t bytes = (pages - new_pages) << PAGE_SHIFT;
	int saved = errno;
	bool done = gate_resize(span, pages, new_pages);

	if (done) {
		lock_take(&cache.lock);
		cache.live -= bytes;
		after_free();
	}
	errno = saved;
	return done;
}

/*
 * The gate is open again: what waited goes to jemalloc. If the lock is taken, perhaps by the code that a
 * forking signal handler interrupted, the next span_free does it.
 */
static void drain_waiting(void)
{
	if (gate_is_closed() || !lock_try(&cache.lock))
		return;
	uint64_t chain = cache.waiting;
	cache.waiting = 0;
	while (chain) {
		struct span span = bin_pop(&chain);
		_Atomic uint64_t *count = &region.map[region_page(span.start) + 1];
		size_t pages = load_relaxed(count) >> LINK_SHIFT;
		store_relaxed(count, 0);
		live_more(pages << PAGE_SHIFT); /* span_free takes it off again */
		lock_drop(&cache.lock);
		span_free(span, pages);
		lock_take(&cache.lock);
	}
	lock_drop(&cache.lock);
}

void span_fork_done(void)
{
	gate_open();
	drain_waiting();
}

bool span_extend(struct span span, size_t pages, size_t new_pages)
{
	bool done = !FAULT(SPAN) && gate_resize(span, pages, new_pages);

	if (done) {
		lock_take(&cache.lock);
		live_more((new_pages - pages) << PAGE_SHIFT);
		take_from_source((new_pages - pages) << PAGE_SHIFT);
		if (is_limited())
			enforce_budget();
		lock_drop(&cache.lock);
	}
	return done;
}

bool span_trim(void)
{
	int saved = errno;
	drain_waiting(); /* perhaps nobody frees again */
	lock_take(&cache.lock);
	while (cache.purging) {
		lock_drop(&cache.lock);
		nap();
		lock_take(&cache.lock);
	}
	bool any = purge();
	cache.credit = 0;
	lock_drop(&cache.lock);
	errno = saved;
	return any;
}

void span_stats(struct span_stats *stats)
{
	lock_take(&cache.lock);
	stats->live = cache.live;
	stats->cached = cache.cached;
	stats->dirty_in_source = load_relaxed(&source_dirty);
	stats->purged = load_relaxed(&source_purged);
	lock_drop(&cache.lock);
}

void span_after_fork(void)
{
	if (load_relaxed(&cache.lock.held)) {
		size_t cached = 0;
		for (size_t pages = 1; pages <= SPAN_CACHED_PAGES; pages++)
			for (uint64_t link = cache.bins[pages]; link;
			     link = load_relaxed(&region.map[link - 1]) >> LINK_SHIFT)
				cached += pages << PAGE_SHIFT;
		cache.cached = cached;
		lock_drop(&cache.lock);
	}
	cache.purging = false;
	gate_after_fork();
	region_after_fork();
	span_fork_done();
}

void span_publish(struct qslab_segment_spans *out)
{
	_Static_assert(LINK_SHIFT == 16 && ENTRY_SOURCE_OWN == QSLAB_ENTRY_SOURCE_OWN, "as published");
	*out = (struct qslab_segment_spans){
		.lock = PUBLISH_WORD(cache.lock.held, 4),
		.bins = PUBLISH_WORD(cache.bins[0], 8),
		.waiting = PUBLISH_WORD(cache.waiting, 8),
		.cached = PUBLISH_WORD(cache.cached, 8),
		.dirty = PUBLISH_WORD(source_dirty, 8),
		.live = PUBLISH_WORD(cache.live, 8),
		.credit = PUBLISH_WORD(cache.credit, 8),
		.purged = PUBLISH_WORD(source_purged, 8),
		.count = SPAN_CACHED_PAGES + 1,
	};
}
