#define _GNU_SOURCE
#include "model.h"

#include <pthread.h>
#include <unistd.h>

#define LIVE_MOST ((size_t)48 << 20)
#define WHOLE ((size_t)128 << 10) /* of larger objects: the ends, and some words of each page */

unsigned model_modes;
struct pool pools[CACHES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct thing things[SLOTS];
static size_t live, live_bytes;
static uint32_t seeds;
static struct gone gone[GONE];
static size_t gone_count;
static unsigned online;
static struct {
	qslab_rcu_cookie cookie;
	unsigned readers;
} cookies[COOKIES];

_Noreturn void model_fail(const char *file, int line, const char *what)
{
	const char *name = strrchr(file, '/');
	fprintf(stderr, "%s:%d: not so: %s\n", name ? name + 1 : file, line, what);
	abort();
}

void model_begin(void)
{
	REQUIRE(!live && !online && !gone_count);
	memset(things, 0, sizeof things);
	memset(cookies, 0, sizeof cookies);
	seeds = 0;
}

/* ---- content -------------------------------------------------------------------------------------------------- */

static size_t next_word(size_t at, size_t size)
{
	return size <= WHOLE || at < WHOLE / 2 || at >= size - WHOLE / 2 ? 8 : 2040;
}

static uint64_t word(const struct thing *thing, size_t at)
{
	return thing->seed * 0x9e3779b97f4a7c15 + (at + 1) * 0xd6e8feb86659fd93;
}

void content_put(const struct thing *thing)
{
	size_t at = thing->head;

	for (; at + 8 <= thing->asked; at += next_word(at, thing->asked))
		memcpy(thing->start + at, &(uint64_t){word(thing, at)}, 8);
	for (at = thing->asked & ~(size_t)7; thing->asked < WHOLE && at < thing->asked; at++)
		if (at >= thing->head)
			thing->start[at] = (unsigned char)word(thing, at);
}

/* Its first `size` bytes, the link at `link` apart. */
void content_check(const struct thing *thing, size_t size, size_t link)
{
	size_t at = thing->head;

	if (thing->pool && thing->pool->magic && thing->head == sizeof thing->pool->magic)
		REQUIRE(!memcmp(thing->start, &thing->pool->magic, thing->head));
	for (; at + 8 <= thing->asked; at += next_word(at, thing->asked)) {
		uint64_t expected = word(thing, at);
		if (at != link && at + 8 <= size)
			REQUIRE(!memcmp(thing->start + at, &expected, 8));
	}
	for (at = thing->asked & ~(size_t)7; thing->asked < WHOLE && at < thing->asked; at++)
		if (at >= thing->head && at < size)
			REQUIRE(thing->start[at] == (unsigned char)word(thing, at));
}

void zero_check(const void *object, size_t size)
{
	const unsigned char *bytes = object;

	for (size_t at = 0; at < size; at += at < WHOLE ? 1 : 509)
		REQUIRE(!bytes[at]);
}

/* ---- objects -------------------------------------------------------------------------------------------------- */

bool model_room(size_t count, size_t size)
{
	pthread_mutex_lock(&lock);
	bool room = live + count <= SLOTS && gone_count + 2 * SLOTS < GONE && size < LIVE_MOST &&
	            live_bytes + count * size < LIVE_MOST;
	pthread_mutex_unlock(&lock);
	return room;
}

static bool meet(const struct thing *thing, const unsigned char *start, size_t size)
{
	return start < thing->start + thing->usable && thing->start < start + size;
}

static bool is_typesafe(const struct thing *thing)
{
	return thing->pool && thing->pool->flags & QSLAB_CACHE_TYPESAFE_BY_RCU;
}

static _Noreturn void fail_meeting(const struct thing *new, const struct thing *old, const struct gone *retired)
{
	fprintf(stderr, "object %p of %zu bytes, pool %td; old %p of %zu bytes, pool %td, flags %x; readers %x, %s\n",
	        (void *)new->start, new->usable, new->pool ? new->pool - pools : -1, (void *)old->start, old->usable,
	        old->pool ? old->pool - pools : -1, old->pool ? old->pool->flags : 0, retired ? retired->readers : 0,
	        !retired ? "live" : retired->type_only ? "type only" : "retired");
	model_fail(__FILE__, __LINE__, "no two objects meet");
}

/* Under the lock. The object is nobody else's. */
static void require_alone(const struct thing *new)
{
	size_t size = new->usable ? new->usable : 1;

	for (unsigned i = 0; i < SLOTS; i++)
		if (things[i].there && !things[i].moving && &things[i] != new && meet(&things[i], new->start, size))
			fail_meeting(new, &things[i], NULL);
	for (size_t i = 0; i < gone_count; i++)
		if (gone[i].readers && !(gone[i].type_only && gone[i].thing.pool == new->pool) &&
		    meet(&gone[i].thing, new->start, size))
			fail_meeting(new, &gone[i].thing, &gone[i]);
}

void model_enter(void *object, size_t asked, size_t align, struct pool *pool)
{
	struct thing *new = NULL;
	size_t usable = qslab_usable_size(object);

	REQUIRE(object && (uintptr_t)object % align == 0 && usable >= asked);
	REQUIRE(qslab_owns(object) && qslab_object_start(object) == object && qslab_object_size(object) == usable);
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < SLOTS && !new; i++)
		new = things[i].there ? NULL : &things[i];
	if (!new) { /* threads that run free may all have seen the last one's room */
		pthread_mutex_unlock(&lock);
		qslab_free(object);
		return;
	}
	*new = (struct thing){object, asked, usable, 0, ++seeds, pool, true, true, false};
	require_alone(new);
	live++;
	live_bytes += usable;
	if (pool) {
		pool->live++;
		new->head = pool->magic ? sizeof pool->magic : 0;
	}
	pthread_mutex_unlock(&lock);
	if (new->head)
		REQUIRE(!memcmp(new->start, &pool->magic, new->head));
	content_put(new);
	model_put(new);
}

