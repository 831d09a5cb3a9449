#define _GNU_SOURCE
#include "harden.h"
#include "debug.h"
#include "flush.h"
#include "heap.h"
#include "kept.h"
#include "large.h"
#include "misuse.h"
#include "object.h"
#include "option.h"
#include "region.h"
#include "report.h"
#include "sample.h"
#include "segment.h"
#include "slow.h"
#include "thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>

bool hardened;

static uint64_t keys[2];      /* const after harden_start */
static unsigned char padding; /* likewise; never 0, so that the end of a string shows */

static _Thread_local uint64_t seed __attribute__((tls_model("initial-exec")));

uint64_t harden_random(uint64_t bound)
{
	if (unlikely(!seed))
		seed = (keys[1] ^ (uintptr_t)&seed * 0x9e3779b97f4a7c15u) | 1;
	return (xorshift(&seed) >> 32) * bound >> 32;
}

/* ---- seals -------------------------------------------------------------------------------------------------- */

#define SEAL_LENGTH_SHIFT 48
#define PADDING_MOST 0xffffu

_Static_assert(MEDIUM_MAX / 8 + PAGE_SIZE <= PADDING_MOST, "what rounding to a class adds fits a seal");

/* Little endian: an overflow of an object without padding meets the low byte first, which is never 0. */
static uint64_t seal_for(const void *object, size_t length)
{
	uint64_t x = ((uintptr_t)object + length) ^ keys[0];
	x *= 0xff51afd7ed558ccdu;
	x ^= x >> 33 ^ keys[1];
	x *= 0xc4ceb9fe1a85ec53u;
	x ^= x >> 29;
	return (x & (((uint64_t)1 << SEAL_LENGTH_SHIFT) - 1)) | 0x81 | (uint64_t)length << SEAL_LENGTH_SHIFT;
}

static _Atomic uint64_t *seal_of(const void *object, size_t slot)
{
	return (_Atomic uint64_t *)((uintptr_t)object + slot - SEAL_SIZE);
}

/* The object is live with that seal: its length; SIZE_MAX if it cannot be. */
static size_t length_of(const void *object, size_t slot, uint64_t seal)
{
	size_t length = seal >> SEAL_LENGTH_SHIFT;
	return seal == seal_for(object, length) && length <= slot - SEAL_SIZE ? length : SIZE_MAX;
}

size_t harden_usable(const void *start, size_t slot)
{
	size_t length = length_of(start, slot, load_relaxed(seal_of(start, slot)));
	return length == SIZE_MAX ? 0 : slot - SEAL_SIZE - length;
}

static void seal(void *object, size_t slot, size_t asked)
{
	size_t length = slot - SEAL_SIZE - asked;

	assert(length <= PADDING_MOST);
	memset((char *)object + asked, padding, length);
	atomic_store_explicit(seal_of(object, slot), seal_for(object, length), release); /* last: pairs with unseal */
}

/* ---- what was found ------------------------------------------------------------------------------------------- */

static _Noreturn COLD void overflow(const char *call, const void *object, size_t asked, ptrdiff_t at)
{
	report_line("qslab: %s(%p): overflow: byte %td of the %zu-byte object was written", call, object, at, asked);
	misuse_end(object);
}

static _Noreturn COLD void broken_seal(const char *call, const void *object, size_t slot)
{
	report_line("qslab: %s(%p): overflow: the seal behind the object, which has a %zu-byte slot, was written", call, object,
	            slot);
	misuse_end(object);
}

/* The bytes from `from` on that are not `value`: where, -1 if all are. */
static ptrdiff_t find_other(const unsigned char *bytes, size_t count, unsigned char value)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != value)
			return (ptrdiff_t)i;
	return -1;
}

static bool is_zero(const void *start, size_t size)
{
	const uint64_t *words = start;
	uint64_t any = 0;

	for (size_t i = 0; i < size / sizeof *words; i++)
		any |= words[i];
	return !any;
}

static void check_untouched(const void *object, size_t slot)
{
	if (likely(is_zero(object, slot)))
		return;
	misuse_print_change("free", object, slot, 0);
	misuse_end(object);
}

