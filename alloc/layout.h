/*
 * The allocator's data and its protocol.
 *
 * An object of a slab is in exactly one place:
 *
 *     live       the program has it, or a sampled object that stands for it (profile.h), or vacant.c for a moment
 *     magazine   in one heap's magazine or returns (only that heap's thread reads or writes them)
 *     free       its bit is set in its slab's free[] (the lock of the slab's heap)
 *     remote     its bit is set in its slab's remote[], freed by another heap's thread, not yet taken in
 *
 * so that for each slab   popcount(free) == nfree,   and   objects - nfree  are live, in magazines, or
 * remote. No pointer is ever kept inside an object.
 *
 * Remote frees. A thread that returns k objects to a slab of another heap does, in this order:
 *     R1  old = fetch_add(&slab->announced, k)
 *     R2  fetch_or(&slab->remote[w], bits) for each word          (k bits in all; each acq_rel)
 *     R3  if old == 0: push the slab on its heap's notify list    (release)
 *     R4  if announced >= objects - nfree, read in this order: the slab may be all free; take the heap's lock and drain
 * and the drain, under the heap's lock, does
 *     D1  take the whole notify list (acquire, pairs with R3)
 *     D2  move each slab's remote[] into free[] (exchange, pairs with R2), m bits in all
 *     D3  if fetch_sub(&slab->announced, m) > m: push it again, more bits are on their way
 * Therefore: a slab is on at most one notify list, once; announced is the number of objects announced and
 * not taken in, so while it is above 0 the slab is on a list or about to be, and it is not all free, since
 * an announced object is in neither free[] nor anyone's hands. A slab is given back only when all free, by
 * the holder of its heap's lock, hence never while it is on a list or while a thread is before its R2; after
 * R2 a thread touches the slab again only in R3 (old == 0: then it is not yet on a list and nobody takes its
 * bits in) and R4 (a hint, from type-stable memory; nothing is done before the heap's lock is held).
 * R4 and the end of a flush that put anything (a fence, then a look at the notify list) are Dekker's: nfree stored before
 * the fence, the list pushed before nfree is read; one of the two sees that the slab is all free.
 *
 * Heaps. States: 1 OWNED (a thread runs on it), 2 ORPHAN (its thread is gone). 1->2 at thread exit, 2->1
 * when a new thread takes it over; both under the orphans lock. Heaps are never freed. A slab changes
 * heap only away from an ORPHAN, under the locks of both, and while announced is 0: so it is on no notify list, and the
 * heap that a thread reads after its R1, when nothing is moving, is the slab's until the thread's objects are taken in.
 * The one who moves it announces one object of its own meanwhile, and inherits R3 from those whose R1 came then.
 *
 * A cache's own class. Its objects carry no mark. Its magazines, and its bins, are used lazily: all zero until
 * then. A magazine that nobody uses any more is emptied by its owner at its thread's end or in a trim, and by whoever
 * destroys the cache, from outside; both under the class's lock. A destroyed cache's number is free again when no slab
 * of it is left: slabs counts them from before their creation to after their end.
 *
 * Lock order: 0 an own class's, 1 orphans, 2 own heap, 3 other heap (by lock_try only), 4 span cache, 5 region,
 * 6 source_mmap, 7 meta. No system call is made under 1-4 except by a waiter's nap.
 */
#ifndef QSLAB_ALLOC_LAYOUT_H
#define QSLAB_ALLOC_LAYOUT_H

#include "class.h"
#include "region.h"
#include "span.h"

struct heap;

