#define _GNU_SOURCE
#include "debug.h"
#include "harden.h"
#include "heap.h"
#include "kept.h"
#include "large.h"
#include "misuse.h"
#include "object.h"
#include "option.h"
#include "record.h"
#include "region.h"
#include "report.h"
#include "sample.h"
#include "segment.h"
#include "thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool tracking, watched, careful;

/* First in, first out: objects [head, tail), modulo the ring's size. */
static struct {
	struct lock lock;
	struct waiting {
		unsigned char *object; /* NULL outside [head, tail), for the tool */
		size_t size;
	} *ring;            /* const after debug_start; lock */
	size_t head, tail;  /* lock */
	size_t bytes;       /* lock */
	unsigned leaving;   /* lock: taken out, and not yet where they go */
	unsigned emptying;  /* lock: threads that empty it: no other takes anything out */
} quarantine;

/* ---- reports -------------------------------------------------------------------------------------------- */

static void print_record(const struct record *record)
{
	event_print("allocated", &record->allocated);
	event_print(record->retired ? "retired" : "freed", &record->ended);
}

void debug_explain(const void *address)
{
	struct record record;
	struct object object;

	if (!watched && !hardened)
		return;
	event_print_here("this call");
	if (sample_explain(address) || !tracking)
		return;
	if (object_find(address, &object))
		address = object.start;
	if (record_find(address, &record))
		print_record(&record);
}

static _Noreturn void report_change(const struct waiting *waiting)
{
	struct record record = {0};

	record_find(waiting->object, &record);
	misuse_print_change(record.retired ? "the grace period" : "free", waiting->object, waiting->size, POISON);
	print_record(&record);
	abort();
}

static void check_poison(const struct waiting *waiting)
{
	const unsigned char *bytes = waiting->object;

	if (bytes[0] != POISON || memcmp(bytes, bytes + 1, waiting->size - 1))
		report_change(waiting);
}

/* ---- the quarantine --------------------------------------------------------------------------------------- */

static void give_back(void *object, size_t size)
{
	static const char call[] = "end of quarantine";
	struct object found;

	record_change(object, size, RECORD_QUARANTINED, RECORD_FREED, NULL, NULL);
	if (!object_find(object, &found))
		misuse_pointer(call, object);
	if (classes[found.class].traits & CLASS_WIPE)
		memset(object, 0, found.size);
	if (found.class == CLASS_LARGE)
		large_free(call, object);
	else
		heap_late_free(object);
}

/* Lock held, dropped in between: the oldest goes. */
static void release_oldest(void)
{
	struct waiting *place = &quarantine.ring[quarantine.head++ % QUARANTINE_OBJECTS], oldest = *place;

	place->object = NULL;
	quarantine.bytes -= oldest.size;
	quarantine.leaving++;
	lock_drop(&quarantine.lock);
	check_poison(&oldest);
	give_back(oldest.object, oldest.size);
	lock_take(&quarantine.lock);
	quarantine.leaving -= quarantine.leaving > 0; /* none in a child forked meanwhile */
}

/* The oldest goes if there are more than `objects`, or too many bytes; false if not. */
static bool release_surplus(size_t objects)
{
	lock_take(&quarantine.lock);
	bool surplus = !quarantine.emptying &&
	               (quarantine.tail - quarantine.head > objects || quarantine.bytes > QUARANTINE_BYTES);
	if (surplus)
		release_oldest();
	lock_drop(&quarantine.lock);
	return surplus;
}

/* A constructor's work, or what readers may look at, must stay. */
static bool keeps_content(const void *object)
{
	unsigned class = entry_class(entry_of(object));
	return class >= CLASS_OWN && ((classes[class].traits & CLASS_TYPESAFE) || own_class(class)->ctor);
}

/* QUARANTINED already, so it is ours alone. A sampled object's page is protected instead. */
static void quarantine_add(void *object, size_t size)
{
	struct waiting waiting = {object, size};
	int saved = errno;

	if (size > QUARANTINE_LARGEST || sample_of(object) || keeps_content(object)) {
		give_back(object, size);
		errno = saved;
		return;
	}
	memset(object, POISON, size);
	for (;;) {
		lock_take(&quarantine.lock);
		if (quarantine.tail - quarantine.head < QUARANTINE_OBJECTS)
			break;
		lock_drop(&quarantine.lock); /* others put theirs in faster than they take the surplus out */
		release_surplus(QUARANTINE_OBJECTS - 1);
	}
	quarantine.ring[quarantine.tail % QUARANTINE_OBJECTS] = waiting;
	quarantine.tail++;
	quarantine.bytes += size;
	lock_drop(&quarantine.lock);
	while (release_surplus(QUARANTINE_OBJECTS - 1))
		continue;
	errno = saved;
}

void debug_empty_quarantine(void)
{
	lock_take(&quarantine.lock);
	quarantine.emptying++;
	for (size_t end = quarantine.tail; (ptrdiff_t)(end - quarantine.head) > 0;)
		release_oldest();
	while (quarantine.leaving) {
		lock_drop(&quarantine.lock);
		nap();
		lock_take(&quarantine.lock);
	}
	quarantine.emptying -= quarantine.emptying > 0;
	lock_drop(&quarantine.lock);
}

