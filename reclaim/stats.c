/* The statistics of include/qslab/stats.h: one table says what each field is called, and means, in either text. */
#define _GNU_SOURCE
#include "cache.h"

#include <qslab/rcu.h>
#include <qslab/stats.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_OF(number) #number
#define RELEASE(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

enum kind { GAUGE, COUNTER };

static const struct field {
	const char *name;
	enum kind kind;
	size_t offset;
	const char *help;
} fields[] = {
#define FIELD(name, kind, help) {#name, kind, offsetof(struct qslab_stats, name), help}
	FIELD(live_bytes, GAUGE, "Bytes in objects that the program holds"),
	FIELD(live_large_bytes, GAUGE, "The part of live bytes in objects with a span of their own"),
	FIELD(slab_free_bytes, GAUGE, "Bytes of free objects in slabs"),
	FIELD(magazine_bytes, GAUGE, "Bytes of free objects in threads' magazines"),
	FIELD(span_cache_bytes, GAUGE, "Bytes of resident spans kept for reuse"),
	FIELD(source_free_bytes, GAUGE, "Dirty bytes in the span source, at most"),
	FIELD(metadata_bytes, GAUGE, "Bytes of descriptors, page map and thread state"),
	FIELD(mapped_bytes, GAUGE, "Address space taken from the system for spans"),
	FIELD(purged_bytes, COUNTER, "Bytes given back to the system"),
	FIELD(slabs, GAUGE, "Slabs in use"),
	FIELD(heaps, GAUGE, "Heaps ever made: the most threads at once"),
	FIELD(caches, GAUGE, "Caches"),
	FIELD(retired, COUNTER, "Objects retired"),
	FIELD(reclaimed, COUNTER, "Retired objects whose grace period is over"),
	FIELD(waiting, GAUGE, "Objects that wait for a grace period"),
	FIELD(waiting_bytes, GAUGE, "Bytes that wait for a grace period"),
	FIELD(peak_waiting_bytes, GAUGE, "Most bytes that waited at once"),
	FIELD(grace_periods_started, COUNTER, "Grace periods started"),
	FIELD(grace_periods_completed, COUNTER, "Grace periods completed"),
	FIELD(exchanged, COUNTER, "Arrays of retired objects that became magazines whole"),
	FIELD(flushed, COUNTER, "Retired objects that went back to slabs"),
	FIELD(chained, COUNTER, "Retired objects that went by their link"),
	FIELD(over_hard, COUNTER, "Crossings of the hard limit of waiting bytes"),
	FIELD(stalls, COUNTER, "Reports of a grace period that does not end"),
#undef FIELD
};

_Static_assert(sizeof(struct qslab_stats) == 8 + sizeof fields / sizeof *fields * 8, "every field is in the table");

static uint64_t value_of(const struct qslab_stats *stats, const struct field *field)
{
	return *(const uint64_t *)((const char *)stats + field->offset);
}

static void count_cache(struct qslab_cache *cache, void *count)
{
	(void)cache;
	++*(uint64_t *)count;
}

void qslab_stats(struct qslab_stats *stats, size_t size)
{
	struct qslab_memory memory;
	struct qslab_rcu_stats rcu;
	uint64_t caches = 0;

	qslab_memory(&memory);
	qslab_rcu_stats(&rcu);
	cache_each(count_cache, &caches);
	struct qslab_stats all = {
		.version = QSLAB_STATS_VERSION,
		.size = (uint32_t)(size < sizeof all ? size : sizeof all),
		.live_bytes = memory.live,
		.live_large_bytes = memory.live_large,
		.slab_free_bytes = memory.slab_free,
		.magazine_bytes = memory.magazines,
		.span_cache_bytes = memory.span_cache,
		.source_free_bytes = memory.source_free,
		.metadata_bytes = memory.metadata,
		.mapped_bytes = memory.mapped,
		.purged_bytes = memory.purged,
		.slabs = memory.slabs,
		.heaps = memory.heaps,
		.caches = caches,
		.retired = rcu.retired,
		.reclaimed = rcu.reclaimed,
		.waiting = rcu.waiting,
		.waiting_bytes = rcu.waiting_bytes,
		.peak_waiting_bytes = rcu.peak_bytes,
		.grace_periods_started = rcu.started,
		.grace_periods_completed = rcu.completed,
		.exchanged = rcu.exchanged,
		.flushed = rcu.flushed,
		.chained = rcu.chained,
		.over_hard = rcu.over_hard,
		.stalls = rcu.stalls,
	};
	memset(stats, 0, size);
	memcpy(stats, &all, all.size);
}

/* ---- text --------------------------------------------------------------------------------------------------------- */

struct text {
	char *start;
	size_t size, length; /* length: of the whole, cut or not */
	unsigned caches;     /* seen so far */
};

static void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *text, const char *format, ...)
{
	size_t used = text->length < text->size ? text->length : text->size;
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(text->start + used, text->size - used, format, arguments);
	va_end(arguments);
	text->length += length > 0 ? (size_t)length : 0;
}

