#define _GNU_SOURCE
#include "diagnosis.h"

#include <stdlib.h>
#include <string.h>

bool is_nearly_empty(const struct slab_view *slab)
{
	return slab->count[LIVE] && slab->count[LIVE] * NEARLY_EMPTY <= slab->objects;
}

double slab_age(const struct snapshot *snapshot, const struct slab_view *slab)
{
	double age = (double)snapshot->now / 1e9 - slab->born;
	return !snapshot->now ? -1 : age > 0 ? age : 0;
}

static struct pin *pin_for(struct diagnosis *diagnosis, const struct key *key)
{
	for (size_t i = 0; i < diagnosis->pin_count; i++)
		if (!key_compare(&diagnosis->pins[i].key, key))
			return &diagnosis->pins[i];
	diagnosis->pins = need(realloc(diagnosis->pins, (diagnosis->pin_count + 1) * sizeof *diagnosis->pins));
	diagnosis->pins[diagnosis->pin_count] = (struct pin){.key = *key, .oldest = -1};
	return &diagnosis->pins[diagnosis->pin_count++];
}

uint64_t slab_idle(const struct slab_view *slab)
{
	return slab->resident * SOURCE_PAGE - slab->resident_bytes[LIVE] - slab->resident_bytes[WAITING];
}

static void add_slab(struct diagnosis *diagnosis, const struct snapshot *snapshot, const struct allocator *allocator,
                     const struct slab_view *slab)
{
	struct key key = class_key(&allocator->classes[slab->class]);
	double age = slab_age(snapshot, slab);

	if (is_nearly_empty(slab)) {
		struct pin *pin = pin_for(diagnosis, &key);
		pin->slabs++;
		pin->objects += slab->count[LIVE];
		pin->bytes += (uint64_t)slab->count[LIVE] * slab->size;
		pin->resident += slab->resident * SOURCE_PAGE;
		pin->pinned += slab_idle(slab);
		if (age > pin->oldest)
			pin->oldest = age;
	} else if (slab->count[LIVE] || slab->count[WAITING]) {
		diagnosis->scattered += slab->resident_bytes[FREE] + slab->resident_bytes[REMOTE];
	} else if (slab->count[MAGAZINE] || slab->count[READY]) {
		diagnosis->cached += slab_idle(slab) - slab->resident_bytes[MAGAZINE] - slab->resident_bytes[READY];
	} else {
		diagnosis->empty += slab->resident * SOURCE_PAGE;
	}
}

static void add_readers(struct diagnosis *diagnosis, const struct rcu_view *rcu)
{
	double age = (double)rcu->age / 1e9;

	if (age > diagnosis->age)
		diagnosis->age = age;
	for (size_t i = 0; rcu->age >= 0 && i < rcu->reader_count; i++) {
		if (!rcu->readers[i].holds_up)
			continue;
		size_t count = diagnosis->culprit_count++;
		diagnosis->culprits = need(realloc(diagnosis->culprits, (count + 1) * sizeof *diagnosis->culprits));
		diagnosis->culprits[count] = (struct culprit){rcu->readers[i].tid, age};
	}
}

static int by_age(const void *a, const void *b)
{
	const struct pin *x = a, *y = b;
	if (x->oldest != y->oldest)
		return x->oldest > y->oldest ? -1 : 1;
	return x->pinned > y->pinned ? -1 : x->pinned < y->pinned;
}

static int by_bytes(const void *a, const void *b)
{
	const struct heap_view *x = a, *y = b;
	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

void diagnose(struct diagnosis *diagnosis, const struct snapshot *snapshot)
{
	*diagnosis = (struct diagnosis){.age = 0};
	for (unsigned kind = 0; kind <= KIND_SEGMENT; kind++)
		diagnosis->own += snapshot->memory.resident[kind];
	diagnosis->live = snapshot->memory.resident[KIND_LIVE] + snapshot->memory.resident[KIND_LIVE_LARGE];
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		for (size_t i = 0; i < allocator->slab_count; i++)
			add_slab(diagnosis, snapshot, allocator, &allocator->slabs[i]);
		add_readers(diagnosis, &allocator->rcu);
		size_t count = diagnosis->hoarder_count, more = allocator->heap_count;
		diagnosis->hoarders = need(realloc(diagnosis->hoarders, (count + more + 1) * sizeof *diagnosis->hoarders));
		if (more)
			memcpy(diagnosis->hoarders + count, allocator->heaps, more * sizeof *diagnosis->hoarders);
		diagnosis->hoarder_count += more;
	}
	qsort(diagnosis->hoarders, diagnosis->hoarder_count, sizeof *diagnosis->hoarders, by_bytes);
	if (diagnosis->pin_count)
		qsort(diagnosis->pins, diagnosis->pin_count, sizeof *diagnosis->pins, by_age);
	for (size_t i = 0; i < diagnosis->pin_count; i++) {
		const struct pin *pin = &diagnosis->pins[i];
		if (pin->slabs < PIN_ENOUGH)
			continue;
		diagnosis->all.slabs += pin->slabs;
		diagnosis->all.objects += pin->objects;
		diagnosis->all.bytes += pin->bytes;
		diagnosis->all.resident += pin->resident;
		diagnosis->all.pinned += pin->pinned;
	}
}

void diagnosis_free(struct diagnosis *diagnosis)
{
	free(diagnosis->pins);
	free(diagnosis->culprits);
	free(diagnosis->hoarders);
}

/* ---- growth ----------------------------------------------------------------------------------------------------- */

static int by_growth(const void *a, const void *b)
{
	const struct growth_row *x = a, *y = b;
	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

void growth_of(struct growth *growth, const struct totals *looks, size_t count)
{
	const struct totals *first = &looks[0], *last = &looks[count - 1];

	*growth = (struct growth){
		.seconds = (double)(last->now - first->now) / 1e9,
		.before = first->all.bytes[LIVE],
		.after = last->all.bytes[LIVE],
		.steady = true,
		.rows = need(calloc(last->row_count + 1, sizeof(struct growth_row))),
	};
	for (size_t i = 1; i < count; i++)
		growth->steady &= looks[i].all.bytes[LIVE] > looks[i - 1].all.bytes[LIVE];
	for (size_t i = 0; i < last->row_count; i++) {
		const struct size_row *now = &last->rows[i], *before = totals_row(first, &now->key);
		struct growth_row row = {now->key, (int64_t)now->count[LIVE], (int64_t)now->bytes[LIVE]};
		if (before) {
			row.objects -= (int64_t)before->count[LIVE];
			row.bytes -= (int64_t)before->bytes[LIVE];
		}
		if (row.bytes > 0)
			growth->rows[growth->row_count++] = row;
	}
	qsort(growth->rows, growth->row_count, sizeof *growth->rows, by_growth);
}

void growth_free(struct growth *growth)
{
	free(growth->rows);
}
