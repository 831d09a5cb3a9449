#define _GNU_SOURCE
#include "large.h"
#include "guard.h"
#include "harden.h"
#include "kept.h"
#include "layout.h"
#include "meta.h"
#include "misuse.h"
#include "profile.h"
#include "region.h"
#include "sample.h"
#include "segment.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sdt.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define MOVE_BY_PAGE_TABLES ((size_t)1 << 20) /* smaller ones are copied faster */

#define SHRINK_LEAST ((size_t)64 << 10)        /* cut off less, and the pages stay for the next growth */
#define LONGER_PART 4                          /* a cached span may be so much longer: the next of jemalloc's lengths */

static struct {
	struct lock lock;
	struct large *first;
	size_t bytes;
} all;

static void list_add(struct large *large)
{
	lock_take(&all.lock);
	large->next = all.first;
	large->prev = NULL;
	if (all.first)
		all.first->prev = large;
	all.first = large;
	all.bytes += large->size;
	lock_drop(&all.lock);
}

static void list_remove(struct large *large)
{
	lock_take(&all.lock);
	if (large->next)
		large->next->prev = large->prev;
	if (large->prev)
		large->prev->next = large->next;
	else
		all.first = large->next;
	all.bytes -= large->size;
	lock_drop(&all.lock);
}

/* Under the lock, for large_trim: what is beyond the size now is nobody's. */
static void set_size(struct large *large, size_t size)
{
	lock_take(&all.lock);
	all.bytes += size - large->size;
	large->size = size;
	lock_drop(&all.lock);
}

/* The same for the pages: those beyond are not the span's from here on, or were not until now. */
static void set_pages(struct large *large, size_t pages)
{
	lock_take(&all.lock);
	large->pages = pages;
	lock_drop(&all.lock);
}

/* Pages of the block that starts at `page` when [page, end) is cut into blocks. */
static size_t block_at(size_t page, size_t end)
{
	size_t block = page ? page & -page : (size_t)1 << 40;
	while (block > end - page)
		block /= 2;
	return block;
}

/* Writes `entry` at the start of each block of pages [page, end). */
static void mark(size_t page, size_t end, uint64_t entry)
{
	for (; page < end; page += block_at(page, end))
		atomic_store_explicit(&region.map[page], entry, release);
}

static void mark_large(struct large *large, bool set)
{
	size_t first = region_page(large->span.start);
	mark(first, first + large->pages, set ? entry_make(CLASS_LARGE, 0, large) : 0);
}

/*
 * The span had `old` pages: what it has now is cut otherwise. New entries first, for those who look meanwhile; then the
 * old ones that start no block any more go.
 */
static void remark_large(struct large *large, size_t old)
{
	size_t page = region_page(large->span.start), end = page + old, new = page, new_end = page + large->pages;

	mark_large(large, true);
	for (; page < end; page += block_at(page, end)) {
		while (new < page && new < new_end)
			new += block_at(new, new_end);
		if (new != page || new == new_end)
			atomic_store_explicit(&region.map[page], 0, release);
	}
}

struct large *large_around(const void *address)
{
	if (!region_has(address))
		return NULL;
	size_t page = region_page(address);
	for (unsigned k = 0; k < 36; k++) {
		size_t start = page >> k << k;
		uint64_t entry = atomic_load_explicit(&region.map[start], acquire);
		if (entry_class(entry) == CLASS_LARGE) {
			struct large *large = entry_descriptor(entry);
			bool inside = (uintptr_t)address - (uintptr_t)large->span.start < large->pages << PAGE_SHIFT;
			return inside ? large : NULL;
		}
		if (entry_class(entry) != CLASS_NONE || start == 0)
			return NULL;
	}
	return NULL;
}

struct large *large_find(const void *address)
{
	struct large *large = large_around(address);
	return large && (uintptr_t)address - (uintptr_t)large->span.start < large->size ? large : NULL;
}

