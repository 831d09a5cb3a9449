/*
 * Size classes: which sizes exist, and the shape of each one's slabs.
 *
 *     1..16   16..256 bytes    by 16
 *    17..64   288..16 KiB      8 to a doubling (at most 1/9 lost to rounding)
 *    65..80   20..256 KiB      4 to a doubling, whole pages
 *
 * Class 0 is "no object", CLASS_LARGE "an object with a span of its own". Both have a divisor of 0, which
 * makes the start-of-object check of free fail, so neither needs a branch there.
 *
 * Classes from CLASS_OWN on belong to one cache each (cache.h), from its creation to its destruction. Their
 * class_info is set before the cache is known and changes only when no slab, magazine or array of it is left.
 */
#ifndef QSLAB_ALLOC_CLASS_H
#define QSLAB_ALLOC_CLASS_H

#include "base.h"

#define CLASS_NONE 0
#define CLASS_COUNT 81                /* 0..80 */
#define CLASS_LARGE CLASS_COUNT
#define CLASS_OWN 82                  /* 82..254 */
#define CLASS_OWN_COUNT 173
#define CLASS_LIMIT 256               /* whatever a page map entry says is below */

#define SMALL_MAX 1024
#define MEDIUM_MAX ((size_t)256 << 10)
#define SLAB_PAGES_MAX 64
#define MAGAZINE_MAX 128

_Static_assert(SLAB_PAGES_MAX < 256, "a page map entry counts pages to a slab's end in 8 bits");
_Static_assert(CLASS_OWN == CLASS_LARGE + 1 && CLASS_OWN + CLASS_OWN_COUNT < CLASS_LIMIT, "numbers do not meet");
_Static_assert(MEDIUM_MAX <= SLAB_PAGES_MAX * PAGE_SIZE, "the largest class fits a slab");

struct class_info {
	uint64_t divisor;  /* ceil(2^64 / size): size divides n exactly when n * divisor < divisor */
	uint64_t recip;    /* ceil(2^44 / size): n / size is n * recip >> 44 for n < 2^20 */
	uint32_t size;
	uint16_t objects;  /* in a slab */
	uint16_t pages;    /* of a slab */
	uint16_t words;    /* of a slab's bitmap */
	uint16_t capacity; /* of a magazine, at most */
	uint16_t traits;   /* CLASS_*, of a cache's own class */
};

enum {
	CLASS_TYPESAFE = 1, /* a dead slab's pages wait for a grace period */
	CLASS_DEFER = 2,    /* every free waits for a grace period; an object's last word is room for a link */
	CLASS_WIPE = 4,     /* free objects are zero */
};

#define OBJECT_SIZE_MIN 8

#define RECIP_SHIFT 44

/* Up to CLASS_LARGE written once by class_init before the first object exists, constant after. */
extern struct class_info classes[CLASS_LIMIT];
extern atomic_uint class_end; /* no class from here on was ever used */
extern uint8_t class_small[SMALL_MAX / 16 + 1];
extern uint8_t class_medium[MEDIUM_MAX / 128 + 1];

/* Runs before main, or at the first allocation if that is earlier; a second call does nothing. */
void class_init(void);

/* The shape of a class for objects of `size` bytes, at most MEDIUM_MAX, a multiple of OBJECT_SIZE_MIN. */
void class_set(unsigned class, size_t size, unsigned traits);

static inline bool class_is_slab(unsigned class)
{
	return class != CLASS_NONE && class != CLASS_LARGE;
}

/* CLASS_NONE, whose magazine is always empty, beyond MEDIUM_MAX, and before class_init. */
static inline unsigned class_of(size_t size)
{
	if (likely(size <= SMALL_MAX))
		return class_small[(size + 15) >> 4];
	return likely(size <= MEDIUM_MAX) ? class_medium[(size + 127) >> 7] : CLASS_NONE;
}

/*
 * The size whose class is the smallest with objects that are large enough, and aligned: they are multiples of their size
 * away from a slab's end, which is page-aligned. A multiple of the alignment will do: where classes lie closer than the
 * alignment it is one of them, elsewhere their distance is a multiple of it. `alignment`: a power of two, at most PAGE_SIZE.
 */
static inline size_t size_aligned(size_t size, size_t alignment)
{
	return size ? ALIGN_UP(size, alignment) : alignment;
}

/* CLASS_NONE if there is none. */
static inline unsigned class_aligned(size_t size, size_t alignment)
{
	return class_of(size_aligned(size, alignment));
}

#endif
