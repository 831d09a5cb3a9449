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
static uint64_t padding;      /* likewise; of eight times the byte, which is not 0, so that the end of a string shows */

static _Thread_local uint64_t seed __attribute__((tls_model("initial-exec")));

uint64_t harden_random(uint64_t bound)
{
	if (unlikely(!seed))
		seed = (keys[1] ^ (uintptr_t)&seed * 0x9e3779b97f4a7c15u) | 1;
	return (xorshift(&seed) >> 32) * bound >> 32;
}

/* ---- seals -------------------------------------------------------------------------------------------------- */

#define SEAL_LENGTH_SHIFT 48
#define PADDING_MOST (0xffffu - SEAL_SIZE) /* so that with the seal it fits 16 bits (walk.c), too */
#define PREFETCH_MOST 512 /* beyond it the processor has seen where it goes */

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

/* Of the word in which padding of less than eight bytes ends: those that are the program's. */
static uint64_t bytes_before(size_t length)
{
	return ~(uint64_t)0 >> 8 * length;
}

/* So many bytes before the seal. */
static void pad(void *seal, size_t length)
{
	uint64_t *word = seal;

	for (; length >= sizeof *word; length -= sizeof *word)
		*--word = padding;
	if (length) {
		word--;
		*word = (*word & bytes_before(length)) | (padding & ~bytes_before(length));
	}
}

static bool is_padded(const void *seal, size_t length)
{
	const uint64_t *word = seal;
	uint64_t other = 0;

	for (; length >= sizeof *word; length -= sizeof *word)
		other |= *--word ^ padding;
	if (length)
		other |= (*--word ^ padding) & ~bytes_before(length);
	return !other;
}

static void seal(void *object, size_t slot, size_t asked)
{
	size_t length = slot - SEAL_SIZE - asked;

	assert(length <= PADDING_MOST);
	pad(seal_of(object, slot), length);
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

/* The first byte that is not padding: where; -1 if all are. */
static ptrdiff_t find_other(const unsigned char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != (unsigned char)padding)
			return (ptrdiff_t)i;
	return -1;
}

typedef uint64_t vector __attribute__((vector_size(16), may_alias));

/* Both are multiples of 16, as all size classes are. */
static bool is_zero(const void *start, size_t size)
{
	const vector *at = start, *end = at + size / sizeof *at;
	vector any = {0};

	for (; end - at >= 4; at += 4)
		any |= at[0] | at[1] | at[2] | at[3];
	for (; at < end; at++)
		any |= *at;
	return !(any[0] | any[1]);
}

static void check_untouched(const void *object, size_t slot)
{
	if (likely(is_zero(object, slot)))
		return;
	misuse_print_change("free", object, slot, 0);
	misuse_end(object);
}

/* The slot before belongs to a live object with a whole seal, or to none. */
static void check_before(const char *call, const void *object, size_t slot)
{
	const char *before = (const char *)object - slot;
	uint64_t there = load_relaxed(seal_of(before, slot));

	if (unlikely(there && length_of(before, slot, there) == SIZE_MAX)) {
		report_line("qslab: %s(%p): the bytes before the object were written: underflow, or overflow of the object at "
		            "or before %p", call, object, (const void *)before);
		misuse_end(object);
	}
}

/* Its padding's length. Not live any more; aborts unless it was, and whole. */
static size_t unseal(const char *call, void *object, uint64_t entry)
{
	const struct class_info *class = &classes[entry_class(entry)];
	size_t slot = class->size;
	uint64_t there = atomic_exchange_explicit(seal_of(object, slot), 0, acq_rel); /* pairs with seal */

	if (unlikely(!there))
		misuse_double_free(call, object, slot);
	size_t length = length_of(object, slot, there), asked = slot - SEAL_SIZE - length;
	if (unlikely(length == SIZE_MAX))
		broken_seal(call, object, slot);
	if (unlikely(!is_padded(seal_of(object, slot), length)))
		overflow(call, object, asked, (ptrdiff_t)asked + find_other((unsigned char *)object + asked, length));
	if (entry_to_end(entry, object) < class->objects * slot) /* not its slab's first */
		check_before(call, object, slot);
	return length;
}

void harden_check_size(const char *call, const void *object, size_t size)
{
	struct object found;

	if (!object || !object_find(object, &found) || found.start != object || found.class >= CLASS_OWN)
		return;
	bool is_large = found.class == CLASS_LARGE;
	if (found.size == size || (is_large && !size && found.size == 1)) /* there an empty one has a byte: harden_place */
		return;
	size_t slot = classes[found.class].size;
	if (!is_large && length_of(object, slot, load_relaxed(seal_of(object, slot))) == SIZE_MAX)
		return; /* not live: free says so */
	report_line("qslab: %s(%p, %zu): the object was allocated with %zu bytes", call, object, size, found.size);
	misuse_end(object);
}

