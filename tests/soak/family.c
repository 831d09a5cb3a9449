#define _GNU_SOURCE
#include "soak.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* The bytes that are written and checked are every step'th, and the last. */
struct item {
	size_t size;
	uint64_t seed;
	unsigned char bytes[];
};
enum { SMALL = 4096, BOXES = 4096, PAGE = 4096 };

static struct item *_Atomic boxes[BOXES]; /* what any thread may take over */
atomic_ulong count_family;

size_t draw_size(uint64_t *random)
{
	uint64_t r = next_random(random);
	switch (r % 128) {
	case 0:
		return 1 + (r >> 8) % (r >> 60 ? 400000 : 4 * MIB);
	case 1 ... 8:
		return 1 + (r >> 8) % 65536;
	default:
		return 1 + (r >> 8) % 1024;
	}
}

static size_t step_of(size_t size)
{
	return size <= SMALL ? 1 : 509;
}

static unsigned char byte_of(uint64_t mine, size_t i)
{
	return (unsigned char)((mine + i) * 0x9e3779b97f4a7c15u >> 56);
}

static struct item *fill(struct item *item, size_t size, uint64_t mine)
{
	item->size = size;
	item->seed = mine;
	for (size_t i = 0; i < size; i += step_of(size))
		item->bytes[i] = byte_of(mine, i);
	item->bytes[size - 1] = byte_of(mine, size - 1);
	return item;
}

/* As far as `most` bytes. */
static void check(const struct item *item, size_t size, uint64_t mine, size_t most)
{
	for (size_t i = 0; i < size && i < most; i += step_of(size))
		if (item->bytes[i] != byte_of(mine, i))
			fail(EARLY, "soak: byte %zu of an object of %zu at %p has changed", i, size, (const void *)item);
	if (most >= size && item->bytes[size - 1] != byte_of(mine, size - 1))
		fail(EARLY, "soak: the last byte of an object of %zu at %p has changed", size, (const void *)item);
}

static void check_whole(const struct item *item)
{
	if (qslab_object_start(item->bytes) != item || malloc_usable_size((void *)(uintptr_t)item) < item->size)
		fail(LOSS, "soak: an object of %zu bytes at %p is not known as such", item->size, (const void *)item);
	check(item, item->size, item->seed, item->size);
}

static void *zeroed(size_t count, size_t size)
{
	unsigned char *bytes = calloc(count, size);
	for (size_t i = 0; bytes && i < count * size; i += step_of(count * size))
		if (bytes[i])
			fail(EARLY, "soak: calloc's byte %zu of %zu is not 0", i, count * size);
	return bytes;
}

static void *aligned(size_t size, uint64_t r)
{
	size_t alignment = (size_t)16 << r % 11;
	void *object = NULL;
	if (r & 1 << 20)
		object = aligned_alloc(alignment, size);
	else if (posix_memalign(&object, alignment, size))
		object = NULL;
	if ((uintptr_t)object % alignment)
		fail(LOSS, "soak: %p is not aligned to %zu", object, alignment);
	return object;
}

static struct item *make(uint64_t *random)
{
	size_t size = draw_size(random), all = size + sizeof(struct item);
	unsigned before = atomic_load(&limits);
	uint64_t r = next_random(random);
	struct item *item;

	switch (r % 8) {
	case 0:
		item = zeroed(all, 1);
		break;
	case 1:
		item = aligned(all, r >> 8);
		break;
	case 2:
		item = reallocarray(NULL, all, 1);
		break;
	case 3:
		item = qslab_malloc(all);
		break;
	default:
		item = malloc(all);
	}
	if (!item) {
		null_explained(before, all);
		return NULL;
	}
	return fill(item, size, r);
}

static void drop(struct item *item, uint64_t r)
{
	if (!item)
		return;
	check_whole(item);
	if (r % 4 == 0) {
		qslab_free_rcu_head((struct rcu_ptr *)item);
		atomic_fetch_add_explicit(&count_retired, 1, memory_order_relaxed);
	} else if (r % 4 == 1) {
		qslab_free(item);
	} else {
		free(item);
	}
}

static struct item *resize(struct item *item, uint64_t *random)
{
	size_t size = item->size, new = draw_size(random);
	uint64_t mine = item->seed;
	unsigned before = atomic_load(&limits);
	struct item *moved = realloc(item, sizeof *item + new);

	if (!moved) {
		null_explained(before, new);
		check_whole(item);
		return item;
	}
	check(moved, size, mine, new);
	return fill(moved, new, mine + 1);
}

/* A buffer that grows step by step, as large as 32 MiB. */
static void grow(uint64_t *random)
{
	size_t size = 0, tagged = 0, most = MIB + next_random(random) % (31 * MIB);
	uint64_t mine = next_random(random);
	char *buffer = NULL;

	while (size < most) {
		size_t new = size + PAGE + next_random(random) % (size + PAGE);
		unsigned before = atomic_load(&limits);
		char *moved = realloc(buffer, new);
		if (!moved) {
			null_explained(before, new);
			break;
		}
		buffer = moved;
		for (; tagged + sizeof tagged <= new; tagged += PAGE)
			*(size_t *)(void *)(buffer + tagged) = tagged ^ mine;
		size = new;
	}
	for (size_t at = 0; at < tagged; at += PAGE)
		if (*(size_t *)(void *)(buffer + at) != (at ^ mine))
			fail(EARLY, "soak: a buffer of %zu bytes has changed at %zu", size, at);
	free(buffer);
}

void family_life(uint64_t random)
{
	unsigned rounds = 200 + (unsigned)next_random(&random) % 4000;
	for (unsigned i = 0; i < rounds && !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
		uint64_t r = next_random(&random);
		struct item *_Atomic *box = &boxes[(r >> 16) % BOXES];
		struct item *item = r % 4 == 0 ? atomic_exchange(box, NULL) : make(&random);
		if (item && r % 4 == 0) {
			check_whole(item);
			item = resize(item, &random);
		}
		drop(item ? atomic_exchange(box, item) : NULL, next_random(&random));
		if (r >> 32 & 1)
			free(memcpy(obtain(16), "short and gone", 15));
		if ((r >> 33) % 8192 == 0)
			grow(&random);
		atomic_fetch_add_explicit(&count_family, 1, memory_order_relaxed);
	}
}

size_t family_bytes(void)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < BOXES; i++) {
		struct item *item = boxes[i];
		if (item)
			check_whole(item);
		bytes += qslab_usable_size(item);
	}
	return bytes;
}
