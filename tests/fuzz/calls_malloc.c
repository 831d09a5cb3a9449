/* The malloc family by its own names, interior pointers, reports. */
#define _GNU_SOURCE
#include "script.h"

#include <fcntl.h>
#include <unistd.h>

#define BELIEVABLE ((size_t)1 << 32) /* no more than the machine may have */

size_t next_size(struct script *script)
{
	static const size_t absurd[] = {PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4095,
	                                (size_t)PTRDIFF_MAX - 4095, (size_t)1 << 46, (size_t)1 << 47};
	unsigned a = next_byte(script), b = next_byte(script);

	switch (a >> 5) {
	case 0:
	case 1:
		return b;
	case 2:
		return b * (size_t)16 + a % 3 - (b ? 1 : 0);
	case 3: /* a class's edge: the largest size of one, and its neighbours */
		return qslab_good_size((size_t)b * b * 4 + 1) + a % 3 - 1;
	case 4:
		return (size_t)b << a % 14;
	case 5: /* pages */
		return ((size_t)b << 12) + a % 3 - (b ? 1 : 0);
	case 6: /* the largest size of a slab, and the least of a huge page */
		return ((size_t)(1 + b % 8) << (a & 1 ? 18 : 21)) + b / 8 - 16;
	default:
		return a == 255 ? absurd[b % 8] : 16 + b % 64;
	}
}

/* What an allocation of so many bytes came to. True: there is an object. */
static bool came(void *object, size_t size)
{
	if (object) {
		REQUIRE(size <= PTRDIFF_MAX);
		return true;
	}
	REQUIRE(errno == ENOMEM && size >= BELIEVABLE);
	return false;
}

/* Objects too large to be filled are freed again at once. */
static void keep(void *object, size_t size, size_t align, bool zero)
{
	if (!came(object, size))
		return;
	if (size < BELIEVABLE && model_room(1, size)) {
		if (zero)
			zero_check(object, size);
		model_enter(object, size, align, NULL);
		return;
	}
	KEPT(qslab_free(object));
}

void do_malloc(struct script *script)
{
	size_t size = next_size(script);
	errno = 77;
	keep(qslab_malloc(size), size, 16, false);
}

void do_calloc(struct script *script)
{
	size_t size = next_size(script), count = next_byte(script), total;

	errno = 77;
	void *object = qslab_calloc(count, size);
	if (__builtin_mul_overflow(count, size, &total))
		total = SIZE_MAX;
	keep(object, total, 16, true);
}

/* The object's own, and whether it may be another's: a cache has no realloc. */
static struct thing *take_plain(struct script *script)
{
	struct thing *thing = model_take(next_byte(script));

	if (!thing || !thing->pool)
		return thing;
	model_put(thing);
	return NULL;
}

static void resize(struct thing *thing, size_t size, size_t count)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		total = SIZE_MAX;
	content_check(thing, thing->asked, SIZE_MAX);
	if (!total || (total < BELIEVABLE && !model_room(1, total))) {
		void *object = model_drop(thing);
		errno = 77;
		REQUIRE(!qslab_realloc(object, 0) && errno == 77);
		return;
	}
	void *start = thing->start;
	model_moving(thing, true);
	errno = 77;
	void *moved = count == 1 ? qslab_realloc(start, size) : qslab_reallocarray(start, count, size);
	if (!came(moved, total)) {
		model_moving(thing, false);
		content_check(thing, thing->asked, SIZE_MAX);
		model_put(thing);
	} else if (total < BELIEVABLE) {
		model_moved(thing, moved, total);
		model_put(thing);
	} else { /* back to what the model can fill */
		void *back = qslab_realloc(moved, thing->asked ? thing->asked : 1);
		REQUIRE(back);
		model_moved(thing, back, thing->asked);
		model_put(thing);
	}
}

void do_realloc(struct script *script)
{
	struct thing *thing = take_plain(script);
	size_t size = next_size(script);

	if (thing) {
		resize(thing, size, 1);
	} else {
		errno = 77;
		keep(qslab_realloc(NULL, size), size, 16, false);
	}
}

void do_reallocarray(struct script *script)
{
	struct thing *thing = take_plain(script);
	size_t size = next_size(script), count = 2 + next_byte(script) % 8;

	if (thing)
		resize(thing, size, count);
}

void do_aligned(struct script *script)
{
	unsigned b = next_byte(script);
	unsigned power = b % 32 < 28 ? b % 28 : 60 + b % 4; /* what lies between takes terabytes of addresses */
	size_t alignment = b < 224 ? (size_t)1 << power : b, size = next_size(script);
	bool wrong = b >= 224;

	if (b == 255)
		alignment = 0;
	errno = 77;
	void *object = qslab_aligned_alloc(alignment, size);
	if (wrong) {
		REQUIRE(!object && errno == EINVAL);
	} else if (!object) {
		REQUIRE(errno == ENOMEM && (size >= BELIEVABLE || alignment >= BELIEVABLE));
	} else {
		REQUIRE((uintptr_t)object % alignment == 0);
		keep(object, size, alignment < 16 ? 16 : alignment, false);
	}
}