/* A span with `reserve` more pages of address space if they can be had. */
static struct large *create(size_t size, size_t reserve, size_t alignment, bool zero)
{
	struct large *large = span_meta_alloc(sizeof *large);
	if (!large)
		return NULL;
	large->sample = NULL;
	large->profiled = NULL;
	large->size = PAGES_OF(size) << PAGE_SHIFT;
	large->asked = hardened ? size : 0;
	large->offset = 0;
	large->guarded = GUARD_NONE;
	size_t least = whole_pages(PAGES_OF(size) + hardened);
	large->pages = hardened ? least : span_whole(whole_pages(PAGES_OF(size) + reserve));
	size_t most = hardened ? large->pages : large->pages + large->pages / LONGER_PART;
	large->span = span_alloc_least(&large->pages, most, alignment, zero);
	if (!large->span.start && large->pages > least) {
		large->pages = least;
		large->span = span_alloc(large->pages, alignment, zero);
	}
	if (!large->span.start) {
		meta_free(large, sizeof *large);
		return NULL;
	}
	if (unlikely(hardened)) {
		large->guarded = guard_add(large->span, large->pages);
		harden_seal_large(large);
	}
	list_add(large);
	mark_large(large, true);
	DTRACE_PROBE2(qslab, large_alloc, large->span.start, large->size);
	return large;
}

void *large_alloc(size_t size, size_t alignment, bool zero)
{
	size_t least = alignment < system_page ? system_page : alignment;

	if (size > PTRDIFF_MAX - system_page || alignment > PTRDIFF_MAX / 2) {
		errno = ENOMEM;
		return NULL;
	}
	struct large *large = create(size ? size : 1, 0, least, zero);
	if (!large) {
		errno = ENOMEM;
		return NULL;
	}
	return large->span.start;
}

void large_discard(struct large *large)
{
	if (likely(!large->guarded || guard_remove(large->guarded, large->span, large->pages)))
		span_free(large->span, large->pages);
	if (unlikely(large->sample != NULL))
		meta_free(large->sample, sizeof *large->sample);
	meta_free(large, sizeof *large);
}

/* The page map no longer knows the object. */
static void destroy(struct large *large)
{
	DTRACE_PROBE2(qslab, large_free, large->span.start, large->size);
	list_remove(large);
	if (unlikely(large->profiled != NULL))
		profile_end(large->profiled);
	if (unlikely(large->sample || hardened))
		kept_add(large);
	else
		large_discard(large);
}

void large_free(const char *call, void *pointer)
{
	int saved = errno;
	if (!region_has(pointer))
		misuse_pointer(call, pointer);
	_Atomic uint64_t *entry = &region.map[region_page(pointer)];
	uint64_t seen = atomic_load_explicit(entry, acquire);
	struct large *large = entry_descriptor(seen);
	/* Of two threads that free one object, one wins the exchange; the other reports. */
	if (entry_class(seen) != CLASS_LARGE || large_start(large) != pointer ||
	    !atomic_compare_exchange_strong_explicit(entry, &seen, 0, acq_rel, acquire))
		misuse_pointer(call, pointer);
	mark_large(large, false);
	if (unlikely(hardened))
		harden_check_large(call, large);
	destroy(large);
	errno = saved;
}

enum moved { MOVED, NOT_MOVED, HOLE };

/*
 * True if the kernel holds these pages in one mapping. Of several it may move some and then fail (Linux 6.17; before, it
 * refused), and nobody could tell which. In place nothing can grow across a mapping's end: EFAULT, before anything else.
 */
static bool is_one_mapping(void *start, size_t size)
{
	if (mremap(start, size, size + system_page, 0, NULL) == MAP_FAILED)
		return errno != EFAULT;
	munmap((char *)start + size, system_page); /* it was the last page of all, and could grow */
	return true;
}

/* By three of its pages: is memory there that moved pages would replace? */
static bool is_resident(void *start, size_t size)
{
	unsigned there = 0;
	for (unsigned i = 0; i < 3; i++) {
		unsigned char seen[1] = {0};
		size_t offset = (size - 1) / 2 * i;
		if (mincore((char *)start + (offset & ~(system_page - 1)), system_page, seen) == 0)
			there += seen[0] & 1;
	}
	return there > 1;
}

/* Moves `size` bytes of whole pages; the old span keeps its address space, empty. */
static enum moved move_pages(void *to, void *from, size_t size)
{
	size = ALIGN_UP(size, system_page);
	if (is_resident(to, size) || !is_one_mapping(from, size))
		return NOT_MOVED;
	store_relaxed(&region.patched, true);
	if (mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to)
		return MOVED;
	/* It may have unmapped the target; above RLIMIT_AS nothing can be mapped there again. */
	return region_renew(to, size) ? NOT_MOVED : HOLE;
}

