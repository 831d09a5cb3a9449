/* The region, its page map, and whose each of its pages is as far as lists of memory say it. */
#define _GNU_SOURCE
#include "reader_parts.h"

#include "text.h"

#define SIZE_MOST ((uint64_t)1 << 44) /* of the library's window */
#define UNMAPPED_MOST ((uint64_t)16 << 30)
#define CHUNKS_MOST 4000000
#define SOURCES_MOST 65536
#define PIECE_MOST ((size_t)1 << 20)
#define CACHES_MOST 100000
#define HELD_MOST 1000000

static void add_range(struct work *work, uint64_t start, uint64_t size, enum kind kind)
{
	if (!size || start + size < start)
		return;
	GROW(work->ranges, work->range_count);
	work->ranges[work->range_count++] = (struct range){start, start + size, kind};
}

/* Pages [start, start + size) of the region have an owner. */
static void own(struct work *work, uint64_t start, uint64_t size, enum owner owner)
{
	size_t page = (start - work->out->region_base) / PAGE;
	size_t end = page + (size + PAGE - 1) / PAGE;

	if (start < work->out->region_base || size > work->out->region_size)
		return;
	for (; page < end && page < work->pages; page++)
		work->owners[page] = OWNER_MAKE(owner, 0);
}

/* A region of more than is mapped there, by far, is none: it would take the tool's own memory. */
static void bound(struct work *work)
{
	struct allocator *out = work->out;
	struct mappings mappings;
	uint64_t mapped = 0, end = out->region_base + out->region_size;

	if (out->region_size <= UNMAPPED_MOST || !source_map(work->source, false, &mappings))
		return;
	for (size_t i = 0; i < mappings.count; i++) {
		const struct mapping *mapping = &mappings.list[i];
		uint64_t from = mapping->start > out->region_base ? mapping->start : out->region_base;
		uint64_t to = mapping->end < end ? mapping->end : end;
		mapped += from < to ? to - from : 0;
	}
	mappings_free(&mappings);
	if (out->region_size - UNMAPPED_MOST <= mapped)
		return;
	doubt(work, DOUBT_COUNT, out->region_base, "region 0x%lx: %lu bytes, of which %lu are mapped", out->region_base,
	      out->region_size, mapped);
	out->region_base = out->region_size = 0;
}

/* Only what is resident: reading the rest would make the process's page tables grow. */
static bool read_entries(struct work *work)
{
	size_t bytes = work->pages * 8, map_pages = (bytes + PAGE - 1) / PAGE;
	uint8_t *there = need(malloc(map_pages + 1));
	struct piece *pieces = NULL;
	size_t count = 0;

	source_resident(work->source, work->map, map_pages, there);
	for (size_t page = 0; page < map_pages;) {
		size_t end = page;
		while (end < map_pages && there[end] && (end - page) * PAGE < PIECE_MOST)
			end++;
		if (end > page) {
			size_t from = page * PAGE, to = end * PAGE < bytes ? end * PAGE : bytes;
			GROW(pieces, count);
			pieces[count++] =
				(struct piece){work->map + from, (char *)work->entries + from, to - from, false};
		}
		page = end > page ? end : page + 1;
	}
	bool done = source_read_pieces(work->source, pieces, count);
	free(there);
	free(pieces);
	return done;
}

static void read_chunks(struct work *work)
{
	const struct qslab_segment_meta *meta = &work->segment->meta;
	uint64_t at = read_word(work, meta->first);
	struct round round = {0, 0};

	for (size_t i = 0; at && i < CHUNKS_MOST && !comes_back(&round, at); i++) {
		uint64_t next = read_word(work, at + meta->next), size = read_word(work, at + meta->size);
		if (at - work->out->region_base < work->out->region_size)
			own(work, at, size, OWNER_CHUNK);
		else
			add_range(work, at, size, KIND_DESCRIPTORS);
		at = next;
	}
	for (uint32_t i = 0; meta->source && i < meta->source_count && i < SOURCES_MOST; i++)
		add_range(work, read_word(work, meta->source + i * 16), read_word(work, meta->source + i * 16 + 8),
		          KIND_SOURCE_OWN);
}

