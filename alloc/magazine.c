#define _GNU_SOURCE
#include "heap.h"
#include "flush.h"
#include "meta.h"
#include "profile.h"
#include "span.h"
#include "vacant.h"

#include <errno.h>
#include <string.h>
#include <sys/sdt.h>

#define FIRST_LIMIT 8
#define FREE_GROWTH_BYTES 16384 /* frees alone grow a magazine to this; allocations to its capacity */
#define TICK_EVERY 16          /* slow calls */
#define LARGE_CAPACITY 32

static void *empty_slots[1];

void (*_Atomic heap_donor)(struct heap *heap, unsigned class);
atomic_size_t heap_stock;

struct heap heap_none = {
	.magazines = {[0 ... CLASS_LARGE] = {.top = empty_slots, .limit = empty_slots}},
};

/* An own class's is all zero. */
static void set_unused(struct magazine *magazine, unsigned class)
{
	*magazine = class < CLASS_OWN ? (struct magazine){empty_slots, empty_slots, classes[class].divisor, NULL}
	                              : (struct magazine){NULL, NULL, 0, NULL};
}

void heap_magazines_init(struct magazine *magazines)
{
	for (unsigned c = 0; c <= CLASS_LARGE; c++)
		set_unused(&magazines[c], c);
}

unsigned heap_magazines_of(struct heap *heap, unsigned class, struct magazine *both[2])
{
	both[0] = &heap->magazines[class];
	if (likely(!heap_returns(heap)) || class >= CLASS_OWN)
		return 1;
	both[1] = &heap_returns(heap)->magazines[class];
	return 2;
}

/* Where its frees go. */
static struct magazine *frees_of(struct heap *heap, unsigned class)
{
	struct magazine *both[2];
	return both[heap_magazines_of(heap, class, both) - 1];
}

/* ---- arrays ------------------------------------------------------------------------------------------------- */

unsigned heap_array_capacity(unsigned class)
{
	return class == CLASS_LARGE ? LARGE_CAPACITY : classes[class].capacity;
}

static size_t array_size(unsigned class)
{
	return sizeof(struct array) + (heap_array_capacity(class) + 1u) * sizeof(void *);
}

struct array *heap_array_new(unsigned class)
{
	struct array *array = span_meta_alloc(array_size(class));
	if (array)
		array->slots[0] = NULL;
	return array;
}

void heap_array_free(struct array *array, unsigned class)
{
	meta_free(array, array_size(class));
}

static struct array *array_of(void **slots)
{
	return slots ? (struct array *)((char *)slots - offsetof(struct array, slots)) : NULL;
}

/* ---- magazines ---------------------------------------------------------------------------------------------- */

static size_t first_limit(unsigned class)
{
	size_t most = FREE_GROWTH_BYTES / classes[class].size, capacity = classes[class].capacity;
	size_t limit = most < 1 ? 1 : most < FIRST_LIMIT ? most : FIRST_LIMIT;
	return limit < capacity ? limit : capacity;
}

static void set_empty(struct magazine *magazine, unsigned class, void **slots)
{
	store_relaxed(&magazine->slots, slots);
	magazine->limit = slots + first_limit(class);
	store_relaxed(&magazine->top, slots);
}

static bool magazine_ready(struct magazine *magazine, unsigned class)
{
	if (likely(magazine->slots))
		return true;
	struct array *array = heap_array_new(class);
	if (!array)
		return false;
	set_empty(magazine, class, array->slots);
	return true;
}

void magazine_renew(struct magazine *magazine, unsigned class)
{
	void **slots = load_relaxed(&magazine->slots);

	if (slots)
		set_empty(magazine, class, slots);
	else
		set_unused(magazine, class);
}

struct array *heap_exchange(struct heap *heap, unsigned class, struct array *full)
{
	struct magazine *magazine = &heap->magazines[class];
	struct array *old = array_of(magazine->slots);
	unsigned count = full->count - full->first;
	size_t limit = old ? (size_t)(magazine->limit - magazine->slots) : first_limit(class); /* never 0, if count is */

	assert(!old || load_relaxed(&magazine->top) == magazine->slots);
	if (full->first)
		memmove(full->slots + 1, full->slots + 1 + full->first, count * sizeof(void *));
	store_relaxed(&magazine->slots, full->slots);
	magazine->limit = full->slots + (limit > count ? limit : count);
	atomic_store_explicit(&magazine->top, full->slots + count, release);
	return old;
}

/* Magazines that have arrays: an own class's lock held. */
typedef void act(struct heap *heap, struct magazine *magazine, unsigned class, bool modest);

static void empty(struct heap *heap, struct magazine *magazine, unsigned class, bool modest)
{
	void **slots = load_relaxed(&magazine->slots);
	unsigned count = (unsigned)(load_relaxed(&magazine->top) - slots);

	if (count)
		flush_lowest(heap, magazine, count);
	if (modest && magazine->limit > slots + first_limit(class))
		magazine->limit = slots + first_limit(class);
}

