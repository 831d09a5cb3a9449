#define _GNU_SOURCE
#include "guard.h"
#include "large.h"
#include "layout.h"
#include "region.h"
#include "report.h"
#include "sample.h"

#include <sys/mman.h>

_Static_assert(GUARDS_MOST * 2 <= 65530 * 3 / 4, "the program keeps a quarter of the mappings that Linux allows by default");

static atomic_uint guards;

static void *last_page(struct span span, size_t pages)
{
	return (char *)span.start + ((pages - 1) << PAGE_SHIFT);
}

bool guard_add(struct span span, size_t pages)
{
	if (system_page > PAGE_SIZE) /* it would be as large: none */
		return false;
	if (atomic_fetch_add_explicit(&guards, 1, relaxed) < GUARDS_MOST &&
	    !mprotect(last_page(span, pages), PAGE_SIZE, PROT_NONE))
		return true;
	atomic_fetch_sub_explicit(&guards, 1, relaxed);
	return false;
}

/*
 * At RLIMIT_DATA a page that was out of reach does not come back, not even as a new one. Then the next owner must not have
 * it: the span is given up, and what it had of the limit lets the next guards come off.
 */
static bool give_up(struct span span, size_t pages)
{
	region_discard(span.start, (pages - 1) << PAGE_SHIFT);
	mprotect(span.start, pages << PAGE_SHIFT, PROT_NONE);
	return false;
}

bool guard_remove(struct span span, size_t pages)
{
	void *guard = last_page(span, pages);

	if (unlikely(mprotect(guard, PAGE_SIZE, PROT_READ | PROT_WRITE) && !region_renew(guard, PAGE_SIZE)))
		return give_up(span, pages);
	atomic_fetch_sub_explicit(&guards, 1, relaxed);
	return true;
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