/* The slot before belongs to a live object with a whole seal, or to none. */
static void check_before(const char *call, const void *object, const struct slab *slab)
{
	const char *before = (const char *)object - slab->size;

	if ((uintptr_t)before < slab->first)
		return;
	uint64_t there = load_relaxed(seal_of(before, slab->size));
	if (unlikely(there && length_of(before, slab->size, there) == SIZE_MAX)) {
		report_line("qslab: %s(%p): the bytes before the object were written: underflow, or overflow of the object at "
		            "or before %p", call, object, (const void *)before);
		misuse_end(object);
	}
}

/* Its padding's length. Not live any more; aborts unless it was, and whole. */
static size_t unseal(const char *call, void *object, const struct slab *slab)
{
	size_t slot = slab->size;
	uint64_t there = atomic_exchange_explicit(seal_of(object, slot), 0, acq_rel); /* pairs with seal */

	if (unlikely(!there))
		misuse_double_free(call, object, slot);
	size_t length = length_of(object, slot, there), asked = slot - SEAL_SIZE - length;
	if (unlikely(length == SIZE_MAX))
		broken_seal(call, object, slot);
	ptrdiff_t other = find_other((unsigned char *)object + asked, length, padding);
	if (unlikely(other >= 0))
		overflow(call, object, asked, (ptrdiff_t)asked + other);
	check_before(call, object, slab);
	return length;
}

void harden_check_size(const char *call, const void *object, size_t size)
{
	struct object found;

	if (object && object_find(object, &found) && found.start == object && found.class < CLASS_OWN && found.size != size &&
	    found.size) {
		report_line("qslab: %s(%p, %zu): the object was allocated with %zu bytes", call, object, size, found.size);
		misuse_end(object);
	}
}

/* ---- the quarantine ------------------------------------------------------------------------------------------- */

enum { SMALL_PLACES = 8192, MIDDLE_PLACES = 1024, BIG_PLACES = 32, PLACES = SMALL_PLACES + MIDDLE_PLACES + BIG_PLACES };

/* By size: objects to that size share so many slots, 14 MiB at most in all. */
static const struct shelf {
	uint32_t largest, first, count;
} shelves[] = {{256, 0, SMALL_PLACES}, {4096, SMALL_PLACES, MIDDLE_PLACES}, {MEDIUM_MAX, SMALL_PLACES + MIDDLE_PLACES, BIG_PLACES}};

static _Atomic(void *) places[PLACES]; /* any thread, by exchange: who takes an object out has it alone */

static size_t slot_of(const void *object)
{
	return classes[entry_class(entry_of(object))].size;
}

/* Back to where malloc takes them from. */
static void give_back(void *object)
{
	struct heap *heap = thread_heap_get();

	if (likely(heap))
		heap_overflow(heap, entry_class(entry_of(object)), object);
	else
		heap_late_free(object);
}

static void quarantine(void *object, size_t slot)
{
	const struct shelf *shelf = shelves;

	while (slot > shelf->largest)
		shelf++;
	_Atomic(void *) *place = &places[shelf->first + harden_random(shelf->count)];
	void *before = atomic_exchange_explicit(place, object, acq_rel);
	if (before)
		give_back(before);
}

void harden_each_quarantined(void (*callback)(void *object, void *argument), void *argument)
{
	for (unsigned i = 0; i < PLACES; i++) {
		void *object = atomic_load_explicit(&places[i], acquire);
		if (object)
			callback(object, argument);
	}
}

static void add_size(void *object, void *sum)
{
	*(size_t *)sum += slot_of(object);
}

size_t harden_quarantined(void)
{
	size_t bytes = 0;

	if (hardened)
		harden_each_quarantined(add_size, &bytes);
	return bytes;
}

static void empty_quarantine(void)
{
	for (unsigned i = 0; i < PLACES; i++) {
		void *object = load_relaxed(&places[i]) ? atomic_exchange_explicit(&places[i], NULL, acq_rel) : NULL;
		if (!object)
			continue;
		check_untouched(object, slot_of(object));
		give_back(object);
	}
}

void harden_trim(void)
{
	if (likely(!hardened))
		return;
	empty_quarantine();
	kept_empty();
}