/* Of an ending thread, or one that is gone. Others may look: with the old slots and the new top they count more than fit. */
static void drop_array(struct heap *heap, struct magazine *magazine, unsigned class, bool modest)
{
	struct array *array = array_of(load_relaxed(&magazine->slots));
	void **none = class < CLASS_OWN ? empty_slots : NULL;

	(void)heap, (void)modest;
	store_relaxed(&magazine->top, none);
	magazine->limit = none;
	store_relaxed(&magazine->slots, NULL);
	heap_array_free(array, class);
}

static void each(struct heap *heap, unsigned class, act *what, bool modest)
{
	struct lock *lock = class >= CLASS_OWN ? &own_class(class)->lock : NULL;
	struct magazine *both[2];
	unsigned count = heap_magazines_of(heap, class, both);

	for (unsigned i = 0; i < count; i++) {
		if (!load_relaxed(&both[i]->slots))
			continue;
		if (lock)
			lock_take(lock);
		if (load_relaxed(&both[i]->slots))
			what(heap, both[i], class, modest);
		if (lock)
			lock_drop(lock);
	}
}

void heap_flush(struct heap *heap, unsigned class, bool modest)
{
	each(heap, class, empty, modest);
}

void heap_flush_all(struct heap *heap, bool modest)
{
	unsigned end = load_relaxed(&class_end);

	for (unsigned c = 1; c < end; c++)
		each(heap, c, empty, modest);
}

void heap_drop_arrays(struct heap *heap)
{
	unsigned end = load_relaxed(&class_end);

	for (unsigned c = 1; c < end; c++)
		each(heap, c, drop_array, false);
}

unsigned heap_take_magazine(struct heap *heap, unsigned class, void **objects)
{
	struct magazine *magazine = &heap->magazines[class];
	unsigned count = 0;

	lock_take(&own_class(class)->lock);
	void **slots = load_relaxed(&magazine->slots);
	if (slots) {
		count = (unsigned)(load_relaxed(&magazine->top) - slots);
		memcpy(objects, slots + 1, count * sizeof(void *));
		drop_array(heap, magazine, class, false);
	}
	lock_drop(&own_class(class)->lock);
	return count;
}

void heap_return(struct heap *heap, void **objects, unsigned count)
{
	if (count)
		flush(heap, objects, count);
}

static void magazine_grow(struct magazine *magazine, unsigned most)
{
	size_t limit = (size_t)(magazine->limit - magazine->slots) * 2;
	magazine->limit = magazine->slots + (limit < most ? limit : most);
}

static void pace(struct heap *heap)
{
	unsigned purges = load_relaxed(&span_purges);

	bool now = ++heap->slow_calls % TICK_EVERY == 0;
	if (now)
		span_tick();
	if (unlikely(heap->purges != purges)) {
		heap->purges = purges;
		heap_flush_all(heap, true);
		now = true;
	}
	if (now)
		vacant_tick(heap);
}

void heap_overflow(struct heap *heap, unsigned class, void *object)
{
	struct magazine *magazine = frees_of(heap, class);
	const struct class_info *info = &classes[class];

	if (unlikely(!magazine_ready(magazine, class))) {
		flush(heap, &object, 1);
		return;
	}
	size_t limit = (size_t)(magazine->limit - magazine->slots);
	if (load_relaxed(&magazine->top) == magazine->limit) {
		if (limit < info->capacity && limit * 2 * info->size <= FREE_GROWTH_BYTES) {
			magazine_grow(magazine, info->capacity);
		} else {
			flush_lowest(heap, magazine, (unsigned)(limit + 1) / 2);
			pace(heap);
		}
	}
	void **top = load_relaxed(&magazine->top);
	__atomic_store_n(top + 1, object, __ATOMIC_RELAXED);
	atomic_store_explicit(&magazine->top, top + 1, release); /* pairs with is_cached */
}

/*
 * Whoever raises a top writes the slots below it first. The caller has what made it the owner of the object behind it,
 * and so the pop that took it out: below a top that it reads the object stands only if it was freed again.
 */
static bool is_cached(struct magazine *magazine, unsigned class, const void *object)
{
	void **slots = load_relaxed(&magazine->slots);
	void **top = atomic_load_explicit(&magazine->top, acquire); /* pairs with fast_push, heap_overflow, refill, heap_exchange */
	size_t count = slots ? (size_t)(top - slots) : 0;

	for (size_t i = count <= classes[class].capacity ? count : 0; i; i--) /* else its thread changes its array */
		if (__atomic_load_n(&slots[i], __ATOMIC_RELAXED) == object)
			return true;
	return false;
}

bool heap_has_free(struct heap *heap, unsigned class, const void *object)
{
	struct magazine *both[2];
	unsigned count = heap_magazines_of(heap, class, both);

	for (unsigned i = 0; i < count; i++)
		if (is_cached(both[i], class, object))
			return true;
	struct group group = group_of(slab_of(object), object);
	return (load_relaxed(&slab_bits(group.slab)[group.word]) |
	        load_relaxed(&group.slab->remote[group.word])) & group.bits;
}

bool heap_any_caches(unsigned class, const void *object)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next) {
		struct magazine *both[2];
		unsigned count = heap_magazines_of(heap, class, both);
		for (unsigned i = 0; i < count; i++)
			if (is_cached(both[i], class, object))
				return true;
	}
	return false;
}

