/*
 * First fit over a sorted list of free page runs, on top of the region. Freed pages are purged at once; those that share
 * one of the system's with others, when these are free, too. Behind each span lies a page of nobody's, as with jemalloc:
 * what runs over a large object's end, or before its start, changes no other. Not where the system's pages are larger,
 * which spans then would hardly ever have alone.
 */
#define _GNU_SOURCE
#include "meta.h"
#include "region.h"
#include "source.h"

#include <sys/mman.h>

#define OWN_MOST ((size_t)64 << 10)

struct run {
	struct run *next;
	uintptr_t start, end;
};

static struct {
	struct lock lock;
	struct run *runs; /* lock: by address, never touching each other */
} source;

atomic_size_t source_purged, source_dirty;

static size_t pad(void)
{
	return system_page > PAGE_SIZE ? 0 : PAGE_SIZE;
}

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

/* Lock held. Inserts [start, end) where it belongs, merging; the run that has it, or NULL. */
static struct run *insert(uintptr_t start, uintptr_t end)
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
		return near;
	}
	if (near && near->start == end) {
		near->start = start;
		return near;
	}
	struct run *run = describe(&start, end);
	if (run) {
		*run = (struct run){near, start, end};
		*at = run;
	}
	return run;
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
	size_t size = (pages << PAGE_SHIFT) + pad();

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

/* Lock held. The run is zero. Gives back the system's pages that [start, end) has a part of, and the run all of. */
static void give_back_shared(const struct run *run, uintptr_t start, uintptr_t end)
{
	uintptr_t from = start & ~(system_page - 1), to = ALIGN_UP(end, system_page);

	if (from < run->start)
		from += system_page;
	if (to > run->end)
		to -= system_page;
	if (from < start && from < to)
		madvise((void *)from, system_page, MADV_DONTNEED);
	if (to > end && from < to)
		madvise((void *)(to - system_page), system_page, MADV_DONTNEED);
}

/* All of [start, end) goes to the system; from `free` on it is free. */
static void give_back(uintptr_t start, uintptr_t free, uintptr_t end)
{
	region_release((void *)start, end - start);
	atomic_fetch_add_explicit(&source_purged, end - free, relaxed);
	lock_take(&source.lock);
	const struct run *run = insert(free, end);
	if (system_page > PAGE_SIZE && run)
		give_back_shared(run, free, end);
	lock_drop(&source.lock);
}

static void mmap_free(void *start, size_t pages)
{
	give_back((uintptr_t)start, (uintptr_t)start, (uintptr_t)start + (pages << PAGE_SHIFT) + pad());
}

/* Takes what is behind the span's page of nobody's. */
static bool extend(uintptr_t end, uintptr_t new_end)
{
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

static bool mmap_resize(void *start, size_t pages, size_t new_pages)
{
	uintptr_t end = (uintptr_t)start + (pages << PAGE_SHIFT), new_end = (uintptr_t)start + (new_pages << PAGE_SHIFT);

	if (new_pages > pages)
		return extend(end + pad(), new_end + pad());
	give_back(new_end, new_end + pad(), end + pad());
	return true;
}

static void mmap_purge(void)
{
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
	.resize = mmap_resize,
	.purge = mmap_purge,
};
