/* For programs. */
#define _GNU_SOURCE
#include "stat.h"
#include "stat_json.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>

static void number(json_t *object, const char *key, uint64_t value)
{
	if (json_object_set_new(object, key, need(json_integer((json_int_t)value))))
		need(NULL);
}

static void put(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, need(value)))
		need(NULL);
}

/* Names may be any bytes; JSON is UTF-8. */
static void text(json_t *object, const char *key, const char *value)
{
	size_t size = 3 * strlen(value) + 1;
	char *valid = need(malloc(size));

	text_valid(valid, size, value);
	put(object, key, json_string(valid));
	free(valid);
}

static void append(json_t *array, json_t *value)
{
	if (json_array_append_new(array, need(value)))
		need(NULL);
}

static json_t *classes_json(const struct allocator *allocator)
{
	json_t *list = need(json_array());

	for (size_t c = 0; c < allocator->class_count; c++) {
		const struct class_view *class = &allocator->classes[c];
		if (!class->slabs)
			continue;
		json_t *row = need(json_object());
		number(row, "class", c);
		number(row, "size", class->size);
		if (*class->name)
			text(row, class->own ? "cache" : "shared_by", class->name);
		number(row, "slab_pages", class->pages);
		number(row, "slabs", class->slabs);
		number(row, "objects", class->total);
		for (unsigned p = 0; p < PLACES; p++)
			number(row, place_key(p), class->count[p]);
		number(row, "resident", class->resident);
		number(row, "resident_live", class->resident_bytes[LIVE]);
		append(list, row);
	}
	return list;
}

static json_t *large_json(const struct allocator *allocator)
{
	json_t *large = need(json_object());
	uint64_t bytes = 0, resident = 0, count[PLACES] = {0};

	for (size_t i = 0; i < allocator->large_count; i++) {
		bytes += allocator->larges[i].size;
		resident += allocator->larges[i].resident + allocator->larges[i].slack;
		count[allocator->larges[i].place]++;
	}
	number(large, "objects", allocator->large_count);
	number(large, "live", count[LIVE]);
	number(large, "magazines", count[MAGAZINE]);
	number(large, "waiting", count[WAITING]);
	number(large, "ready", count[READY]);
	number(large, "bytes", bytes);
	number(large, "resident", resident);
	return large;
}

static json_t *rcu_json(const struct rcu_view *rcu)
{
	json_t *grace = need(json_object()), *readers = need(json_array());

	number(grace, "started", rcu->started);
	number(grace, "completed", rcu->completed);
	put(grace, "age_seconds", rcu->age < 0 ? json_null() : json_real((double)rcu->age / 1e9));
	number(grace, "waiting", rcu->waiting);
	number(grace, "waiting_bytes", rcu->waiting_bytes);
	number(grace, "waiting_over", rcu->over);
	number(grace, "waiting_chained", rcu->chained);
	number(grace, "oldest_cookie", rcu->oldest);
	number(grace, "ready", rcu->ready);
	number(grace, "ready_bytes", rcu->ready_bytes);
	number(grace, "retired", rcu->retired);
	number(grace, "reclaimed", rcu->reclaimed);
	number(grace, "exchanged_arrays", rcu->exchanged);
	number(grace, "flushed", rcu->flushed);
	number(grace, "peak_bytes", rcu->peak_bytes);
	number(grace, "over_hard", rcu->over_hard);
	number(grace, "stalls", rcu->stalls);
	for (size_t i = 0; i < rcu->reader_count; i++) {
		json_t *reader = need(json_object());
		number(reader, "tid", (uint64_t)rcu->readers[i].tid);
		put(reader, "online", json_boolean(rcu->readers[i].online));
		put(reader, "holds_up", json_boolean(rcu->readers[i].holds_up));
		append(readers, reader);
	}
	put(grace, "readers", readers);
	return grace;
}

static json_t *heaps_json(const struct allocator *allocator)
{
	json_t *list = need(json_array());

	for (size_t i = 0; i < allocator->heap_count; i++) {
		const struct heap_view *heap = &allocator->heaps[i];
		json_t *row = need(json_object());
		number(row, "address", heap->address);
		put(row, "owned", json_boolean(heap->owned));
		number(row, "tid", (uint64_t)heap->tid);
		number(row, "slabs", heap->slabs);
		number(row, "live", heap->live);
		number(row, "magazine_objects", heap->objects);
		number(row, "magazine_bytes", heap->bytes);
		append(list, row);
	}
	return list;
}

static json_t *allocator_json(const struct allocator *allocator)
{
	const struct span_counters *counters = &allocator->span_counters;
	json_t *object = need(json_object()), *spans = need(json_object());

	put(object, "release", json_stringn(allocator->segment.release,
	                                    strnlen(allocator->segment.release, sizeof allocator->segment.release)));
	number(object, "segment_version", allocator->segment.version);
	number(object, "own_pid", allocator->segment.pid);
	number(object, "region", allocator->region_base);
	number(object, "region_bytes", allocator->region_size);
	put(object, "classes", classes_json(allocator));
	put(object, "large", large_json(allocator));
	number(spans, "spans", allocator->span_count);
	number(spans, "bytes", counters->seen);
	number(spans, "source_dirty", counters->dirty);
	number(spans, "credit", counters->credit);
	number(spans, "purged", counters->purged);
	put(object, "span_cache", spans);
	put(object, "heaps", heaps_json(allocator));
	put(object, "grace", rcu_json(&allocator->rcu));
	number(object, "slabs", allocator->slab_count);
	number(object, "torn", allocator->torn);
	number(object, "doubts", allocator->doubt_count);
	return object;
}

json_t *snapshot_json(const struct snapshot *snapshot)
{
	json_t *object = need(json_object()), *allocators = need(json_array());

	number(object, "pid", (uint64_t)snapshot->pid);
	put(object, "live", json_boolean(snapshot->live));
	text(object, "command", snapshot->command);
	if (snapshot->memory_known) {
		const struct memory_view *memory = &snapshot->memory;
		json_t *kinds = need(json_object());
		number(object, "rss", memory->rss);
		number(object, "rss_moved", memory->moved);
		number(object, "explained", memory->explained);
		put(object, "changing", json_boolean(memory->changing));
		number(object, "lazy_free", memory->lazy_free);
		number(object, "huge", memory->huge);
		number(object, "swap", memory->swap);
		for (unsigned kind = 0; kind < KINDS; kind++)
			number(kinds, kind_key(kind), memory->resident[kind]);
		put(object, "resident", kinds);
	}
	for (size_t i = 0; i < snapshot->allocator_count; i++)
		append(allocators, allocator_json(&snapshot->allocators[i]));
	put(object, "allocators", allocators);
	return object;
}

void stat_json(const struct snapshot *snapshot, const char *name)
{
	json_t *object = snapshot_json(snapshot);

	text(object, "name", name);
	json_dumpf(object, stdout, JSON_COMPACT); /* finish_output reports what could not be written */
	putchar('\n');
	json_decref(object);
}
