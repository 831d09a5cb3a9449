/* Large objects, and the cache of free spans. */
#define _GNU_SOURCE
#include "reader_parts.h"

#define TRIES 20
#define BINS_MOST 1024

/* ---- large objects ------------------------------------------------------------------------------------------ */

/* Its entries stand at the starts of its largest aligned blocks. */
static bool entries_fit(const struct work *work, size_t page, size_t end, uint64_t descriptor)
{
	while (page < end) {
		size_t block = page ? page & -page : (size_t)1 << 40;
		while (block > end - page)
			block /= 2;
		uint64_t entry = work->entries[page];
		if (QSLAB_ENTRY_CLASS(entry) != work->segment->classes.large || QSLAB_ENTRY_DESCRIPTOR(entry) != descriptor)
			return false;
		page += block;
	}
	return true;
}

/* Returns the pages it covers, 0 if it is gone. */
static size_t read_large(struct work *work, size_t page)
{
	const struct qslab_segment_large *offsets = &work->segment->large;
	struct allocator *out = work->out;
	uint64_t entry = work->entries[page], d = QSLAB_ENTRY_DESCRIPTOR(entry), now = 0;
	uint64_t start[2] = {0, 0}, pages[2] = {0, 0}, size[2] = {0, 0};

	for (unsigned tries = 0; tries < TRIES; tries++) {
		struct piece pieces[] = {
			{d + offsets->start, &start[0], 8, false}, {d + offsets->pages, &pages[0], 8, false},
			{d + offsets->size, &size[0], 8, false},   {work->map + page * 8, &now, 8, false},
			{d + offsets->start, &start[1], 8, false}, {d + offsets->pages, &pages[1], 8, false},
			{d + offsets->size, &size[1], 8, false},
		};
		if (!source_read_pieces(work->source, pieces, sizeof pieces / sizeof *pieces) || now != entry)
			return 0;
		if (start[0] == start[1] && pages[0] == pages[1] && size[0] == size[1])
			break;
	}
	if (start[1] != out->region_base + page * PAGE || !pages[1] || pages[1] > work->pages - page ||
	    size[1] > pages[1] * PAGE) {
		doubt(work, DOUBT_COUNT, start[1], "large object 0x%lx: its descriptor does not fit its place",
		      out->region_base + page * PAGE);
		return 0;
	}
	if (!entries_fit(work, page, page + pages[1], d) &&
	    source_read(work->source, work->map + page * 8, work->entries + page, pages[1] * 8) &&
	    work->entries[page] == entry && !entries_fit(work, page, page + pages[1], d))
		doubt(work, DOUBT_COUNT, start[1], "large object 0x%lx: its page map entries are not complete", start[1]);
	GROW(out->larges, out->large_count);
	for (size_t i = 0; i < pages[1]; i++)
		work->owners[page + i] = OWNER_MAKE(OWNER_LARGE, out->large_count);
	out->larges[out->large_count++] =
		(struct large_view){.address = start[1], .descriptor = d, .size = size[1], .pages = pages[1], .place = LIVE};
	return pages[1];
}

/* ---- the span cache --------------------------------------------------------------------------------------------- */

struct cache {
	uint32_t lock_before, lock_after;
	uint32_t count;
	uint64_t bins[BINS_MOST];
	struct span_counters counters;
};

static bool read_cache(struct work *work, struct cache *cache)
{
	const struct qslab_segment_spans *at = &work->segment->spans;
	struct span_counters *to = &cache->counters;
	struct piece pieces[] = {
		{at->lock, &cache->lock_before, 4, false}, {at->bins, cache->bins, cache->count * 8, false},
		{at->cached, &to->cached, 8, false},       {at->dirty, &to->dirty, 8, false},
		{at->live, &to->live, 8, false},           {at->credit, &to->credit, 8, false},
		{at->purged, &to->purged, 8, false},       {at->lock, &cache->lock_after, 4, false},
	};
	return source_read_pieces(work->source, pieces, sizeof pieces / sizeof *pieces);
}

