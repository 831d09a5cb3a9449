/*
 * Caches: objects of one type. A cache that asks for nothing special is another name for a size class; any other has a
 * class of its own, whose number every layer handles as it does a size class's.
 *
 * The fast paths here leave no mark in an own class's object: a constructor's work, and what a reader of a
 * CLASS_TYPESAFE object looks at, stays. A double free is found when the magazine's top is the object, when the magazine
 * is full, or when the object returns to its slab.
 */
#ifndef QSLAB_ALLOC_CACHE_H
#define QSLAB_ALLOC_CACHE_H

#include "fast.h"
#include "heap.h"

#include <string.h>

struct qslab_cache {
	/* const while the cache lives */
	uint64_t divisor;         /* its class's */
	size_t object_size;       /* as asked for */
	unsigned class;           /* CLASS_NONE once destroyed: every call then takes the slow path */
	unsigned traits;          /* its class's */
	unsigned flags;           /* as asked for */
	unsigned align;
	bool has_ctor;
	char name[32];
	struct qslab_cache *next; /* caches lock */
};

/* As qslab_cache_create, which says what the arguments mean. `own`: a class of its own. NULL with errno. */
struct cache_wish {
	const char *name;
	size_t size, align;
	unsigned flags, traits;
	bool own;
	int (*ctor)(void *object);
};
struct qslab_cache *cache_create(const struct cache_wish *wish);

/*
 * An own class that no thread uses any more: its magazines' objects go back, and its slabs that are all free then.
 * Returns how many objects live in the others, and up to `most` of them.
 */
size_t cache_empty(struct qslab_cache *cache, void **first, unsigned most);

/* Takes the cache, emptied and with nothing left to reclaim/, out of the list; its class number is free. */
void cache_delete(struct qslab_cache *cache);

/* Calls back for every cache, under the caches lock: no cache may be created or destroyed by it. */
void cache_each(void (*callback)(struct qslab_cache *cache, void *argument), void *argument);

/* What a class's slabs and magazines hold. Exact when no other thread uses the class. */
struct class_counts {
	size_t slabs, pages, objects, slab_free, magazines;
};
void class_count(unsigned class, struct class_counts *counts);

void cache_after_fork(void);

static inline bool cache_is_own(const struct qslab_cache *cache)
{
	return cache->class >= CLASS_OWN;
}

/* ---- an own class's objects ------------------------------------------------------------------------------------ */

/* Set by reclaim/: defers the free of an object of a CLASS_DEFER class. */
extern void (*_Atomic own_retire)(const char *call, void *object);

/* Frees an object known to be the start of one of the class, by any call. */
void own_free(const char *call, unsigned class, void *object) SLOW;

void *cache_alloc_slow(struct qslab_cache *cache) SLOW;

static inline void *cache_alloc(struct qslab_cache *cache)
{
	struct magazine *magazine = &thread_heap->magazines[cache->class];
	void **top = load_relaxed(&magazine->top);
	if (unlikely(!top || !*top))
		return cache_alloc_slow(cache);
	void *object = *top;
	store_relaxed(&magazine->top, top - 1);
	if (!cache_is_own(cache))
		mark_live(object);
	return object;
}

/* Has the heap profile given it a span in the place of one of the cache's class? (profile.h) */
bool cache_has_sampled(const struct qslab_cache *cache, const void *object);

/* Is the object the start of one of the cache's class? */
static inline bool cache_has(const struct qslab_cache *cache, const void *object)
{
	if (unlikely(!region_has(object)))
		return false;
	uint64_t entry = entry_of(object);
	return likely(entry_class(entry) == cache->class && is_start(entry, object, cache->divisor));
}

/* Into the magazine; false if the slow path must. Own classes that are not CLASS_DEFER. */
static inline bool own_push(struct magazine *magazine, unsigned class, void *object)
{
	void **top = load_relaxed(&magazine->top);
	if (unlikely(top == magazine->limit || *top == object))
		return false;
	if (unlikely(classes[class].traits & CLASS_WIPE))
		memset(object, 0, classes[class].size);
	top[1] = object;
	store_relaxed(&magazine->top, top + 1);
	return true;
}

#endif