static bool read_classes(struct work *work)
{
	const struct qslab_segment_classes *classes = &work->segment->classes;
	struct allocator *out = work->out;

	size_t size = (size_t)classes->count * classes->stride;
	char *table = need(calloc(1, size + 64));
	bool done = source_read(work->source, classes->table, table, size);
	out->classes = need(calloc(classes->count, sizeof *out->classes));
	out->class_count = classes->count;
	for (uint32_t c = 0; c < classes->count && done; c++) {
		const char *row = table + c * classes->stride;
		out->classes[c].size = half_at(row, classes->size);
		out->classes[c].objects = quarter_at(row, classes->objects);
		out->classes[c].pages = quarter_at(row, classes->pages);
		out->classes[c].capacity = quarter_at(row, classes->capacity);
		out->classes[c].own = c >= classes->own;
		if (c == classes->large || !out->classes[c].objects || !out->classes[c].pages)
			out->classes[c].size = 0;
	}
	free(table);
	return done;
}

/* Only classes that were ever used; the others' magazines are memory that the process has not touched. */
static void read_end(struct work *work)
{
	const struct qslab_segment_classes *classes = &work->segment->classes;
	uint32_t end = read_half(work, classes->end);

	end = end > classes->large ? end : classes->large + 1;
	if (end < work->out->class_count)
		work->out->class_count = end;
}

static void read_names(struct work *work)
{
	const struct qslab_segment_caches *caches = &work->segment->caches;
	struct allocator *out = work->out;
	uint64_t at = read_word(work, caches->first);
	struct round round = {0, 0};

	for (unsigned i = 0; at && i < CACHES_MOST && !comes_back(&round, at); i++) {
		uint32_t class = read_half(work, at + caches->klass);
		char name[32] = "";
		if (class && class < out->class_count && source_read(work->source, at + caches->name, name, sizeof name)) {
			name[sizeof name - 1] = '\0';
			if (!*out->classes[class].name)
				text_valid(out->classes[class].name, sizeof out->classes[class].name, name);
		}
		at = read_word(work, at + caches->next);
	}
}

/* Spans that the page map does not know. */
static void read_held(struct work *work)
{
	const struct qslab_segment_held *held = &work->segment->held;
	const struct qslab_segment_slab *slab = &work->segment->slab;
	const struct qslab_segment_large *large = &work->segment->large;
	uint64_t at = read_word(work, held->graves);
	struct round round = {0, 0};

	for (unsigned i = 0; at && i < HELD_MOST && !comes_back(&round, at); i++) {
		uint64_t first = read_word(work, at + slab->first), size = read_half(work, at + slab->size);
		uint32_t objects = read_half(work, at + slab->objects) & 0xffff, class = read_half(work, at + slab->klass) & 0xff;
		uint64_t bytes = class < work->out->class_count ? work->out->classes[class].pages * PAGE : 0;
		own(work, first + size * objects - bytes, bytes, OWNER_HELD);
		at = read_word(work, at + slab->next);
	}
	for (uint32_t i = 0; held->samples && i < held->sample_count && i < HELD_MOST; i++) {
		at = read_word(work, held->samples + i * 8);
		if (at)
			own(work, read_word(work, at + large->start), read_word(work, at + large->pages) * PAGE, OWNER_HELD);
	}
}

bool read_region(struct work *work)
{
	const struct qslab_segment_region *region = &work->segment->region;
	struct allocator *out = work->out;

	if (!read_classes(work))
		return false;
	read_end(work);
	read_names(work);
	out->region_base = read_word(work, region->address + region->base);
	work->map = read_word(work, region->address + region->map);
	out->region_size = read_word(work, region->address + region->size);
	work->map_size = read_word(work, region->address + region->map_size);
	if (!out->region_base || out->region_size > SIZE_MOST)
		out->region_base = out->region_size = 0;
	bound(work);
	work->pages = out->region_size / PAGE;
	if (!work->map_size)
		work->map_size = (work->pages * 8 + PAGE - 1) / PAGE * PAGE;
	work->entries = need(calloc(work->pages + 1, sizeof *work->entries));
	work->owners = need(calloc(work->pages + 1, sizeof *work->owners));
	work->resident = need(calloc(work->pages + 1, 1));
	if (!work->pages)
		return true;
	if (!read_entries(work))
		return false;
	if (work->with_memory)
		source_resident(work->source, out->region_base, work->pages, work->resident);
	add_range(work, work->map, work->map_size, KIND_PAGE_MAP);
	read_chunks(work);
	read_held(work);
	for (size_t page = 0; page < work->pages; page++) {
		uint64_t entry = work->entries[page];
		if (!QSLAB_ENTRY_CLASS(entry) && entry & QSLAB_ENTRY_SOURCE_OWN)
			own(work, out->region_base + page * PAGE, QSLAB_ENTRY_LINK(entry) * PAGE, OWNER_SOURCE);
	}
	return true;
}
