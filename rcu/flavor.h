/* Which liburcu flavour readers use; set once, before the first grace period. */
#ifndef QSLAB_RCU_FLAVOR_H
#define QSLAB_RCU_FLAVOR_H

#include <stdbool.h>

struct rcu_flavor_struct;

/* False if another is in use already. Any thread. */
bool flavor_set(const struct rcu_flavor_struct *flavor);

/*
 * The one set, else urcu-qsbr: the program's own copy, or loaded now. NULL, with a line on stderr, if none is to be had. The
 * first call asks the loader, which takes its lock and allocates: not inside malloc, nor with a lock of ours held.
 */
const struct rcu_flavor_struct *flavor_get(void);

/* The one set, or returned by flavor_get, else NULL. Anywhere. */
const struct rcu_flavor_struct *flavor_known(void);

/* Is it urcu-qsbr, or urcu-bp? False before either. Anywhere. */
bool flavor_is_qsbr(void);
bool flavor_is_bp(void);

/* Is that the one that signals its readers? Asks the loader, as above. */
bool flavor_is_signal(const struct rcu_flavor_struct *flavor);

/* Around a wait of the calling thread: no reader while it waits; aborts in a read-side section of other flavours. */
bool flavor_wait_begin(const char *call);
void flavor_wait_end(bool was_online);

#endif
