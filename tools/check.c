/*
 * qslab check: does a process's own account of its memory agree with itself?
 *
 * What one reading doubts may be torn: an object on its way. So it is read again, and a violation is what STREAK
 * readings in a row have doubted, for LASTING_NS at least: longer than a thread that was put to sleep in the middle of
 * a change. What counts for the whole process is compared only when two readings in a row are the same: then it was at
 * rest.
 */
#define _GNU_SOURCE
#include "command.h"
#include "format.h"
#include "reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STREAK 12
#define LASTING_NS 1000000000
#define PAUSE_NS 1000000
#define LONGEST_PAUSE_NS 100000000
#define COUNT_MOST 1000000000

/* A doubt, in how many readings in a row it stood, and since when. */
struct standing {
	struct doubt doubt;
	unsigned streak;
	int64_t since;
};

struct doubts {
	struct standing *list;
	size_t count, room;
};

struct totals {
	uint64_t slabs, objects, torn;
};

static void add(struct doubts *doubts, const struct doubt *doubt)
{
	if (doubts->count == doubts->room) {
		doubts->room = 2 * doubts->room + 64;
		doubts->list = need(realloc(doubts->list, doubts->room * sizeof *doubts->list));
	}
	doubts->list[doubts->count++] = (struct standing){*doubt, 1, 0};
}

static void __attribute__((format(printf, 4, 5))) complain(struct doubts *doubts, int kind, uint64_t address,
                                                          const char *format, ...)
{
	struct doubt doubt = {.kind = kind, .address = address};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(doubt.text, sizeof doubt.text, format, arguments);
	va_end(arguments);
	add(doubts, &doubt);
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

static void check_whole(const struct allocator *allocator, struct doubts *doubts)
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
			complain(doubts, DOUBT_COUNT, slab->address,
			         "slab 0x%lx: %u objects are freed by others, it counts %u", slab->address,
			         slab->count[REMOTE], slab->announced);
	}
	for (size_t c = 0; c < allocator->class_count; c++)
		ready += allocator->classes[c].count[READY] * allocator->classes[c].size;
	if (large != allocator->large_bytes_counted)
		complain(doubts, DOUBT_COUNT, 1, "large objects: %lu bytes, %lu are counted", large,
		         allocator->large_bytes_counted);
	if (spans > allocator->span_counters.live)
		complain(doubts, DOUBT_COUNT, 2, "spans in use: %lu bytes, %lu are counted", spans,
		         allocator->span_counters.live);
	if (ready != allocator->stock)
		complain(doubts, DOUBT_COUNT, 3, "ready arrays: %lu bytes, %lu are counted", ready, allocator->stock);
	if (waiting != allocator->rcu.waiting)
		complain(doubts, DOUBT_COUNT, 4, "waiting for grace periods: %lu objects, %lu are counted",
		         allocator->rcu.waiting, waiting);
}

/* ---- reading until it is sure ------------------------------------------------------------------------------------- */

static void judge(const struct snapshot *snapshot, uint64_t *digest, struct doubts *doubts, struct totals *totals)
{
	uint64_t before = *digest;

	*digest = 0;
	totals->slabs = totals->objects = totals->torn = 0;
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		for (size_t i = 0; i < allocator->doubt_count; i++)
			add(doubts, &allocator->doubts[i]);
		mix(digest, digest_of(allocator));
		totals->slabs += allocator->slab_count;
		totals->torn += allocator->torn;
		totals->objects += allocator->large_count;
		for (size_t c = 0; c < allocator->class_count; c++)
			totals->objects += allocator->classes[c].total;
	}
	for (size_t a = 0; a < snapshot->allocator_count && *digest == before; a++)
		if (!snapshot->allocators[a].torn)
			check_whole(&snapshot->allocators[a], doubts);
}

static int by_what(const void *a, const void *b)
{
	const struct doubt *x = &((const struct standing *)a)->doubt, *y = &((const struct standing *)b)->doubt;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->address < y->address ? -1 : x->address > y->address;
}