/* What was written to after its free, and not found so far. */
__attribute__((destructor)) static void at_exit(void)
{
	if (hardened)
		empty_quarantine();
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

void *harden_alloc_class(unsigned class, size_t size)
{
	struct heap *heap = thread_heap_get();
	void *object = heap ? heap_take(heap, class) : heap_late_alloc(class);

	if (unlikely(!object))
		return NULL;
	check_untouched(object, classes[class].size);
	seal(object, classes[class].size, size);
	return object;
}

static void *alloc(unsigned class, size_t size, size_t alignment)
{
	return class ? harden_alloc_class(class, size) : large_alloc(size, alignment, false);
}

void *harden_alloc(size_t size, size_t alignment)
{
	void *object;

	if (unlikely(watched) && alignment <= 16 && (object = sample_alloc(size)))
		return object;
	unsigned class = alignment <= PAGE_SIZE ? class_aligned(size + SEAL_SIZE, alignment) : CLASS_NONE;
	object = alloc(class, size, alignment);
	return likely(object) || !kept_empty() ? object : alloc(class, size, alignment);
}

void harden_free(const char *call, void *object)
{
	const struct slab *slab = slab_of(object);
	size_t slot = slab->size;

	unseal(call, object, slab);
	memset(object, 0, slot - SEAL_SIZE);
	quarantine(object, slot);
}

void *harden_resize(const char *call, const struct object *object, size_t size)
{
	size_t kept = size < object->size ? size : object->size;

	if (object->class == CLASS_LARGE) {
		struct large *large = object->descriptor;
		harden_check_large(call, large);
		if (large->sample || size <= MEDIUM_MAX - SEAL_SIZE)
			return resize_move(call, object->start, size, kept);
		return large_resize(large, size);
	}
	struct slab *slab = object->descriptor;
	size_t slot = slab->size, length = unseal(call, object->start, slab), asked = slot - SEAL_SIZE - length;
	bool fits = size <= slot - SEAL_SIZE && size >= slot / 2 && slot - SEAL_SIZE - size <= PADDING_MOST;
	if (fits && size > asked)
		memset((char *)object->start + asked, 0, size - asked);
	seal(object->start, slot, fits ? size : asked);
	return fits ? object->start : resize_move(call, object->start, size, kept);
}

/* ---- large objects ------------------------------------------------------------------------------------------------ */

static size_t tail_of(const struct large *large)
{
	return large->size - large->offset - large->asked;
}

void harden_seal_large(struct large *large)
{
	memset(large->span.start, padding, large->offset);
	memset((char *)large_start(large) + large->asked, padding, tail_of(large));
}

void harden_check_large(const char *call, const struct large *large)
{
	char *start = large_start(large);
	ptrdiff_t other = find_other((unsigned char *)start + large->asked, tail_of(large), padding);

	if (unlikely(other >= 0))
		overflow(call, start, large->asked, (ptrdiff_t)large->asked + other);
	other = find_other(large->span.start, large->offset, padding);
	if (unlikely(other >= 0))
		overflow(call, start, large->asked, other - (ptrdiff_t)large->offset);
}

void *harden_place(struct large *large, size_t size, bool at_end)
{
	memset(large->span.start, 0, large->size);
	large->asked = size ? size : 1; /* no object is empty: its address would be another page's */
	large->offset = at_end ? (large->size - large->asked) & ~(size_t)15 : 0;
	harden_seal_large(large);
	return large_start(large);
}

/* ---- the start ------------------------------------------------------------------------------------------------------ */

void harden_start(void)
{
	static bool decided;
	uint64_t drawn[3];

	if (decided) {
		if (options.harden && !hardened)
			report_line("qslab: the environment came after the first allocation: not hardened");
		return;
	}
	decided = true;
	if (!options.harden)
		return;
	if (getrandom(drawn, sizeof drawn, GRND_NONBLOCK) != sizeof drawn) {
		const void *random = (const void *)getauxval(AT_RANDOM);
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (random)
			memcpy(drawn, random, 16);
		drawn[2] = (uint64_t)now.tv_nsec ^ drawn[0] >> 7;
	}
	keys[0] = drawn[0];
	keys[1] = drawn[1];
	padding = (unsigned char)(drawn[2] | 0x81);
	careful = hardened = true;
}

void harden_publish(struct qslab_segment_quarantine *out)
{
	out->objects = hardened ? PUBLISH_WORD(places[0], 8) : 0;
	out->count = PLACES;
}