static void add_span(struct work *work, uint64_t page, uint64_t pages)
{
	struct allocator *out = work->out;

	GROW(out->spans, out->span_count);
	out->spans[out->span_count++] = (struct span_view){out->region_base + page * PAGE, pages, 0};
}

/* One link of each bin at a time. False: it ended where no list may. */
static bool walk(struct work *work, uint64_t *links, uint32_t count)
{
	struct piece pieces[BINS_MOST];
	uint64_t entries[BINS_MOST];
	bool whole = true;

	for (size_t depth = 0; depth <= work->pages; depth++) {
		size_t used = 0;
		for (uint32_t bin = 0; bin < count; bin++)
			if (links[bin])
				pieces[used++] = (struct piece){work->map + (links[bin] - 1) * 8, &entries[bin], 8, false};
		if (!used)
			return whole;
		if (!source_read_pieces(work->source, pieces, used))
			return false;
		used = 0;
		for (uint32_t bin = 0; bin < count; bin++) {
			if (!links[bin])
				continue;
			bool got = pieces[used++].got && links[bin] - 1 + bin <= work->pages;
			if (!got || QSLAB_ENTRY_CLASS(entries[bin]) || entries[bin] & QSLAB_ENTRY_SOURCE_OWN) {
				whole = false; /* taken out meanwhile */
				links[bin] = 0;
				continue;
			}
			add_span(work, links[bin] - 1, bin);
			links[bin] = QSLAB_ENTRY_LINK(entries[bin]);
		}
	}
	return false;
}

static bool read_cached_spans(struct work *work)
{
	struct allocator *out = work->out;
	struct cache before = {0}, after = {0};
	uint32_t count = work->segment->spans.count;
	uint64_t links[BINS_MOST];

	if (count > BINS_MOST)
		return false;
	before.count = after.count = count;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		out->span_count = 0;
		if (!read_cache(work, &before))
			return false;
		memcpy(links, before.bins, sizeof links);
		bool whole = walk(work, links, count);
		if (!read_cache(work, &after))
			return false;
		out->span_counters = after.counters;
		if (whole && !before.lock_before && !before.lock_after && !after.lock_before && !after.lock_after &&
		    !memcmp(before.bins, after.bins, sizeof before.bins) && before.counters.cached == after.counters.cached) {
			out->span_counters.stable = true;
			break;
		}
		if (tries > TRIES / 2 && !nap(work))
			break;
	}
	out->torn += !out->span_counters.stable;
	return true;
}

/* A span that a slab has meanwhile is not in the cache. */
static void take_spans(struct work *work)
{
	struct allocator *out = work->out;

	for (size_t i = 0; i < out->span_count; i++) {
		const struct span_view *span = &out->spans[i];
		size_t page = (span->address - out->region_base) / PAGE;
		bool clash = false;
		out->span_counters.seen += span->pages * PAGE;
		for (size_t p = page; p < page + span->pages && p < work->pages; p++) {
			enum owner owner = OWNER_WHAT(work->owners[p]);
			clash |= owner == OWNER_SPAN; /* what was in use when slabs were read may have been freed */
			if (!owner)
				work->owners[p] = OWNER_MAKE(OWNER_SPAN, i);
		}
		if (clash && out->span_counters.stable)
			doubt(work, DOUBT_TWICE, span->address, "span 0x%lx: twice in the cache", span->address);
	}
	if (out->span_counters.stable && out->span_counters.seen != out->span_counters.cached)
		doubt(work, DOUBT_COUNT, 0, "span cache: holds %lu bytes, counts %lu", out->span_counters.seen,
		      out->span_counters.cached);
}

bool read_spans(struct work *work)
{
	struct allocator *out = work->out;

	for (size_t page = 0; page < work->pages; page++) {
		uint64_t entry = work->entries[page];
		if (QSLAB_ENTRY_CLASS(entry) != work->segment->classes.large || work->owners[page])
			continue;
		size_t pages = read_large(work, page);
		if (work->source->error)
			return false;
		page += pages ? pages - 1 : 0;
	}
	out->large_bytes_counted = read_word(work, work->segment->large.bytes);
	if (!read_cached_spans(work))
		return false;
	take_spans(work);
	return true;
}
