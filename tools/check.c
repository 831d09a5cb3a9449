/*
 * qslab check: does a process's own account of its memory agree with itself?
 *
 * What a snapshot doubts may be a torn reading, so it is read again, until nothing is doubted or the same doubts have
 * stood through all readings. What counts for the whole process is compared only when two readings in a row are the
 * same: then it was at rest.
 */
#define _GNU_SOURCE
#include "command.h"
#include "reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define READINGS 12
#define LONGEST_NS 100000000
#define COUNT_MOST 1000000000

struct violations {
	struct doubt *list;
	size_t count;
};

struct totals {
	uint64_t slabs, objects, torn, rereadings;
};

static void add(struct violations *violations, const struct doubt *doubt)
{
	violations->list = need(realloc(violations->list, (violations->count + 1) * sizeof *violations->list));
	violations->list[violations->count++] = *doubt;
}

static void __attribute__((format(printf, 4, 5))) complain(struct violations *violations, int kind, uint64_t address,
                                                          const char *format, ...)
{
	struct doubt doubt = {.kind = kind, .address = address};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(doubt.text, sizeof doubt.text, format, arguments);
	va_end(arguments);
	add(violations, &doubt);
}

/* ---- lists of slabs ------------------------------------------------------------------------------------------ */

static int by_descriptor(const void *a, const void *b)
{
	const struct slab_view *x = *(struct slab_view *const *)a, *y = *(struct slab_view *const *)b;
	return x->descriptor < y->descriptor ? -1 : x->descriptor > y->descriptor;
}

static const struct slab_view *find(struct slab_view **sorted, size_t count, uint64_t descriptor)
{
	struct slab_view key = {.descriptor = descriptor}, *wanted = &key;
	struct slab_view **found = bsearch(&wanted, sorted, count, sizeof *sorted, by_descriptor);
	return found ? *found : NULL;
}

/* Neighbours in a bin's list know each other, and are of one heap and class. A slab all free may be in no list. */
static void check_lists(const struct allocator *allocator, struct violations *violations)
{
	size_t count = allocator->slab_count;
	struct slab_view **sorted = need(malloc((count + 1) * sizeof *sorted));

	for (size_t i = 0; i < count; i++)
		sorted[i] = &allocator->slabs[i];
	qsort(sorted, count, sizeof *sorted, by_descriptor);
	for (size_t i = 0; i < count; i++) {
		const struct slab_view *slab = &allocator->slabs[i];
		if (slab->torn || !slab->next || slab->nfree == slab->objects)
			continue;
		const struct slab_view *next = find(sorted, count, slab->next);
		if (!next || (!next->torn && (next->prev != slab->descriptor || next->heap != slab->heap ||
		                              next->class != slab->class)))
			complain(violations, DOUBT_LIST, slab->address, "slab 0x%lx: its list is broken after it", slab->address);
	}
	free(sorted);
}

/* ---- the whole, at rest ------------------------------------------------------------------------------------------ */

static void mix(uint64_t *digest, uint64_t word)
{
	*digest = (*digest ^ word) * 0x100000001b3u;
}

/* Changes when anything that is counted does. */
static uint64_t digest_of(const struct allocator *allocator)
{
	uint64_t digest = 0xcbf29ce484222325u;

	for (size_t i = 0; i < allocator->slab_count; i++) {
		const struct slab_view *slab = &allocator->slabs[i];
		mix(&digest, slab->descriptor);
		mix(&digest, (uint64_t)slab->announced << 32 | slab->nfree);
		for (unsigned p = 0; p < PLACES; p++)
			mix(&digest, slab->count[p]);
		for (unsigned w = 0; w < slab->words; w++)
			mix(&digest, slab->live[w]);
	}
	for (size_t i = 0; i < allocator->large_count; i++)
		mix(&digest, allocator->larges[i].address ^ allocator->larges[i].size);
	mix(&digest, allocator->span_counters.live);
	mix(&digest, allocator->span_counters.purged);
	mix(&digest, allocator->rcu.retired);
	mix(&digest, allocator->rcu.reclaimed);
	mix(&digest, allocator->stock);
	return digest;
}

static void check_whole(const struct allocator *allocator, struct violations *violations)
{
	uint64_t large = 0, spans = 0, ready = 0, waiting = allocator->rcu.retired - allocator->rcu.reclaimed;

	for (size_t i = 0; i < allocator->large_count; i++) {
		large += allocator->larges[i].size;
		spans += allocator->larges[i].pages * SOURCE_PAGE;
	}
	for (size_t i = 0; i < allocator->slab_count; i++) {
		const struct slab_view *slab = &allocator->slabs[i];
		spans += slab->pages * SOURCE_PAGE;
		if (slab->announced != slab->count[REMOTE] && !slab->torn)
			complain(violations, DOUBT_COUNT, slab->address,
			         "slab 0x%lx: %u objects are freed by others, it counts %u", slab->address,
			         slab->count[REMOTE], slab->announced);
	}
	for (size_t c = 0; c < allocator->class_count; c++)
		ready += allocator->classes[c].count[READY] * allocator->classes[c].size;
	if (large != allocator->large_bytes_counted)
		complain(violations, DOUBT_COUNT, 1, "large objects: %lu bytes, %lu are counted", large,
		         allocator->large_bytes_counted);
	if (spans > allocator->span_counters.live)
		complain(violations, DOUBT_COUNT, 2, "spans in use: %lu bytes, %lu are counted", spans,
		         allocator->span_counters.live);
	if (ready != allocator->stock)
		complain(violations, DOUBT_COUNT, 3, "ready arrays: %lu bytes, %lu are counted", ready, allocator->stock);
	if (waiting != allocator->rcu.waiting)
		complain(violations, DOUBT_COUNT, 4, "waiting for grace periods: %lu objects, %lu are counted",
		         allocator->rcu.waiting, waiting);
}

