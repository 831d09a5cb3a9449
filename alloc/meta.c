#define _GNU_SOURCE
#include "meta.h"
#include "harden.h"
#include "region.h"
#include "segment.h"

#include <string.h>
#include <sys/mman.h>

#define CHUNK ((size_t)256 << 10) /* a chunk's alignment, too, outside the region */
#define CHUNK_PAGES (CHUNK >> PAGE_SHIFT)
#define UNITS (META_SIZE_MAX / CACHE_LINE)
#define LOOSE_BYTES ((size_t)16 << 10) /* of a size, before it gets chunks of its own */
#define TRIM_BYTES ((size_t)64 << 10)

struct piece {
	struct piece *next;
};

/*
 * Pieces of any size follow the struct, in one that `cursor` went through; or pieces of one size do, and then one that
 * is free has a bit set in free[], and keeps nothing in itself: pages of such alone can be given back.
 */
struct chunk {
	_Alignas(CACHE_LINE) struct chunk *next; /* const; for tools, too */
	size_t size;                             /* const */
	unsigned units;                          /* const; of its pieces; 0: any */
	unsigned pieces;                         /* const, as what follows is not: all under the lock */
	bool full;                               /* not in its size's list */
	struct chunk *next_partial;
	uint64_t used_pages;                     /* by a piece, since they were last given back */
};

struct own_chunk {
	struct chunk chunk;
	uint64_t free[CHUNK / CACHE_LINE / 64];
};

_Static_assert(sizeof(struct chunk) == CACHE_LINE && sizeof(struct own_chunk) <= PAGE_SIZE, "page 0 always stays");
_Static_assert(CHUNK_PAGES == 64, "used_pages is one word");

/*
 * All under the lock. Every change commits with one store, or is made anew in a child (meta_after_fork), so that one
 * forked in the middle of a change loses at most a piece.
 */
static struct {
	struct lock lock;
	struct piece *free[UNITS + 1];
	struct chunk *partial[UNITS + 1];
	size_t loose[UNITS + 1]; /* bytes of pieces that are of no chunk of their size's own */
	uint8_t *cursor, *end;
	size_t bytes;            /* of pages that hold pieces, or did since they were last given back */
	size_t freed;
	struct chunk *chunks;
} pool;

/* ---- chunks (lock held) --------------------------------------------------------------------------------------- */

static void add_chunk(void *start, size_t size, unsigned units)
{
	struct chunk *chunk = start;

	*chunk = (struct chunk){.next = pool.chunks, .size = size, .units = units};
	pool.chunks = chunk;
}

/* What is left of the chunk before is lost. */
static void use_chunk(void *start, size_t size)
{
	add_chunk(start, size, 0);
	pool.bytes += size;
	pool.cursor = (uint8_t *)((struct chunk *)start + 1);
	pool.end = (uint8_t *)start + size;
}

static void *map_chunk(void)
{
	size_t guard = hardened ? system_page : 0, size = 2 * (CHUNK + guard);
	uint8_t *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (got == MAP_FAILED)
		return NULL;
	uint8_t *chunk = (uint8_t *)ALIGN_UP((uintptr_t)got + guard, CHUNK), *end = chunk + CHUNK;
	if (guard) { /* where no memory is, nothing can run into it */
		mprotect(chunk - guard, guard, PROT_NONE);
		mprotect(end, guard, PROT_NONE);
	}
	if (chunk - guard > got)
		munmap(got, (size_t)(chunk - guard - got));
	if (end + guard < got + size)
		munmap(end + guard, (size_t)(got + size - end - guard));
	return chunk;
}

/* ---- chunks of one size (lock held) ----------------------------------------------------------------------------- */

static struct own_chunk *own_chunk_of(void *piece)
{
	if (region_has(piece)) /* meta_add's */
		return NULL;
	struct chunk *chunk = (void *)((uintptr_t)piece & ~(CHUNK - 1));
	return chunk->units ? (struct own_chunk *)chunk : NULL;
}

static void use_pages(struct chunk *chunk, uint64_t pages)
{
	pool.bytes += (size_t)__builtin_popcountll(pages & ~chunk->used_pages) << PAGE_SHIFT;
	chunk->used_pages |= pages;
}

static bool own_chunk_add(unsigned units)
{
	struct own_chunk *own = map_chunk();
	if (!own)
		return false;
	add_chunk(own, CHUNK, units);
	own->chunk.pieces = (unsigned)((CHUNK - sizeof *own) / (units * CACHE_LINE));
	for (unsigned i = 0; i < own->chunk.pieces; i++)
		own->free[i / 64] |= (uint64_t)1 << i % 64;
	use_pages(&own->chunk, 1);
	own->chunk.next_partial = pool.partial[units];
	pool.partial[units] = &own->chunk;
	return true;
}

/* As bits. */
static uint64_t pages_of_piece(const struct own_chunk *own, unsigned piece)
{
	size_t size = own->chunk.units * (size_t)CACHE_LINE, start = sizeof *own + piece * size, last = start + size - 1;
	return ~(uint64_t)0 >> (CHUNK_PAGES - 1 - (last >> PAGE_SHIFT)) & ~(uint64_t)0 << (start >> PAGE_SHIFT);
}

static void *own_alloc(unsigned units)
{
	for (struct chunk *chunk; (chunk = pool.partial[units]); pool.partial[units] = chunk->next_partial) {
		struct own_chunk *own = (struct own_chunk *)chunk;
		for (unsigned word = 0; word * 64 < chunk->pieces; word++) {
			if (!own->free[word])
				continue;
			unsigned piece = word * 64 + (unsigned)__builtin_ctzll(own->free[word]);
			use_pages(chunk, pages_of_piece(own, piece));
			own->free[word] &= own->free[word] - 1;
			return (uint8_t *)(own + 1) + piece * (units * (size_t)CACHE_LINE);
		}
		chunk->full = true;
	}
	return NULL;
}

