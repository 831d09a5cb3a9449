#define _GNU_SOURCE
#include "profile.h"
#include "debug.h"
#include "flush.h"
#include "harden.h"
#include "heap.h"
#include "large.h"
#include "meta.h"
#include "option.h"
#include "report.h"
#include "segment.h"
#include "stack.h"
#include "thread.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define PROFILED_MOST ((size_t)1 << 20) /* 56 MiB of addresses; later ones are lost */

_Static_assert(sizeof(struct returns) <= META_SIZE_MAX, "meta_alloc has room for it");

bool profiling;

_Atomic uint64_t profile_rate;

static struct {
	struct lock lock;
	struct profiled *list;       /* const after profile_start */
	_Atomic uint64_t used;       /* lock */
	struct profiled *free;       /* lock; of those used before */
	_Atomic uint64_t lost;       /* lock */
	atomic_size_t shadow_bytes;
} all;

static _Atomic uint64_t seeds;

/* ---- draws -------------------------------------------------------------------------------------------------- */

/* -ln x, for 0 < x <= 1, to six digits: without libm. */
static double minus_log(double x)
{
	int halvings = 0;

	for (; x < 0.5; x *= 2)
		halvings++;
	double y = (1 - x) / (1 + x), square = y * y; /* y <= 1/3 */
	double series = 1.0 / 11;
	for (int k = 9; k > 0; k -= 2)
		series = 1.0 / k + series * square;
	return 2 * y * series + halvings * 0.69314718055994531;
}

/* Bytes up to the next one sampled: exponential, of mean `rate`. */
static double draw_bytes(struct returns *returns)
{
	double uniform = (double)((xorshift(&returns->seed) >> 11) + 1) * 0x1p-53;
	return minus_log(uniform) * (double)returns->rate;
}

void profile_draw(struct returns *returns, unsigned class)
{
	double objects = returns->rate ? draw_bytes(returns) / classes[class].size : 0;
	returns->until[class] = !returns->rate || objects > 1e18 ? UINT64_MAX : 1 + (uint64_t)objects;
}

static void draw_large(struct returns *returns)
{
	double bytes = returns->rate ? draw_bytes(returns) : 0;
	returns->large_left = returns->rate && bytes < 1e18 ? (uint64_t)bytes : UINT64_MAX;
}

void profile_look(struct returns *returns)
{
	uint64_t now = load_relaxed(&profile_rate);

	if (likely(now == returns->rate))
		return;
	returns->rate = now;
	for (unsigned c = 1; c < CLASS_COUNT; c++)
		profile_draw(returns, c);
	draw_large(returns);
}

void profile_seed(uint64_t seed)
{
	store_relaxed(&seeds, seed);
}

void profile_attach(struct heap *heap)
{
	struct returns *returns = heap_returns(heap);

	if (!returns) {
		returns = meta_alloc(sizeof *returns);
		if (!returns)
			return;
		memset(returns, 0, sizeof *returns);
		heap_magazines_init(returns->magazines);
	}
	uint64_t mixed = (atomic_fetch_add_explicit(&seeds, 1, relaxed) + 1) * 0x9e3779b97f4a7c15;
	returns->seed = (mixed ^ mixed >> 29) | 1;
	returns->rate = UINT64_MAX; /* no rate: it is drawn for the real one */
	profile_look(returns);
	atomic_store_explicit(&heap->returns, returns, release); /* pairs with heap_returns */
}

/* ---- samples ------------------------------------------------------------------------------------------------ */

static struct profiled *take_free(void)
{
	lock_take(&all.lock);
	struct profiled *profiled = all.free;
	uint64_t used = load_relaxed(&all.used);
	if (profiled) {
		all.free = profiled->next;
	} else if (used < PROFILED_MOST) {
		profiled = &all.list[used];
		store_relaxed(&all.used, used + 1);
	} else {
		store_relaxed(&all.lost, load_relaxed(&all.lost) + 1);
	}
	lock_drop(&all.lock);
	return profiled;
}

static void give_free(struct profiled *profiled)
{
	lock_take(&all.lock);
	profiled->next = all.free;
	all.free = profiled;
	lock_drop(&all.lock);
}

static void note(struct profiled *profiled, struct large *large, uint64_t rate, unsigned class, void *shadow)
{
	profiled->shadow = shadow;
	profiled->rate = rate;
	profiled->size = class == CLASS_LARGE ? large->size : classes[class].size;
	profiled->class = class;
	profiled->stack = stack_take();
	if (shadow)
		atomic_fetch_add_explicit(&all.shadow_bytes, profiled->size, relaxed);
	large->profiled = profiled;
	atomic_store_explicit(&profiled->object, (uintptr_t)large->span.start, release); /* read from outside */
}