void *let_go(struct thing *thing)
{
	if (thing->pool && thing->pool->flags & QSLAB_CACHE_RCU)
		return model_retire(thing, SIZE_MAX, NO_COOKIE);
	return model_drop(thing);
}

void discard(struct thing *thing)
{
	struct pool *pool = thing->seed % 2 ? thing->pool : NULL;
	void *object = let_go(thing);

	if (pool)
		KEPT(qslab_cache_free(pool->cache, object));
	else
		KEPT(qslab_free(object));
}

void do_free(struct script *script)
{
	struct thing *thing = model_take(next_byte(script));

	if (thing)
		discard(thing);
	else
		KEPT(qslab_free(NULL));
}

void do_malloc_bulk(struct script *script)
{
	void *objects[BULK_MOST];
	size_t count = next_byte(script) % (BULK_MOST + 1), size = next_size(script);

	if (size > 100000 && size < BELIEVABLE)
		size = 100000;
	errno = 77;
	size_t got = qslab_malloc_bulk(size, count, objects);
	REQUIRE(got <= count && (got == count || !came(NULL, size)));
	for (size_t i = 0; i < got; i++)
		keep(objects[i], size, 16, false);
}

size_t take_several(struct script *script, struct thing **things)
{
	size_t count = next_byte(script) % BULK_MOST, taken = 0;
	unsigned slot = next_byte(script);

	while (taken < count && (things[taken] = model_take(slot)))
		taken++;
	return taken;
}

void do_free_bulk(struct script *script)
{
	struct thing *things[BULK_MOST];
	void *objects[2 * BULK_MOST];
	size_t taken = take_several(script, things), count = 0;

	for (size_t i = 0; i < taken; i++) {
		if (things[i]->seed % 5 == 0)
			objects[count++] = NULL;
		objects[count++] = let_go(things[i]);
	}
	KEPT(qslab_free_bulk(count, objects));
}

void do_probe(struct script *script)
{
	struct thing *thing = model_take(next_byte(script));
	size_t at = next_size(script);

	if (!thing)
		return;
	const unsigned char *inside = thing->start + (thing->usable ? at % thing->usable : 0);
	errno = 77;
	REQUIRE(qslab_object_start(inside) == thing->start && qslab_object_size(inside) == thing->usable);
	REQUIRE(qslab_owns(inside) && qslab_usable_size(thing->start) == thing->usable && errno == 77);
	content_check(thing, thing->asked, SIZE_MAX);
	model_put(thing);
}

/* Addresses that are nobody's. */
void do_strangers(struct script *script)
{
	const char *const strangers[] = {NULL, (char *)script, (char *)do_strangers, (char *)1, (char *)-1,
	                                 (char *)((uintptr_t)1 << 47), (char *)((uintptr_t)1 << 63), (char *)0xfff};
	const char *stranger = strangers[next_byte(script) % 8];

	errno = 77;
	REQUIRE(!qslab_object_start(stranger) && !qslab_object_size(stranger) && !qslab_owns(stranger));
	REQUIRE(qslab_usable_size(NULL) == 0 && errno == 77);
}

void do_good_size(struct script *script)
{
	size_t size = next_size(script), good = qslab_good_size(size);

	REQUIRE(size > PTRDIFF_MAX || good >= size);
	if (size > 1000000 || model_modes & PROFILED)
		return;
	void *object = qslab_malloc(size);
	REQUIRE(object && qslab_usable_size(object) >= size);
	REQUIRE(model_modes || qslab_usable_size(object) == good);
	qslab_free(object);
}

void do_trim(struct script *script)
{
	(void)script;
	KEPT(qslab_trim());
}

static void check_text(size_t (*write_text)(char *text, size_t size), struct script *script)
{
	size_t size = next_byte(script) * 8, whole;
	char *text = malloc(size + 1);

	REQUIRE(text);
	memset(text, 1, size + 1);
	whole = write_text(text, size);
	REQUIRE(whole > 0 && text[size] == 1);
	if (size)
		REQUIRE(strlen(text) == (whole < size ? whole : size - 1) || !script->alone);
	free(text);
}

void do_report(struct script *script)
{
	static int null = -1;
	struct qslab_memory memory;
	struct qslab_stats stats, part;
	size_t size = next_byte(script);

	KEPT(qslab_memory(&memory));
	REQUIRE(memory.live >= memory.live_large && memory.mapped >= memory.live);
	size = size < sizeof part ? size : sizeof part;
	memset(&part, 0xa5, sizeof part);
	qslab_stats(&stats, sizeof stats);
	qslab_stats(&part, size);
	REQUIRE(stats.version == QSLAB_STATS_VERSION && stats.size == sizeof stats);
	REQUIRE(stats.retired == stats.reclaimed + stats.waiting);
	for (size_t i = size; i < sizeof part; i++)
		REQUIRE(((unsigned char *)&part)[i] == 0xa5);
	check_text(qslab_stats_json, script);
	check_text(qslab_stats_prometheus, script);
	if (null < 0)
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	qslab_print_memory(null);
}
