#define _GNU_SOURCE
#include "slow.h"
#include "cache.h"
#include "debug.h"
#include "fast.h"
#include "harden.h"
#include "large.h"
#include "misuse.h"
#include "object.h"
#include "profile.h"
#include "sample.h"
#include "vacant.h"

#include <errno.h>
#include <string.h>

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* `object` is new, or NULL. */
static inline void *noted(void *object)
{
	if (unlikely(tracking) && object)
		debug_alloc(object);
	return object;
}

/* Of any size and alignment; with a span of its own. The region exists. */
static void *new_large(size_t size, size_t alignment, bool zero)
{
	void *object = large_alloc(size, alignment, zero);
	if (unlikely(profiling))
		profile_large(thread_heap_get(), object);
	return noted(object);
}

SLOW static void *slower_malloc(size_t size)
{
	if (unlikely(size > PTRDIFF_MAX))
		return no_memory();
	struct heap *heap = thread_heap_get();
	if (unlikely(!heap && !region.base))
		return no_memory();
	if (unlikely(hardened))
		return harden_alloc(size, 16);
	if (size > MEDIUM_MAX)
		return new_large(size, PAGE_SIZE, false);
	void *object;
	if (unlikely(watched) && (object = sample_alloc(size)))
		return noted(object);
	unsigned class = class_of(size);
	object = heap ? heap_refill(heap, class) : heap_late_alloc(class);
	if (likely(object))
		mark_live(object);
	return noted(object);
}

void *slow_malloc(size_t size)
{
	void *object;

	if (likely(!profiling) || size > MEDIUM_MAX || !(object = profile_refill(thread_heap, class_of(size))))
		return slower_malloc(size);
	mark_live(object);
	return object;
}

/* Not a slab object's start. Sampled, it must not be retired already; its free is noted. */
static void free_large(const char *call, void *object)
{
	if (unlikely(watched) && sample_of(object)) {
		struct event event = event_now();
		if (!sample_end(object, false, &event))
			misuse_ended(call, object, PAGE_SIZE, "free of a retired");
	}
	large_free(call, object);
}

void slow_free(const char *call, void *object)
{
	if (!object)
		return;
	uint64_t entry = region_has(object) ? entry_of(object) : 0;
	unsigned class = entry_class(entry);
	bool is_slab = is_start(entry, object, classes[class].divisor);
	if (is_slab && class >= CLASS_OWN) {
		own_free(call, class, object);
		return;
	}
	if (unlikely(tracking)) {
		debug_free(call, object);
		return;
	}
	if (!is_slab) {
		free_large(call, object);
		return;
	}
	int saved = errno;
	if (unlikely(hardened)) {
		harden_free(call, object);
		errno = saved;
		return;
	}
	struct heap *heap = thread_heap_get();
	bool again = marked_freed(object) || *load_relaxed(&thread_frees[class].top) == object;
	if (unlikely(again) && (heap_has_free(heap ? heap : &heap_none, class, object) || heap_any_caches(class, object)))
		misuse_double_free(call, object, classes[class].size);
	mark_freed(object);
	if (likely(heap))
		heap_overflow(heap, class, object);
	else
		heap_late_free(object);
	errno = saved;
}

void slow_free_sized(const char *call, void *object, size_t size)
{
	if (unlikely(hardened))
		harden_check_size(call, object, size);
	slow_free(call, object);
}

void *aligned_malloc(size_t alignment, size_t size)
{
	if (size > PTRDIFF_MAX)
		return no_memory();
	if (alignment <= 16)
		return fast_malloc(size);
	if (unlikely(!thread_heap_get() && !region.base))
		return no_memory();
	if (unlikely(hardened))
		return harden_alloc(size, alignment);
	if (likely(alignment <= PAGE_SIZE && size <= MEDIUM_MAX))
		return fast_malloc(size_aligned(size, alignment));
	return new_large(size, alignment, false);
}

