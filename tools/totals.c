#define _GNU_SOURCE
#include "totals.h"

#include "command.h"
#include "text.h"
#include "stat.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct key class_key(const struct class_view *class)
{
	struct key key = {.size = class->size, .own = class->own};

	_Static_assert(sizeof key.cache == sizeof class->name, "a name fits");

	memcpy(key.cache, class->name, sizeof key.cache);
	key.cache[sizeof key.cache - 1] = '\0';
	text_printable(key.cache);
	return key;
}

static struct size_row *row_for(struct totals *totals, const struct key *key)
{
	size_t at;

	totals->rows = key_add(totals->rows, &totals->row_count, sizeof *totals->rows, key, &at);
	return &totals->rows[at];
}

static void add_class(struct totals *totals, const struct class_view *class)
{
	struct key key = class_key(class);
	struct size_row *row = row_for(totals, &key);

	row->slabs += class->slabs;
	row->objects += class->total;
	row->resident += class->resident;
	for (unsigned p = 0; p < PLACES; p++) {
		row->count[p] += class->count[p];
		row->bytes[p] += class->count[p] * class->size;
		row->resident_bytes[p] += class->resident_bytes[p];
	}
}

static void add_large(struct size_row *row, const struct large_view *large)
{
	row->objects++;
	row->count[large->place]++;
	row->bytes[large->place] += large->size;
	row->resident += large->resident + large->slack;
	row->resident_bytes[large->place] += large->resident;
}

static void add_row(struct size_row *all, const struct size_row *row)
{
	all->slabs += row->slabs;
	all->objects += row->objects;
	all->resident += row->resident;
	for (unsigned p = 0; p < PLACES; p++) {
		all->count[p] += row->count[p];
		all->bytes[p] += row->bytes[p];
		all->resident_bytes[p] += row->resident_bytes[p];
	}
}

void totals_take(struct totals *totals, const struct snapshot *snapshot)
{
	struct size_row large = {.slabs = 0};

	*totals = (struct totals){.age = -1, .now = snapshot->now};
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		for (size_t c = 0; c < allocator->class_count; c++)
			if (allocator->classes[c].slabs)
				add_class(totals, &allocator->classes[c]);
		for (size_t i = 0; i < allocator->large_count; i++)
			add_large(&large, &allocator->larges[i]);
		totals->waiting += allocator->rcu.waiting;
		totals->waiting_bytes += allocator->rcu.waiting_bytes;
		totals->completed += allocator->rcu.completed;
		totals->retired += allocator->rcu.retired;
		totals->reclaimed += allocator->rcu.reclaimed;
		totals->span_cache += allocator->span_counters.seen;
		if (allocator->rcu.age > totals->age)
			totals->age = allocator->rcu.age;
	}
	totals->rows = need(realloc(totals->rows, (totals->row_count + 1) * sizeof *totals->rows));
	totals->rows[totals->row_count++] = large;
	for (size_t i = 0; i < totals->row_count; i++)
		add_row(&totals->all, &totals->rows[i]);
}

void totals_free(struct totals *totals)
{
	free(totals->rows);
	*totals = (struct totals){.rows = NULL};
}

const struct size_row *totals_row(const struct totals *totals, const struct key *key)
{
	return key_find(totals->rows, totals->row_count, sizeof *totals->rows, key);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

struct target_name target_name(const struct reader *reader, const struct snapshot *snapshot)
{
	struct target_name name;
	char command[64];

	snprintf(command, sizeof command, "%s", snapshot->command);
	text_printable(command);
	snprintf(name.text, sizeof name.text, "%s%s%s%s", reader_name(reader), *command ? " (" : "", command,
	         *command ? ")" : "");
	return name;
}

static const char *state_text(char letter)
{
	switch (letter) {
	case 'R': return "running";
	case 'S': return "sleeping";
	case 'D': return "waiting for a device";
	case 'T': return "stopped";
	case 't': return "stopped by a debugger";
	default: return "";
	}
}

struct thread_name thread_name(const struct snapshot *snapshot, int tid)
{
	struct thread_name thread = {"?", ""};
	char path[64], line[256] = "";

	if (!snapshot->live)
		return thread; /* its numbers may be another process's by now */
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", snapshot->pid, tid);
	FILE *file = fopen(path, "re");
	if (!file)
		return thread;
	size_t got = fread(line, 1, sizeof line - 1, file);
	fclose(file);
	line[got] = '\0';
	char *open = strchr(line, '('), *close = strrchr(line, ')');
	if (!open || !close || close < open || !close[1])
		return thread;
	*close = '\0';
	snprintf(thread.name, sizeof thread.name, "%.31s", open + 1);
	text_printable(thread.name);
	snprintf(thread.state, sizeof thread.state, "%s", state_text(close[2]));
	return thread;
}

struct reader *open_core(const char *path, struct failure *why)
{
	struct reader *reader = reader_open_core(path, why);

	if (reader && reader_is_cut(reader))
		fprintf(stderr, "qslab: %s: was cut short (ulimit -c, or the disk was full): what is not in it counts as absent\n",
		        path);
	return reader;
}

struct reader *open_target(const char *text, int *status)
{
	struct failure why;
	long pid;
	struct reader *reader = parse_number(text, 1, INT_MAX, &pid) ? reader_open_process((int)pid, &why)
	                                                             : open_core(text, &why);

	if (!reader)
		*status = failed(why.text);
	return reader;
}
