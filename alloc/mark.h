/*
 * Marked points, where another thread may come between. Only in a build with QSLAB_TEST (tests/CMakeLists.txt), which
 * puts this file before every source of the core, of all layers; any other build has nothing there. A test program that
 * defines mark_reached decides at each who goes on (tests/explore/schedule.h).
 */
#ifndef QSLAB_ALLOC_MARK_H
#define QSLAB_ALLOC_MARK_H

void mark_reached(const char *name) __attribute__((weak));

#define MARK(name) (mark_reached ? mark_reached(#name) : (void)0)

#endif
