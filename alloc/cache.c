#define _GNU_SOURCE
#include "cache.h"
#include "bin.h"
#include "debug.h"
#include "flush.h"
#include "harden.h"
#include "meta.h"
#include "misuse.h"
#include "profile.h"
#include "segment.h"

#include <errno.h>

struct own_class own_classes[CLASS_OWN_COUNT];
void (*_Atomic own_retire)(const char *call, void *object);

static struct {
	struct lock lock;
	struct qslab_cache *all; /* lock */
} caches;

/* ---- creation ---------------------------------------------------------------------------------------------------- */

/* Bytes from one object to the next. */
static size_t stride(const struct cache_wish *wish)
{
	size_t room = wish->traits & CLASS_DEFER ? sizeof(void *) : 0; /* for a link when no array is to be had */
	return ALIGN_UP(wish->size + room, wish->align);
}

/* Caches lock held. A number of its own, shaped; CLASS_NONE if all are taken. */
static unsigned take_number(struct qslab_cache *cache, const struct cache_wish *wish)
{
	for (unsigned class = CLASS_OWN; class < CLASS_OWN + CLASS_OWN_COUNT; class++) {
		struct own_class *own = own_class(class);
		if (own->cache)
			continue;
		own->cache = cache;
		own->ctor = wish->ctor;
		class_set(class, stride(wish), wish->traits);
		if (class >= load_relaxed(&class_end))
			atomic_store_explicit(&class_end, class + 1, release);
		return class;
	}
	return CLASS_NONE;
}

/* As much of the name as there is room for, but not half of a UTF-8 character at its end. */
static void take_name(struct qslab_cache *cache, const char *name)
{
	size_t room = sizeof cache->name - 1, size = strnlen(name, room + 1), end = room;

	while (size > room && end && end > room - 3 && (name[end] & 0xc0) == 0x80)
		end--;
	bool cuts = size > room && (unsigned char)name[end] >= 0xc0;
	memcpy(cache->name, name, size > room ? cuts ? end : room : size);
}

struct qslab_cache *cache_create(const struct cache_wish *wish)
{
	if (stride(wish) > MEDIUM_MAX) {
		errno = EINVAL;
		return NULL;
	}
	if (!thread_heap_get() && !region.base) {
		errno = ENOMEM;
		return NULL;
	}
	struct qslab_cache *cache = span_meta_alloc(sizeof *cache);
	if (!cache) {
		errno = ENOMEM;
		return NULL;
	}
	/* With a seal an object of nearly MEDIUM_MAX fits no size class: it has slabs of its own, and no seal there. */
	*cache = (struct qslab_cache){
		.object_size = wish->size,
		.flags = wish->flags,
		.align = (unsigned)wish->align,
		.has_ctor = wish->ctor,
		.class = wish->own ? CLASS_NONE : class_aligned(wish->size + (hardened ? SEAL_SIZE : 0), wish->align),
	};
	take_name(cache, wish->name ? wish->name : "unnamed");
	lock_take(&caches.lock);
	if (!cache->class)
		cache->class = take_number(cache, wish);
	cache->divisor = classes[cache->class].divisor;
	cache->traits = classes[cache->class].traits;
	if (cache->class) {
		cache->next = caches.all;
		caches.all = cache;
	}
	lock_drop(&caches.lock);
	if (!cache->class) {
		meta_free(cache, sizeof *cache);
		errno = ENOSPC;
		return NULL;
	}
	return cache;
}

/* ---- the slow paths ------------------------------------------------------------------------------------------------ */

void *cache_alloc_slow(struct qslab_cache *cache)
{
	int saved = errno; /* what is tried in vain before memory is found may set it */
	struct heap *heap = thread_heap_get();

	if (unlikely(!cache->class))
		misuse_cache("qslab_cache_alloc", cache, "a destroyed cache");
	if (unlikely(!heap && !region.base)) {
		errno = ENOMEM;
		return NULL;
	}
	void *object;
	if (unlikely(hardened) && !cache_is_own(cache)) {
		object = harden_alloc_class(cache->class, cache->object_size);
	} else {
		object = heap ? heap_take(heap, cache->class) : heap_late_alloc(cache->class);
		if (object && !cache_is_own(cache))
			mark_live(object);
		if (unlikely(tracking) && object)
			debug_alloc(object);
	}
	if (object)
		errno = saved;
	return object;
}

bool cache_has_sampled(const struct qslab_cache *cache, const void *object)
{
	return cache->class && profile_class(object) == cache->class;
}

