#define _GNU_SOURCE
#include "top_view.h"

#include "format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct top_sort_name top_sorts[TOP_SORTS] = {
	[BY_SIZE] = {'s', "size"},         [BY_SLABS] = {'n', "slabs"},         [BY_OBJECTS] = {'o', "objects"},
	[BY_LIVE] = {'l', "live"},         [BY_USE] = {'u', "use"},             [BY_FREE] = {'f', "free"},
	[BY_MAGAZINES] = {'m', "magazines"}, [BY_WAITING] = {'w', "waiting"},   [BY_READY] = {'y', "ready"},
	[BY_RESIDENT] = {'r', "resident"}, [BY_GROWTH] = {'g', "growth"},
};

/* ---- filter ----------------------------------------------------------------------------------------------------- */

static bool parse_size(const char **text, uint32_t *size)
{
	char *end;
	unsigned long value = strtoul(*text, &end, 10);

	if (**text < '0' || **text > '9' || value > UINT32_MAX - 1)
		return false;
	*size = (uint32_t)value;
	*text = end;
	return true;
}

bool top_filter_parse(struct top_filter *filter, const char *text)
{
	struct top_filter new = {0, UINT32_MAX};
	bool above = *text == '>', below = *text == '<';
	uint32_t size;

	if (!strcmp(text, "large")) {
		new.least = UINT32_MAX;
	} else if (*text) {
		text += above || below;
		if (!parse_size(&text, &size))
			return false;
		new.least = below ? 0 : size + above;
		new.most = above ? UINT32_MAX : below ? (size ? size - 1 : 0) : size;
		if (!above && !below && *text == '-') {
			text++;
			if (!parse_size(&text, &new.most))
				return false;
		}
		if (*text || new.least > new.most)
			return false;
	}
	*filter = new;
	return true;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static double value_of(const struct top_row *row, enum top_sort sort)
{
	const struct size_row *r = &row->row;

	switch (sort) {
	case BY_SIZE: return r->key.size ? r->key.size : 1e18;
	case BY_SLABS: return (double)r->slabs;
	case BY_OBJECTS: return (double)r->objects;
	case BY_LIVE: return (double)r->count[LIVE];
	case BY_USE: return r->objects ? (double)r->count[LIVE] / (double)r->objects : 0;
	case BY_FREE: return (double)(r->count[FREE] + r->count[REMOTE]);
	case BY_MAGAZINES: return (double)r->count[MAGAZINE];
	case BY_WAITING: return (double)r->count[WAITING];
	case BY_READY: return (double)r->count[READY];
	case BY_GROWTH: return row->growth;
	default: return (double)r->resident;
	}
}

struct order {
	enum top_sort sort;
	bool reverse;
};

/* Most first; sizes, least first. */
static int compare(const void *a, const void *b, void *how)
{
	const struct order *order = how;
	const struct top_row *x = a, *y = b;
	double p = value_of(x, order->sort), q = value_of(y, order->sort);

	if (p == q)
		return key_compare(&x->row.key, &y->row.key);
	return ((p < q) != (order->sort == BY_SIZE)) != order->reverse ? 1 : -1;
}

static double growth_of_row(const struct size_row *row, const struct totals *now, const struct totals *before)
{
	const struct size_row *old = before ? totals_row(before, &row->key) : NULL;
	double seconds = before ? (double)(now->now - before->now) / 1e9 : 0;
	uint64_t bytes = old ? old->bytes[LIVE] : 0;

	return seconds > 0 ? ((double)row->bytes[LIVE] - (double)bytes) / seconds : 0;
}

void top_row_text(const struct top_row *row, char line[TOP_WIDTH + 1])
{
	const struct size_row *r = &row->row;
	char size[12] = "large";

	if (r->key.size)
		snprintf(size, sizeof size, "%u", r->key.size);
	snprintf(line, TOP_WIDTH + 1,
	         "%7s %8" PRIu64 " %9" PRIu64 " %9" PRIu64 " %6.1f %9" PRIu64 " %9" PRIu64 " %8" PRIu64 " %8" PRIu64
	         " %10s %12s/s%s%s", size, r->slabs, r->objects, r->count[LIVE],
	         r->objects ? 100.0 * (double)r->count[LIVE] / (double)r->objects : 0.0, r->count[FREE] + r->count[REMOTE],
	         r->count[MAGAZINE], r->count[WAITING], r->count[READY], human_bytes(r->resident).text,
	         human_change((int64_t)row->growth).text, *r->key.cache ? "  " : "", r->key.cache);
}

/* ---- head ------------------------------------------------------------------------------------------------------- */

static void say_grace(char line[TOP_WIDTH + 1], const struct snapshot *snapshot, const struct totals *now)
{
	int used = snprintf(line, TOP_WIDTH + 1, "grace periods: %" PRIu64 " over", now->completed);
	struct human age = human_seconds((double)now->age / 1e9);

	if (now->age >= 0)
		used += snprintf(line + used, (size_t)(TOP_WIDTH + 1 - used), ", one for %s", age.text);
	used += snprintf(line + used, (size_t)(TOP_WIDTH + 1 - used), "; %" PRIu64 " objects, %s, wait", now->waiting,
	                 human_bytes(now->waiting_bytes).text);
	for (size_t a = 0; a < snapshot->allocator_count && now->age > 1000000000; a++) {
		const struct rcu_view *rcu = &snapshot->allocators[a].rcu;
		for (size_t i = 0; i < rcu->reader_count && used < TOP_WIDTH; i++)
			if (rcu->readers[i].holds_up)
				used += snprintf(line + used, (size_t)(TOP_WIDTH + 1 - used), "; held up by thread %d (%s)",
				                 rcu->readers[i].tid, thread_name(snapshot, rcu->readers[i].tid).name);
	}
}

static void make_head(struct top_view *view, const char *name, const struct snapshot *snapshot, const struct totals *now,
                      enum top_sort sort)
{
	const struct memory_view *memory = &snapshot->memory;
	const uint64_t *kinds = memory->resident;

	if (memory_moved(memory))
		snprintf(view->head[0], sizeof view->head[0], "%s: %s resident, moved by %s while it was read", name,
		         human_bytes(memory->rss).text, human_bytes(memory->moved).text);
	else if (memory->changing)
		snprintf(view->head[0], sizeof view->head[0], "%s: %s resident, falling faster than it can be read", name,
		         human_bytes(memory->rss).text);
	else
		snprintf(view->head[0], sizeof view->head[0], "%s: %s resident, %s explained", name,
		         human_bytes(memory->rss).text, human_percent(memory->explained, memory->rss).text);
	snprintf(view->head[1], sizeof view->head[1], "live %s, large %s; free: slabs %s, magazines %s, spans %s",
	         human_bytes(kinds[KIND_LIVE]).text, human_bytes(kinds[KIND_LIVE_LARGE]).text,
	         human_bytes(kinds[KIND_FREE] + kinds[KIND_REMOTE]).text,
	         human_bytes(kinds[KIND_MAGAZINES] + kinds[KIND_READY]).text,
	         human_bytes(kinds[KIND_SPAN_CACHE] + kinds[KIND_SOURCE_FREE]).text);
	say_grace(view->head[2], snapshot, now);
	snprintf(view->head[3], sizeof view->head[3], "sorted by %s", top_sorts[sort].name);
	snprintf(view->columns, sizeof view->columns, "%7s %8s %9s %9s %6s %9s %9s %8s %8s %10s %14s  %s", "SIZE", "SLABS",
	         "OBJECTS", "LIVE", "USE%", "FREE", "MAGAZINES", "WAITING", "READY", "RESIDENT", "LIVE GROWTH", "CACHE");
}

void top_view_make(struct top_view *view, const char *name, const struct snapshot *snapshot, const struct totals *now,
                   const struct totals *before, enum top_sort sort, bool reverse, const struct top_filter *filter)
{
	struct order order = {sort, reverse};

	*view = (struct top_view){.rows = need(calloc(now->row_count + 1, sizeof(struct top_row)))};
	for (size_t i = 0; i < now->row_count; i++) {
		const struct size_row *row = &now->rows[i];
		uint32_t size = row->key.size ? row->key.size : UINT32_MAX;
		if (!row->objects || size < filter->least || size > filter->most)
			continue;
		view->rows[view->row_count++] = (struct top_row){*row, growth_of_row(row, now, before)};
	}
	qsort_r(view->rows, view->row_count, sizeof *view->rows, compare, &order);
	make_head(view, name, snapshot, now, sort);
}

void top_view_free(struct top_view *view)
{
	free(view->rows);
	view->rows = NULL;
}
