/* Caches: of all flags, with constructors that do nothing, allocate, or fail. */
#define _GNU_SOURCE
#include "script.h"

#include <stdatomic.h>

#define FLAGS_KNOWN 31u
#define CTOR_ERROR EDOM
#define SIZE_MOST ((size_t)256 << 10)
#define SEAL_SIZE 8 /* what the hardened mode adds to an object */

static unsigned char magics[3];
static atomic_int fail_next, failures;

static int construct_simply(void *object)
{
	memcpy(object, &(unsigned char *){&magics[0]}, sizeof(void *));
	return 0;
}

static int construct_allocating(void *object)
{
	void *other = qslab_malloc(40);
	memcpy(object, &(unsigned char *){&magics[1]}, sizeof(void *));
	qslab_free(other);
	return 0;
}

static int construct_failing(void *object)
{
	memcpy(object, &(unsigned char *){&magics[2]}, sizeof(void *));
	if (atomic_load(&fail_next) <= 0 || atomic_fetch_sub(&fail_next, 1) != 1)
		return 0;
	atomic_fetch_add(&failures, 1);
	return CTOR_ERROR;
}

/* The next slab but so many objects fails. */
void do_fail_next(struct script *script)
{
	atomic_store(&fail_next, (int)next_byte(script));
}

static struct pool *next_pool(struct script *script)
{
	struct pool *pool = &pools[next_byte(script) % CACHES];
	return pool->cache ? pool : NULL;
}

/* As documented. */
static size_t align_of(size_t size, size_t align, unsigned flags)
{
	if (!align)
		align = (size & -size) < 16 ? size & -size : 16;
	for (size_t part = 64; flags & QSLAB_CACHE_HWALIGN && part >= 8 && align < part; part /= 2)
		if (size > part / 2) /* such objects do not cross a line */
			align = part;
	return align ? align : 1;
}

void do_create(struct script *script)
{
	static int (*const ctors[])(void *) = {construct_simply, construct_allocating, construct_failing};
	struct pool *pool = &pools[next_byte(script) % CACHES];
	unsigned flags = next_byte(script), b = next_byte(script);
	size_t size = next_size(script), align = b & 8 ? (size_t)1 << (b >> 4) : 0;
	unsigned which = flags >> 5;
	int (*ctor)(void *) = which >= 1 && which <= 3 && size >= sizeof(void *) ? ctors[which - 1] : NULL;

	flags &= which == 7 ? ~0u : FLAGS_KNOWN;
	if (b == 255)
		align = 24;
	if (!script->alone || pool->cache)
		return;
	bool wrong = !size || size > SIZE_MOST || align > 4096 || (align & (align - 1)) || flags & ~FLAGS_KNOWN ||
	             (flags & QSLAB_CACHE_ZERO_ON_FREE && (ctor || flags & QSLAB_CACHE_TYPESAFE_BY_RCU));
	size_t aligned = align_of(size, align, flags), room = flags & QSLAB_CACHE_RCU ? sizeof(void *) : 0;
	wrong = wrong || (size + room + aligned - 1) / aligned * aligned > SIZE_MOST;
	errno = 77;
	pool->cache = qslab_cache_create(b & 1 ? "a name that is longer than the room for names is" : NULL, size, align,
	                                 flags, ctor);
	REQUIRE(wrong ? !pool->cache && errno == EINVAL : pool->cache && errno == 77);
	align = aligned;
	pool->size = size;
	pool->align = align;
	pool->flags = flags;
	pool->own = ctor || flags & ~(unsigned)QSLAB_CACHE_HWALIGN ||
	            (model_modes & HARDENED && size > SIZE_MOST - SEAL_SIZE);
	pool->magic = ctor ? &magics[which - 1] : NULL;
	pool->live = 0;
}

static void pool_end(struct script *script, struct pool *pool, bool empty)
{
	struct thing *things[SLOTS], *thing;
	size_t count = 0;

	while (count < SLOTS && (thing = model_take(0)))
		things[count++] = thing;
	for (size_t i = 0; i < count; i++) {
		if (things[i]->pool == pool && !pool->own)
			things[i]->pool = NULL; /* an object of its class, as any other */
		if (things[i]->pool == pool && empty)
			discard(things[i]);
		else
			model_put(things[i]);
	}
	before_wait(script);
	size_t left, expected = pool->own ? pool->live : 0;
	KEPT(left = qslab_cache_destroy(pool->cache));
	after_wait(script);
	REQUIRE(left == expected);
	if (!left)
		pool->cache = NULL;
}

void do_destroy(struct script *script)
{
	struct pool *pool = next_pool(script);
	bool empty = next_byte(script) & 3;

	KEPT(REQUIRE(qslab_cache_destroy(NULL) == 0));
	if (!pool || !script->alone)
		return;
	pool_end(script, pool, empty);
}

void caches_end(struct script *script)
{
	for (unsigned i = 0; i < CACHES; i++)
		if (pools[i].cache)
			pool_end(script, &pools[i], true);
	atomic_store(&fail_next, 0);
}

