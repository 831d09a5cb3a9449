/* Slabs: each read as one consistent state, if the process lets it be for a microsecond. */
#define _GNU_SOURCE
#include "reader_parts.h"

#define BATCH 128
#define PIECES 5
#define ROUNDS 12 /* without a nap */

enum verdict { GOOD, MOVING, GONE };

/* One slab being read: twice its descriptor, its page map entry, its heap's lock before and after. */
struct look {
	size_t page;
	uint64_t entry, entry_now;
	uint32_t lock_before, lock_after;
	size_t size;    /* of its descriptor */
	enum verdict verdict;
	char *first, *second;
};

static size_t words_of(const struct class_view *class)
{
	return (class->objects + 63u) / 64;
}

static size_t free_offset(const struct work *work, size_t words)
{
	return (work->segment->slab.remote + words * 8 + 63) & ~(size_t)63;
}

static size_t descriptor_size(const struct work *work, size_t words)
{
	return free_offset(work, words) + words * 8;
}

static const struct class_view *class_of(const struct work *work, uint64_t entry)
{
	unsigned class = QSLAB_ENTRY_CLASS(entry);
	return class && class < work->out->class_count && work->out->classes[class].size ? &work->out->classes[class] : NULL;
}

/* Is it the entry of a slab's first page? */
static bool is_first(const struct work *work, uint64_t entry)
{
	const struct class_view *class = class_of(work, entry);
	return class && QSLAB_ENTRY_TO_END(entry) == class->pages;
}

static bool same(const struct work *work, const struct look *look)
{
	const struct qslab_segment_slab *slab = &work->segment->slab;
	const char *a = look->first, *b = look->second;
	size_t words = words_of(class_of(work, look->entry));

	return word_at(a, slab->first) == word_at(b, slab->first) && word_at(a, slab->heap) == word_at(b, slab->heap) &&
	       word_at(a, slab->next) == word_at(b, slab->next) && word_at(a, slab->prev) == word_at(b, slab->prev) &&
	       half_at(a, slab->size) == half_at(b, slab->size) && half_at(a, slab->nfree) == half_at(b, slab->nfree) &&
	       half_at(a, slab->announced) == half_at(b, slab->announced) &&
	       !memcmp(a + slab->remote, b + slab->remote, words * 8) &&
	       !memcmp(a + free_offset(work, words), b + free_offset(work, words), words * 8);
}

static enum verdict judge(const struct work *work, const struct look *look)
{
	if (look->entry_now != look->entry)
		return GONE;
	return !look->lock_before && !look->lock_after && same(work, look) ? GOOD : MOVING;
}

static uint64_t lock_of(const struct work *work, const char *descriptor)
{
	return word_at(descriptor, work->segment->slab.heap) + work->segment->heaps.lock;
}

/* Both looks, and what frames the second. Locks that cannot be read count as taken. */
static size_t look_again(const struct work *work, struct look *look, struct piece *pieces)
{
	uint64_t lock = lock_of(work, look->first); /* where the look before found its heap */
	uint64_t descriptor = QSLAB_ENTRY_DESCRIPTOR(look->entry);

	look->lock_before = look->lock_after = 1;
	look->entry_now = 0;
	pieces[0] = (struct piece){descriptor, look->first, look->size, false};
	pieces[1] = (struct piece){lock, &look->lock_before, 4, false};
	pieces[2] = (struct piece){descriptor, look->second, look->size, false};
	pieces[3] = (struct piece){work->map + look->page * 8, &look->entry_now, 8, false};
	pieces[4] = (struct piece){lock, &look->lock_after, 4, false};
	return PIECES;
}

/* After a look: GOOD, or what to do about it. */
static enum verdict follow(const struct work *work, struct look *look)
{
	enum verdict verdict = judge(work, look);

	if (verdict == GONE && is_first(work, look->entry_now) &&
	    class_of(work, look->entry_now) == class_of(work, look->entry)) {
		look->entry = look->entry_now; /* another slab of the class by now */
		return MOVING;
	}
	return verdict;
}

/* ---- from a descriptor to a view ------------------------------------------------------------------------------ */

