/* A script is bytes: each call is one of calls[], its thread and its arguments from the bytes that follow. */
#ifndef QSLAB_TESTS_FUZZ_SCRIPT_H
#define QSLAB_TESTS_FUZZ_SCRIPT_H

#include "model.h"

struct script {
	const uint8_t *at, *end;
	unsigned thread;       /* who runs it */
	bool alone;            /* threads take turns: what the model says is exact */
};

/* The next byte, 0 after the last. */
static inline unsigned next_byte(struct script *script)
{
	return script->at < script->end ? *script->at++ : 0;
}

/* Sizes near every edge, and absurd ones; two or three bytes. */
size_t next_size(struct script *script);

/* Around a call that waits for a grace period: nobody who waits for a turn stands in the way. */
void before_wait(struct script *script);
void after_wait(struct script *script);

/* Readers, by thread; each is its thread's. */
extern bool is_reader[THREADS], is_online[THREADS];
void go_offline(unsigned thread);

/* The program gives an object up to a call that frees it, at once or, in some caches, later. Where it is. */
void *let_go(struct thing *thing);

/* And frees it, by a call that fits it. */
void discard(struct thing *thing);

/* A count of objects for calls that take several, and those that are free for them. */
enum { BULK_MOST = 40 };
size_t take_several(struct script *script, struct thing **things);

typedef void call(struct script *script);

/* calls_malloc.c */
call do_malloc, do_calloc, do_realloc, do_reallocarray, do_aligned, do_free, do_malloc_bulk, do_free_bulk, do_probe,
	do_strangers, do_good_size, do_trim, do_report;
/* calls_cache.c */
call do_create, do_destroy, do_cache_alloc, do_cache_zalloc, do_cache_free, do_cache_free_rcu, do_cache_alloc_bulk,
	do_cache_free_bulk, do_shrink, do_cache_barrier, do_cache_stats, do_cache_walk, do_fail_next;
/* calls_rcu.c */
call do_online, do_offline, do_quiescent, do_link, do_head, do_try, do_mightsleep, do_bulk, do_nolock, do_cookie, do_poll,
	do_wait, do_free_poll, do_barrier, do_queue, do_limits, do_rcu_stats, do_walk;

/* All caches and all objects are free afterwards. */
void caches_end(struct script *script);

#endif
