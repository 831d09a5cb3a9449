/*
 * The sampled heap profile (QSLAB_PROFILE=BYTES): of all bytes allocated, one in so many on average is sampled, and the
 * object it falls into is known by the stack that allocated it until it is free. Tools read the samples from outside.
 *
 * Which objects. Each allocation of s bytes is sampled with p = 1 - exp(-s / rate), independent of all others: a
 * Poisson process over bytes, drawn as the number of objects of a class up to the next one. A sample stands for 1 / p
 * objects of its size, so that sums over samples are unbiased (Horvitz and Thompson), whatever the rates were. The
 * number is used up at refills, not at allocations: a magazine is never filled beyond the next sampled object, which
 * therefore takes the slow path. For a magazine's fill to be a count of allocations, no object may come back to it
 * unseen: a sampling thread's frees go to a second set of magazines, `returns`, and an empty magazine is exchanged
 * for the one there. The fast paths are the same instructions with and without.
 *
 * Where they are. A sampled object of a size class is given a span of its own: a large object (large.h), whose free,
 * deferred free and realloc take slow paths anyway. The object of the class that would have been given stands
 * for it in its slab as its shadow, free when the sampled object is: so it keeps exactly the slab that the unsampled
 * one would have kept. (None is kept where a slab is one object.) A sampled large object is where it is.
 *
 * When it ends. The sample hangs on the large object's descriptor, and ends where that does, before the span is free.
 * So a sample never outlives its object, and no other object can be at its address.
 *
 * The library's own statistics count shadows as they count magazines; from outside they look live. Samples and stacks
 * take 120 MiB of addresses, of which what is used becomes resident.
 *
 * Not sampled: objects of caches that have a class of their own, threads past their end, the debug mode. The mode is
 * const from start; the rate is one word, which a tool may write from outside (qslab profile --rate), 0 for none; a
 * thread draws anew at its next refill, which the exponential distribution's lack of memory allows at any time.
 */
#ifndef QSLAB_ALLOC_PROFILE_H
#define QSLAB_ALLOC_PROFILE_H

#include "layout.h"

struct large;

/* One in the list of all, of which the first `used` were ever in use. */
struct profiled {
	_Atomic uintptr_t object; /* the sampled one; 0: not in use. Written last, and cleared first */
	void *shadow;             /* in its slab; NULL: none */
	uint64_t rate;            /* when it was sampled */
	size_t size;              /* of its class, or of the large object, when it was sampled */
	struct profiled *next;    /* lock: not in use */
	uint32_t stack;           /* stack.h's id; 0: not known */
	uint32_t class;           /* of its shadow; CLASS_LARGE: it has none */
};

/* A heap's, while its thread samples. The heap's thread only. */
struct returns {
	struct magazine magazines[CLASS_LIMIT]; /* what the thread frees; of own classes all zero, and unused */
	uint64_t rate;                          /* that the rest was drawn for; 0: none */
	uint64_t seed;
	uint64_t large_left;                    /* bytes of large objects up to the next sample */
	uint64_t until[CLASS_OWN];              /* the allocation of the class that is sampled: 1 is the next */
};

/* Const after profile_start: threads have `returns`. */
extern bool profiling;
extern _Atomic uint64_t profile_rate; /* bytes to a sample; 0: none. A tool may write it from outside */

/* fork.c, once the options are known. */
void profile_start(void);

/* Makes the heap a sampling one; without memory it stays as it is. The heap's thread, its frees not yet directed. */
void profile_attach(struct heap *heap);

/* If the rate has changed, draws anew. */
void profile_look(struct returns *returns);

/* Draws the number of the next sampled allocation of the class, 1 or more. */
void profile_draw(struct returns *returns, unsigned class);

/* A sampled object in the place of `shadow`, of the class; the shadow itself without memory. No lock held. */
void *profile_take(struct heap *heap, unsigned class, void *shadow) SLOW;

/* `object` is a new large one, or NULL: samples it if it is its turn. */
void profile_large(struct heap *heap, void *object) SLOW;

/* large.c: the object goes; its shadow is free. Or it is now another's span. */
void profile_end(struct profiled *profiled);
void profile_move(struct profiled *profiled, void *object);

/* The class that a sampled object stands for, CLASS_LARGE if none; CLASS_NONE: it is not sampled. */
unsigned profile_class(const void *object);

/* Bytes of shadows: free to the program, like what lies in magazines. */
size_t profile_shadow_bytes(void);

/* Calls back for every sample, under the list's lock. */
void profile_each(void (*callback)(const struct profiled *profiled, void *argument), void *argument);

void profile_after_fork(void);

/* Tests: threads made from now on draw from this. */
void profile_seed(uint64_t seed);

/* ---- refill from returns: nearly every slow malloc of a sampling thread ------------------------------------------ */

/* The empty magazine is exchanged for the returns, which have objects: one of these. */
static inline void *take_returns(struct magazine *magazine, struct magazine *returns)
{
	void **full = load_relaxed(&returns->slots), **old = load_relaxed(&magazine->slots);
	void **top = load_relaxed(&returns->top);
	size_t limit = (size_t)(returns->limit - full);

	magazine->limit = full + (magazine->limit - old);
	store_relaxed(&magazine->slots, full); /* in two places for a moment, rather than in none */
	atomic_store_explicit(&magazine->top, top - 1, release);
	returns->limit = old + limit;
	store_relaxed(&returns->slots, old);
	atomic_store_explicit(&returns->top, old, release);
	return *top;
}

/*
 * If the class's returns are a good part of a magazine, and none of them is to be sampled: one of them, while the rest
 * become the magazine, which is empty. Else NULL.
 */
static inline void *profile_refill(struct heap *heap, unsigned class)
{
	struct returns *returns = load_relaxed(&heap->returns);

	if (unlikely(!returns || returns->rate != load_relaxed(&profile_rate)))
		return NULL;
	struct magazine *magazine = &heap->magazines[class], *frees = &returns->magazines[class];
	size_t count = (size_t)(load_relaxed(&frees->top) - load_relaxed(&frees->slots));
	if (unlikely(!*load_relaxed(&frees->top) || count >= returns->until[class] ||
	             count * 4 < classes[class].capacity * 3u || !load_relaxed(&magazine->slots)))
		return NULL;
	returns->until[class] -= count;
	return take_returns(magazine, frees);
}

#endif
