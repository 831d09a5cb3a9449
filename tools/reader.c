#define _GNU_SOURCE
#include "reader.h"
#include "reader_parts.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#define NAPS 40
#define LOOKS 2000
#define NAP_NS 500000
#define DOUBTS_MOST 200000
#define TRIES 5 /* snapshots, of a process that takes memory or gives it back meanwhile */
#define SEGMENT_LEAST offsetof(struct qslab_segment, quarantine) /* as version 2 began */

struct reader {
	struct source *source;
};

/* ---- what the parts share ------------------------------------------------------------------------------- */

uint64_t read_word(struct work *work, uint64_t at)
{
	uint64_t word = 0;
	return at && source_read(work->source, at, &word, sizeof word) ? word : 0;
}

uint32_t read_half(struct work *work, uint64_t at)
{
	uint32_t half = 0;
	return at && source_read(work->source, at, &half, sizeof half) ? half : 0;
}

void doubt(struct work *work, int kind, uint64_t address, const char *format, ...)
{
	struct allocator *out = work->out;
	va_list arguments;

	if (out->doubt_count >= DOUBTS_MOST)
		return;
	GROW(out->doubts, out->doubt_count);
	struct doubt *new = &out->doubts[out->doubt_count++];
	new->kind = kind;
	new->address = address;
	va_start(arguments, format);
	vsnprintf(new->text, sizeof new->text, format, arguments);
	va_end(arguments);
}

bool nap(struct work *work)
{
	if (!work->source->live || !work->naps)
		return false;
	work->naps--;
	nanosleep(&(struct timespec){0, NAP_NS}, NULL);
	return true;
}

/* ---- segments --------------------------------------------------------------------------------------------- */

/* The process is gone, or never was ours to read; a core file lacks what it names. */
static void tell_read_error(struct source *source, struct failure *why)
{
	if (source->error == EPERM)
		fail(why, "%s: no permission to read its memory (be its user, or root)", source->name);
	else if (source->live)
		fail(why, "%s: ended while it was read", source->name);
	else
		fail(why, "%s: %s: something that qslab names is not in it", source->name,
		     source->cut ? "was cut short (ulimit -c, or the disk was full)" : "is damaged");
}

static bool may_be_segment(const struct mapping *mapping, bool by_name)
{
	if (!mapping->writable && !by_name)
		return false;
	return by_name ? strstr(mapping->name, QSLAB_SEGMENT_NAME) != NULL : !*mapping->name;
}

/* The segments among the mappings: by name, else, where there are no names, by what stands at a mapping's start. */
static size_t find_segments(struct source *source, const struct mappings *mappings, bool by_name,
                            struct allocator **found, uint32_t *other_version, bool *damaged)
{
	size_t count = 0;

	for (size_t i = 0; i < mappings->count; i++) {
		struct qslab_segment segment = {0};
		uint64_t at = mappings->list[i].start;
		if (!may_be_segment(&mappings->list[i], by_name) || !source_read(source, at, &segment, 16) ||
		    segment.magic != QSLAB_SEGMENT_MAGIC)
			continue;
		if (segment.version != QSLAB_SEGMENT_VERSION || segment.size < SEGMENT_LEAST) {
			*other_version = segment.version;
			continue;
		}
		size_t size = segment.size < sizeof segment ? segment.size : sizeof segment;
		if (!source_read(source, at, &segment, size) || segment.page_size != PAGE || !segment_fits(&segment)) {
			*damaged = true;
			continue;
		}
		GROW(*found, count);
		(*found)[count++] = (struct allocator){.segment_address = at, .segment = segment};
	}
	return count;
}

/* NULL with *why. `known`: it had segments before. */
static struct allocator *locate(struct source *source, bool known, size_t *count, struct failure *why)
{
	struct mappings mappings;
	struct allocator *found = NULL;
	uint32_t other_version = 0;
	bool damaged = false;

	source->error = 0;
	if (!source_map(source, false, &mappings)) {
		tell_read_error(source, why);
		return NULL;
	}
	*count = find_segments(source, &mappings, true, &found, &other_version, &damaged);
	if (!*count && !other_version && !damaged)
		*count = find_segments(source, &mappings, false, &found, &other_version, &damaged);
	if (!*count) {
		if (source->error)
			tell_read_error(source, why);
		else if (other_version)
			fail(why, "%s: runs a qslab that publishes version %u; this tool reads version %u", source->name,
			     other_version, QSLAB_SEGMENT_VERSION);
		else if (damaged)
			fail(why, "%s: what it publishes of its memory is damaged", source->name);
		else if (source->live && !mappings.count && (known || (kill(source->pid, 0) && errno == ESRCH)))
			tell_read_error(source, why);
		else if (source->cut)
			fail(why, "%s: was cut short (ulimit -c, or the disk was full): what qslab publishes is not in it",
			     source->name);
		else
			fail(why, "%s: %s", source->name, known ? "runs another program now" : "does not run on qslab");
		free(found);
		found = NULL;
	}
	mappings_free(&mappings);
	return found;
}

/* ---- open, close -------------------------------------------------------------------------------------------- */

static struct reader *open_source(struct source *source, struct failure *why)
{
	size_t count;
	struct allocator *found = source ? locate(source, false, &count, why) : NULL;

	if (!found) {
		source_close(source);
		return NULL;
	}
	free(found);
	struct reader *reader = need(malloc(sizeof *reader));
	reader->source = source;
	return reader;
}

