/* The samples of the heap profile, and their stacks. */
#define _GNU_SOURCE
#include "reader_parts.h"

#include <math.h>

#define SAMPLES_MOST ((uint64_t)1 << 24)
#define WORDS_MOST ((uint64_t)1 << 24)
#define DEPTH_MOST 256

/* Stacks are written once, before a sample names them. */
static bool read_stacks(struct work *work, uint64_t *words)
{
	const struct qslab_segment_profile *profile = &work->segment->profile;

	*words = profile->stacks ? read_word(work, profile->stacks_used) : 0;
	if (*words > WORDS_MOST)
		*words = 0;
	work->out->stack_words = need(calloc(*words + 1, 8));
	return !*words || source_read(work->source, profile->stacks, work->out->stack_words, *words * 8);
}

/* What the rest of the snapshot, some moments older, says of the object; it is not free. */
static enum place place_of(const struct work *work, uint64_t object)
{
	const struct large_view *large = allocator_large(work->out, object);

	return large && large->address == object ? large->place : LIVE;
}

/* Of a large object that has grown since it was sampled. */
static uint64_t size_of(const struct work *work, uint64_t object, uint64_t size)
{
	const struct large_view *large = allocator_large(work->out, object);

	return large && large->address == object ? large->size : size;
}

static void add_sample(struct work *work, const char *sample, uint64_t words)
{
	const struct qslab_segment_profile *profile = &work->segment->profile;
	struct allocator *out = work->out;
	uint64_t rate = word_at(sample, profile->sample_rate), size = word_at(sample, profile->sample_size);
	uint64_t object = word_at(sample, profile->object);
	bool itself = half_at(sample, profile->klass) == work->segment->classes.large;
	uint32_t stack = half_at(sample, profile->stack);

	GROW(out->samples, out->sample_count);
	struct sample_view *view = &out->samples[out->sample_count++];
	*view = (struct sample_view){
		.object = object,
		.shadow = word_at(sample, profile->shadow),
		.size = itself ? size_of(work, object, size) : size,
		.place = place_of(work, object),
		.weight = rate && size ? -1 / expm1(-(double)size / (double)rate) : 1,
	};
	uint64_t depth = stack && stack < words ? out->stack_words[stack] >> 32 : 0;
	if (depth <= DEPTH_MOST && depth < words - stack) {
		view->stack = out->stack_words + stack + 1;
		view->depth = depth;
	}
}

/* Two readings: a sample that changed in between belongs to an object that came or went. */
bool read_profile(struct work *work)
{
	const struct qslab_segment_profile *profile = &work->segment->profile;
	uint64_t count = profile->rate ? read_word(work, profile->used) : 0, words = 0;
	uint32_t stride = profile->stride;
	uint64_t last;

	if (!profile->rate)
		return true;
	work->out->profile_rate = read_word(work, profile->rate);
	work->out->samples_lost = read_word(work, profile->lost);
	if (count > SAMPLES_MOST)
		return false;
	/* no gigabytes for a count that is not one: its last sample is not there */
	if (count && !source_read(work->source, profile->samples + count * stride - sizeof last, &last, sizeof last))
		return false;
	char *first = need(calloc(count + 1, stride)), *second = need(calloc(count + 1, stride));
	bool done = source_read(work->source, profile->samples, first, count * stride) &&
	            source_read(work->source, profile->samples, second, count * stride) && read_stacks(work, &words);
	for (uint64_t i = 0; i < count && done; i++) {
		const char *sample = second + i * stride;
		if (!memcmp(first + i * stride, sample, stride) && word_at(sample, profile->object))
			add_sample(work, sample, words);
	}
	free(first);
	free(second);
	return done;
}