static bool fits(const struct work *work, const struct look *look)
{
	const struct qslab_segment_slab *slab = &work->segment->slab;
	const struct class_view *class = class_of(work, look->entry);
	const char *d = look->second;
	uint64_t end = work->out->region_base + (look->page + class->pages) * PAGE;

	return (uint64_t)class->objects * class->size <= class->pages * PAGE &&
	       (uint8_t)d[slab->klass] == QSLAB_ENTRY_CLASS(look->entry) && half_at(d, slab->size) == class->size &&
	       quarter_at(d, slab->objects) == class->objects && quarter_at(d, slab->words) == words_of(class) &&
	       word_at(d, slab->first) + (uint64_t)class->objects * class->size == end;
}

static void count_bits(struct work *work, struct slab_view *slab, const uint64_t *free_bits, const uint64_t *remote)
{
	slab->live = need(calloc(2 * slab->words, sizeof(uint64_t)));
	slab->listed = slab->live + slab->words;
	for (unsigned w = 0; w < slab->words; w++) {
		unsigned left = slab->objects - w * 64u;
		uint64_t all = left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
		slab->count[FREE] += (uint16_t)__builtin_popcountll(free_bits[w] & all);
		slab->count[REMOTE] += (uint16_t)__builtin_popcountll(remote[w] & all & ~free_bits[w]);
		slab->live[w] = all & ~free_bits[w] & ~remote[w];
		slab->overlap |= (free_bits[w] & remote[w]) != 0;
		slab->stray_bits |= ((free_bits[w] | remote[w]) & ~all) != 0;
	}
	slab->count[LIVE] = (uint16_t)(slab->objects - slab->count[FREE] - slab->count[REMOTE]);
	if (work->with_memory)
		count_free(work, slab, free_bits, remote);
}

static void doubt_slab(struct work *work, const struct slab_view *slab)
{
	uint64_t at = slab->address;

	if (slab->nfree != slab->count[FREE])
		doubt(work, DOUBT_COUNT, at, "slab 0x%lx: %u objects are free, it counts %u", at, slab->count[FREE], slab->nfree);
	if (slab->count[REMOTE] > slab->announced)
		doubt(work, DOUBT_COUNT, at, "slab 0x%lx: %u objects are freed by others, it counts %u", at,
		      slab->count[REMOTE], slab->announced);
	if (slab->overlap)
		doubt(work, DOUBT_TWICE, at, "slab 0x%lx: an object is free twice", at);
	if (slab->stray_bits)
		doubt(work, DOUBT_COUNT, at, "slab 0x%lx: an object beyond the last is free", at);
}

static unsigned count_wrong(const struct slab_view *slab, const uint64_t *entries)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < slab->pages; i++)
		wrong += QSLAB_ENTRY_DESCRIPTOR(entries[i]) != slab->descriptor ||
		         QSLAB_ENTRY_CLASS(entries[i]) != slab->class || QSLAB_ENTRY_TO_END(entries[i]) != slab->pages - i;
	return wrong;
}

/* The page map was read before the slab; as it is now, with the slab's first page still there after? */
static bool pages_wrong(struct work *work, const struct look *look, const struct slab_view *slab)
{
	uint64_t entries[256], last = 0;
	struct piece pieces[] = {
		{work->map + look->page * 8, entries, slab->pages * 8u, false},
		{work->map + look->page * 8, &last, 8, false},
	};
	return slab->pages <= 256 && source_read_pieces(work->source, pieces, 2) && last == look->entry &&
	       count_wrong(slab, entries);
}

/* The slab's pages belong to it, and all their entries say so. */
static void take_pages(struct work *work, const struct look *look, const struct slab_view *slab, size_t index)
{
	unsigned wrong = count_wrong(slab, work->entries + look->page);

	for (unsigned i = 0; i < slab->pages; i++)
		work->owners[look->page + i] = OWNER_MAKE(OWNER_SLAB, index);
	if (wrong && !slab->torn && pages_wrong(work, look, slab))
		doubt(work, DOUBT_COUNT, slab->address, "slab 0x%lx: %u of its pages are not in the page map", slab->address,
		      wrong);
}

