/*
 * The registered readers, as far as their register calls are seen (interpose.c), and grace periods in a forked
 * child, where liburcu's own registry and locks cannot be trusted (rcu/README.md).
 */
#ifndef QSLAB_RCU_READERS_H
#define QSLAB_RCU_READERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The calling thread registers with QSBR, or unregisters, as interpose.c saw: with that copy of liburcu, unless readers are
 * ours. Readers of one copy are known, that of the first register call whose copy is global: another may be unloaded.
 */
struct copy;
void readers_register(const struct copy *copy, void *its); /* its: the thread's reader there, NULL if hidden */
void readers_unregister(const struct copy *copy);

/* A register call of QSBR was seen. A child forked from then on is one whose readers are ours. */
bool readers_seen(void);

/* In a child whose readers are ours: waits for each to pass a quiescent state, and returns true. Else false. */
bool readers_synchronize(void);

/* The same for a caller that may be one of them, whatever the flavour in use: synchronize_rcu of that copy in such a child. */
bool readers_wait(const struct copy *copy);

/* True in such a child. */
bool readers_are_ours(void);

struct reader_info {
	int tid;
	char name[16];
};

/*
 * Readers of the flavour in use (QSBR, memb, mb) that were seen to register, and that the grace period in flight waits for:
 * not quiescent, or in a section, since it began. How many, `room` at most.
 */
size_t readers_holdouts(struct reader_info *list, size_t room);

/* With that thread still there. */
void reader_describe(struct reader_info *info, int tid, pthread_t thread);

void readers_after_fork(void);

/* Says where the readers are, for tools (qslab/segment.h). */
struct qslab_segment_readers;
void readers_publish(struct qslab_segment_readers *out);

#endif
