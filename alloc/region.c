#define _GNU_SOURCE
#include "region.h"
#include "option.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <string.h>

#define WINDOW ((size_t)16 << 40)
/*
 * Clear of programs, their heaps, and mmap's area; and of what others map there without a look: Go's race detector from
 * 0x200000000000 and 0x300000000000 on, Java's ZGC from powers of two.
 */
#define WINDOW_LOWEST ((uintptr_t)0x340000000000)
#define WINDOW_PLACES 0x10000
#define PLACE ((size_t)256 << 20)                 /* they are so far apart; see SKEW */
#define GIB ((size_t)1 << 30)
#define HUGE ((size_t)2 << 20)
/*
 * The first object, and so a small program's busiest, must not have the page map entry that says what it is at the same
 * address in its low 28 bits: AMD's cores guess a line's way in the cache by bits 12 to 27, and each would miss after the
 * other (a pair 12.5 ns for 10).
 */
#define SKEW ((size_t)64 << 10)
#define MAP_STEP ((size_t)256 << 10)              /* of page map; covers 128 MiB */
#define STEP_LEAST ((size_t)2 << 20)              /* of region, mapped ahead of its use */
#define STEP_MOST ((size_t)32 << 20)
#define RESERVE_MOST ((size_t)64 << 30)
#define RESERVE_LEAST ((size_t)32 << 20)

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct region region __attribute__((aligned(CACHE_LINE)));

#ifdef QSLAB_TEST_SYSTEM_PAGE /* so large, for all that is known here (tests/portability/system_page.h) */
size_t system_page = QSLAB_TEST_SYSTEM_PAGE;
#else
size_t system_page = PAGE_SIZE;
#endif

#define MAP_ENTRIES_PER_BYTE(region_bytes) ((region_bytes) >> PAGE_SHIFT << 3)

