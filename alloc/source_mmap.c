/* First fit over a sorted list of free page runs, on top of the region. Freed pages are purged at once. */
#define _GNU_SOURCE
#include "meta.h"
#include "region.h"
#include "source.h"

#define OWN_MOST ((size_t)64 << 10)

struct run {
	struct run *next;
	uintptr_t start, end;
};

static struct {
	struct lock lock;
	struct run *runs; /* lock: by address, never touching each other */
} source;

atomic_size_t source_purged;

static bool init(void)
{
	return true;
}

/* Lock held. A descriptor of a purged run; without memory for it, the run's own first pages serve for good. */
static struct run *describe(uintptr_t *start, uintptr_t end)
{
	struct run *run = meta_alloc(sizeof *run);
	if (likely(run))
		return run;
	size_t taken = end - *start < OWN_MOST ? end - *start : OWN_MOST;
	meta_add((void *)*start, taken);
	*start += taken;
	return *start == end ? NULL : meta_alloc(sizeof *run);
}

/* Lock held. Inserts [start, end) where it belongs, merging. */
static void insert(uintptr_t start, uintptr_t end)
{
	struct run **at = &source.runs;

	while (*at && (*at)->end < start)
		at = &(*at)->next;
	struct run *near = *at;
	if (near && near->end == start) {
		near->end = end;
		struct run *after = near->next;
		if (after && after->start == end) {
			near->end = after->end;
			near->next = after->next;
			meta_free(after, sizeof *after);
		}
		return;
	}
	if (near && near->start == end) {
		near->start = start;
		return;
	}
	struct run *run = describe(&start, end);
	if (run) {
		*run = (struct run){near, start, end};
		*at = run;
	}
}

/* Lock held. Takes [start, end) out of the run at *at, which contains it. */
static void cut(struct run **at, uintptr_t start, uintptr_t end)
{
	struct run *run = *at;
	uintptr_t tail = run->end;

	run->end = start;
	if (end < tail)
		insert(end, tail);
	if (run->start == run->end) {
		*at = run->next;
		meta_free(run, sizeof *run);
	}
}

static void *mmap_alloc(size_t pages, size_t alignment, bool zero)
{
	size_t size = pages << PAGE_SHIFT;

	(void)zero; /* always: fresh or purged */
	lock_take(&source.lock);
	for (struct run **at = &source.runs; *at; at = &(*at)->next) {
		uintptr_t start = ALIGN_UP((*at)->start, alignment);
		if (start <= (*at)->end && (*at)->end - start >= size) {
			cut(at, start, start + size);
			lock_drop(&source.lock);
			return (void *)start;
		}
	}
	lock_drop(&source.lock);
	return region_grow(size, alignment);
}

static void mmap_free(void *start, size_t pages)
{
	size_t size = pages << PAGE_SHIFT;

	region_release(start, size);
	atomic_fetch_add_explicit(&source_purged, size, relaxed);
	lock_take(&source.lock);
	insert((uintptr_t)start, (uintptr_t)start + size);
	lock_drop(&source.lock);
}

static bool mmap_extend(void *start, size_t pages, size_t new_pages)
{
	uintptr_t end = (uintptr_t)start + (pages << PAGE_SHIFT);
	uintptr_t new_end = (uintptr_t)start + (new_pages << PAGE_SHIFT);
	bool done = false;

	lock_take(&source.lock);
	struct run **at = &source.runs;
	while (*at && (*at)->start < end)
		at = &(*at)->next;
	if (*at && (*at)->start == end && (*at)->end >= new_end) {
		cut(at, end, new_end);
		done = true;
	}
	lock_drop(&source.lock);
	return done || region_grow_at((void *)end, new_end - end);
}

static void mmap_purge(void)
{
}

static size_t mmap_dirty(void)
{
	return 0;
}

void source_mmap_after_fork(void)
{
	if (load_relaxed(&source.lock.held))
		source.runs = NULL;
	lock_drop(&source.lock);
}

const struct span_source source_mmap = {
	.name = "mmap",
	.init = init,
	.alloc = mmap_alloc,
	.free = mmap_free,
	.extend = mmap_extend,
	.purge = mmap_purge,
	.dirty = mmap_dirty,
};