struct thing *model_take(unsigned slot)
{
	struct thing *found = NULL;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < SLOTS && !found; i++) {
		struct thing *thing = &things[(slot + i) % SLOTS];
		if (thing->there && !thing->busy)
			found = thing;
	}
	if (found)
		found->busy = true;
	pthread_mutex_unlock(&lock);
	return found;
}

void model_put(struct thing *thing)
{
	pthread_mutex_lock(&lock);
	thing->busy = false;
	pthread_mutex_unlock(&lock);
}

/* Under the lock. */
static void forget(struct thing *thing)
{
	live--;
	live_bytes -= thing->usable;
	if (thing->pool)
		thing->pool->live--;
	thing->there = thing->busy = false;
}

/* Under the lock. */
static void remember(const struct thing *thing, size_t link, bool type_only, unsigned readers)
{
	REQUIRE(gone_count < GONE);
	gone[gone_count++] = (struct gone){*thing, link, readers, type_only};
}

void *model_drop(struct thing *thing)
{
	void *start = thing->start;

	content_check(thing, thing->asked, SIZE_MAX);
	pthread_mutex_lock(&lock);
	if (is_typesafe(thing))
		remember(thing, SIZE_MAX, true, online);
	forget(thing);
	pthread_mutex_unlock(&lock);
	return start;
}

void *model_retire(struct thing *thing, size_t link, int cookie)
{
	void *start = thing->start;

	content_check(thing, thing->asked, link);
	pthread_mutex_lock(&lock);
	remember(thing, link, false, cookie == NO_COOKIE ? online : cookies[cookie].readers);
	if (cookie != NO_COOKIE && is_typesafe(thing)) /* free at once, perhaps, but of its type */
		remember(thing, link, true, online);
	forget(thing);
	pthread_mutex_unlock(&lock);
	return start;
}

void model_moving(struct thing *thing, bool moving)
{
	pthread_mutex_lock(&lock);
	thing->moving = moving;
	pthread_mutex_unlock(&lock);
}

void model_moved(struct thing *thing, void *object, size_t asked)
{
	size_t kept = asked < thing->asked ? asked : thing->asked;
	size_t usable = qslab_usable_size(object);

	REQUIRE((uintptr_t)object % 16 == 0 && usable >= asked);
	pthread_mutex_lock(&lock);
	live_bytes += usable - thing->usable;
	thing->start = object;
	thing->usable = usable;
	thing->moving = false;
	require_alone(thing);
	pthread_mutex_unlock(&lock);
	content_check(thing, kept, SIZE_MAX);
	thing->asked = asked;
	content_put(thing);
}

/* ---- readers -------------------------------------------------------------------------------------------------- */

void model_online(unsigned thread)
{
	pthread_mutex_lock(&lock);
	online |= 1u << thread;
	pthread_mutex_unlock(&lock);
}