struct slab {
	/* const while the slab lives */
	uintptr_t first;            /* the first object; what does not fill one lies before it */
	uint64_t recip;
	uint32_t size;
	uint16_t objects;
	uint8_t class;
	bool from_mmap;             /* its span's source */
	/* heap's lock */
	struct slab *next;          /* in its bin's list, partial if nfree > 0, else full */
	union {
		struct slab *prev;
		uint64_t cookie;    /* of a dead slab: reclaim/ has it, in a list by next */
	};
	/* written under the heap's lock, read by anyone as a hint */
	_Atomic(struct heap *) heap; /* changed under both heaps' locks */
	atomic_uint nfree;
	uint16_t scan;              /* heap's lock: no bit of free[] below this word is set */
	uint16_t words;             /* const */
	uint32_t born;              /* const: second of CLOCK_MONOTONIC; for tools */
	uint8_t guarded;            /* const: is its span's last page, beyond its own, a guard, an enum guard (guard.h)? */
	uint16_t vacated;           /* heap's lock: nfree when its vacant pages last went back (vacant.h) */
	/* any thread */
	_Alignas(CACHE_LINE) atomic_uint announced;
	atomic_bool moving;         /* both heaps' locks: it is about to change heap, or not (move_slab) */
	_Atomic(struct slab *) notify_next;
	/* remote[words] (any thread), then free[words] (heap's lock) from the next cache line */
	_Atomic uint64_t remote[];
};

_Static_assert(offsetof(struct slab, announced) == CACHE_LINE, "the heap's part fills one cache line");
_Static_assert(offsetof(struct slab, remote) % sizeof(uint64_t) == 0, "remote[] is aligned");
_Static_assert(SLAB_PAGES_MAX * PAGE_SIZE / OBJECT_SIZE_MIN < 65536, "objects fits");

static inline size_t slab_free_offset(unsigned words)
{
	return ALIGN_UP(offsetof(struct slab, remote) + words * sizeof(uint64_t), CACHE_LINE);
}

/* free[] */
static inline _Atomic uint64_t *slab_bits(struct slab *slab)
{
	return (void *)((char *)slab + slab_free_offset(slab->words));
}

static inline size_t slab_descriptor_size(unsigned words)
{
	return slab_free_offset(words) + ALIGN_UP(words * sizeof(uint64_t), CACHE_LINE);
}

static inline struct span slab_span(const struct slab *slab)
{
	uintptr_t end = slab->first + (size_t)slab->objects * slab->size;
	return (struct span){(void *)(end - (classes[slab->class].pages << PAGE_SHIFT)), slab->from_mmap, false};
}

/* The object that contains address, or any number >= objects if none does. */
static inline unsigned slab_index(const struct slab *slab, const void *address)
{
	uint64_t offset = (uintptr_t)address - slab->first;
	return offset >> 20 ? UINT32_MAX : (unsigned)(offset * slab->recip >> RECIP_SHIFT);
}

/* The same for an address known to be an object's start. */
static inline unsigned slab_index_of_start(const struct slab *slab, const void *start)
{
	return (unsigned)(((uintptr_t)start - slab->first) * slab->recip >> RECIP_SHIFT);
}

static inline void *slab_object(const struct slab *slab, unsigned index)
{
	return (void *)(slab->first + (size_t)index * slab->size);
}

/*
 * A hint against double frees: free leaves a mark in an object's third 4 bytes, malloc clears it. (Of 8, a look right
 * after a narrower store there stalls: 1.2 ns more in pair-16.) A marked object may be free already, and is looked for in all
 * magazines and its slab; any other only if it is the last one freed. Nothing else depends on the mark: a program that overwrites
 * or copies it loses or delays nothing. It is drawn for each process: with a number that programs use, or that somebody may
 * send, each free of an object that has it there would look in all threads' magazines, 97 us beside a hundred threads.
 */
static inline uint32_t *mark_of(const void *object)
{
	return (uint32_t *)object + 2;
}

static inline void mark_freed(void *object)
{
	*mark_of(object) = region.freed_mark;
}

static inline void mark_live(void *object)
{
	*mark_of(object) = 0;
}

static inline bool marked_freed(const void *object)
{
	return *mark_of(object) == region.freed_mark;
}

/* The object of the lowest of some bits of a bitmap word. */
static inline void *slab_first_object(const struct slab *slab, unsigned word, uint64_t bits)
{
	return slab_object(slab, word * 64 + (unsigned)__builtin_ctzll(bits));
}

