#define _GNU_SOURCE
#include "soak.h"

#include <errno.h>
#include <qslab/cache.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { BOXES = 200, BATCH = 24 };
#define TYPE 0x7e57ab1e5eedu

/* `type` is TYPE in a constructed object for ever; in others it is theirs while they live. */
struct object {
	_Atomic uint64_t type, stamp, inverse;
};

static const struct kind {
	const char *name;
	size_t size;
	unsigned flags;
	bool constructed;
} kinds[] = {
	{"merged", 48, 0, false},
	{"isolated", 56, QSLAB_CACHE_ISOLATE, false},
	{"zero", 200, QSLAB_CACHE_ZERO_ON_FREE, false},
	{"lines", 96, QSLAB_CACHE_HWALIGN, false},
	{"rcu", 120, QSLAB_CACHE_RCU, false},
	{"rcu zero", 1000, QSLAB_CACHE_RCU | QSLAB_CACHE_ZERO_ON_FREE, false},
	{"typesafe", 72, QSLAB_CACHE_TYPESAFE_BY_RCU, true},
	{"constructed", 3000, 0, true},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static struct qslab_cache *shared[KINDS];
static struct object *_Atomic boxes[KINDS][BOXES];
atomic_ulong count_cached;

static int construct(void *object)
{
	atomic_store(&((struct object *)object)->type, TYPE);
	return 0;
}

static struct qslab_cache *create(unsigned kind)
{
	return qslab_cache_create(kinds[kind].name, kinds[kind].size, 0, kinds[kind].flags,
	                          kinds[kind].constructed ? construct : NULL);
}

void caches_init(void)
{
	for (unsigned k = 0; k < KINDS; k++)
		if (!(shared[k] = create(k)))
			fail(LOSS, "soak: no cache %s", kinds[k].name);
}

static void check_zero(const struct object *object, unsigned kind)
{
	const char *bytes = (const char *)object;
	for (size_t i = 0; i < kinds[kind].size; i++)
		if (bytes[i])
			fail(EARLY, "soak: %s: byte %zu of a new object at %p is not 0", kinds[kind].name, i, (const void *)object);
}

static void fill(struct object *object, unsigned kind, uint64_t stamp)
{
	if (kinds[kind].constructed && object->type != TYPE)
		fail(EARLY, "soak: %s: a new object at %p is not constructed", kinds[kind].name, (void *)object);
	atomic_store_explicit(&object->type, TYPE, memory_order_relaxed);
	atomic_store_explicit(&object->stamp, stamp, memory_order_relaxed);
	atomic_store_explicit(&object->inverse, ~stamp, memory_order_relaxed);
	memset(object + 1, (int)(stamp & 0xff), kinds[kind].size - sizeof *object);
}

static void check(const struct object *object, unsigned kind)
{
	const unsigned char *bytes = (const unsigned char *)object;
	if (object->type != TYPE || object->stamp != ~object->inverse)
		fail(EARLY, "soak: %s: the head of %p has changed", kinds[kind].name, (const void *)object);
	for (size_t i = sizeof *object; i < kinds[kind].size; i++)
		if (bytes[i] != (object->stamp & 0xff))
			fail(EARLY, "soak: %s: byte %zu of %p has changed", kinds[kind].name, i, (const void *)object);
}

static struct object *make(struct qslab_cache *cache, unsigned kind, uint64_t r)
{
	unsigned before = atomic_load(&limits);
	bool zero = !kinds[kind].constructed && r % 2;
	struct object *object = zero ? qslab_cache_zalloc(cache) : qslab_cache_alloc(cache);
	if (!object) {
		null_explained(before, kinds[kind].size);
		return NULL;
	}
	if (zero || kinds[kind].flags & QSLAB_CACHE_ZERO_ON_FREE)
		check_zero(object, kind);
	fill(object, kind, r);
	return object;
}

static void drop(struct qslab_cache *cache, unsigned kind, struct object *object, uint64_t r)
{
	if (!object)
		return;
	check(object, kind);
	switch (r % 8) {
	case 0:
		if (qslab_cache_free_rcu(cache, object) == 0)
			return;
		break;
	case 1:
		if (qslab_free_rcu_try(object) == 0)
			return;
		break;
	case 2:
		qslab_free_rcu_mightsleep(object);
		return;
	case 3:
		free(object);
		return;
	case 4:
		qslab_cache_free_bulk(cache, 1, (void *[]){object});
		return;
	}
	qslab_cache_free(cache, object);
}

/* What is not freed at once stays as it was until the reader is quiescent; what keeps its type, has it. */
static void read_some(uint64_t *random)
{
	flavor->register_thread();
	for (unsigned i = 0; i < 32; i++) {
		uint64_t r = next_random(random);
		unsigned kind = r & 1 ? 6 : 4;
		struct object *object = atomic_load(&boxes[kind][(r >> 8) % BOXES]);
		if (object) {
			uint64_t stamp = object->stamp;
			if (r & 2)
				sched_yield();
			if (object->type != TYPE || (kind == 4 && (object->stamp != stamp || object->inverse != ~stamp)))
				fail(EARLY, "soak: %s: %p has changed under a reader", kinds[kind].name, (void *)object);
		}
		flavor->read_quiescent_state();
	}
	flavor->unregister_thread();
}

static void check_stats(struct qslab_cache *cache, unsigned kind, size_t live)
{
	struct qslab_cache_stats now;
	qslab_cache_barrier(cache);
	qslab_cache_stats(cache, &now);
	if (now.merged)
		return;
	if (exact ? now.live != live : now.live < live)
		fail(LOSS, "soak: %s: %zu objects live, not %zu", kinds[kind].name, now.live, live);
	if (now.deferred || now.total != now.live + now.magazines + now.ready + now.slab_free)
		fail(LOSS, "soak: %s: of %zu objects %zu live, %zu deferred, %zu in magazines, %zu ready, %zu free",
		     kinds[kind].name, now.total, now.live, now.deferred, now.magazines, now.ready, now.slab_free);
}

/* A cache from its creation to its end. */
static void own_cache(uint64_t *random)
{
	uint64_t r = next_random(random);
	unsigned kind = (unsigned)(r % KINDS), before = atomic_load(&limits);
	struct qslab_cache *cache = create(kind);
	struct object *objects[BATCH * 8];
	size_t count = 0, dropped = 0, most = (r >> 8) % (BATCH * 8);

	if (!cache) {
		if (errno == ENOMEM)
			null_explained(before, 0);
		else
			fail(LOSS, "soak: no cache: %m");
		return;
	}
	while (count < most && (objects[count] = make(cache, kind, next_random(random))))
		count++;
	if (most > BATCH && count == most) {
		void *batch[BATCH];
		size_t got = qslab_cache_alloc_bulk(cache, BATCH, batch);
		qslab_cache_free_bulk(cache, got, batch);
	}
	for (; dropped < count / 2; dropped++)
		drop(cache, kind, objects[dropped], next_random(random));
	check_stats(cache, kind, count - dropped);
	for (; dropped < count; dropped++)
		drop(cache, kind, objects[dropped], next_random(random));
	if (qslab_cache_destroy(cache))
		fail(LOSS, "soak: %s: objects of a cache were lost", kinds[kind].name);
}

void caches_life(uint64_t random)
{
	unsigned rounds = 200 + (unsigned)next_random(&random) % 4000;
	for (unsigned i = 0; i < rounds && !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
		uint64_t r = next_random(&random);
		unsigned kind = (unsigned)(r % KINDS);
		struct object *object = r >> 8 & 1 ? make(shared[kind], kind, r) : NULL;
		drop(shared[kind], kind, atomic_exchange(&boxes[kind][(r >> 16) % BOXES], object), r >> 32);
		if ((r >> 40) % 256 == 0)
			read_some(&random);
		if ((r >> 40) % 1024 == 1)
			own_cache(&random);
		if ((r >> 40) % 4096 == 2)
			qslab_cache_shrink(shared[kind]);
		atomic_fetch_add_explicit(&count_cached, 1, memory_order_relaxed);
	}
}

size_t caches_bytes(void)
{
	size_t bytes = 0;
	for (unsigned k = 0; k < KINDS; k++) {
		size_t live = 0;
		for (unsigned i = 0; i < BOXES; i++) {
			struct object *object = boxes[k][i];
			if (!object)
				continue;
			check(object, k);
			bytes += qslab_usable_size(object);
			live++;
		}
		check_stats(shared[k], k, live);
	}
	return bytes;
}
