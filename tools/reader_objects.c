/* Objects that are found somewhere else than with the program: where, and how much of each is resident. */
#define _GNU_SOURCE
#include "reader_parts.h"

static const char *const place_text[PLACES] = {"live", "free", "freed by others", "in a magazine",
                                               "waiting for a grace period", "ready"};

/* Bytes of the object that are resident. */
static uint32_t resident_part(const struct slab_view *slab, unsigned index)
{
	uint64_t start = slab->first + (uint64_t)index * slab->size - slab->address, end = start + slab->size;
	uint64_t bytes = 0;

	if (slab->resident == slab->pages)
		return slab->size;
	for (uint64_t page = start / PAGE; page * PAGE < end; page++) {
		uint64_t from = page * PAGE > start ? page * PAGE : start;
		uint64_t to = (page + 1) * PAGE < end ? (page + 1) * PAGE : end;
		if (slab->resident_pages[page / 64] >> page % 64 & 1)
			bytes += to - from;
	}
	return (uint32_t)bytes;
}

void count_free(struct work *work, struct slab_view *slab, const uint64_t *free_bits, const uint64_t *remote)
{
	size_t first = (slab->address - work->out->region_base) / PAGE;
	uint32_t all = 0;

	for (unsigned i = 0; i < slab->pages; i++) {
		slab->resident += work->resident[first + i];
		slab->resident_pages[i / 64] |= (uint64_t)work->resident[first + i] << i % 64;
	}
	if (!slab->resident || slab->resident == slab->pages) {
		for (unsigned p = LIVE; slab->resident && p <= REMOTE; p++)
			slab->resident_bytes[p] = (uint32_t)slab->count[p] * slab->size;
		return;
	}
	for (unsigned i = 0; i < slab->objects; i++) {
		uint32_t bytes = resident_part(slab, i);
		uint64_t bit = (uint64_t)1 << i % 64;
		all += bytes;
		if (free_bits[i / 64] & bit)
			slab->resident_bytes[FREE] += bytes;
		else if (remote[i / 64] & bit)
			slab->resident_bytes[REMOTE] += bytes;
	}
	slab->resident_bytes[LIVE] = all - slab->resident_bytes[FREE] - slab->resident_bytes[REMOTE];
}

static uint64_t mark_large(struct work *work, struct large_view *large, const struct found *found)
{
	if (found->interior ? found->object - large->address >= large->size : found->object != large->address)
		return 0;
	if (large->place != LIVE) {
		doubt(work, DOUBT_TWICE, large->address, "large object 0x%lx: %s, and somewhere else too", large->address,
		      place_text[found->place]);
		return 0;
	}
	large->place = found->place;
	return large->size;
}

/*
 * Slabs were read some time before: what was found contradicts them. Does it still, at one moment? The map entry, and
 * the slab's bits, are looked at between two looks at the word that says where the object is.
 */
static bool stands(struct work *work, const struct found *found, const struct slab_view *slab, unsigned index)
{
	uint64_t page = (found->object - work->out->region_base) / PAGE, slots[2] = {0, 0}, entry = 0, bits[2] = {0, 0};
	uint64_t remote = slab ? slab->descriptor + work->segment->slab.remote + index / 64 * 8 : 0;
	uint64_t free_bits = slab ? (remote - index / 64 * 8 + slab->words * 8u + 63) / 64 * 64 + index / 64 * 8 : 0;
	struct piece pieces[] = {
		{found->slot, &slots[0], 8, false}, {work->map + page * 8, &entry, 8, false}, {found->slot, &slots[1], 8, false},
		{remote, &bits[0], 8, false},       {free_bits, &bits[1], 8, false},          {found->slot, &slots[1], 8, false},
	};

	if (!found->slot || !work->source->live || !work->looks)
		return true;
	work->looks--;
	if (!source_read_pieces(work->source, pieces, slab ? 6 : 3) || slots[0] != found->object || slots[1] != slots[0])
		return false;
	unsigned class = QSLAB_ENTRY_CLASS(entry);
	if (!slab)
		return !class || (found->class && class != found->class);
	return QSLAB_ENTRY_DESCRIPTOR(entry) == slab->descriptor && (bits[0] | bits[1]) >> index % 64 & 1;
}

static uint64_t no_object(struct work *work, const struct found *found, int kind, const char *why)
{
	if (stands(work, found, NULL, 0))
		doubt(work, kind, found->object, "address 0x%lx: %s, but %s", found->object, place_text[found->place], why);
	return 0;
}

uint64_t mark(struct work *work, const struct found *found)
{
	struct allocator *out = work->out;
	uint64_t address = found->object, page = (address - out->region_base) / PAGE;
	uint32_t owner = address >= out->region_base && page < work->pages ? work->owners[page] : 0;

	if (address < out->region_base || page >= work->pages)
		return no_object(work, found, DOUBT_NO_OBJECT, "it is not ours");
	if (OWNER_WHAT(owner) == OWNER_LARGE) {
		uint64_t size = mark_large(work, &out->larges[OWNER_INDEX(owner)], found);
		return size ? size : no_object(work, found, DOUBT_NO_OBJECT, "no object starts there");
	}
	struct slab_view *slab = OWNER_WHAT(owner) == OWNER_SLAB ? &out->slabs[OWNER_INDEX(owner)] : NULL;
	uint64_t offset = slab ? address - slab->first : 0;
	if (!slab || offset >= (uint64_t)slab->objects * slab->size || (!found->interior && offset % slab->size))
		return no_object(work, found, DOUBT_NO_OBJECT, "no object starts there");
	if (found->class && found->class != slab->class)
		return no_object(work, found, DOUBT_WRONG_CLASS, "it is of another class");
	unsigned index = (unsigned)(offset / slab->size);
	uint64_t bit = (uint64_t)1 << index % 64;
	if (!(slab->live[index / 64] & bit)) {
		if (slab->listed[index / 64] & bit || stands(work, found, slab, index))
			doubt(work, DOUBT_TWICE, address, "object 0x%lx: %s, and somewhere else too", address,
			      place_text[found->place]);
		return 0;
	}
	slab->live[index / 64] &= ~bit;
	slab->listed[index / 64] |= bit;
	slab->count[LIVE]--;
	slab->count[found->place]++;
	uint32_t resident = slab->resident ? resident_part(slab, index) : 0;
	slab->resident_bytes[LIVE] -= resident;
	slab->resident_bytes[found->place] += resident;
	return slab->size;
}