static void *move(struct large *large, size_t size)
{
	size_t pages = PAGES_OF(size), kept = pages << PAGE_SHIFT < large->size ? pages << PAGE_SHIFT : large->size;
	bool by_page_tables = kept >= MOVE_BY_PAGE_TABLES;
	struct large *new = create(size, by_page_tables ? pages / 2 : 0, system_page, false);
	if (!new) {
		errno = ENOMEM;
		return NULL;
	}
	enum moved moved = by_page_tables ? move_pages(new->span.start, large->span.start, kept) : NOT_MOVED;
	if (unlikely(moved == HOLE)) {
		mark_large(new, false);
		list_remove(new);
		meta_free(new, sizeof *new); /* its span is lost: nobody may come there again */
		errno = ENOMEM;
		return NULL;
	}
	if (moved == NOT_MOVED)
		memcpy(new->span.start, large->span.start, kept);
	if (unlikely(hardened)) {
		size_t asked = large->asked < size ? large->asked : size;
		memset((char *)new->span.start + asked, 0, (PAGES_OF(asked) << PAGE_SHIFT) - asked); /* its padding */
		harden_seal_large(new);
	}
	if (unlikely(large->profiled != NULL)) {
		new->profiled = large->profiled;
		profile_move(new->profiled, new->span.start);
		large->profiled = NULL;
	}
	mark_large(large, false);
	destroy(large);
	return new->span.start;
}

/* What is behind the first `pages` goes back, for others and for the next growth. */
static void cut(struct large *large, size_t pages)
{
	size_t old = large->pages;

	if (pages >= old)
		return;
	set_pages(large, pages);
	remark_large(large, old);
	if (!span_shrink(large->span, old, pages)) {
		set_pages(large, old);
		remark_large(large, pages);
	}
}

static void *shrink(struct large *large, size_t size)
{
	size_t pages = PAGES_OF(size), bytes = pages << PAGE_SHIFT, old = large->size;

	if (bytes < old / 2 && bytes < MOVE_BY_PAGE_TABLES) { /* left there, it would break up a large place */
		int saved = errno;
		void *moved = move(large, size);
		if (likely(moved))
			return moved;
		errno = saved;
	}
	set_size(large, bytes);
	if (old - bytes >= SHRINK_LEAST)
		cut(large, span_whole(whole_pages(pages)));
	return large->span.start;
}

void *large_resize(struct large *large, size_t size)
{
	size_t pages = PAGES_OF(size);
	size_t bytes = pages << PAGE_SHIFT;

	if (unlikely(hardened)) {
		if (bytes != large->size)
			return move(large, size);
		if (size > large->asked)
			memset((char *)large->span.start + large->asked, 0, size - large->asked);
		large->asked = size;
		harden_seal_large(large);
		return large->span.start;
	}
	if (bytes < large->size)
		return shrink(large, size);
	if (pages > large->pages) {
		size_t extended = span_whole(whole_pages(pages + pages / 8)); /* steps to come */
		if (!span_extend(large->span, large->pages, extended)) {
			extended = whole_pages(pages);
			if (!span_extend(large->span, large->pages, extended))
				return move(large, size);
		}
		size_t old = large->pages;
		set_pages(large, extended);
		remark_large(large, old);
	}
	set_size(large, bytes);
	return large->span.start;
}

void large_each(void (*callback)(const struct large *large, void *argument), void *argument)
{
	lock_take(&all.lock);
	for (struct large *large = all.first; large; large = large->next)
		callback(large, argument);
	lock_drop(&all.lock);
}

static void discard_rest(const struct large *large, void *nothing)
{
	(void)nothing;
	if (!large->guarded)
		region_discard((char *)large->span.start + large->size, (large->pages << PAGE_SHIFT) - large->size);
}

void large_trim(void)
{
	large_each(discard_rest, NULL);
}

size_t large_bytes(void)
{
	lock_take(&all.lock);
	size_t bytes = all.bytes;
	lock_drop(&all.lock);
	return bytes;
}

void large_after_fork(void)
{
	lock_drop(&all.lock);
	all.first = NULL;
	all.bytes = 0;
}

void large_relist(struct large *large)
{
	list_add(large);
}

void large_publish(struct qslab_segment_large *out)
{
	*out = (struct qslab_segment_large){
		.first = PUBLISH_WORD(all.first, 8),
		.bytes = PUBLISH_WORD(all.bytes, 8),
		.lock = PUBLISH_WORD(all.lock.held, 4),
		.start = PUBLISH(struct large, span.start, 8),
		.pages = PUBLISH(struct large, pages, 8),
		.size = PUBLISH(struct large, size, 8),
		.next = PUBLISH(struct large, next, 8),
	};
}
