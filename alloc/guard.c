#define _GNU_SOURCE
#include "guard.h"
#include "large.h"
#include "layout.h"
#include "region.h"
#include "report.h"
#include "sample.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_GUARD_INSTALL /* Linux 6.13 */
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

_Static_assert(GUARDS_MOST * 2 <= 65530 * 3 / 4, "the program keeps a quarter of the mappings that Linux allows by default");

static atomic_uint guards; /* that are mappings */

static void *last_page(struct span span, size_t pages)
{
	return (char *)span.start + ((pages - 1) << PAGE_SHIFT);
}

/* The first one is tried: emulators agree to all advice, and do nothing. */
static bool mark(void *page)
{
	static _Atomic enum { NOT_TRIED, HOLDS, DOES_NOTHING } marks;

	if (load_relaxed(&marks) == DOES_NOTHING || madvise(page, PAGE_SIZE, MADV_GUARD_INSTALL))
		return false;
	if (load_relaxed(&marks) == NOT_TRIED)
		store_relaxed(&marks, madvise(page, PAGE_SIZE, MADV_POPULATE_READ) ? HOLDS : DOES_NOTHING);
	return load_relaxed(&marks) == HOLDS;
}

static bool split(void *page)
{
	if (atomic_fetch_add_explicit(&guards, 1, relaxed) < GUARDS_MOST && !mprotect(page, PAGE_SIZE, PROT_NONE))
		return true;
	atomic_fetch_sub_explicit(&guards, 1, relaxed);
	return false;
}

enum guard guard_add(struct span span, size_t pages)
{
	void *page = last_page(span, pages);
	int saved = errno;

	if (system_page > PAGE_SIZE) /* it would be as large: none */
		return GUARD_NONE;
	enum guard guard = mark(page) ? GUARD_MARK : split(page) ? GUARD_MAPPING : GUARD_NONE;
	errno = saved;
	return guard;
}

/*
 * At RLIMIT_DATA a page that was out of reach does not come back, not even as a new one. Then the next owner must not have
 * it: the span is given up, and what it had of the limit lets the next guards come off.
 */
static void give_up(struct span span, size_t pages)
{
	region_discard(span.start, (pages - 1) << PAGE_SHIFT);
	mprotect(span.start, pages << PAGE_SHIFT, PROT_NONE);
}

bool guard_remove(enum guard guard, struct span span, size_t pages)
{
	void *page = last_page(span, pages);
	int saved = errno;
	bool failed = guard == GUARD_MARK ? madvise(page, PAGE_SIZE, MADV_GUARD_REMOVE)
	                                  : mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE);
	bool removed = !failed || region_renew(page, PAGE_SIZE);

	if (unlikely(!removed))
		give_up(span, pages);
	else if (guard == GUARD_MAPPING)
		atomic_fetch_sub_explicit(&guards, 1, relaxed);
	errno = saved;
	return removed;
}

/* ---- reports ------------------------------------------------------------------------------------------------ */

/* The slab whose guard page that is, or NULL. */
static struct slab *slab_before(const void *address)
{
	size_t page = region_has(address) ? region_page(address) : 0;
	uint64_t entry = page ? atomic_load_explicit(&region.map[page - 1], acquire) : 0;

	if (!class_is_slab(entry_class(entry)))
		return NULL;
	struct slab *slab = entry_descriptor(entry);
	uintptr_t end = slab->first + (size_t)slab->objects * slab->size;
	return slab->guarded && (uintptr_t)address - end < PAGE_SIZE ? slab : NULL;
}

static struct large *large_before(const void *address)
{
	struct large *large = large_around(address);
	uintptr_t offset = large ? (uintptr_t)address - (uintptr_t)large->span.start : 0;

	return large && large->guarded && offset >> PAGE_SHIFT == large->pages - 1 ? large : NULL;
}

bool guard_has(const void *address)
{
	return slab_before(address) || large_before(address);
}

void guard_report(const void *address)
{
	const struct slab *slab = slab_before(address);
	const struct large *large = slab ? NULL : large_before(address);

	if (slab) {
		const char *last = slab_object(slab, slab->objects - 1u);
		report_line("qslab: overflow: address %p is in the guard page behind a slab, %td bytes past its last "
		            "%u-byte object %p", address, (const char *)address - last - slab->size, slab->size, (void *)last);
	} else if (large) {
		const char *end = (const char *)large_start(large) + large_usable(large);
		report_line("qslab: overflow: address %p is in the guard page %td bytes past the %zu-byte object %p", address,
		            (const char *)address - end, large_usable(large), large_start(large));
	}
	event_print_here("touched");
	if (large && large->sample)
		sample_print(large->sample);
}