void own_free(const char *call, unsigned class, void *object)
{
	const struct class_info *info = &classes[class];
	int saved = errno;

	if (info->traits & CLASS_DEFER) {
		load_relaxed(&own_retire)(call, object);
		return;
	}
	if (unlikely(tracking)) {
		debug_free(call, object);
		return;
	}
	struct heap *heap = thread_heap_get();
	if (heap && likely(!hardened) && own_push(&heap->magazines[class], class, object))
		return;
	if (heap_has_free(heap ? heap : &heap_none, class, object))
		misuse_double_free(call, object, info->size);
	if (info->traits & CLASS_WIPE)
		memset(object, 0, info->size);
	if (heap)
		heap_overflow(heap, class, object);
	else
		heap_late_free(object);
	errno = saved;
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

/* Heap's lock. */
static size_t count_live(struct slab *slab, size_t found, void **first, unsigned most)
{
	size_t live = 0;

	for (unsigned i = 0; slab && i < slab->objects; i++) {
		uint64_t taken = load_relaxed(&slab_bits(slab)[i / 64]) | load_relaxed(&slab->remote[i / 64]);
		if (taken >> i % 64 & 1)
			continue;
		if (found + live < most)
			first[found + live] = slab_object(slab, i);
		live++;
	}
	return live;
}

size_t cache_empty(struct qslab_cache *cache, void **first, unsigned most)
{
	struct heap *own = thread_heap_get();
	size_t live = 0;

	for (struct heap *heap = heap_first(); heap; heap = heap->all_next) {
		void *objects[MAGAZINE_MAX];
		unsigned count = heap_take_magazine(heap, cache->class, objects);
		if (own)
			heap_return(own, objects, count);
		for (unsigned i = 0; !own && i < count; i++)
			heap_late_free(objects[i]);
	}
	heap_trim(cache->class);
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next) {
		lock_take(&heap->lock);
		struct bin *bin = heap_bin(heap, cache->class);
		for (struct slab *slab = bin ? bin->partial : NULL; slab; slab = slab->next)
			live += count_live(slab, live, first, most);
		for (struct slab *slab = bin ? bin->full : NULL; slab; slab = slab->next)
			live += count_live(slab, live, first, most);
		lock_drop(&heap->lock);
	}
	/* none lives: what slabs are left, another thread's trim or drain has in its hands, about to destroy them */
	while (!live && atomic_load_explicit(&own_class(cache->class)->slabs, acquire))
		nap(); /* pairs with slab_destroy */
	return live;
}

void cache_delete(struct qslab_cache *cache)
{
	lock_take(&caches.lock);
	for (struct qslab_cache **link = &caches.all; *link; link = &(*link)->next) {
		if (*link == cache) {
			*link = cache->next;
			break;
		}
	}
	if (cache_is_own(cache))
		own_class(cache->class)->cache = NULL;
	cache->class = CLASS_NONE;
	cache->divisor = 0;
	lock_drop(&caches.lock);
	meta_free(cache, sizeof *cache);
}

/* ---- from outside --------------------------------------------------------------------------------------------------- */

void cache_each(void (*callback)(struct qslab_cache *cache, void *argument), void *argument)
{
	lock_take(&caches.lock);
	for (struct qslab_cache *cache = caches.all; cache; cache = cache->next)
		callback(cache, argument);
	lock_drop(&caches.lock);
}

/* Heap's lock. */
static void count_slabs(struct slab *slab, struct class_counts *counts)
{
	for (; slab; slab = slab->next) {
		counts->slabs++;
		counts->pages += classes[slab->class].pages;
		counts->objects += slab->objects;
		counts->slab_free += load_relaxed(&slab->nfree) + load_relaxed(&slab->announced);
	}
}

void class_count(unsigned class, struct class_counts *counts)
{
	*counts = (struct class_counts){0};
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next) {
		lock_take(&heap->lock);
		struct bin *bin = heap_bin(heap, class);
		count_slabs(bin ? bin->partial : NULL, counts);
		count_slabs(bin ? bin->full : NULL, counts);
		counts->magazines += heap_count_cached(heap, class);
		lock_drop(&heap->lock);
	}
}

void cache_after_fork(void)
{
	lock_drop(&caches.lock);
}

void cache_publish(struct qslab_segment_caches *out)
{
	*out = (struct qslab_segment_caches){
		.first = PUBLISH_WORD(caches.all, 8),
		.next = PUBLISH(struct qslab_cache, next, 8),
		.name = PUBLISH(struct qslab_cache, name, 32),
		.klass = PUBLISH(struct qslab_cache, class, 4),
		.object_size = PUBLISH(struct qslab_cache, object_size, 8),
	};
}