static void add_slab(struct work *work, const struct look *look, bool torn)
{
	const struct qslab_segment_slab *offsets = &work->segment->slab;
	const struct class_view *class = class_of(work, look->entry);
	struct allocator *out = work->out;
	const char *d = look->second;
	size_t words = words_of(class);

	if (work->owners[look->page] || look->page + class->pages > work->pages || !fits(work, look)) {
		if (!torn)
			doubt(work, DOUBT_COUNT, out->region_base + look->page * PAGE,
			      "slab 0x%lx: its descriptor does not fit its place", out->region_base + look->page * PAGE);
		return;
	}
	GROW(out->slabs, out->slab_count);
	struct slab_view *slab = &out->slabs[out->slab_count];
	*slab = (struct slab_view){
		.address = out->region_base + look->page * PAGE,
		.first = word_at(d, offsets->first),
		.descriptor = QSLAB_ENTRY_DESCRIPTOR(look->entry),
		.heap = word_at(d, offsets->heap),
		.next = word_at(d, offsets->next),
		.prev = word_at(d, offsets->prev),
		.size = class->size,
		.born = half_at(d, offsets->born),
		.nfree = half_at(d, offsets->nfree),
		.announced = half_at(d, offsets->announced),
		.objects = class->objects,
		.words = (uint16_t)words,
		.pages = class->pages,
		.class = (uint16_t)QSLAB_ENTRY_CLASS(look->entry),
		.torn = torn,
	};
	uint64_t *bits = need(malloc(2 * words * 8));
	memcpy(bits, d + free_offset(work, words), words * 8);
	memcpy(bits + words, d + offsets->remote, words * 8);
	take_pages(work, look, slab, out->slab_count);
	out->slab_count++;
	count_bits(work, slab, bits, bits + words);
	free(bits);
	out->torn += torn;
	if (!torn)
		doubt_slab(work, slab);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

/* All at once, then again those that moved, until none does or patience ends. */
static bool read_batch(struct work *work, struct look *looks, size_t count)
{
	static struct piece pieces[PIECES * BATCH];
	struct look *moving[BATCH];
	size_t left = count;

	for (size_t i = 0; i < count; i++) {
		looks[i].size = descriptor_size(work, words_of(class_of(work, looks[i].entry)));
		memset(looks[i].first, 0, looks[i].size);
		pieces[i] = (struct piece){QSLAB_ENTRY_DESCRIPTOR(looks[i].entry), looks[i].first, looks[i].size, false};
		moving[i] = &looks[i];
	}
	if (!source_read_pieces(work->source, pieces, count))
		return false;
	for (unsigned round = 0; left; round++) {
		size_t used = 0, still = 0;
		bool last = round >= ROUNDS && !nap(work);
		for (size_t i = 0; i < left; i++)
			used += look_again(work, moving[i], pieces + used);
		if (!source_read_pieces(work->source, pieces, used))
			return false;
		for (size_t i = 0; i < left; i++) {
			moving[i]->verdict = follow(work, moving[i]);
			if (moving[i]->verdict == MOVING)
				moving[still++] = moving[i];
		}
		left = still;
		if (last)
			break;
	}
	for (size_t i = 0; i < count; i++)
		if (looks[i].verdict != GONE)
			add_slab(work, &looks[i], looks[i].verdict == MOVING);
	return true;
}

bool read_small(struct work *work)
{
	struct look looks[BATCH];
	size_t most = 0, count = 0;
	bool done = true;

	for (size_t c = 0; c < work->out->class_count; c++) {
		size_t size = descriptor_size(work, words_of(&work->out->classes[c]));
		most = size > most ? size : most;
	}
	char *room = need(malloc(2 * BATCH * most));
	for (size_t i = 0; i < BATCH; i++) {
		looks[i].first = room + 2 * i * most;
		looks[i].second = room + (2 * i + 1) * most;
	}
	for (size_t page = 0; page < work->pages && done; page++) {
		if (is_first(work, work->entries[page])) {
			looks[count].page = page;
			looks[count++].entry = work->entries[page];
		}
		if (count == BATCH || (count && page + 1 == work->pages)) {
			done = read_batch(work, looks, count);
			count = 0;
		}
	}
	free(room);
	return done;
}
