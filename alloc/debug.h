/*
 * The debug mode (QSLAB_RCU_DEBUG=1). Every object has a record of who allocated and who ended it; an object that is
 * over, by free or because its grace period is, is filled with POISON and waits in a queue, the quarantine, before
 * it is used again. What changed in it meanwhile was written by someone who held on to it.
 *
 * While `tracking`, no thread has a heap or a deferrer: every call finds heap_none's and deferrer_none's empty and
 * full arrays and goes the slow way, so the fast paths know nothing of this.
 */
#ifndef QSLAB_ALLOC_DEBUG_H
#define QSLAB_ALLOC_DEBUG_H

#include "base.h"

#define POISON 0x6b
#define QUARANTINE_BYTES ((size_t)16 << 20)
#define QUARANTINE_OBJECTS 65536
#define QUARANTINE_LARGEST (QUARANTINE_BYTES / 8) /* a larger object is given back at once, unpoisoned */

/* Const after debug_start. `watched`: tracking, or objects are sampled (sample.h). */
extern bool tracking, watched;

/* Const after debug_start: tracking, or hardened (harden.h). */
extern bool careful;

/* fork.c, once the options are known. */
void debug_start(void);

/* `object` is new. */
void debug_alloc(void *object);

/* All of free. Aborts with a report unless it is LIVE. */
void debug_free(const char *call, void *object);

/* Aborts with a report if it is anything but LIVE. */
void debug_check_live(const char *call, const void *object);

/* RETIRED, or LIVE for want of an array, and its grace period is over. */
void debug_release(const char *call, void *object);

/* What is known of the object at or around the address, and the stack of the call: printed behind a report's line. */
void debug_explain(const void *address);

/* Everything in the quarantine, or on its way from there, goes back: before a cache is destroyed. */
void debug_empty_quarantine(void);

/* Bytes in the quarantine: of large objects, and, returned, of all others. */
size_t debug_quarantined(size_t *large);

/* Calls back for each object in the quarantine, under its lock. */
void debug_each_quarantined(void (*callback)(void *object, void *argument), void *argument);

void debug_after_fork(void);

#endif
