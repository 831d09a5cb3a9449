/*
 * The debug mode's records: who allocated each object, who ended it, and where it is now.
 *
 *     1 LIVE         the program has it. An object that came before the mode began is LIVE without a record
 *     2 RETIRED      waits for its grace period; readers and late writers may still use it
 *     3 QUARANTINED  poisoned, in the quarantine's queue
 *     4 FREED        back with its slab, or its span given back
 *
 * 1->2 retire, 2->1 a retirement that failed, 1->3 free, 2->3 the grace period is over, 3->4 it leaves the
 * quarantine, 4->1 malloc. A change is made under the record's lock, so of two threads that free one object one
 * wins; the other learns what it is.
 *
 * Records lie in open-addressing tables outside the region, 64 of them by address, each with a lock that is last in
 * the lock order. A record is never removed: a table grows with the number of different addresses.
 */
#ifndef QSLAB_ALLOC_RECORD_H
#define QSLAB_ALLOC_RECORD_H

#include "stack.h"

enum record_state { RECORD_NONE, RECORD_LIVE, RECORD_RETIRED, RECORD_QUARANTINED, RECORD_FREED };

struct record {
	uintptr_t object;      /* const; 0: none */
	size_t size;           /* usable */
	struct event allocated;
	struct event ended;    /* LIVE: not seen; else the retirement, or the free */
	enum record_state state;
	bool retired;          /* what ended was */
};

/* A new LIVE object. Without memory it stays without a record. */
void record_alloc(const void *object, size_t size, const struct event *event);

/*
 * from -> to. `event`, if not NULL, becomes `ended`. RECORD_LIVE as `from` includes an object without a record. True
 * if it was so, or no memory could be had to know; *record, if not NULL, is what it was before.
 */
bool record_change(const void *object, size_t size, enum record_state from, enum record_state to,
                   const struct event *event, struct record *record);

/* False if there is none. */
bool record_find(const void *object, struct record *record);

/* This thread is inside a call here: a signal handler must keep out. */
bool record_is_busy(void);

void record_after_fork(void);

#endif
