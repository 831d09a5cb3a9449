#define _GNU_SOURCE
#include "thread.h"
#include "class.h"
#include "debug.h"
#include "harden.h"
#include "option.h"
#include "profile.h"
#include "region.h"
#include "span.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

_Thread_local struct heap *thread_heap __attribute__((tls_model("initial-exec"))) = &heap_none;

_Thread_local struct magazine *thread_frees __attribute__((tls_model("initial-exec"))) = heap_none.magazines;

_Thread_local struct heap *thread_hidden __attribute__((tls_model("initial-exec")));

/* After this thread's heap was abandoned: frees go to slabs directly, allocations to the late heap. */
static _Thread_local bool thread_gone __attribute__((tls_model("initial-exec")));

static pthread_key_t exit_key;
static atomic_bool ready;
static struct lock init_lock;

static void direct(struct heap *heap)
{
	if (unlikely(hardened)) {
		thread_hidden = heap == &heap_none ? NULL : heap;
		return;
	}
	thread_heap = heap;
	thread_frees = heap_returns(heap) ? heap_returns(heap)->magazines : heap->magazines;
}

static void thread_exit(void *heap)
{
	thread_gone = true;
	direct(&heap_none);
	heap_abandon(heap);
}

bool thread_init(void)
{
	if (likely(atomic_load_explicit(&ready, acquire)))
		return true;
	lock_take(&init_lock);
	if (!load_relaxed(&ready)) {
		option_init();
		class_init();
		harden_start();
		if (!region.base && region_init())
			span_init();
		bool done = region.base && !pthread_key_create(&exit_key, thread_exit); /* else again, by a later call */
		atomic_store_explicit(&ready, done, release);
	}
	lock_drop(&init_lock);
	return load_relaxed(&ready);
}

void thread_after_fork(void)
{
	if (!lock_is_mine(&init_lock))
		lock_drop(&init_lock);
}

struct heap *thread_heap_make(void)
{
	if (thread_gone || !thread_init() || tracking)
		return NULL;
	struct heap *heap = heap_acquire();
	if (!heap)
		return NULL;
	if (unlikely(profiling))
		profile_attach(heap);
	direct(heap); /* before the next call, which may allocate */
	if (unlikely(pthread_setspecific(exit_key, heap))) { /* nobody would take it over at the thread's end */
		direct(&heap_none);
		heap_abandon(heap);
		return NULL;
	}
	return heap;
}

struct heap *thread_heap_mine(void)
{
	return thread_hidden ? thread_hidden : thread_heap;
}

void thread_heap_give_up(void)
{
	struct heap *heap = thread_heap;

	if (heap == &heap_none)
		return;
	pthread_setspecific(exit_key, NULL);
	direct(&heap_none);
	heap_abandon(heap);
}
