/* What the resident memory of the process is, page by page in the region, mapping by mapping elsewhere. */
#define _GNU_SOURCE
#include "reader_parts.h"

static const struct {
	const char *key, *text;
} kinds[KINDS] = {
	[KIND_LIVE] = {"live", "live objects"},
	[KIND_LIVE_LARGE] = {"live_large", "live large objects"},
	[KIND_WAITING] = {"waiting", "waiting for a grace period"},
	[KIND_MAGAZINES] = {"magazines", "free in magazines"},
	[KIND_READY] = {"ready", "free, kept after a grace period"},
	[KIND_REMOTE] = {"remote", "freed by other threads"},
	[KIND_FREE] = {"free", "free in slabs"},
	[KIND_SLAB_HEADS] = {"slab_heads", "not used in slabs"},
	[KIND_HELD] = {"held", "dead slabs and samples, held back"},
	[KIND_LARGE_SLACK] = {"large_slack", "kept for large objects' growth"},
	[KIND_SPAN_CACHE] = {"span_cache", "span cache"},
	[KIND_SOURCE_FREE] = {"source_free", "free in the span source"},
	[KIND_PAGE_MAP] = {"page_map", "page map"},
	[KIND_DESCRIPTORS] = {"descriptors", "descriptors and arrays"},
	[KIND_SOURCE_OWN] = {"source_own", "the span source's own"},
	[KIND_SEGMENT] = {"segment", "published segment"},
	[KIND_FILES] = {"files", "files and libraries"},
	[KIND_STACKS] = {"stacks", "stacks"},
	[KIND_BRK] = {"brk", "brk heap"},
	[KIND_ANONYMOUS] = {"anonymous", "other anonymous memory"},
};

static const char *const places[PLACES] = {"live", "free", "remote", "magazines", "waiting", "ready"};

const char *kind_key(enum kind kind)
{
	return kinds[kind].key;
}

const char *kind_text(enum kind kind)
{
	return kinds[kind].text;
}

const char *place_key(enum place place)
{
	return places[place];
}

/* ---- the region --------------------------------------------------------------------------------------------- */

static const enum kind kind_of_place[PLACES] = {
	[LIVE] = KIND_LIVE,         [FREE] = KIND_FREE,       [REMOTE] = KIND_REMOTE,
	[MAGAZINE] = KIND_MAGAZINES, [WAITING] = KIND_WAITING, [READY] = KIND_READY,
};

static void add_slabs(const struct allocator *out, uint64_t *resident)
{
	for (size_t c = 0; c < out->class_count; c++) {
		resident[KIND_SLAB_HEADS] += out->classes[c].resident;
		for (unsigned p = 0; p < PLACES; p++) {
			resident[kind_of_place[p]] += out->classes[c].resident_bytes[p];
			resident[KIND_SLAB_HEADS] -= out->classes[c].resident_bytes[p];
		}
	}
}

static void add_larges(const struct work *work, uint64_t *resident)
{
	struct allocator *out = work->out;

	for (size_t i = 0; i < out->large_count; i++) {
		struct large_view *large = &out->larges[i];
		size_t page = (large->address - out->region_base) / PAGE;
		for (size_t p = 0; p < large->pages; p++)
			*(p * PAGE < large->size ? &large->resident : &large->slack) += work->resident[page + p] * PAGE;
		resident[large->place == LIVE ? KIND_LIVE_LARGE : kind_of_place[large->place]] += large->resident;
		resident[KIND_LARGE_SLACK] += large->slack;
	}
}

/* All else in the region: what nobody claims is the span source's, and free. */
static void add_pages(const struct work *work, uint64_t *resident)
{
	struct allocator *out = work->out;

	for (size_t page = 0; page < work->pages; page++) {
		if (!work->resident[page])
			continue;
		uint32_t owner = work->owners[page];
		switch (OWNER_WHAT(owner)) {
		case OWNER_SLAB:
		case OWNER_LARGE:
			break; /* above */
		case OWNER_SPAN:
			out->spans[OWNER_INDEX(owner)].resident += PAGE;
			resident[KIND_SPAN_CACHE] += PAGE;
			break;
		case OWNER_CHUNK:
			resident[KIND_DESCRIPTORS] += PAGE;
			break;
		case OWNER_HELD:
			resident[KIND_HELD] += PAGE;
			break;
		case OWNER_SOURCE:
			resident[KIND_SOURCE_OWN] += PAGE;
			break;
		default:
			resident[KIND_SOURCE_FREE] += PAGE;
		}
	}
}

/* ---- the rest of the process ------------------------------------------------------------------------------------ */

