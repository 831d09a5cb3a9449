/*
 * Heaps: a thread's magazines and the slabs behind them. The slow paths of malloc and free.
 * Every function here is called by the heap's own thread unless it says otherwise.
 */
#ifndef QSLAB_ALLOC_HEAP_H
#define QSLAB_ALLOC_HEAP_H

#include "layout.h"

/* A heap without slabs whose magazines are always empty and full at once; for threads that have none. */
extern struct heap heap_none;

/* An orphan or a new heap, OWNED; NULL if there is no memory. Any thread. */
struct heap *heap_acquire(void);

/* Flushes all magazines; the heap becomes an ORPHAN. Where many are already, arrays and slabs that are all free go back. */
void heap_abandon(struct heap *heap);

/* One object of the class after refilling its magazine; NULL with errno. */
void *heap_refill(struct heap *heap, unsigned class);

/* One object of the class, of its magazine if there is one; NULL with errno. */
void *heap_take(struct heap *heap, unsigned class);

/* `want` objects of the class at most, at least one, to *end, end[-1] ...; 0 with errno. Any thread. */
unsigned heap_supply(struct heap *heap, unsigned class, void **end, unsigned want);

/* Pushes an object (checked to be one's start) into a magazine, making room if it is full. */
void heap_overflow(struct heap *heap, unsigned class, void *object);

/*
 * Is the object free: in this heap's magazine, or back in its slab? An object in another thread's magazine is
 * not seen. Linear in the magazine.
 */
bool heap_has_free(struct heap *heap, unsigned class, const void *object);

/* Is the object, of a size class, in a magazine of any heap? Any thread; never true of an object that the caller owns. */
bool heap_any_caches(unsigned class, const void *object);

/* Any thread, without a heap: one object straight from, or to, the slabs of an orphan heap kept for that. */
void *heap_late_alloc(unsigned class);
void heap_late_free(void *object);

/* ---- for those who hold free objects of their own (reclaim/) ----------------------------------------- */

/* An array for a class's objects; CLASS_LARGE has one too. NULL without memory. Any thread. */
struct array *heap_array_new(unsigned class);
void heap_array_free(struct array *array, unsigned class);
unsigned heap_array_capacity(unsigned class);

/*
 * The class's magazine, which is empty, becomes the array, all of whose objects are free; returns the array it had,
 * or NULL. This is how a batch becomes the next allocations with no work per object: SLUB's sheaves do the same.
 */
struct array *heap_exchange(struct heap *heap, unsigned class, struct array *full);

/* Free objects of one class, of any heaps, back to their slabs. At most MAGAZINE_MAX. */
void heap_return(struct heap *heap, void **objects, unsigned count);

/* Bytes of free objects that such holders keep: counted as magazines by statistics. */
extern atomic_size_t heap_stock;

/* Called, if set, when a magazine is empty, before objects are taken from slabs; may call heap_exchange. */
extern void (*_Atomic heap_donor)(struct heap *heap, unsigned class);

/* A heap's, or its returns: all of them unused. */
void heap_magazines_init(struct magazine *magazines);

/* The objects in a class's magazine, and in its returns; any thread, roughly. No more than MAGAZINE_MAX each. */
unsigned heap_count_cached(struct heap *heap, unsigned class);

/* The class's magazine and, if the heap has returns, the one there: *both, and how many. */
unsigned heap_magazines_of(struct heap *heap, unsigned class, struct magazine *both[2]);

/* In a forked child: empties a magazine that its thread, now gone, may have been changing. */
void magazine_renew(struct magazine *magazine, unsigned class);

/* All objects of a class's magazine, or of all, back to their slabs. Modest: the magazine starts anew. */
void heap_flush(struct heap *heap, unsigned class, bool modest);
void heap_flush_all(struct heap *heap, bool modest);

/* The thread's end, all flushed: the magazines' arrays go back. */
void heap_drop_arrays(struct heap *heap);

/*
 * Any thread, once no thread uses the own class any more: takes the magazine's objects, at most MAGAZINE_MAX, and
 * leaves it as before its first use.
 */
unsigned heap_take_magazine(struct heap *heap, unsigned class, void **objects);

/* Any thread: takes remote frees in and gives all-free slabs of the class, or of all for 0, back, in every heap. */
void heap_trim(unsigned class);

/* Any thread: every heap ever made, newest first. */
struct heap *heap_first(void);

/* fork.c, in the child: `own` is the surviving thread's heap or &heap_none. */
void heap_after_fork(struct heap *own);

#endif