/* Under the lock. What a reader sees of an object that is gone. */
static void look(const struct gone *old)
{
	const struct pool *pool = old->thing.pool;

	if (!old->type_only)
		content_check(&old->thing, old->thing.asked, old->link);
	else if (pool && pool->magic)
		REQUIRE(!memcmp(old->thing.start, &pool->magic, sizeof pool->magic));
}

void model_offline(unsigned thread)
{
	unsigned bit = 1u << thread;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < gone_count; i++) {
		if (gone[i].readers & bit)
			look(&gone[i]);
		gone[i].readers &= ~bit;
	}
	for (unsigned i = 0; i < COOKIES; i++)
		cookies[i].readers &= ~bit;
	online &= ~bit;
	pthread_mutex_unlock(&lock);
}

void model_reclaimed(void)
{
	size_t kept = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < gone_count; i++)
		if (gone[i].readers)
			gone[kept++] = gone[i];
	gone_count = kept;
	pthread_mutex_unlock(&lock);
}

void model_cookie_begin(unsigned index)
{
	pthread_mutex_lock(&lock);
	cookies[index].cookie = 0;
	cookies[index].readers = online;
	pthread_mutex_unlock(&lock);
}

void model_cookie_end(unsigned index, qslab_rcu_cookie cookie)
{
	pthread_mutex_lock(&lock);
	cookies[index].cookie = cookie;
	pthread_mutex_unlock(&lock);
}

qslab_rcu_cookie model_cookie(unsigned index)
{
	pthread_mutex_lock(&lock);
	qslab_rcu_cookie cookie = cookies[index].cookie;
	pthread_mutex_unlock(&lock);
	return cookie;
}

void model_cookie_over(unsigned index)
{
	pthread_mutex_lock(&lock);
	REQUIRE(!cookies[index].readers);
	pthread_mutex_unlock(&lock);
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

struct tally {
	const struct pool *pool;
	bool exact;
	size_t live, deferred;
	const unsigned char *end; /* of the object before */
};

/* Under the lock, if exact. */
static int visit(void *object, size_t size, enum qslab_object_state state, void *argument)
{
	struct tally *tally = argument;
	const unsigned char *start = object;
	bool known = !tally->exact;

	REQUIRE(start >= tally->end && (size || model_modes & HARDENED));
	REQUIRE(state == QSLAB_OBJECT_LIVE || state == QSLAB_OBJECT_DEFERRED);
	tally->end = start + size;
	tally->live += state == QSLAB_OBJECT_LIVE;
	tally->deferred += state == QSLAB_OBJECT_DEFERRED;
	for (unsigned i = 0; state == QSLAB_OBJECT_LIVE && i < SLOTS && !known; i++)
		known = things[i].there && things[i].start == start && things[i].usable <= size;
	for (size_t i = 0; state == QSLAB_OBJECT_DEFERRED && i < gone_count && !known; i++)
		known = gone[i].thing.start == start && !gone[i].type_only;
	if (!known)
		fprintf(stderr, "%s object %p of %zu bytes\n", state == QSLAB_OBJECT_LIVE ? "live" : "deferred", object, size);
	REQUIRE(known);
	return 0;
}

void model_walk(struct pool *pool, bool exact)
{
	struct tally tally = {pool, exact, 0, 0, NULL};
	size_t protected = 0;

	if (exact)
		pthread_mutex_lock(&lock);
	errno = 77;
	long walked = qslab_heap_walk(pool ? pool->cache : NULL, visit, &tally);
	if (pool && !pool->own) {
		REQUIRE(walked == -1 && errno == EINVAL);
	} else {
		REQUIRE(walked == (long)(tally.live + tally.deferred) && errno == 77);
		for (size_t i = 0; i < gone_count && exact; i++)
			protected += gone[i].readers && !gone[i].type_only && (!pool || gone[i].thing.pool == pool);
		REQUIRE(!exact || (tally.live == (pool ? pool->live : live) && tally.deferred >= protected));
	}
	if (exact)
		pthread_mutex_unlock(&lock);
}

/* Objects of the pool that may be deferred. */
size_t model_deferred(const struct pool *pool)
{
	size_t count = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < gone_count; i++)
		count += !gone[i].type_only && (!pool || gone[i].thing.pool == pool);
	pthread_mutex_unlock(&lock);
	return count;
}
