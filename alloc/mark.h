/*
 * Marked points, where another thread may come between, and bugs that can be planted. Only in a build with QSLAB_TEST
 * (tests/CMakeLists.txt), which puts this file before every source of the core, of all layers; any other build has nothing
 * there. A test program that defines mark_reached decides at each mark who goes on (tests/explore/schedule.h); one that
 * defines mark_broken has the core without that line of its protocols, and must notice (tests/planted.h).
 */
#ifndef QSLAB_ALLOC_MARK_H
#define QSLAB_ALLOC_MARK_H

#include <stdbool.h>

void mark_reached(const char *name) __attribute__((weak));
bool mark_broken(const char *name) __attribute__((weak));

#define MARK(name) (mark_reached ? mark_reached(#name) : (void)0)
#define BROKEN(name) (mark_broken && mark_broken(#name))

#endif
