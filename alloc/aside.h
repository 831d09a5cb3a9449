/*
 * A call on a stack of its own. malloc may be called with little stack left, by a thread that was given the least there is
 * (16 KiB) or by a coroutine; what needs more than a few KiB, once, runs aside.
 */
#ifndef QSLAB_ALLOC_ASIDE_H
#define QSLAB_ALLOC_ASIDE_H

#include <stdbool.h>

/*
 * Calls run(argument) on 64 KiB of new stack, with all signals blocked, whose handlers know nothing of it; four system
 * calls. False, and nothing was called, without memory. Nothing may be thrown through it. On other processors than
 * x86-64 and arm64, and under a sanitizer, which follows stacks, it is a plain call.
 */
bool aside(void (*run)(void *), void *argument);

#endif