/* An own class's part that is no shape. */
struct own_class {
	struct lock lock;          /* see above */
	atomic_size_t slabs;
	int (*ctor)(void *object); /* const while the cache lives; NULL: none */
	struct qslab_cache *cache; /* caches lock (cache.c); NULL: the number is free */
};

extern struct own_class own_classes[CLASS_OWN_COUNT];

static inline struct own_class *own_class(unsigned class)
{
	return &own_classes[class - CLASS_OWN];
}

/*
 * Room for a class's capacity of object pointers, from slots[1]; slots[0] is NULL. A magazine's array, or
 * anyone's who trades full ones for it (heap_exchange): the fields before slots are the holder's own.
 */
struct array {
	struct array *next;
	uint64_t cookie;
	size_t bytes;
	uint32_t first, count; /* objects are slots[first + 1 .. count] */
	void *slots[];
};

/*
 * A stack of free objects of one class. slots[0] is NULL, so that an empty stack shows itself by its top;
 * *limit is the last slot that may be filled. The heap's thread only; others read top for statistics.
 * An own class's is all zero before its first use, and its divisor is always 0, which keeps free's fast path, and its
 * mark, away.
 */
struct magazine {
	void **_Atomic top;
	void **limit;
	uint64_t divisor;   /* the class's: it lies where free looks anyway */
	void **_Atomic slots; /* of an array; NULL until first used; statistics read it too */
};

struct bin {
	struct slab *partial, *partial_last; /* heap's lock: slabs with 0 < nfree */
	struct slab *full;                   /* heap's lock: slabs with nfree == 0 */
	unsigned full_count;                 /* heap's lock */
	struct slab *kept;                   /* heap's lock: the one all-free slab in partial, if any */
	bool busy;                           /* heap's lock: objects were taken since a slab was last kept */
};

/* Objects in a magazine, seen from outside as of some moment; 0 while its thread is changing its array. */
static inline unsigned magazine_count(const struct magazine *magazine, unsigned class)
{
	void **slots = load_relaxed(&magazine->slots);
	size_t count = slots ? (size_t)(load_relaxed(&magazine->top) - slots) : 0;
	return count <= classes[class].capacity ? (unsigned)count : 0;
}

enum heap_state { HEAP_OWNED = 1, HEAP_ORPHAN = 2 };

struct heap {
	struct lock lock;
	atomic_int state;                       /* orphans lock */
	atomic_int tid;                         /* of the heap's thread, for those who look from outside; 0: it is gone */
	unsigned slow_calls;                    /* the heap's thread: paces span_tick and vacant_tick */
	unsigned purges;                        /* the heap's thread: span_purges when its magazines were last flushed for one */
	atomic_uint awake;                      /* the heap's thread: second of CLOCK_MONOTONIC of its last vacant_tick */
	struct heap *all_next;                  /* const once published */
	struct heap *orphan_next;               /* orphans lock */
	struct returns *_Atomic returns;        /* the heap's thread: set once, if it samples (profile.h) */
	_Alignas(CACHE_LINE) _Atomic(struct slab *) notify; /* any thread */
	_Alignas(CACHE_LINE) struct bin bins[CLASS_OWN]; /* lock */
	/* the heap's thread; from CLASS_OWN on, and below, untouched memory in a process without caches */
	struct magazine magazines[CLASS_LIMIT];
	struct bin *own_bins[CLASS_OWN_COUNT];  /* lock: set once */
};


static inline struct returns *heap_returns(struct heap *heap)
{
	return atomic_load_explicit(&heap->returns, acquire); /* pairs with profile_attach */
}

/* Lock, or the heap's thread. NULL: an own class that the heap never had a slab of. */
static inline struct bin *heap_bin(struct heap *heap, unsigned class)
{
	return likely(class < CLASS_OWN) ? &heap->bins[class] : heap->own_bins[class - CLASS_OWN];
}

#endif