/* ---- reading until it is sure ------------------------------------------------------------------------------------- */

static void judge(const struct snapshot *snapshot, uint64_t *digest, struct violations *violations, struct totals *totals)
{
	uint64_t before = *digest;

	*digest = 0;
	totals->slabs = totals->objects = totals->torn = 0;
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		for (size_t i = 0; i < allocator->doubt_count; i++)
			add(violations, &allocator->doubts[i]);
		check_lists(allocator, violations);
		mix(digest, digest_of(allocator));
		totals->slabs += allocator->slab_count;
		totals->torn += allocator->torn;
		totals->objects += allocator->large_count;
		for (size_t c = 0; c < allocator->class_count; c++)
			totals->objects += allocator->classes[c].total;
	}
	for (size_t a = 0; a < snapshot->allocator_count && *digest == before; a++)
		if (!snapshot->allocators[a].torn)
			check_whole(&snapshot->allocators[a], violations);
}

/* Keeps those that are in both. */
static void intersect(struct violations *kept, const struct violations *seen)
{
	size_t left = 0;

	for (size_t i = 0; i < kept->count; i++)
		for (size_t j = 0; j < seen->count; j++)
			if (kept->list[i].kind == seen->list[j].kind && kept->list[i].address == seen->list[j].address) {
				kept->list[left++] = seen->list[j];
				break;
			}
	kept->count = left;
}

/* One verdict. NULL list: none persists. False: it cannot be read. */
static bool check_once(struct reader *reader, uint64_t *digest, struct violations *kept, struct totals *totals,
                       struct failure *why)
{
	for (unsigned reading = 0; reading < READINGS; reading++) {
		struct violations seen = {NULL, 0};
		struct snapshot *snapshot = reader_snapshot(reader, 0, why);
		if (!snapshot)
			return false;
		judge(snapshot, digest, &seen, totals);
		snapshot_free(snapshot);
		if (reading) {
			intersect(kept, &seen);
			free(seen.list);
			totals->rereadings++;
		} else {
			*kept = seen;
		}
		if (!kept->count && (reading || seen.count == 0))
			return true;
		long pause = 1000000L << (reading < 7 ? reading : 7);
		nanosleep(&(struct timespec){0, pause < LONGEST_NS ? pause : LONGEST_NS}, NULL);
	}
	return true;
}

/* So that the first reading has one to be the same as. */
static bool look(struct reader *reader, uint64_t *digest, struct totals *totals, struct failure *why)
{
	struct violations ignored = {NULL, 0};
	struct snapshot *snapshot = reader ? reader_snapshot(reader, 0, why) : NULL;

	if (!snapshot)
		return false;
	judge(snapshot, digest, &ignored, totals);
	free(ignored.list);
	snapshot_free(snapshot);
	return true;
}

static int check(struct reader *reader, long count, struct failure *why)
{
	struct totals totals = {0, 0, 0, 0};
	uint64_t digest = 0;
	size_t violations = 0;
	bool readable = look(reader, &digest, &totals, why);

	for (long i = 0; i < count; i++) {
		struct violations kept = {NULL, 0};
		if (!readable || !check_once(reader, &digest, &kept, &totals, why)) {
			free(kept.list);
			reader_close(reader);
			return failed(why->text);
		}
		for (size_t v = 0; v < kept.count; v++)
			printf("%s: %s\n", reader_name(reader), kept.list[v].text);
		violations += kept.count;
		free(kept.list);
	}
	if (!violations)
		printf("%s: %ld readings, %lu again; %lu slabs, %lu objects: no violation%s\n", reader_name(reader), count,
		       totals.rereadings, totals.slabs, totals.objects,
		       totals.torn ? " in what stood still" : "");
	reader_close(reader);
	int status = finish_output();
	return violations ? 1 : status;
}

int command_check(int count, char **arguments)
{
	const char *what = NULL;
	struct failure why;
	long readings = 1;
	int pid;

	for (int i = 0; i < count; i++) {
		const char *value = i + 1 < count ? arguments[i + 1] : NULL;
		if (!strcmp(arguments[i], "--count")) {
			if (!value || !parse_number(value, 1, COUNT_MOST, &readings))
				return wrong_usage("check: --count needs a positive number, not ", value ? value : "nothing");
			i++;
		} else if (arguments[i][0] == '-') {
			return wrong_usage("check: unknown option ", arguments[i]);
		} else if (what) {
			return wrong_usage("check: superfluous argument ", arguments[i]);
		} else {
			what = arguments[i];
		}
	}
	if (!what)
		return wrong_usage("check: no process given", "");
	if (!parse_pid("check", what, &pid))
		return 2;
	return check(reader_open_process(pid, &why), readings, &why);
}