/* ---- the quarantine ------------------------------------------------------------------------------------------- */

enum { SMALL_PLACES = 8192, MIDDLE_PLACES = 1024, BIG_PLACES = 32, PLACES = SMALL_PLACES + MIDDLE_PLACES + BIG_PLACES };

/* By size: objects to that size share so many slots, 14 MiB at most in all. */
static const struct shelf {
	uint32_t largest, first, count;
} shelves[] = {{256, 0, SMALL_PLACES}, {4096, SMALL_PLACES, MIDDLE_PLACES}, {MEDIUM_MAX, SMALL_PLACES + MIDDLE_PLACES, BIG_PLACES}};

/*
 * Any thread: it makes a place TAKEN by compare-and-swap, and has the object that was there alone; then, once its own is
 * clear, puts that there. Nobody waits for a place that is TAKEN.
 */
static _Atomic(void *) places[PLACES];

#define TAKEN ((void *)1)
#define TRIES 4 /* for a place that is not */

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

/* Where an object of that size may wait. */
static _Atomic(void *) *draw_place(size_t slot)
{
	const struct shelf *shelf = shelves;

	while (slot > shelf->largest)
		shelf++;
	return &places[shelf->first + harden_random(shelf->count)];
}

/* That place, or another, TAKEN, and *before, what was there; NULL, and nothing, if many threads have theirs. */
static _Atomic(void *) *take_place(_Atomic(void *) *place, size_t slot, void **before)
{
	for (unsigned tries = TRIES; tries; tries--, place = draw_place(slot)) {
		*before = load_relaxed(place);
		if (*before != TAKEN && atomic_compare_exchange_strong_explicit(place, before, TAKEN, acq_rel, relaxed))
			return place;
	}
	*before = NULL;
	return NULL;
}

void harden_after_fork(void)
{
	for (unsigned i = 0; hardened && i < PLACES; i++)
		if (load_relaxed(&places[i]) == TAKEN)
			store_relaxed(&places[i], NULL);
}

void harden_each_quarantined(void (*callback)(void *object, void *argument), void *argument)
{
	for (unsigned i = 0; i < PLACES; i++) {
		void *object = atomic_load_explicit(&places[i], acquire);
		if (object && object != TAKEN)
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
		void *object = load_relaxed(&places[i]);
		if (!object || object == TAKEN ||
		    !atomic_compare_exchange_strong_explicit(&places[i], &object, NULL, acq_rel, relaxed))
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

/* What the next allocation will look at: it has been out of the caches for long. */
static void prefetch_next(const struct magazine *magazine, size_t slot)
{
	const char *next = *load_relaxed(&magazine->top);

	if (!next)
		return;
	for (size_t line = 0; line < slot && line < PREFETCH_MOST; line += CACHE_LINE)
		__builtin_prefetch(next + line);
	__builtin_prefetch(next + slot - SEAL_SIZE, 1);
}

void *harden_alloc_class(unsigned class, size_t size)
{
	struct heap *heap = thread_heap_get();
	void *object = heap ? heap_take(heap, class) : heap_late_alloc(class);

	if (unlikely(!object))
		return NULL;
	if (likely(heap))
		prefetch_next(&heap->magazines[class], classes[class].size);
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
	uint64_t entry = entry_of(object);
	size_t slot = classes[entry_class(entry)].size;
	_Atomic(void *) *place = draw_place(slot);
	void *before;

	/* Both atomic operations come before the clearing: they would wait for every line that it misses. */
	__builtin_prefetch(place, 1);
	__builtin_prefetch((char *)object - SEAL_SIZE);
	__builtin_prefetch(object, 1);
	unseal(call, object, entry);
	place = take_place(place, slot, &before);
	memset(object, 0, slot - SEAL_SIZE);
	if (likely(place))
		atomic_store_explicit(place, object, release);
	else
		before = object;
	if (before)
		give_back(before);
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
	uint64_t entry = entry_of(object->start);
	size_t slot = classes[entry_class(entry)].size, length = unseal(call, object->start, entry), asked = slot - SEAL_SIZE - length;
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
	memset(large->span.start, (unsigned char)padding, large->offset);
	memset((char *)large_start(large) + large->asked, (unsigned char)padding, tail_of(large));
}

void harden_check_large(const char *call, const struct large *large)
{
	char *start = large_start(large);
	ptrdiff_t other = find_other((unsigned char *)start + large->asked, tail_of(large));

	if (unlikely(other >= 0))
		overflow(call, start, large->asked, (ptrdiff_t)large->asked + other);
	other = find_other(large->span.start, large->offset);
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
	padding = ((drawn[2] & 0xff) | 0x81) * 0x0101010101010101u;
	careful = hardened = true;
}

void harden_publish(struct qslab_segment_quarantine *out)
{
	out->objects = hardened ? PUBLISH_WORD(places[0], 8) : 0;
	out->count = PLACES;
}
