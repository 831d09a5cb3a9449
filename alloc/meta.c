#define _GNU_SOURCE
#include "meta.h"
#include "segment.h"

#include <sys/mman.h>

#define CHUNK ((size_t)256 << 10)
#define UNITS (META_SIZE_MAX / CACHE_LINE)

struct piece {
	struct piece *next;
};

/* At the start of each chunk, for tools; its pieces follow. */
struct chunk {
	_Alignas(CACHE_LINE) struct chunk *next; /* const */
	size_t size;                             /* const */
};

/*
 * All under the lock. Every change commits with one store, so that a child forked in the middle of one
 * loses at most a piece.
 */
static struct {
	struct lock lock;
	struct piece *free[UNITS + 1];
	uint8_t *cursor, *end;
	size_t mapped;
	struct chunk *chunks;
} pool;

/* Lock held. What is left of the chunk before is lost. */
static void use_chunk(void *start, size_t size)
{
	struct chunk *chunk = start;

	*chunk = (struct chunk){pool.chunks, size};
	pool.chunks = chunk;
	pool.cursor = (uint8_t *)(chunk + 1);
	pool.end = (uint8_t *)start + size;
	pool.mapped += size;
}

void meta_add(void *chunk, size_t size)
{
	lock_take(&pool.lock);
	use_chunk(chunk, size);
	lock_drop(&pool.lock);
}

void *meta_alloc(size_t size)
{
	size_t units = (size + CACHE_LINE - 1) / CACHE_LINE;
	void *result = NULL;

	assert(units <= UNITS);
	lock_take(&pool.lock);
	if (pool.free[units]) {
		result = pool.free[units];
		pool.free[units] = pool.free[units]->next;
	} else {
		if ((size_t)(pool.end - pool.cursor) < units * CACHE_LINE) {
			uint8_t *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
			                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (chunk != MAP_FAILED)
				use_chunk(chunk, CHUNK);
		}
		if ((size_t)(pool.end - pool.cursor) >= units * CACHE_LINE) {
			result = pool.cursor;
			pool.cursor += units * CACHE_LINE;
		}
	}
	lock_drop(&pool.lock);
	return result;
}

void meta_free(void *piece, size_t size)
{
	size_t units = (size + CACHE_LINE - 1) / CACHE_LINE;
	struct piece *freed = piece;

	lock_take(&pool.lock);
	freed->next = pool.free[units];
	pool.free[units] = freed;
	lock_drop(&pool.lock);
}

size_t meta_bytes(void)
{
	lock_take(&pool.lock);
	size_t bytes = pool.mapped;
	lock_drop(&pool.lock);
	return bytes;
}

void meta_after_fork(void)
{
	if (load_relaxed(&pool.lock.held)) /* cursor and end may not match: give the chunk up */
		pool.cursor = pool.end = NULL;
	lock_drop(&pool.lock);
}

void meta_publish(struct qslab_segment_meta *out)
{
	out->first = PUBLISH_WORD(pool.chunks, 8);
	out->next = PUBLISH(struct chunk, next, 8);
	out->size = PUBLISH(struct chunk, size, 8);
}
