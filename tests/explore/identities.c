#define _GNU_SOURCE
#include "cases.h"

#include "alloc/heap.h"
#include "alloc/region.h"

#include <stdio.h>
#include <stdlib.h>

static void check_slab(struct slab *slab, bool given_back)
{
	struct heap *heap = load_relaxed(&slab->heap);
	unsigned free_count = 0, remote_count = 0, nfree = load_relaxed(&slab->nfree);
	unsigned announced = load_relaxed(&slab->announced);

	for (unsigned w = 0; w < slab->words; w++) {
		uint64_t free_bits = load_relaxed(&slab_bits(slab)[w]), remote = load_relaxed(&slab->remote[w]);
		CHECK(!(free_bits & remote), "free and remote at once");
		free_count += (unsigned)__builtin_popcountll(free_bits);
		remote_count += (unsigned)__builtin_popcountll(remote);
	}
	CHECK(free_count == nfree, "%u bits free, %u counted", free_count, nfree);
	CHECK(remote_count == announced, "%u remote bits, %u announced", remote_count, announced);
	CHECK(!load_relaxed(&slab->moving), "nobody moves it");
	bool listed = false;
	for (struct slab *s = load_relaxed(&heap->notify); s; s = load_relaxed(&s->notify_next)) {
		CHECK(!listed || s != slab, "twice on its notify list");
		listed |= s == slab;
	}
	CHECK(listed == (announced > 0), "on its notify list or not");
	if (given_back)
		CHECK(nfree + announced < slab->objects || slab == heap_bin(heap, slab->class)->kept, "a slab is left lying");
}

static void each_slab(bool given_back)
{
	size_t pages = load_relaxed(&region.size) >> PAGE_SHIFT;

	for (size_t page = 0; page < pages; page++) {
		uint64_t entry = load_relaxed(&region.map[page]);
		if (!class_is_slab(entry_class(entry)))
			continue;
		check_slab(entry_descriptor(entry), given_back);
		page += classes[entry_class(entry)].pages - 1;
	}
}

void check_counts(void)
{
	each_slab(false);
}

void check_given_back(void)
{
	each_slab(true);
}