/* ---- refill ------------------------------------------------------------------------------------------------- */

static void *refill(struct heap *heap, unsigned class)
{
	struct magazine *magazine = &heap->magazines[class];
	void *object = NULL;

	pace(heap);
	void (*donor)(struct heap *, unsigned) = load_relaxed(&heap_donor);
	if (donor) {
		donor(heap, class);
		MARK(refill_donated);
		void **top = load_relaxed(&magazine->top);
		if (top && *top) {
			store_relaxed(&magazine->top, top - 1);
			return *top;
		}
	}
	if (unlikely(!magazine_ready(magazine, class))) {
		heap_supply(heap, class, &object, 1);
	} else {
		magazine_grow(magazine, classes[class].capacity);
		void **slots = magazine->slots;
		unsigned want = (unsigned)(magazine->limit - slots + 1) / 2;
		unsigned taken = heap_supply(heap, class, slots + want, want);
		if (taken < want)
			memmove(slots + 1, slots + 1 + want - taken, taken * sizeof(void *));
		if (taken) {
			object = slots[taken];
			atomic_store_explicit(&magazine->top, slots + taken - 1, release); /* pairs with is_cached */
		}
	}
	DTRACE_PROBE2(qslab, refill, class, object);
	return object;
}

/* ---- of a thread that samples (profile.h) ------------------------------------------------------------------- */

/* Doubles the magazine's `left` objects: few that go round take the slow path often. How many it has then. */
static unsigned add_more(struct heap *heap, unsigned class, unsigned left)
{
	struct magazine *magazine = &heap->magazines[class];
	unsigned room = classes[class].capacity - 1u - left, want = left + 1 < room ? left + 1 : room;
	void **first = magazine->slots + left + 1;
	int saved = errno;

	if (!want)
		return left;
	unsigned taken = heap_supply(heap, class, first + want - 1, want);
	if (taken < want)
		memmove(first, first + want - taken, taken * sizeof(void *));
	store_relaxed(&magazine->top, magazine->slots + left + taken);
	errno = saved;
	return left + taken;
}

/* This allocation is not sampled, nor are those that the magazine's objects will serve. */
static void *refill_until(struct heap *heap, unsigned class, uint64_t until, bool exchange)
{
	struct magazine *magazine = &heap->magazines[class], *returns = &heap_returns(heap)->magazines[class];
	void *object = exchange ? take_returns(magazine, returns) : refill(heap, class);

	if (!object)
		return NULL;
	void **slots = load_relaxed(&magazine->slots);
	unsigned left = slots ? (unsigned)(load_relaxed(&magazine->top) - slots) : 0;
	if (exchange)
		left = add_more(heap, class, left);
	if (left > until - 2) {
		flush_lowest(heap, magazine, left - (unsigned)(until - 2));
		left = (unsigned)(until - 2);
	}
	heap_returns(heap)->until[class] = until - 1 - left;
	if (magazine_ready(returns, class) && (size_t)(returns->limit - returns->slots) <= left)
		returns->limit = returns->slots + classes[class].capacity; /* they may all come back */
	return object;
}

static void *refill_sampled(struct heap *heap, unsigned class)
{
	struct returns *returns = heap_returns(heap);
	struct magazine *magazine = &returns->magazines[class];
	void **top = load_relaxed(&magazine->top), *object;

	profile_draw(returns, class);
	if (*top) {
		object = *top;
		store_relaxed(&magazine->top, top - 1);
	} else if (!heap_supply(heap, class, &object, 1)) {
		return NULL;
	}
	return profile_take(heap, class, object);
}

SLOW static void *refill_profiled(struct heap *heap, unsigned class)
{
	struct returns *returns = heap_returns(heap);
	struct magazine *magazine = &heap->magazines[class], *frees = &returns->magazines[class];

	profile_look(returns);
	void **slots = load_relaxed(&frees->slots);
	uint64_t until = returns->until[class];
	unsigned count = slots ? (unsigned)(load_relaxed(&frees->top) - slots) : 0;
	bool exchange = count && load_relaxed(&magazine->slots);
	if (until == 1)
		return refill_sampled(heap, class);
	return refill_until(heap, class, until, exchange);
}

void *heap_refill(struct heap *heap, unsigned class)
{
	if (unlikely(heap_returns(heap) != NULL) && class < CLASS_OWN)
		return refill_profiled(heap, class);
	return refill(heap, class);
}

void *heap_take(struct heap *heap, unsigned class)
{
	struct magazine *magazine = &heap->magazines[class];
	void **top = load_relaxed(&magazine->top);

	if (!top || !*top)
		return heap_refill(heap, class);
	store_relaxed(&magazine->top, top - 1);
	return *top;
}

unsigned heap_count_cached(struct heap *heap, unsigned class)
{
	struct magazine *both[2];
	unsigned number = heap_magazines_of(heap, class, both), all = 0;

	for (unsigned i = 0; i < number; i++)
		all += magazine_count(both[i], class);
	return all;
}
