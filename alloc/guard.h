/*
 * Guard pages, in the hardened mode: the last page of every span of objects, and one on either side of every chunk of
 * descriptors, may not be touched, so that no run of writes leaves the span or chunk it began in. Each guard splits a
 * mapping, and the system allows a process a number of those: beyond GUARDS_MOST spans get none,
 * and none do where the system's pages are larger than ours.
 */
#ifndef QSLAB_ALLOC_GUARD_H
#define QSLAB_ALLOC_GUARD_H

#include "span.h"

#define GUARDS_MOST 16384

/* Of a span of so many pages, the guard included: protects the last. False if it may not be. */
bool guard_add(struct span span, size_t pages);

/* Before the span is given back; guard_add said true. False: it is lost, nobody may have it again. */
bool guard_remove(struct span span, size_t pages);

/* Is the address in a guard page of a span? Any thread, signal handlers. */
bool guard_has(const void *address);

/* Prints whose it is, and the stack. guard_has said true. */
void guard_report(const void *address);

#endif