/* Maps exactly there, or not at all. */
static bool map_at(uintptr_t at, size_t size)
{
	int fixed = region.reserved ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	void *got = mmap((void *)at, size, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
	if (got == (void *)at)
		return true;
	if (got != MAP_FAILED) { /* a kernel that does not know MAP_FIXED_NOREPLACE */
		munmap(got, size);
		errno = EEXIST;
	}
	return false;
}

/* A kernel that has no huge pages refuses, and that is all. */
static void ask_for_huge(void *start, size_t size)
{
	int saved = errno;
	if (unlikely(options.thp))
		madvise(start, size, MADV_HUGEPAGE);
	errno = saved;
}

bool region_room(size_t size)
{
	void *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return got != MAP_FAILED && !munmap(got, size);
}

/* For good, so not a small one for want of memory that may come back. */
static bool reserve(void)
{
	if (!region_room(MAP_STEP))
		return false;
	for (size_t size = RESERVE_MOST; size >= RESERVE_LEAST; size /= 2) {
		size_t map_size = MAP_ENTRIES_PER_BYTE(size);
		uint8_t *got = mmap(NULL, size + HUGE + map_size, PROT_NONE,
		                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (got == MAP_FAILED)
			continue;
		region.map = (void *)got;
		region.base = ALIGN_UP((uintptr_t)got + map_size, HUGE);
		region.window = size;
		region.reserved = true;
		return true;
	}
	return false;
}

/* Of a program's sanitizer, if it has one that suffers no mapping but where the kernel puts it. */
void __tsan_init(void) __attribute__((weak));
void __msan_init(void) __attribute__((weak));

static bool place_window(uint64_t seed)
{
	if (__tsan_init || __msan_init)
		return false;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	(void)seed;
	return false; /* their shadow memory lies where the window would */
#else
	for (unsigned attempt = 0; attempt < 8; attempt++, seed = seed * 6364136223846793005u + 1) {
		uintptr_t at = WINDOW_LOWEST + (seed >> 20) % WINDOW_PLACES * PLACE;
		if (map_at(at, MAP_STEP)) {
			region.map = (void *)at;
			region.map_size = MAP_STEP;
			region.window = WINDOW;
			region.base = ALIGN_UP(at + MAP_ENTRIES_PER_BYTE(WINDOW), PLACE) + SKEW;
			return true;
		}
		if (errno == ENOMEM)
			break;
	}
	return false;
#endif
}

/*
 * Of both words that the kernel gives a process: libc keeps secrets of its own in them, and a mark can be read where memory is not
 * cleared.
 */
static uint32_t draw_mark(const uint64_t words[2])
{
	uint32_t mark = (uint32_t)((words[0] ^ words[1] * 0x9e3779b97f4a7c15u) * 6364136223846793005u >> 32);
	return mark ? mark : 1; /* 0 is the mark of a live one */
}

bool region_init(void)
{
	uint64_t words[2] = {(uintptr_t)&region >> PAGE_SHIFT, 0};
	const void *random = (const void *)getauxval(AT_RANDOM);

	if (random)
		memcpy(words, random, sizeof words);
	region.freed_mark = draw_mark(words);
	size_t page = getauxval(AT_PAGESZ);
	system_page = page > system_page ? page : system_page;
	return place_window(words[0]) || reserve();
}

/* Lock held. The page map must cover [0, end) before size says that the region does. */
static bool cover(size_t end)
{
	size_t needed = ALIGN_UP(MAP_ENTRIES_PER_BYTE(end), MAP_STEP);
	if (needed <= region.map_size)
		return true;
	region.map_next = needed; /* before the system is asked: region_after_fork */
	if (map_at((uintptr_t)region.map + region.map_size, needed - region.map_size))
		region.map_size = needed;
	region.map_next = region.map_size;
	return region.map_size == needed;
}

void region_after_fork(void)
{
	int saved = errno;

	/* forked while another thread was in cover: what it asked for is there already, or can be had now */
	if (region.map_next > region.map_size &&
	    (map_at((uintptr_t)region.map + region.map_size, region.map_next - region.map_size) || errno == EEXIST))
		region.map_size = region.map_next;
	region.map_next = region.map_size;
	lock_drop(&region.lock);
	errno = saved;
}

/* Lock held. Maps from region.ahead on, an eighth of the region more than asked if the system allows. */
static bool map_ahead(size_t end)
{
	size_t extra = region.ahead / 8;
	extra = extra < STEP_LEAST ? STEP_LEAST : extra > STEP_MOST ? STEP_MOST : extra;
	size_t more = ALIGN_UP(end + extra, STEP_LEAST);
	end = ALIGN_UP(end, system_page);

	for (size_t to = more > region.window ? end : more;; to = end) {
		if (map_at(region.base + region.ahead, to - region.ahead)) {
			ask_for_huge((void *)(region.base + region.ahead), to - region.ahead);
			region.ahead = to;
			return true;
		}
		if (to == end)
			return false;
	}
}

/* Lock held. */
static bool map_piece(size_t offset, size_t size)
{
	if (offset > region.window || size > region.window - offset || !cover(offset + size))
		return false;
	size_t ahead = region.ahead;
	if (offset > ahead)
		region.ahead = offset; /* stepped over for alignment, or over what others mapped */
	if (offset + size > region.ahead && !map_ahead(offset + size)) {
		region.ahead = ahead; /* what lies between is not mapped */
		return false;
	}
	atomic_store_explicit(&region.size, offset + size, release);
	atomic_fetch_add_explicit(&region.held, size, relaxed);
	return true;
}

void *region_grow(size_t size, size_t alignment)
{
	void *result = NULL;

	if (size > region.window || alignment > region.window)
		return NULL;
	lock_take(&region.lock);
	size_t offset = load_relaxed(&region.size);
	for (unsigned attempt = 0; attempt < 64; attempt++) {
		offset = ALIGN_UP(region.base + offset, alignment) - region.base;
		if (map_piece(offset, size)) {
			result = (void *)(region.base + offset);
			break;
		}
		if (errno != EEXIST)
			break;
		offset = ALIGN_UP((offset > region.ahead ? offset : region.ahead) + 1, GIB); /* somebody mapped there: step over */
	}
	lock_drop(&region.lock);
	return result;
}

bool region_grow_at(void *at, size_t size)
{
	lock_take(&region.lock);
	size_t offset = (uintptr_t)at - region.base;
	bool grown = offset == load_relaxed(&region.size) && map_piece(offset, size);
	lock_drop(&region.lock);
	return grown;
}

void region_purge(void *start, size_t size)
{
	char *end = (char *)start + size;
	char *from = (char *)ALIGN_UP((uintptr_t)start, system_page), *to = (char *)((uintptr_t)end & ~(system_page - 1));

	if (from >= to) {
		memset(start, 0, size);
		return;
	}
	memset(start, 0, (size_t)(from - (char *)start));
	memset(to, 0, (size_t)(end - to));
	if (load_relaxed(&region.patched) && region_renew(from, (size_t)(to - from)))
		return;
	if (madvise(from, (size_t)(to - from), MADV_DONTNEED))
		memset(from, 0, (size_t)(to - from)); /* locked (mlockall): what they hold goes all the same */
}

void region_fault_in(void *start, size_t size)
{
	static atomic_bool refused; /* by a kernel before 5.14, or a sandbox */
	uintptr_t from = ALIGN_UP((uintptr_t)start, system_page), to = ((uintptr_t)start + size) & ~(system_page - 1);
	int saved = errno;

	if (from < to && !load_relaxed(&refused) && madvise((void *)from, to - from, MADV_POPULATE_WRITE))
		store_relaxed(&refused, true);
	errno = saved;
}

void region_discard(void *start, size_t size)
{
	uintptr_t from = ALIGN_UP((uintptr_t)start, system_page), to = ((uintptr_t)start + size) & ~(system_page - 1);
	if (from < to)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

void region_release(void *start, size_t size)
{
	region_purge(start, size);
	/* the part of the page map that these pages fill alone holds nothing now */
	uintptr_t map = ALIGN_UP((uintptr_t)(region.map + region_page(start)), system_page);
	uintptr_t end = (uintptr_t)(region.map + region_page(start) + (size >> PAGE_SHIFT)) & ~(system_page - 1);
	if (map < end)
		madvise((void *)map, end - map, MADV_DONTNEED);
}

void region_merge(void *start, size_t size, void *seam)
{
	size_t first = region_page(start), end = first + (size >> PAGE_SHIFT);
	size_t entries = system_page / sizeof *region.map, chunk = region_page(seam) & ~(entries - 1);

	if (chunk >= first && chunk + entries <= end)
		madvise(region.map + chunk, system_page, MADV_DONTNEED);
}

bool region_renew(void *start, size_t size)
{
	if (mmap(start, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != start)
		return false;
	ask_for_huge(start, size); /* or it would be a mapping of its own */
	return true;
}