size_t debug_quarantined(size_t *large)
{
	size_t others = 0;

	*large = 0;
	if (!tracking)
		return 0;
	lock_take(&quarantine.lock);
	for (size_t i = quarantine.head; i != quarantine.tail; i++) {
		const struct waiting *waiting = &quarantine.ring[i % QUARANTINE_OBJECTS];
		*(entry_class(entry_of(waiting->object)) == CLASS_LARGE ? large : &others) += waiting->size;
	}
	lock_drop(&quarantine.lock);
	return others;
}

void debug_each_quarantined(void (*callback)(void *object, void *argument), void *argument)
{
	lock_take(&quarantine.lock);
	for (size_t i = quarantine.head; i != quarantine.tail; i++)
		callback(quarantine.ring[i % QUARANTINE_OBJECTS].object, argument);
	lock_drop(&quarantine.lock);
}

__attribute__((destructor)) static void at_exit(void)
{
	if (!tracking)
		return;
	lock_take(&quarantine.lock);
	for (size_t i = quarantine.head; i != quarantine.tail; i++)
		check_poison(&quarantine.ring[i % QUARANTINE_OBJECTS]);
	lock_drop(&quarantine.lock);
}

/* ---- calls -------------------------------------------------------------------------------------------------- */

void debug_alloc(void *object)
{
	struct event event = event_now();
	struct object found;
	int saved = errno;

	if (object_find(object, &found))
		record_alloc(object, found.size, &event);
	errno = saved;
}

/* What free and realloc were given is not LIVE. */
static _Noreturn void not_live(const char *call, const struct record *record)
{
	const char *what = record->state == RECORD_RETIRED ? "free of a retired"
	                   : record->retired               ? "free, after its grace period, of a"
	                                                   : "double free of a";
	misuse_ended(call, (void *)record->object, record->size, what);
}

/* The object that starts there and is not back in its slab, or a report. */
static struct object object_at(const char *call, const void *start)
{
	struct object object;
	struct record record;

	if (!object_find(start, &object) || object.start != start) {
		if (record_find(start, &record) && record.state == RECORD_FREED)
			not_live(call, &record);
		misuse_pointer(call, start);
	}
	if (object.class != CLASS_LARGE && heap_has_free(&heap_none, object.class, start))
		misuse_double_free(call, start, object.size);
	return object;
}

void debug_free(const char *call, void *object)
{
	int saved = errno;
	struct event event = event_now();
	struct object found = object_at(call, object);
	struct record record;

	if (!record_change(object, found.size, RECORD_LIVE, RECORD_QUARANTINED, &event, &record))
		not_live(call, &record);
	if (!sample_end(object, false, &event))
		misuse_ended(call, object, found.size, "free of a retired");
	quarantine_add(object, found.size);
	errno = saved;
}

void debug_check_live(const char *call, const void *object)
{
	struct record record;

	if (record_find(object, &record) && record.state != RECORD_LIVE)
		not_live(call, &record);
}

void debug_release(const char *call, void *object)
{
	struct object found = object_at(call, object);
	struct record record;

	if (!record_change(object, found.size, RECORD_RETIRED, RECORD_QUARANTINED, NULL, &record) &&
	    (record.state != RECORD_LIVE ||
	     !record_change(object, found.size, RECORD_LIVE, RECORD_QUARANTINED, NULL, &record)))
		not_live(call, &record);
	quarantine_add(object, found.size);
}

/* ---- start and fork ------------------------------------------------------------------------------------------ */

void debug_start(void)
{
	size_t every = options.rcu_sample == SAMPLE_DEFAULT ? (hardened ? HARDEN_SAMPLE : 0) : options.rcu_sample;

	if (hardened && options.rcu_debug)
		report_line("qslab: QSLAB_RCU_DEBUG is ignored in the hardened mode");
	if (hardened)
		kept_start();
	if (!options.rcu_debug && !every && !hardened)
		return;
	if (!stack_start()) {
		report_line("qslab: no memory for QSLAB_RCU_DEBUG or QSLAB_RCU_SAMPLE, ignored");
		return;
	}
	if (every)
		watched = sample_start(every);
	if (!options.rcu_debug || hardened)
		return;
	void *ring = mmap(NULL, QUARANTINE_OBJECTS * sizeof *quarantine.ring, PROT_READ | PROT_WRITE,
	                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ring == MAP_FAILED) {
		report_line("qslab: no memory for QSLAB_RCU_DEBUG, ignored");
		return;
	}
	quarantine.ring = ring;
	thread_heap_give_up();
	careful = watched = tracking = true;
}

void debug_publish(struct qslab_segment_quarantine *out)
{
	if (!tracking)
		return;
	out->objects = (uintptr_t)&quarantine.ring->object;
	out->count = QUARANTINE_OBJECTS;
	out->stride = sizeof *quarantine.ring;
}

void debug_after_fork(void)
{
	kept_after_fork();
	if (!watched)
		return;
	stack_after_fork();
	record_after_fork();
	quarantine.leaving = quarantine.emptying = 0;
	lock_drop(&quarantine.lock);
}
