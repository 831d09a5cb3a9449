/*
 * Guard pages, in the hardened mode: the last page of every span of objects, and one on either side of every chunk of
 * descriptors, may not be touched, so that no run of writes leaves the span or chunk it began in. From Linux 6.13 on a
 * span's is a mark on the page itself. Before, it splits a mapping, and the system allows a process a number of those:
 * beyond GUARDS_MOST spans get none. None do where the system's pages are larger than ours.
 */
#ifndef QSLAB_ALLOC_GUARD_H
#define QSLAB_ALLOC_GUARD_H

#include "span.h"

#define GUARDS_MOST 16384

enum guard {
	GUARD_NONE,
	GUARD_MARK,
	GUARD_MAPPING,
};

/* Of a span of so many pages, the guard included: protects the last, if that can be done. errno stays. */
enum guard guard_add(struct span span, size_t pages);

/* Before the span is given back; what guard_add said, not GUARD_NONE. False: it is lost, nobody may have it again. */
bool guard_remove(enum guard guard, struct span span, size_t pages);

/* Is the address in a guard page of a span? Any thread, signal handlers. */
bool guard_has(const void *address);

/* Prints whose it is, and the stack. guard_has said true. */
void guard_report(const void *address);

#endif
