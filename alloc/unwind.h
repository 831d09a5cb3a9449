/*
 * The calling thread's stack, frame for frame what backtrace() gives, at an eighth of its instructions: on x86-64 with
 * glibc 2.35 or later a frame's rule (cfi.h) is read once and then found by its pc. Whatever is not plain (a signal's
 * frame, a realigned one, code without call frame information, a stack that the thread was not seen on before) is left
 * to backtrace(), as everything is elsewhere.
 */
#ifndef QSLAB_ALLOC_UNWIND_H
#define QSLAB_ALLOC_UNWIND_H

#include "base.h"

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#else /* musl: no stack is known */
static inline int backtrace(void **frames, int most)
{
	(void)frames, (void)most;
	return 0;
}

static inline void backtrace_symbols_fd(void *const *frames, int count, int fd)
{
	(void)frames, (void)count, (void)fd;
}
#endif

#define UNWIND_MOST 64

/*
 * The first frame is the caller's. At most UNWIND_MOST. No locks, no memory; after backtrace() was called once. Not
 * reentrant in a thread.
 */
int unwind_take(void **frames, int most) SLOW;

/* Since the start; for tests. */
struct unwind_counts {
	_Atomic uint64_t found, read; /* rules: that were kept, that were not */
	_Atomic uint64_t own, whole;  /* stacks: by rules, by backtrace() */
};
extern struct unwind_counts unwind_counts;

#endif
