#define _GNU_SOURCE
#include "sites.h"
#include "diagnosis.h"
#include "symbols.h"

#include <stdlib.h>
#include <string.h>

static struct site *add(struct sites *sites, struct site site)
{
	GROW(sites->list, sites->count);
	sites->list[sites->count] = site;
	return &sites->list[sites->count++];
}

static void count(struct site *site, enum value value, double objects, double bytes)
{
	site->objects[value] += objects;
	site->bytes[value] += bytes;
}

/* ---- samples ------------------------------------------------------------------------------------------------ */

/* The slab was read before the samples: did it have the shadow by then? */
static bool has_live(const struct slab_view *slab, uint64_t shadow)
{
	uint64_t index = (shadow - slab->first) / slab->size;

	return index < slab->objects && slab->live[index / 64] >> index % 64 & 1;
}

/* Each as a site; the library's own frames, innermost, are left out. */
static void add_samples(struct sites *sites, const struct allocator *allocator, struct symbols *symbols)
{
	for (size_t i = 0; i < allocator->sample_count; i++) {
		const struct sample_view *sample = &allocator->samples[i];
		const struct slab_view *slab = sample->shadow ? allocator_slab(allocator, sample->shadow) : NULL;
		double bytes = sample->weight * (double)sample->size;
		uint64_t code = allocator->segment.profile.code;
		size_t inside = 0;

		while (inside < sample->depth && symbols_in_library(symbols, sample->stack[inside] - 1, code))
			inside++;
		struct site *site = add(sites, (struct site){.stack = sample->stack + inside, .depth = sample->depth - inside,
		                                             .samples = 1});
		if (sample->place == LIVE)
			count(site, VALUE_LIVE, sample->weight, bytes);
		else if (sample->place == WAITING)
			count(site, VALUE_WAITING, sample->weight, bytes);
		if (slab && is_nearly_empty(slab) && has_live(slab, sample->shadow))
			count(site, VALUE_PINNED, sample->weight, sample->weight * (double)slab_idle(slab) / slab->count[LIVE]);
	}
	sites->samples += allocator->sample_count;
}

static int by_stack(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	if (x->depth != y->depth)
		return x->depth < y->depth ? -1 : 1;
	return x->depth ? memcmp(x->stack, y->stack, x->depth * sizeof *x->stack) : 0;
}

/* Of one stack, one site. */
static void join(struct sites *sites)
{
	size_t kept = 0;

	qsort(sites->list, sites->count, sizeof *sites->list, by_stack);
	for (size_t i = 0; i < sites->count; i++) {
		const struct site *next = &sites->list[i];
		if (!kept || by_stack(&sites->list[kept - 1], next)) {
			sites->list[kept++] = *next;
			continue;
		}
		for (unsigned v = 0; v < VALUES; v++)
			count(&sites->list[kept - 1], v, next->objects[v], next->bytes[v]);
		sites->list[kept - 1].samples += next->samples;
	}
	sites->count = kept;
}

/* ---- caches --------------------------------------------------------------------------------------------------- */

static void add_cache(struct sites *sites, const struct allocator *allocator, size_t number)
{
	const struct class_view *class = &allocator->classes[number];
	struct site site = {.cache = class->name};

	if (!class->own || !class->slabs)
		return;
	count(&site, VALUE_LIVE, (double)class->count[LIVE], (double)class->count[LIVE] * class->size);
	count(&site, VALUE_WAITING, (double)class->count[WAITING], (double)class->count[WAITING] * class->size);
	for (size_t i = 0; i < allocator->slab_count; i++) {
		const struct slab_view *slab = &allocator->slabs[i];
		if (slab->class == number && is_nearly_empty(slab))
			count(&site, VALUE_PINNED, slab->count[LIVE], (double)slab_idle(slab));
	}
	add(sites, site);
}

/* ---- all ---------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b, void *order)
{
	const struct site *x = a, *y = b;
	double more = x->bytes[*(enum value *)order] - y->bytes[*(enum value *)order];

	return more > 0 ? -1 : more < 0;
}

void sites_take(struct sites *sites, const struct snapshot *snapshot, struct symbols *symbols, enum value order)
{
	*sites = (struct sites){.count = 0};
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		sites->ready |= allocator->segment.profile.rate != 0;
		sites->rate = allocator->profile_rate ? allocator->profile_rate : sites->rate;
		sites->lost += allocator->samples_lost;
		add_samples(sites, allocator, symbols);
	}
	join(sites);
	for (size_t a = 0; a < snapshot->allocator_count; a++)
		for (size_t c = 0; c < snapshot->allocators[a].class_count; c++)
			add_cache(sites, &snapshot->allocators[a], c);
	for (size_t i = 0; i < sites->count; i++)
		for (unsigned v = 0; v < VALUES; v++)
			sites->bytes[v] += sites->list[i].bytes[v];
	qsort_r(sites->list, sites->count, sizeof *sites->list, by_value, &order);
}

void sites_free(struct sites *sites)
{
	free(sites->list);
}
