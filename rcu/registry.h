/* The registered QSBR readers, for readers.c and poll.c alone: knows the layout of liburcu-qsbr's, from its header. */
#ifndef QSLAB_RCU_REGISTRY_H
#define QSLAB_RCU_REGISTRY_H

#define _LGPL_SOURCE /* for the layout; the inline code is not used */
#include <pthread.h>
#include <stdatomic.h>
#include <urcu/urcu-qsbr.h>

struct reader {
	struct reader *next, *prev;      /* readers.lock */
	struct urcu_qsbr_reader *qsbr;   /* const while registered */
	int tid;                         /* const while registered */
	unsigned long since;             /* readers.lock: readers.changes when it came */
	pthread_t thread;
};

struct readers {
	struct reader none;              /* lock: its next came last, its prev first */
	pthread_mutex_t lock;
	unsigned count;                  /* lock */
	unsigned long changes;           /* lock: readers that came and went */
	struct urcu_gp *_Atomic gp;      /* liburcu's, after the first register call */
};

extern struct readers readers;

/* For every one, the lock held. */
#define EACH_READER(reader) struct reader *reader = readers.none.next; reader != &readers.none; reader = reader->next

static inline _Atomic unsigned long *reader_counter(const struct reader *reader)
{
	return (_Atomic unsigned long *)&reader->qsbr->ctr;
}

static inline _Atomic unsigned long *global_counter(void)
{
	return (_Atomic unsigned long *)&atomic_load_explicit(&readers.gp, memory_order_relaxed)->ctr;
}

#endif
