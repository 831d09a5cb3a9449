#define _GNU_SOURCE
#include "sample.h"
#include "harden.h"
#include "kept.h"
#include "large.h"
#include "meta.h"

#include <errno.h>

static size_t every; /* const after sample_start; 0: off */

_Thread_local uint64_t sample_left __attribute__((tls_model("initial-exec")));
static _Thread_local uint64_t seed __attribute__((tls_model("initial-exec")));

bool sample_start(size_t n)
{
	every = n;
	return every;
}

/* 1 .. 2 * every - 1, evenly: every, on average. */
static uint64_t draw(void)
{
	if (!seed)
		seed = (uintptr_t)&seed ^ (uint64_t)event_now().time << 20 ^ 1;
	return 1 + xorshift(&seed) % (2 * every - 1);
}

void *sample_take(size_t size)
{
	if (!every)
		return NULL;
	if (!sample_left)
		sample_left = draw();
	if (--sample_left)
		return NULL;
	int saved = errno;
	struct sample *sample = meta_alloc(sizeof *sample);
	void *object = sample ? large_alloc(PAGE_SIZE, PAGE_SIZE, false) : NULL;
	if (object) {
		struct large *large = large_find(object);
		*sample = (struct sample){.allocated = event_now()};
		large->sample = sample;
		if (hardened)
			object = harden_place(large, size, xorshift(&seed) & 1);
	} else if (sample) {
		meta_free(sample, sizeof *sample);
	}
	errno = saved;
	return object;
}

struct sample *sample_of(const void *object)
{
	struct large *large = every ? large_find(object) : NULL;
	return large ? large->sample : NULL;
}

bool sample_end(void *object, bool retired, const struct event *event)
{
	struct sample *sample = sample_of(object);

	if (!sample)
		return true;
	if (sample->retired)
		return false;
	sample->retired = retired;
	sample->ended = *event;
	return true;
}

void sample_revive(void *object)
{
	struct sample *sample = sample_of(object);

	if (sample) {
		sample->retired = false;
		sample->ended = (struct event){0};
	}
}

/* ---- reports ------------------------------------------------------------------------------------------------ */

void sample_print(const struct sample *sample)
{
	event_print("allocated", &sample->allocated);
	event_print(sample->retired ? "retired" : "freed", &sample->ended);
}

bool sample_explain(const void *address)
{
	struct large *large = NULL;

	if (every && !(large = large_find(address)))
		large = kept_find(address);
	if (!large || !large->sample)
		return false;
	sample_print(large->sample);
	return true;
}
