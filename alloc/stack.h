/*
 * Who did what: call stacks, each kept once, and events that name one. For the debug mode and sampling.
 * Never allocates through us; any thread; a signal handler gets no stack if it interrupted the taking of one.
 */
#ifndef QSLAB_ALLOC_STACK_H
#define QSLAB_ALLOC_STACK_H

#include "base.h"

#define STACK_DEPTH 16
#define STACK_DEPTH_PROFILE 32

struct event {
	uint32_t stack;  /* of the call; 0: not known */
	int32_t thread;  /* its tid; 0: the event was not seen */
	int64_t time;    /* CLOCK_MONOTONIC, nanoseconds */
};

/* Loads the unwinder, which allocates; false if there is no memory for stacks. Before other calls here. */
bool stack_start(void);

/* This thread, its stack, now. */
struct event event_now(void);

/* This thread's stack, of at most STACK_DEPTH_PROFILE frames; 0: not known. For the heap profile. */
uint32_t stack_take(void);

/* "qslab: WHAT by thread N, T s ago:" and the stack, a frame a line, to stderr; nothing if it was not seen. */
void event_print(const char *what, const struct event *event);

/* The same for the caller's own stack. */
void event_print_here(const char *what);

void stack_after_fork(void);

/* Says where the stacks are, for tools. */
struct qslab_segment_profile;
void stack_publish(struct qslab_segment_profile *out);

#endif