static uint64_t count_resident(struct source *source, uint64_t start, uint64_t end)
{
	size_t pages = (end - start + PAGE - 1) / PAGE, count = 0;
	uint8_t *flags = need(malloc(pages + 1));

	source_resident(source, start, pages, flags);
	for (size_t i = 0; i < pages; i++)
		count += flags[i];
	free(flags);
	return count * PAGE;
}

/* Resident bytes of the mapping that are qslab's; those outside the region are added to *resident. */
static uint64_t own_part(const struct work *work, const struct mapping *mapping, uint64_t *resident)
{
	const struct allocator *out = work->out;
	uint64_t own = 0;

	for (size_t i = 0; i < work->range_count; i++) {
		const struct range *range = &work->ranges[i];
		uint64_t start = range->start > mapping->start ? range->start : mapping->start;
		uint64_t end = range->end < mapping->end ? range->end : mapping->end;
		if (start >= end)
			continue;
		uint64_t bytes = count_resident(work->source, start, end);
		resident[range->kind] += bytes;
		own += bytes;
	}
	for (size_t page = 0; page < work->pages; page++) {
		uint64_t at = out->region_base + page * PAGE;
		if (at >= mapping->end)
			break;
		if (at < mapping->start) {
			page += (mapping->start - at + PAGE - 1) / PAGE - 1; /* a core's need not start with a page */
			continue;
		}
		own += work->resident[page] * PAGE;
	}
	return own;
}

static enum kind kind_of(struct source *source, const struct mappings *mappings, size_t i)
{
	const struct mapping *mapping = &mappings->list[i], *before = i ? mapping - 1 : NULL;

	if (!strcmp(mapping->name, "[heap]"))
		return KIND_BRK;
	if (source->calls->is_stack(source, mapping, before))
		return KIND_STACKS;
	if (mapping->name[0] == '/' || !strcmp(mapping->name, "[vdso]"))
		return KIND_FILES;
	/* a library's data that its file does not hold */
	if (!*mapping->name && before && before->name[0] == '/' && before->end == mapping->start && before->writable &&
	    !strstr(before->name, QSLAB_SEGMENT_NAME))
		return KIND_FILES;
	return KIND_ANONYMOUS;
}

void read_memory(struct source *source, struct work *works, size_t count, const struct mappings *mappings,
                 uint64_t rss_before, struct memory_view *memory)
{
	for (size_t i = 0; i < count; i++) {
		add_slabs(works[i].out, memory->resident);
		add_larges(&works[i], memory->resident);
		add_pages(&works[i], memory->resident);
		memory->address_space += works[i].out->region_size;
	}
	for (size_t m = 0; m < mappings->count; m++) {
		const struct mapping *mapping = &mappings->list[m];
		uint64_t own = 0;
		if (!mapping->rss)
			continue;
		for (size_t i = 0; i < count; i++) {
			own += own_part(&works[i], mapping, memory->resident);
			if (works[i].out->segment_address == mapping->start) {
				memory->resident[KIND_SEGMENT] += mapping->rss;
				own = mapping->rss;
			}
		}
		if (mapping->rss > own)
			memory->resident[kind_of(source, mappings, m)] += mapping->rss - own;
	}
	uint64_t after = mappings->rss, before = rss_before ? rss_before : after;
	uint64_t least = before < after ? before : after, most = before < after ? after : before;
	memory->lazy_free = mappings->lazy_free;
	memory->huge = mappings->huge;
	memory->swap = mappings->swap;
	for (unsigned kind = 0; kind < KINDS; kind++)
		memory->explained += memory->resident[kind];
	memory->rss = memory->explained < least ? least : memory->explained > most ? most : memory->explained;
	if (source->live) /* what is explained is all that was there at one moment, or more */
		memory->moved = most - (memory->explained < least ? memory->explained : least);
	memory->changing = source->live && memory->explained > memory->rss + memory->rss / 50;
}

/* ---- look-up ------------------------------------------------------------------------------------------------------- */

const struct slab_view *allocator_slab(const struct allocator *allocator, uint64_t address)
{
	size_t low = 0, high = allocator->slab_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct slab_view *slab = &allocator->slabs[middle];
		if (slab->address + slab->pages * PAGE <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < allocator->slab_count && allocator->slabs[low].address <= address ? &allocator->slabs[low] : NULL;
}

const struct large_view *allocator_large(const struct allocator *allocator, uint64_t address)
{
	size_t low = 0, high = allocator->large_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct large_view *large = &allocator->larges[middle];
		if (large->address + large->size <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < allocator->large_count && allocator->larges[low].address <= address ? &allocator->larges[low] : NULL;
}
