#define _GNU_SOURCE
#include "debug.h"
#include "alloc/fast.h"
#include "alloc/misuse.h"
#include "alloc/object.h"
#include "alloc/record.h"
#include "alloc/sample.h"

#include <errno.h>
#include <qslab/rcu.h>

static _Noreturn void not_live(const char *call, const struct record *record)
{
	const char *what = record->state == RECORD_RETIRED ? "double retire of a"
	                   : record->retired               ? "double retire, after the grace period, of a"
	                                                   : "retire of a freed";
	misuse_ended(call, (void *)record->object, record->size, what);
}

void debug_retire(const char *call, void *object)
{
	struct object found;
	struct record record;
	int saved = errno;

	if (record_is_busy())
		return;
	if (!object_find(object, &found) || found.start != object)
		misuse_pointer(call, object);
	if (!tracking && !sample_of(object))
		return;
	struct event event = event_now();
	if (tracking && !record_change(object, found.size, RECORD_LIVE, RECORD_RETIRED, &event, &record))
		not_live(call, &record);
	if (!sample_end(object, true, &event))
		misuse_ended(call, object, found.size, "double retire of a");
	errno = saved;
}

void debug_retire_failed(void *object)
{
	if (tracking)
		record_change(object, 0, RECORD_RETIRED, RECORD_LIVE, &(struct event){0}, NULL);
	sample_revive(object);
}

/* The object around a link of a list. */
static void *around(const char *call, struct rcu_ptr *link)
{
	struct object object;

	if (!object_find(link, &object))
		misuse_pointer(call, link);
	return object.start;
}

void debug_retire_list(const char *call, struct rcu_ptr *first)
{
	for (; first; first = first->next)
		debug_retire(call, around(call, first));
}

void debug_free_list(const char *call, struct rcu_ptr *first)
{
	for (struct rcu_ptr *next; first; first = next) {
		next = first->next;
		fast_free(call, around(call, first));
	}
}
