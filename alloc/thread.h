/* Which heap this thread runs on, and its beginning and end. */
#ifndef QSLAB_ALLOC_THREAD_H
#define QSLAB_ALLOC_THREAD_H

#include "heap.h"

/* &heap_none before a thread's first allocation and after its end, and in the hardened mode. Written by thread.c only. */
extern _Thread_local struct heap *thread_heap __attribute__((tls_model("initial-exec")));

/* Where this thread's frees go: the magazines of that heap, or its returns (profile.h). Written by thread.c only. */
extern _Thread_local struct magazine *thread_frees __attribute__((tls_model("initial-exec")));

/* In the hardened mode, the heap: the fast paths do not see it. Else NULL. Written by thread.c only. */
extern _Thread_local struct heap *thread_hidden __attribute__((tls_model("initial-exec")));

/*
 * Options, classes, the region and its source: by the library's constructor, while there is one thread, or by an
 * allocation before that. False without memory for the region: a later call tries again.
 */
bool thread_init(void);

/* In the child. */
void thread_after_fork(void);

/* The library's beginning, and its fork handlers; a second call does nothing. While there is one thread. */
void allocator_start(void);

/* For a thread that has none. */
struct heap *thread_heap_make(void);

/* This thread's heap, made if need be; NULL once the thread's end has begun, in the debug mode, or without memory. */
static inline struct heap *thread_heap_get(void)
{
	struct heap *heap = thread_heap != &heap_none ? thread_heap : thread_hidden;
	return likely(heap) ? heap : thread_heap_make();
}

/* This thread's heap if it has one, else &heap_none. */
struct heap *thread_heap_mine(void);

/* The debug mode or the heap profile begins: this thread, the only one, has no heap until it asks again. */
void thread_heap_give_up(void);

#endif