static int64_t clock_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What stood before and stands still goes on standing. */
static void follow(struct doubts *seen, const struct doubts *before)
{
	int64_t now = clock_now();

	if (seen->count)
		qsort(seen->list, seen->count, sizeof *seen->list, by_what);
	for (size_t i = 0; i < seen->count; i++) {
		struct standing *standing = &seen->list[i];
		const struct standing *old = before->count ? bsearch(standing, before->list, before->count, sizeof *standing,
		                                                     by_what) : NULL;
		standing->streak = old ? old->streak + 1 : 1;
		standing->since = old ? old->since : now;
	}
}

/* One reading; false if there is none to be had. */
static bool read_once(struct reader *reader, struct doubts *standing, uint64_t *digest, struct totals *totals,
                      struct failure *why)
{
	struct doubts seen = {NULL, 0, 0};
	struct snapshot *snapshot = reader_snapshot(reader, SNAPSHOT_LISTS, why);

	if (!snapshot)
		return false;
	judge(snapshot, digest, &seen, totals);
	snapshot_free(snapshot);
	follow(&seen, standing);
	free(standing->list);
	*standing = seen;
	return true;
}

static bool is_violation(const struct standing *standing)
{
	return standing->streak >= STREAK && clock_now() - standing->since >= LASTING_NS;
}

/* Is any doubt of the first `count` readings open, after `extra` more? */
static bool is_open(const struct doubts *standing, unsigned extra)
{
	for (size_t i = 0; i < standing->count; i++)
		if (standing->list[i].streak > extra && !is_violation(&standing->list[i]))
			return true;
	return false;
}

static void pause_after(unsigned extra)
{
	long pause = (long)PAUSE_NS << (extra < 7 ? extra : 7);
	nanosleep(&(struct timespec){0, pause < LONGEST_PAUSE_NS ? pause : LONGEST_PAUSE_NS}, NULL);
}

/* All readings, and as many more as it takes to be sure. False: it cannot be read. */
static bool read_all(struct reader *reader, long count, struct doubts *standing, struct totals *totals, unsigned *extra,
                     struct failure *why)
{
	uint64_t digest = 0;

	if (!read_once(reader, standing, &digest, totals, why)) /* so that the first has one to be the same as */
		return false;
	for (long i = 0; i < count; i++) {
		if (!read_once(reader, standing, &digest, totals, why))
			return false;
		for (size_t v = 0; v < standing->count; v++)
			if (is_violation(&standing->list[v]))
				return true;
		pause_after(0);
	}
	for (*extra = 0; is_open(standing, *extra); ++*extra) {
		pause_after(*extra);
		if (!read_once(reader, standing, &digest, totals, why))
			return false;
	}
	return true;
}

static int check(struct reader *reader, long count, struct failure *why)
{
	struct doubts standing = {NULL, 0, 0};
	struct totals totals = {0, 0, 0};
	size_t violations = 0;
	unsigned extra = 0;

	if (!reader || !read_all(reader, count, &standing, &totals, &extra, why)) {
		free(standing.list);
		reader_close(reader);
		return failed(why->text);
	}
	for (size_t i = 0; i < standing.count; i++)
		if (is_violation(&standing.list[i])) {
			printf("%s: %s\n", reader_name(reader), standing.list[i].doubt.text);
			violations++;
		}
	if (!violations)
		printf("%s: %ld readings, %u more; %lu slabs, %lu objects: no violation%s\n", reader_name(reader), count,
		       extra, totals.slabs, totals.objects, totals.torn ? " in what stood still" : "");
	free(standing.list);
	reader_close(reader);
	int status = finish_output();
	return violations ? 1 : status;
}

int command_check(int count, char **arguments)
{
	long readings = 1;
	const struct option options[] = {{"--count", OPTION_NUMBER, &readings, 1, COUNT_MOST}};
	struct words words;
	struct failure why;
	int pid;

	if (!parse_arguments("check", count, arguments, options, 1, &words, 1, 1, "no process given") ||
	    !parse_pid("check", words.list[0], &pid))
		return 2;
	return check(reader_open_process(pid, &why), readings, &why);
}
