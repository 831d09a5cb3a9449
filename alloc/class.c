#include "class.h"

struct class_info classes[CLASS_LIMIT];
atomic_uint class_end = CLASS_COUNT;
uint8_t class_small[SMALL_MAX / 16 + 1];
uint8_t class_medium[MEDIUM_MAX / 128 + 1];

/* Page counts that are size classes of jemalloc's too, so that a slab's span has no tail. */
static const uint8_t slab_pages[] = {16, 20, 24, 28, 32, 40, 48, 56, 64};

static unsigned objects_wanted(size_t size)
{
	return size <= 8192 ? 8 : size <= 32768 ? 4 : 1;
}

/* The smallest slab that wastes at most 1/32; else the one that wastes the smallest part. */
static unsigned pages_for(size_t size)
{
	unsigned best = 0;
	double best_waste = 1;

	if (objects_wanted(size) == 1)
		return (unsigned)PAGES_OF(size);
	for (unsigned i = 0; i < sizeof slab_pages; i++) {
		size_t bytes = slab_pages[i] * PAGE_SIZE;
		double waste = (double)(bytes % size) / (double)bytes;
		if (bytes / size < objects_wanted(size))
			continue;
		if (waste < best_waste) {
			best = slab_pages[i];
			best_waste = waste;
		}
		if (waste <= 1.0 / 32)
			break;
	}
	return best;
}

/* Magazines shrink with size, as the kernel's sheaves do. */
static unsigned capacity_for(size_t size)
{
	if (size <= 512)
		return MAGAZINE_MAX;
	return size <= 16384 ? (unsigned)(65536 / size) : size <= 65536 ? 4 : 2;
}

static size_t size_after(size_t size)
{
	if (size < 256)
		return size + 16;
	size_t doubling = (size_t)1 << (63 - __builtin_clzll(size));
	return size + doubling / (size < 16384 ? 8 : 4);
}

void class_set(unsigned class, size_t size, unsigned traits)
{
	struct class_info *info = &classes[class];

	info->size = (uint32_t)size;
	info->divisor = UINT64_MAX / size + 1;
	info->recip = (((uint64_t)1 << RECIP_SHIFT) + size - 1) / size;
	info->pages = (uint16_t)pages_for(size);
	info->objects = (uint16_t)(info->pages * PAGE_SIZE / size);
	info->words = (uint16_t)((info->objects + 63) / 64);
	info->capacity = (uint16_t)capacity_for(size);
	info->traits = (uint16_t)traits;
}

void class_init(void)
{
	size_t size = 16;
	size_t covered = 0; /* sizes up to here have a class */

	if (classes[1].size)
		return;
	for (unsigned c = 1; c < CLASS_COUNT; c++, size = size_after(size)) {
		class_set(c, size, 0);
		for (size_t i = (covered + 15) / 16; i <= SMALL_MAX / 16 && i * 16 <= size; i++)
			if (!class_small[i])
				class_small[i] = (uint8_t)c;
		for (size_t i = covered / 128; i <= MEDIUM_MAX / 128 && i * 128 <= size; i++)
			if (!class_medium[i])
				class_medium[i] = (uint8_t)c;
		covered = size;
	}
	assert(covered == MEDIUM_MAX);
}
