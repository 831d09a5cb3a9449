/*
 * Objects linked through their struct rcu_ptr: from signal handlers, when no array can be had, and lists handed over
 * whole.
 *
 *     incoming   a lock-free stack: anyone pushes by compare-and-swap, one taker takes all by exchange
 *     ripening   what was taken, with a cookie taken after; freed, then the next incoming is taken. Chain lock.
 */
#ifndef QSLAB_RECLAIM_CHAIN_H
#define QSLAB_RECLAIM_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rcu_ptr;

/* Async-signal-safe; first..last are linked. True if nothing was there before. */
bool chain_push(struct rcu_ptr *first, struct rcu_ptr *last);

/* Frees what is ripe, takes what came in. The cookie to wait for, or 0: nothing waits. Not from signal handlers. */
uint64_t chain_advance(void);

/* A push that this does not see comes after it in the order of seq_cst operations. */
bool chain_is_empty(void);

/* Frees every object of the list now; not ripe: but those whose every free is deferred. */
void chain_free(struct rcu_ptr *first, bool ripe);

/* Objects retired ever, freed ever, and the bytes of those that came in and are not ripening yet. Linear in these. */
void chain_count(uint64_t *retired, uint64_t *reclaimed, size_t *incoming_bytes);

/* Calls back, under the chain lock, for every link. */
void chain_each(void (*callback)(const struct rcu_ptr *link, void *argument), void *argument);

void chain_lock_for_fork(void);
void chain_unlock_after_fork(void);

/* Says where everything is (segment.c). */
struct qslab_segment_chain;
void chain_publish(struct qslab_segment_chain *out);

#endif
