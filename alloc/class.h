/*
 * Size classes: which sizes exist, and the shape of each one's slabs.
 *
 *     1..16   16..256 bytes    by 16
 *    17..64   288..16 KiB      8 to a doubling (at most 1/9 lost to rounding)
 *    65..80   20..256 KiB      4 to a doubling, whole pages
 *
 * Class 0 is "no object", CLASS_LARGE "an object with a span of its own". Both have a divisor of 0, which
 * makes the start-of-object check of free fail, so neither needs a branch there.
 */
#ifndef QSLAB_ALLOC_CLASS_H
#define QSLAB_ALLOC_CLASS_H

#include "base.h"

#define CLASS_NONE 0
#define CLASS_COUNT 81                /* 0..80 */
#define CLASS_LARGE CLASS_COUNT
#define CLASS_LIMIT (CLASS_COUNT + 1) /* array size that covers CLASS_LARGE */

#define SMALL_MAX 1024
#define MEDIUM_MAX ((size_t)256 << 10)
#define SLAB_PAGES_MAX 64
#define MAGAZINE_MAX 128

_Static_assert(SLAB_PAGES_MAX < 256, "a page map entry counts pages to a slab's end in 8 bits");
_Static_assert(MEDIUM_MAX <= SLAB_PAGES_MAX * PAGE_SIZE, "the largest class fits a slab");

struct class_info {
	uint64_t divisor;  /* ceil(2^64 / size): size divides n exactly when n * divisor < divisor */
	uint64_t recip;    /* ceil(2^44 / size): n / size is n * recip >> 44 for n < 2^20 */
	uint32_t size;
	uint16_t objects;  /* in a slab */
	uint16_t pages;    /* of a slab */
	uint16_t words;    /* of a slab's bitmap */
	uint16_t capacity; /* of a magazine, at most */
};

#define RECIP_SHIFT 44

/* Written once by class_init before the first object exists, constant after. */
extern struct class_info classes[CLASS_LIMIT];
extern uint8_t class_small[SMALL_MAX / 16 + 1];
extern uint8_t class_medium[MEDIUM_MAX / 128 + 1];

/* Runs before main, or at the first allocation if that is earlier; a second call does nothing. */
void class_init(void);

/* size <= MEDIUM_MAX. Before class_init this is CLASS_NONE, whose magazine is always empty. */
static inline unsigned class_of(size_t size)
{
	if (likely(size <= SMALL_MAX))
		return class_small[(size + 15) >> 4];
	return class_medium[(size + 127) >> 7];
}

#endif