/* Bytes of the UTF-8 character at `text`; 0 if there is none. After Unicode's table 3-7. */
static unsigned character(const unsigned char *text)
{
	unsigned char lead = *text, low = 0x80, high = 0xbf;
	unsigned size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;

	if (lead == 0xe0)
		low = 0xa0; /* else too long a form */
	else if (lead == 0xed)
		high = 0x9f; /* a surrogate */
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	for (unsigned i = 1; i < size; i++, low = 0x80, high = 0xbf)
		if (text[i] < low || text[i] > high)
			return 0;
	return size;
}

/* Both are UTF-8. JSON takes no control character as it is; a Prometheus label has an escape for a line's end only. */
static void put_name(struct text *text, const char *name, bool json)
{
	while (*name) {
		unsigned char c = (unsigned char)*name;
		unsigned size = character((const unsigned char *)name);
		if (!size)
			put(text, "\xef\xbf\xbd"); /* U+FFFD for each byte that belongs to none */
		else if (c == '"' || c == '\\')
			put(text, "\\%c", c);
		else if (c == '\n')
			put(text, "\\n");
		else if (json && (c < ' ' || c == 127))
			put(text, "\\u%04x", c);
		else
			put(text, "%.*s", (int)size, name);
		name += size ? size : 1;
	}
}

static const struct {
	const char *name;
	size_t offset;
} cache_fields[] = {
#define FIELD(name) {#name, offsetof(struct qslab_cache_stats, name)}
	FIELD(slab_free), FIELD(magazines), FIELD(ready), FIELD(deferred), FIELD(live), /* states of objects */
	FIELD(total), FIELD(slabs), FIELD(bytes), FIELD(object_size), FIELD(stride), FIELD(align),
#undef FIELD
};
enum { CACHE_STATES = 5, CACHE_FIELDS = sizeof cache_fields / sizeof *cache_fields };

static size_t cache_value(const struct qslab_cache_stats *stats, unsigned field)
{
	return *(const size_t *)((const char *)stats + cache_fields[field].offset);
}

static void cache_json(struct qslab_cache *cache, void *argument)
{
	struct text *text = argument;
	struct qslab_cache_stats stats;

	cache_stats(cache, &stats);
	put(text, "%s{\"name\": \"", text->caches++ ? ", " : "");
	put_name(text, stats.name, true);
	put(text, "\", \"merged\": %s, \"flags\": %u", stats.merged ? "true" : "false", stats.flags);
	for (unsigned i = 0; i < CACHE_FIELDS; i++)
		put(text, ", \"%s\": %zu", cache_fields[i].name, cache_value(&stats, i));
	put(text, "}");
}

size_t qslab_stats_json(char *start, size_t size)
{
	struct text text = {start, size, 0, 0};
	struct qslab_stats stats;

	qslab_stats(&stats, sizeof stats);
	put(&text, "{\"version\": %u, \"release\": \"%s\", \"pid\": %d", stats.version,
	    RELEASE(QSLAB_VERSION_MAJOR, QSLAB_VERSION_MINOR, QSLAB_VERSION_PATCH), (int)getpid());
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		put(&text, ", \"%s\": %llu", fields[i].name, (unsigned long long)value_of(&stats, &fields[i]));
	put(&text, ", \"cache_list\": [");
	cache_each(cache_json, &text);
	put(&text, "]}\n");
	return text.length;
}

/* Caches of one name are told apart by their class's number. A merged one has no counts. */
static void cache_objects(struct qslab_cache *cache, void *argument)
{
	struct text *text = argument;
	struct qslab_cache_stats stats;

	cache_stats(cache, &stats);
	for (unsigned i = 0; i < CACHE_STATES && !stats.merged; i++) {
		put(text, "qslab_cache_objects{cache=\"");
		put_name(text, stats.name, false);
		put(text, "\",number=\"%u\",state=\"%s\"} %zu\n", cache->class, cache_fields[i].name, cache_value(&stats, i));
	}
}

static void cache_bytes(struct qslab_cache *cache, void *argument)
{
	struct text *text = argument;
	struct qslab_cache_stats stats;

	cache_stats(cache, &stats);
	if (stats.merged)
		return;
	put(text, "qslab_cache_bytes{cache=\"");
	put_name(text, stats.name, false);
	put(text, "\",number=\"%u\"} %zu\n", cache->class, stats.bytes);
}

size_t qslab_stats_prometheus(char *start, size_t size)
{
	struct text text = {start, size, 0, 0};
	struct qslab_stats stats;

	qslab_stats(&stats, sizeof stats);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		const struct field *field = &fields[i];
		const char *end = field->kind == COUNTER ? "_total" : "";
		put(&text, "# HELP qslab_%s%s %s.\n# TYPE qslab_%s%s %s\nqslab_%s%s %llu\n", field->name, end, field->help,
		    field->name, end, field->kind == COUNTER ? "counter" : "gauge", field->name, end,
		    (unsigned long long)value_of(&stats, field));
	}
	put(&text, "# HELP qslab_cache_objects Objects in a cache's slabs, by where they are.\n"
	           "# TYPE qslab_cache_objects gauge\n");
	cache_each(cache_objects, &text);
	put(&text, "# HELP qslab_cache_bytes Bytes of a cache's slabs.\n# TYPE qslab_cache_bytes gauge\n");
	cache_each(cache_bytes, &text);
	return text.length;
}