void *profile_take(struct heap *heap, unsigned class, void *shadow)
{
	int saved = errno;
	struct profiled *profiled = take_free();
	void *object = profiled ? large_alloc(classes[class].size, PAGE_SIZE, false) : NULL;

	if (object) {
		bool alone = classes[class].objects == 1;
		note(profiled, large_find(object), heap_returns(heap)->rate, class, alone ? NULL : shadow);
		if (alone)
			heap_return(heap, &shadow, 1);
	} else if (profiled) {
		give_free(profiled);
	}
	errno = saved;
	return object ? object : shadow;
}

void profile_large(struct heap *heap, void *object)
{
	struct returns *returns = heap ? heap_returns(heap) : NULL;

	if (!returns || !object)
		return;
	profile_look(returns);
	struct large *large = large_find(object);
	if (returns->large_left >= large->size) {
		returns->large_left -= returns->rate ? large->size : 0;
		return;
	}
	draw_large(returns);
	struct profiled *profiled = take_free();
	if (profiled)
		note(profiled, large, returns->rate, CLASS_LARGE, NULL);
}

void profile_end(struct profiled *profiled)
{
	void *shadow = profiled->shadow;

	if (shadow)
		atomic_fetch_sub_explicit(&all.shadow_bytes, profiled->size, relaxed);
	store_relaxed(&profiled->object, 0);
	give_free(profiled);
	if (!shadow)
		return;
	struct heap *heap = thread_heap_get();
	if (heap)
		heap_return(heap, &shadow, 1);
	else
		heap_late_free(shadow);
}

void profile_move(struct profiled *profiled, void *object)
{
	atomic_store_explicit(&profiled->object, (uintptr_t)object, release);
}

unsigned profile_class(const void *object)
{
	struct large *large = profiling ? large_find(object) : NULL;
	return large && large->profiled && large->span.start == object ? large->profiled->class : CLASS_NONE;
}

size_t profile_shadow_bytes(void)
{
	return load_relaxed(&all.shadow_bytes);
}

void profile_each(void (*callback)(const struct profiled *profiled, void *argument), void *argument)
{
	uint64_t used = load_relaxed(&all.used);

	for (uint64_t i = 0; i < used; i++) {
		lock_take(&all.lock); /* for each: there may be many */
		const struct profiled *profiled = &all.list[i];
		if (atomic_load_explicit(&profiled->object, acquire)) /* pairs with note */
			callback(profiled, argument);
		lock_drop(&all.lock);
	}
}

/* ---- start, fork, tools ------------------------------------------------------------------------------------- */

void profile_start(void)
{
	size_t bytes = PROFILED_MOST * sizeof *all.list;
	uint64_t random;

	if (options.profile != PROFILE_NEVER && hardened)
		report_line("qslab: QSLAB_PROFILE is ignored in the hardened mode");
	if (options.profile == PROFILE_NEVER || careful)
		return;
	void *list = MAP_FAILED;
	if (stack_start())
		list = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (list == MAP_FAILED) {
		report_line("qslab: no memory for QSLAB_PROFILE, ignored");
		return;
	}
	memcpy(&random, (const void *)getauxval(AT_RANDOM), sizeof random);
	profile_seed(random);
	all.list = list;
	store_relaxed(&profile_rate, options.profile);
	profiling = true;
	thread_heap_give_up(); /* if it allocated before: its frees are directed anew */
}

/* Every change commits with one store; a sample that another thread was about to make is lost. */
void profile_after_fork(void)
{
	if (!profiling)
		return;
	stack_after_fork();
	lock_drop(&all.lock);
}

void profile_publish(struct qslab_segment_profile *out)
{
	*out = (struct qslab_segment_profile){
		.rate = profiling ? PUBLISH_WORD(profile_rate, 8) : 0,
		.samples = (uintptr_t)all.list,
		.used = PUBLISH_WORD(all.used, 8),
		.lost = PUBLISH_WORD(all.lost, 8),
		.code = (uintptr_t)profile_take,
		.stride = sizeof(struct profiled),
		.object = PUBLISH(struct profiled, object, 8),
		.shadow = PUBLISH(struct profiled, shadow, 8),
		.sample_rate = PUBLISH(struct profiled, rate, 8),
		.sample_size = PUBLISH(struct profiled, size, 8),
		.stack = PUBLISH(struct profiled, stack, 4),
		.klass = PUBLISH(struct profiled, class, 4),
		.returns = PUBLISH(struct heap, returns, 8),
	};
	stack_publish(out);
}