void *zeroed_malloc(size_t count, size_t size)
{
	size_t total;

	if (unlikely(__builtin_mul_overflow(count, size, &total) || total > PTRDIFF_MAX))
		return no_memory();
	if (total > MEDIUM_MAX) {
		if (unlikely(!thread_heap_get() && !region.base))
			return no_memory();
		return new_large(total, PAGE_SIZE, true);
	}
	void *object = fast_malloc(total);
	if (likely(object && !hardened)) /* zero, in that mode: harden.h */
		memset(object, 0, total);
	return object;
}

/* The live object that starts there, or a report. */
static struct object object_at(const char *call, const void *start)
{
	struct object object;

	if (!object_find(start, &object) || object.start != start)
		misuse_pointer(call, start);
	return object;
}

void *resize_move(const char *call, void *start, size_t size, size_t kept)
{
	void *new = fast_malloc(size);

	if (unlikely(!new))
		return NULL;
	memcpy(new, start, kept);
	fast_free(call, start);
	return new;
}

/* Where no smaller object can be had, the old one is one. */
static SLOW void *move_smaller(const char *call, void *start, size_t size)
{
	int saved = errno;
	void *new = resize_move(call, start, size, size);

	if (unlikely(!new))
		errno = saved;
	return new ? new : start;
}

static SLOW void *resize_slow(const char *call, void *start, size_t size)
{
	if (!start)
		return fast_malloc(size);
	struct object old = object_at(call, start);
	if (unlikely(tracking))
		debug_check_live(call, start);
	else if (old.class < CLASS_LARGE && marked_freed(start) && heap_has_free(thread_heap, old.class, start))
		misuse_ended(call, start, old.size, "use of a freed");
	if (size == 0) {
		fast_free(call, start);
		return NULL;
	}
	if (size > PTRDIFF_MAX - PAGE_SIZE)
		return no_memory();
	if (unlikely(hardened) && old.class < CLASS_OWN)
		return harden_resize(call, &old, size);
	if (old.class != CLASS_LARGE) {
		if (size <= old.size && size >= old.size / 2)
			return start;
	} else if (unlikely(watched)) {
		if (size <= old.size && size > old.size / 2)
			return start; /* else to another object: records and samples know this one */
	} else if (unlikely(profiling) && profile_class(start) && profile_class(start) != CLASS_LARGE) {
		if (size <= MEDIUM_MAX && class_of(size) == profile_class(start))
			return start; /* else to an object of its class, sampled or not */
	} else if (size > MEDIUM_MAX) {
		return large_resize(old.descriptor, size);
	}
	if (size > old.size)
		return resize_move(call, start, size, old.size);
	void *new = move_smaller(call, start, size);
	bool stays = new == start && old.class == CLASS_LARGE && !watched && !profiling;
	return unlikely(stays) ? large_resize(old.descriptor, size) : new; /* its pages can be had */
}

void *resize(const char *call, void *start, size_t size)
{
	uint64_t entry = likely(region_has(start)) ? entry_of(start) : 0;
	const struct class_info *class = &classes[entry_class(entry)];
	size_t old = class->size;

	if (unlikely(!is_start(entry, start, class->divisor) || size - 1 >= MEDIUM_MAX || careful ||
	             entry_class(entry) >= CLASS_OWN || marked_freed(start)))
		return resize_slow(call, start, size);
	if (size > old)
		return resize_move(call, start, size, old);
	if (size >= old / 2 || class_of(size) == entry_class(entry))
		return start; /* less than half would be lost */
	return move_smaller(call, start, size);
}

size_t usable_size(const char *call, const void *start)
{
	return start ? object_at(call, start).size : 0;
}

bool trim(void)
{
	struct heap *heap = thread_heap_get();

	harden_trim();
	if (heap)
		heap_flush_all(heap, false);
	heap_trim(CLASS_NONE);
	large_trim();
	bool any = !tracking && vacant_discard(); /* that mode looks at what is in free objects */
	return span_trim() || any;
}
