/*
 * qslab/cache.h: caches of objects of one type, as the kernel's kmem_cache and FreeBSD's SMR zones.
 *
 *     routes = qslab_cache_create("route", sizeof(struct route), 0, QSLAB_CACHE_ISOLATE, NULL);
 *     struct route *route = qslab_cache_alloc(routes);
 *     qslab_cache_free(routes, route);
 *
 * Rules for all calls here, unless one says otherwise:
 *   - Any thread, at any time; not from signal handlers. Nothing waits, save _barrier and _destroy: these are quiescent
 *     states of a QSBR caller, and abort inside a read-side section of the other flavours.
 *   - Objects are qslab's own: qslab_free, qslab_free_rcu and their kin, qslab_object_start and qslab_usable_size take
 *     them too, and so does free in a process that preloads libqslab-malloc.so.
 *   - errno is kept unless an error is documented. Misuse prints one line to stderr and aborts.
 *
 * A cache without flags and without a constructor is merged: another name for the size class of qslab_malloc(size), as
 * fast and with nothing of its own. Every other has slabs of its own, and so, in the hardened mode, has one of objects of
 * nearly 256 KiB; at most 173 of these exist at once.
 * Cost: as qslab_malloc and qslab_free; plain free on an object of slabs of its own is a little dearer.
 */
#ifndef QSLAB_CACHE_H
#define QSLAB_CACHE_H

#include <qslab/qslab.h>

#include <stdint.h>

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* a struct and a function of one name, as stat */
extern "C" {
#endif

enum {
	/*
	 * An object may be freed while readers look at it, and may be reused at once, but only as an object of this cache:
	 * its memory keeps its type until a grace period has passed. A reader that found it checks, with a lock or a
	 * reference count inside it, that it still is what was looked for. A free object keeps what it held: nothing of
	 * ours is ever inside. With a constructor, every object is in a constructed state whoever looks.
	 * Source: the kernel's SLAB_TYPESAFE_BY_RCU.
	 */
	QSLAB_CACHE_TYPESAFE_BY_RCU = 1,
	/*
	 * Every free, by whatever call, waits for a grace period, as by qslab_free_rcu; it never fails. Costs up to one word
	 * an object. Source: FreeBSD's UMA_ZONE_SMR.
	 */
	QSLAB_CACHE_RCU = 2,
	/* Slabs of its own: counted, walked, and checked for leaks apart from all others. */
	QSLAB_CACHE_ISOLATE = 4,
	/* A free object is zero: from its free, or from the end of its grace period, on. zalloc then costs nothing more. */
	QSLAB_CACHE_ZERO_ON_FREE = 8,
	/* Aligned to a cache line, or for small objects to a half, a quarter... of one: none crosses two. */
	QSLAB_CACHE_HWALIGN = 16,
};

struct qslab_cache;

/*
 * `size`: 1 to 256 KiB, rounded up to `align` and with the word that QSLAB_CACHE_RCU takes. `align`: a power of two up
 * to 4096, or 0: the largest one up to 16 that divides size, which fits every type of that size. `name` is copied, up to
 * 31 bytes of it with no UTF-8 character cut, and need not be unique; NULL is "unnamed".
 * `ctor`, or NULL, runs once for each object when its slab is made, not at each allocation; it returns 0, or an errno
 * value, and then the allocation that needed the slab fails with it, and the whole slab is given up. Objects are freed
 * in their constructed state. It may allocate, but not from this cache; it runs in any thread that allocates.
 * NULL with EINVAL (size, align, unknown flags; ZERO_ON_FREE with a constructor or with TYPESAFE_BY_RCU), ENOSPC (173
 * caches have slabs of their own), ENOMEM.
 */
QSLAB_API struct qslab_cache *qslab_cache_create(const char *name, size_t size, size_t align, unsigned flags,
                                                 int (*ctor)(void *object));

/*
 * Waits until the cache's deferred objects, retired by any thread, are free and, with TYPESAFE_BY_RCU, until readers
 * have left its memory; then gives all of that back. No other thread may use the cache, or free an object of it,
 * any more: what they did must happen before, as by pthread_join or a lock. Their magazines are emptied for them.
 * Returns 0, or, with slabs of its own, how many objects are still live. Then one line on stderr says how many and where
 * the first of them are, nothing is freed under whoever has them, and the cache remains: free them and call again.
 * NULL is accepted.
 */
QSLAB_API size_t qslab_cache_destroy(struct qslab_cache *cache);

/* An object, its content undefined (constructed, with a constructor). NULL with ENOMEM, or the constructor's error. */
QSLAB_API void *qslab_cache_alloc(struct qslab_cache *cache) __attribute__((malloc));

/* The same, all zero. NULL with EINVAL if the cache has a constructor. */
QSLAB_API void *qslab_cache_zalloc(struct qslab_cache *cache) __attribute__((malloc));

/* Gives an object of this cache back; NULL is accepted. Aborts on one of another class. */
QSLAB_API void qslab_cache_free(struct qslab_cache *cache, void *object);

/*
 * Frees after a grace period. 0, or ENOMEM if no array slot could be had: then the object is still the caller's.
 * Never with QSLAB_CACHE_RCU. Objects with a struct rcu_ptr of their own go by qslab_free_rcu, which never fails.
 */
QSLAB_API int qslab_cache_free_rcu(struct qslab_cache *cache, void *object) __attribute__((warn_unused_result));

/* As qslab_malloc_bulk and qslab_free_bulk, for objects of this cache. QSLAB_CACHE_RCU defers each free on its own. */
QSLAB_API size_t qslab_cache_alloc_bulk(struct qslab_cache *cache, size_t count, void **objects);
QSLAB_API void qslab_cache_free_bulk(struct qslab_cache *cache, size_t count, void *const *objects);

/*
 * Gives slabs back that have no live object: what this thread's magazine, and arrays whose grace period is over, hold
 * included. Other threads' magazines are left alone. Returns the bytes of these slabs; with TYPESAFE_BY_RCU they go
 * after a grace period.
 */
QSLAB_API size_t qslab_cache_shrink(struct qslab_cache *cache);

/*
 * Returns when every object of the cache that any thread retired before the call is free. Waits. For a merged cache:
 * every object of its size class.
 */
QSLAB_API void qslab_cache_barrier(struct qslab_cache *cache);

/*
 * total = live + deferred + magazines + ready + slab_free, exact when no other thread uses the cache. A merged cache
 * keeps no counts: all of them are 0.
 */
struct qslab_cache_stats {
	char name[32];
	size_t object_size;  /* as asked for */
	size_t stride;       /* from one object to the next */
	size_t align;
	unsigned flags;      /* as asked for */
	bool merged;
	size_t slabs, bytes; /* of slabs */
	size_t total;        /* objects in slabs */
	size_t live;         /* the program holds them */
	size_t deferred;     /* wait for a grace period */
	size_t magazines;    /* free, in threads' magazines or, with QSLAB_RCU_DEBUG, in the quarantine */
	size_t ready;        /* free, in arrays whose grace period is over */
	size_t slab_free;    /* free, in slabs */
};
QSLAB_API void qslab_cache_stats(struct qslab_cache *cache, struct qslab_cache_stats *stats);

#ifdef __cplusplus
}
#pragma GCC diagnostic pop
#endif
#endif
