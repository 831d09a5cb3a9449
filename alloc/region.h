/*
 * The address space all spans lie in, and the page map over it.
 *
 * The region is a window of WINDOW bytes at a random place of the address space. Pieces of it are mapped
 * in order, from the bottom, when the span sources ask; nothing is reserved ahead, so the process's
 * virtual size stays honest and RLIMIT_AS bites when it should. "Is it ours" is one subtraction and one
 * compare with the bytes mapped so far. Where fixed addresses cannot be had (sanitizers, valgrind) one
 * PROT_NONE reservation, as large as the system allows, takes the window's place.
 *
 * The page map is a flat array of one word a page. An entry is
 *
 *     bits 0..7    class: CLASS_NONE, a slab's class, or CLASS_LARGE
 *     bits 12..19  slabs only: pages from this page's start to the slab's end
 *     bits 20..63  descriptor address >> 6
 *
 * Every page of a slab has an entry; a large object has a few (large.c). With class 0 the other bits
 * belong to the span cache, or, with ENTRY_SOURCE_OWN, to the span source, for good: its own metadata
 * lies there, on as many pages as bits 16..63 say. Entries are written by whoever holds the span exclusively, before it
 * publishes an object of it (release) and after the last object is gone; anyone reads.
 */
#ifndef QSLAB_ALLOC_REGION_H
#define QSLAB_ALLOC_REGION_H

#include "base.h"

struct region {
	uintptr_t base;           /* const after region_init */
	_Atomic uint64_t *map;    /* const after region_init */
	atomic_size_t size;       /* bytes in use, from base; only grows, under the lock */
	uint32_t freed_mark;      /* const after region_init: layout.h; here, since free reads this line anyway */
	size_t window;            /* const after region_init: size never exceeds it */
	size_t ahead;             /* lock: bytes mapped in the system's eyes, >= size */
	size_t map_size;          /* lock: bytes of the page map that may be touched */
	size_t map_next;          /* lock: more than that while more is mapped */
	atomic_size_t held;       /* bytes of [0, size) that are ours: less what others mapped there */
	bool reserved;            /* const: a PROT_NONE mapping holds the window */
	atomic_bool patched;      /* any: mremap has put mappings into it that do not merge */
	struct lock lock;
};

#define ENTRY_SOURCE_OWN ((uint64_t)1 << 9)

extern struct region region;

/*
 * The system's page: PAGE_SIZE, or more on some kernels of arm64. Const after region_init. Memory is mapped, protected,
 * moved and given back in whole ones.
 */
extern size_t system_page;

/* So many pages, and what fills the last of the system's. */
static inline size_t whole_pages(size_t pages)
{
	return ALIGN_UP(pages << PAGE_SHIFT, system_page) >> PAGE_SHIFT;
}

bool region_init(void);

/* In the child, whoever had the lock. */
void region_after_fork(void);

/* Would the system give so many bytes of addresses more? Any thread; two system calls. */
bool region_room(size_t size);

/* Fresh, zeroed, readable and writable pages at the region's end; NULL if there are none. */
void *region_grow(size_t size, size_t alignment);

/* The same, but only directly at address `at`; false if that is not the end or cannot be had. */
bool region_grow_at(void *at, size_t size);

/*
 * All of it will be used soon: its pages are had at once, which costs less than a fault for each. They then lie side by side
 * in memory, too, mostly; as objects of all classes come to need them they would be mixed with others', and whoever goes
 * through a process's pages in the order of addresses, as fork does, would miss the caches at each. No promise.
 */
void region_fault_in(void *start, size_t size);

/* Gives the memory of the system's pages that lie inside back; all reads as zero afterwards. Once patched, mends the mappings too. */
void region_purge(void *start, size_t size);

/* Gives the memory of the system's pages that lie inside back; what all of it reads as is undefined afterwards. */
void region_discard(void *start, size_t size);

/* The same as region_purge for pages that belong to no span, and for what the page map holds of them. */
void region_release(void *start, size_t size);

/*
 * Two neighbours that were released are one now, from start on; the second began at seam. Frees what the page map holds
 * for both, and neither could release alone. Nobody else may have a part of either in hand.
 */
void region_merge(void *start, size_t size, void *seam);

/* Puts fresh anonymous memory over part of the region, one mapping with its neighbours. */
bool region_renew(void *start, size_t size);

static inline bool region_has(const void *address)
{
	return (uintptr_t)address - region.base < load_relaxed(&region.size);
}

static inline size_t region_page(const void *address)
{
	return ((uintptr_t)address - region.base) >> PAGE_SHIFT;
}

static inline void *region_address(size_t page)
{
	return (void *)(region.base + (page << PAGE_SHIFT));
}

static inline uint64_t entry_of(const void *address)
{
	return load_relaxed(&region.map[region_page(address)]);
}

static inline unsigned entry_class(uint64_t entry)
{
	return entry & 0xff;
}

/* Bytes from an address in the entry's page to the slab's end. */
static inline uint64_t entry_to_end(uint64_t entry, const void *address)
{
	return (entry & 0xff000) - ((uintptr_t)address & (PAGE_SIZE - 1));
}

static inline void *entry_descriptor(uint64_t entry)
{
	return (void *)((entry >> 20) << 6);
}

static inline uint64_t entry_make(unsigned class, unsigned pages_to_end, const void *descriptor)
{
	assert(((uintptr_t)descriptor & 63) == 0 && pages_to_end < 256);
	return class | (uint64_t)pages_to_end << 12 | ((uintptr_t)descriptor >> 6) << 20;
}

#endif