/* What an allocation came to. True: there is an object. */
static bool came(const struct pool *pool, const void *object, int failed)
{
	if (object)
		return true;
	REQUIRE(pool->magic == &magics[2] && atomic_load(&failures) != failed && errno == CTOR_ERROR);
	return false;
}

static void enter(struct pool *pool, void *object, bool zero)
{
	if (zero || pool->flags & QSLAB_CACHE_ZERO_ON_FREE)
		zero_check(object, pool->size);
	model_enter(object, pool->size, pool->align, pool);
}

void do_cache_alloc(struct script *script)
{
	struct pool *pool = next_pool(script);
	int failed = atomic_load(&failures);

	if (!pool || !model_room(1, pool->size))
		return;
	errno = 77;
	void *object = qslab_cache_alloc(pool->cache);
	if (came(pool, object, failed)) {
		REQUIRE(errno == 77);
		enter(pool, object, false);
	}
}

void do_cache_zalloc(struct script *script)
{
	struct pool *pool = next_pool(script);

	if (!pool || !model_room(1, pool->size))
		return;
	errno = 77;
	void *object = qslab_cache_zalloc(pool->cache);
	REQUIRE(pool->magic ? !object && errno == EINVAL : object && errno == 77);
	if (object)
		enter(pool, object, true);
}

/* One of a cache's, or NULL. */
static struct thing *take_pooled(struct script *script)
{
	unsigned slot = next_byte(script);

	for (unsigned i = 0; i < 16; i++) {
		struct thing *thing = model_take(slot + i);
		if (!thing || thing->pool)
			return thing;
		model_put(thing);
	}
	return NULL;
}

void do_cache_free(struct script *script)
{
	struct thing *thing = take_pooled(script);
	struct pool *pool = next_pool(script);

	if (pool)
		KEPT(qslab_cache_free(pool->cache, NULL));
	if (thing)
		discard(thing);
}

void do_cache_free_rcu(struct script *script)
{
	struct thing *thing = take_pooled(script);
	int result;

	if (!thing)
		return;
	struct pool *pool = thing->pool;
	void *object = model_retire(thing, SIZE_MAX, NO_COOKIE);
	KEPT(result = qslab_cache_free_rcu(pool->cache, object));
	REQUIRE(result == 0);
}

void do_cache_alloc_bulk(struct script *script)
{
	struct pool *pool = next_pool(script);
	void *objects[BULK_MOST];
	size_t count = next_byte(script) % BULK_MOST;
	int failed = atomic_load(&failures);

	if (!pool || !model_room(count, pool->size))
		return;
	errno = 77;
	size_t got = qslab_cache_alloc_bulk(pool->cache, count, objects);
	REQUIRE(got <= count && (got == count || !came(pool, NULL, failed)));
	for (size_t i = 0; i < got; i++)
		enter(pool, objects[i], false);
}

void do_cache_free_bulk(struct script *script)
{
	struct pool *pool = next_pool(script);
	struct thing *things[BULK_MOST];
	void *objects[BULK_MOST];
	size_t taken = take_several(script, things), count = 0;

	for (size_t i = 0; i < taken; i++) {
		if (!pool || things[i]->pool != pool) {
			model_put(things[i]);
			continue;
		}
		objects[count++] = let_go(things[i]);
	}
	if (pool)
		KEPT(qslab_cache_free_bulk(pool->cache, count, objects));
}

void do_shrink(struct script *script)
{
	struct pool *pool = next_pool(script);
	size_t bytes;

	if (!pool)
		return;
	KEPT(bytes = qslab_cache_shrink(pool->cache));
	REQUIRE(bytes % 4096 == 0);
}

void do_cache_barrier(struct script *script)
{
	struct pool *pool = next_pool(script);

	if (!pool)
		return;
	before_wait(script);
	KEPT(qslab_cache_barrier(pool->cache));
	after_wait(script);
	struct qslab_cache_stats stats;
	qslab_cache_stats(pool->cache, &stats);
	REQUIRE(stats.deferred == 0 || !script->alone);
}

void do_cache_stats(struct script *script)
{
	struct pool *pool = next_pool(script);
	struct qslab_cache_stats stats;

	if (!pool)
		return;
	KEPT(qslab_cache_stats(pool->cache, &stats));
	REQUIRE(stats.object_size == pool->size && stats.flags == pool->flags && stats.merged == !pool->own);
	REQUIRE(stats.stride >= pool->size && stats.align >= pool->align && memchr(stats.name, 0, sizeof stats.name));
	if (!script->alone)
		return;
	size_t sum = stats.live + stats.deferred + stats.magazines + stats.ready + stats.slab_free;
	REQUIRE(stats.total == sum && stats.bytes >= stats.total * stats.stride);
	REQUIRE(!pool->own || model_modes & DEBUGGED || stats.live == pool->live);
	REQUIRE(stats.deferred <= model_deferred(pool));
}

void do_cache_walk(struct script *script)
{
	struct pool *pool = next_pool(script);
	if (pool)
		model_walk(pool, script->alone);
}