struct reader *reader_open_process(int pid, struct failure *why)
{
	return open_source(source_process(pid, why), why);
}

struct reader *reader_open_core(const char *path, struct failure *why)
{
	return open_source(source_core(path, why), why);
}

void reader_close(struct reader *reader)
{
	if (!reader)
		return;
	source_close(reader->source);
	free(reader);
}

bool reader_is_cut(const struct reader *reader)
{
	return reader->source->cut;
}

const char *reader_name(const struct reader *reader)
{
	return reader->source->name;
}

bool reader_map(struct reader *reader, struct mappings *mappings)
{
	return source_map(reader->source, false, mappings);
}

/* ---- snapshots ------------------------------------------------------------------------------------------------ */

/* But for its region, which was read before. */
static bool read_allocator(struct work *work)
{
	if (work->pages && (!read_small(work) || !read_spans(work) || !read_heaps(work)))
		return false;
	if (!read_rcu(work) || (work->with_profile && !read_profile(work)))
		return false;
	sum_up(work);
	if (work->with_lists)
		read_lists(work);
	return true;
}

static void allocator_free(struct allocator *allocator)
{
	for (size_t i = 0; i < allocator->slab_count; i++)
		free(allocator->slabs[i].live);
	free(allocator->classes);
	free(allocator->slabs);
	free(allocator->larges);
	free(allocator->spans);
	free(allocator->heaps);
	free(allocator->rcu.readers);
	free(allocator->samples);
	free(allocator->stack_words);
	free(allocator->doubts);
}

static void work_free(struct work *work)
{
	free(work->entries);
	free(work->owners);
	free(work->resident);
	free(work->ranges);
}

/* Copies of the library that nobody used say nothing. */
static void drop_unused(struct snapshot *snapshot)
{
	size_t kept = 0;

	for (size_t i = 0; i < snapshot->allocator_count; i++) {
		if (snapshot->allocators[i].region_base || (!kept && i + 1 == snapshot->allocator_count))
			snapshot->allocators[kept++] = snapshot->allocators[i];
		else
			allocator_free(&snapshot->allocators[i]);
	}
	snapshot->allocator_count = kept;
}

/* What is resident is read first, at nearly one moment; objects take longer. */
static bool read_all(struct source *source, struct work *works, size_t count, struct snapshot *snapshot)
{
	struct mappings mappings = {.count = 0};
	uint64_t rss_before = works->with_memory ? source_rss(source) : 0;
	bool done = true;

	for (size_t i = 0; i < count && done; i++)
		done = read_region(&works[i]);
	if (done && works->with_memory)
		done = source_map(source, true, &mappings) && mappings.count;
	for (size_t i = 0; i < count && done; i++)
		done = read_allocator(&works[i]);
	if (done && works->with_memory) {
		read_memory(source, works, count, &mappings, rss_before, &snapshot->memory);
		snapshot->memory_known = true;
	}
	mappings_free(&mappings);
	return done;
}

static struct snapshot *take(struct reader *reader, unsigned what, struct failure *why)
{
	struct source *source = reader->source;
	size_t count = 0;
	struct allocator *found = locate(source, true, &count, why);

	if (!found)
		return NULL;
	struct snapshot *snapshot = need(calloc(1, sizeof *snapshot));
	struct work *works = need(calloc(count, sizeof *works));
	snapshot->allocators = found;
	snapshot->allocator_count = count;
	snapshot->pid = source->pid;
	snprintf(snapshot->command, sizeof snapshot->command, "%s", source->command);
	snapshot->live = source->live;
	for (size_t i = 0; i < count; i++)
		works[i] = (struct work){
			.source = source,
			.out = &found[i],
			.segment = &found[i].segment,
			.with_memory = what & SNAPSHOT_MEMORY,
			.with_profile = what & SNAPSHOT_PROFILE,
			.with_lists = what & SNAPSHOT_LISTS,
			.naps = NAPS,
			.looks = LOOKS,
		};
	bool done = read_all(source, works, count, snapshot);
	snapshot->now = source->now;
	for (size_t i = 0; i < count; i++)
		work_free(&works[i]);
	free(works);
	if (done) {
		drop_unused(snapshot);
		return snapshot;
	}
	tell_read_error(source, why);
	snapshot_free(snapshot);
	return NULL;
}

/* Bytes by which figures of several moments cannot be of one. */
static uint64_t disagreement(const struct snapshot *snapshot)
{
	const struct memory_view *memory = &snapshot->memory;
	uint64_t excess = memory->explained > memory->rss ? memory->explained - memory->rss : 0;

	return snapshot->live ? memory->moved + excess : 0;
}

struct snapshot *reader_snapshot(struct reader *reader, unsigned what, struct failure *why)
{
	struct snapshot *best = take(reader, what, why);

	for (unsigned tries = 1; best && disagreement(best) > best->memory.rss / 50 && tries < TRIES; tries++) {
		struct snapshot *next = take(reader, what, why);
		bool better = !next || disagreement(next) <= disagreement(best);
		snapshot_free(better ? best : next);
		best = better ? next : best;
	}
	return best;
}

void snapshot_free(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	for (size_t i = 0; i < snapshot->allocator_count; i++)
		allocator_free(&snapshot->allocators[i]);
	free(snapshot->allocators);
	free(snapshot);
}