static void own_free(struct own_chunk *own, void *freed)
{
	struct chunk *chunk = &own->chunk;
	unsigned piece = (unsigned)((size_t)((uint8_t *)freed - (uint8_t *)(own + 1)) / (chunk->units * CACHE_LINE));

	own->free[piece / 64] |= (uint64_t)1 << piece % 64;
	if (chunk->full) {
		chunk->full = false;
		chunk->next_partial = pool.partial[chunk->units];
		pool.partial[chunk->units] = chunk;
	}
}

/* Pages, and all those that share one of the system's with them. */
static uint64_t rounded(uint64_t pages)
{
	for (size_t page = 0, whole = whole_pages(1); whole > 1 && page < CHUNK_PAGES; page += whole) {
		uint64_t shared = (((uint64_t)1 << whole) - 1) << page;
		pages |= pages & shared ? shared : 0;
	}
	return pages;
}

static void own_trim(struct own_chunk *own)
{
	uint64_t busy = 1;

	for (unsigned i = 0; i < own->chunk.pieces; i++)
		if (!(own->free[i / 64] >> i % 64 & 1))
			busy |= pages_of_piece(own, i);
	busy = rounded(busy);
	for (uint64_t idle = rounded(own->chunk.used_pages) & ~busy; idle;) {
		unsigned first = (unsigned)__builtin_ctzll(idle);
		uint64_t others = ~(idle >> first); /* not 0: bit 0 of idle is clear, or first is above 0 */
		unsigned count = (unsigned)__builtin_ctzll(others);
		madvise((uint8_t *)own + (first << PAGE_SHIFT), (size_t)count << PAGE_SHIFT, MADV_DONTNEED);
		idle &= ~((((uint64_t)1 << count) - 1) << first);
	}
	pool.bytes -= (size_t)__builtin_popcountll(own->chunk.used_pages & ~busy) << PAGE_SHIFT;
	own->chunk.used_pages &= busy;
}

/* ---- pieces ----------------------------------------------------------------------------------------------------- */

void meta_add(void *chunk, size_t size)
{
	lock_take(&pool.lock);
	use_chunk(chunk, size);
	lock_drop(&pool.lock);
}

/* Lock held. */
static void *cut(size_t bytes)
{
	if ((size_t)(pool.end - pool.cursor) < bytes) {
		void *chunk = map_chunk();
		if (chunk)
			use_chunk(chunk, CHUNK);
	}
	if ((size_t)(pool.end - pool.cursor) < bytes)
		return NULL;
	void *result = pool.cursor;
	pool.cursor += bytes;
	return result;
}

void *meta_alloc(size_t size)
{
	unsigned units = (unsigned)((size + CACHE_LINE - 1) / CACHE_LINE);
	size_t bytes = units * (size_t)CACHE_LINE;
	void *result = NULL;

	assert(units <= UNITS);
	if (FAULT(META))
		return NULL;
	lock_take(&pool.lock);
	if (pool.free[units]) {
		result = pool.free[units];
		pool.free[units] = pool.free[units]->next;
	} else if (pool.loose[units] < LOOSE_BYTES) {
		if ((result = cut(bytes)))
			pool.loose[units] += bytes;
	} else if (!(result = own_alloc(units))) {
		result = own_chunk_add(units) ? own_alloc(units) : cut(bytes);
	}
	lock_drop(&pool.lock);
	return result;
}

void meta_free(void *piece, size_t size)
{
	unsigned units = (unsigned)((size + CACHE_LINE - 1) / CACHE_LINE);
	struct piece *freed = piece;

	lock_take(&pool.lock);
	struct own_chunk *own = own_chunk_of(piece);
	if (own) {
		own_free(own, piece);
		pool.freed += size;
	} else {
		freed->next = pool.free[units];
		pool.free[units] = freed;
	}
	lock_drop(&pool.lock);
}

void meta_trim(void)
{
	lock_take(&pool.lock);
	if (pool.freed >= TRIM_BYTES) {
		pool.freed = 0;
		for (struct chunk *chunk = pool.chunks; chunk; chunk = chunk->next)
			if (chunk->units)
				own_trim((struct own_chunk *)chunk);
	}
	lock_drop(&pool.lock);
}

size_t meta_bytes(void)
{
	lock_take(&pool.lock);
	size_t bytes = pool.bytes;
	lock_drop(&pool.lock);
	return bytes;
}

void meta_after_fork(void)
{
	if (load_relaxed(&pool.lock.held)) {
		pool.cursor = pool.end = NULL; /* they may not match: give the chunk up */
		memset(pool.partial, 0, sizeof pool.partial);
		pool.bytes = 0;
		for (struct chunk *chunk = pool.chunks; chunk; chunk = chunk->next) {
			pool.bytes += chunk->size;
			if (!chunk->units || !chunk->pieces)
				continue;
			chunk->full = false;
			chunk->used_pages = ~(uint64_t)0;
			chunk->next_partial = pool.partial[chunk->units];
			pool.partial[chunk->units] = chunk;
		}
	}
	lock_drop(&pool.lock);
}

void meta_publish(struct qslab_segment_meta *out)
{
	out->first = PUBLISH_WORD(pool.chunks, 8);
	out->next = PUBLISH(struct chunk, next, 8);
	out->size = PUBLISH(struct chunk, size, 8);
}
