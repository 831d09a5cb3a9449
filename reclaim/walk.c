/* The heap walk of include/qslab/stats.h: alloc's snapshot, less what deferrers and the chain hold. */
#define _GNU_SOURCE
#include "alloc/walk.h"
#include "alloc/cache.h"
#include "alloc/object.h"
#include "chain.h"
#include "deferrer.h"
#include "reclaimer.h"

#include <errno.h>
#include <qslab/stats.h>

static void take_off(void *object, bool waits, void *walk)
{
	if (waits)
		walk_defer(walk, object);
	else
		walk_clear(walk, object);
}

static void defer_link(const struct rcu_ptr *link, void *walk)
{
	struct object object;

	if (object_find(link, &object))
		walk_defer(walk, object.start);
}

/* An object that the reclaimer frees in the middle of it would be live in the bitmaps, and deferred nowhere. */
static struct walk *snapshot(unsigned class)
{
	reclaimer_hold();
	struct walk *walk = walk_new(class);
	if (walk) {
		deferrers_each(class, take_off, walk);
		chain_each(defer_link, walk);
	}
	reclaimer_go_on();
	return walk;
}

struct visitor {
	int (*visit)(void *object, size_t size, enum qslab_object_state state, void *argument);
	void *argument;
};

static int visit_one(void *object, size_t size, bool deferred, void *argument)
{
	const struct visitor *visitor = argument;
	return visitor->visit(object, size, deferred ? QSLAB_OBJECT_DEFERRED : QSLAB_OBJECT_LIVE, visitor->argument);
}

long qslab_heap_walk(struct qslab_cache *cache,
                     int (*visit)(void *object, size_t size, enum qslab_object_state state, void *argument),
                     void *argument)
{
	struct visitor visitor = {visit, argument};
	unsigned class = cache ? cache->class : CLASS_NONE;
	int saved = errno;

	if (cache && !cache_is_own(cache)) {
		errno = EINVAL;
		return -1;
	}
	struct walk *walk = snapshot(class);
	if (!walk)
		return -1;
	errno = saved;
	long calls = (long)walk_visit(walk, visit_one, &visitor);
	saved = errno;
	walk_free(walk);
	errno = saved;
	return calls;
}
