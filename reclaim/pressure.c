#define _GNU_SOURCE
#include "pressure.h"
#include "shortage.h"
#include "alloc/option.h"
#include "alloc/segment.h"

#include <sys/sdt.h>

#define HURRY ((size_t)64 << 10) /* about what a core's cache holds beside the program's own data */

static struct {
	_Alignas(CACHE_LINE) atomic_size_t bytes; /* anyone, once per array */
	_Alignas(CACHE_LINE) atomic_size_t peak;
	atomic_bool above_hard;
	atomic_ullong crossings;
	atomic_bool memory_is_short;              /* the reclaimer */
	atomic_size_t soft, hard;                 /* pressure_set's; 0: the environment's or the default */
	void (*_Atomic callback)(size_t bytes);
} pressure;

static _Thread_local unsigned crossed __attribute__((tls_model("initial-exec"))); /* by this thread, and not told yet */

static size_t soft_limit(void)
{
	size_t set = load_relaxed(&pressure.soft);
	return set ? set : options.rcu_soft;
}

static size_t hard_limit(void)
{
	size_t set = load_relaxed(&pressure.hard);
	return set ? set : options.rcu_hard;
}

bool pressure_add(size_t bytes)
{
	size_t now = atomic_fetch_add_explicit(&pressure.bytes, bytes, relaxed) + bytes;

	if (unlikely(now > load_relaxed(&pressure.peak)))
		store_relaxed(&pressure.peak, now); /* two at once: one of their figures */
	if (unlikely(now > hard_limit()) && !load_relaxed(&pressure.above_hard) &&
	    !atomic_exchange(&pressure.above_hard, true))
		crossed++;
	return now > HURRY;
}

void pressure_tell(void)
{
	while (unlikely(crossed)) {
		crossed--;
		atomic_fetch_add_explicit(&pressure.crossings, 1, relaxed);
		DTRACE_PROBE2(qslab, over_hard, pressure_bytes(), hard_limit());
		void (*callback)(size_t) = atomic_load_explicit(&pressure.callback, acquire);
		if (callback)
			callback(pressure_bytes());
	}
}

void pressure_remove(size_t bytes)
{
	size_t now = atomic_fetch_sub_explicit(&pressure.bytes, bytes, relaxed) - bytes;

	if (unlikely(load_relaxed(&pressure.above_hard)) && now <= hard_limit())
		store_relaxed(&pressure.above_hard, false);
}

size_t pressure_bytes(void)
{
	return load_relaxed(&pressure.bytes);
}

size_t pressure_peak(void)
{
	return load_relaxed(&pressure.peak);
}

uint64_t pressure_over_hard(void)
{
	return load_relaxed(&pressure.crossings);
}

bool pressure_is_soft(void)
{
	return pressure_bytes() > soft_limit() || load_relaxed(&pressure.memory_is_short);
}

bool pressure_is_hard(void)
{
	return pressure_bytes() > hard_limit();
}

void pressure_look(void)
{
	static uint32_t looked; /* the kernel's averages change every two seconds */
	uint32_t now = second_now();

	if (now != looked)
		store_relaxed(&pressure.memory_is_short, shortage_looms(""));
	looked = now;
}

void pressure_set(size_t soft, size_t hard, void (*callback)(size_t bytes))
{
	if (soft)
		store_relaxed(&pressure.soft, soft);
	if (hard)
		store_relaxed(&pressure.hard, hard);
	atomic_store_explicit(&pressure.callback, callback, release);
}

void pressure_publish(struct qslab_segment_grace *out)
{
	out->bytes = PUBLISH_WORD(pressure.bytes, 8);
	out->peak = PUBLISH_WORD(pressure.peak, 8);
	out->over_hard = PUBLISH_WORD(pressure.crossings, 8);
}
