/* Retirement in the debug mode and of sampled objects: who retired, and was it the object's owner (alloc/debug.h). */
#ifndef QSLAB_RECLAIM_DEBUG_H
#define QSLAB_RECLAIM_DEBUG_H

#include "alloc/debug.h"

struct rcu_ptr;

/* All of these only if `watched`. */

/*
 * Before `object`, the start of one, is given to an array or a chain, which may free it at once. Aborts with a report
 * if it is retired or freed. In a signal handler that interrupted us nothing is noted.
 */
void debug_retire(const char *call, void *object);

/* There was no room: the object is the caller's again. */
void debug_retire_failed(void *object);

/* Every object of a list. Ends with a report at an object that is in it twice. */
void debug_retire_list(const char *call, struct rcu_ptr *first);
void debug_free_list(const char *call, struct rcu_ptr *first);

#endif
