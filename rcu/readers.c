/*
 * Knows the layout of liburcu-qsbr's reader and grace-period counter from its header, whose inline code is not used.
 * Both are found by dlsym: liburcu may be loaded after us, or never.
 */
#define _GNU_SOURCE
#define _LGPL_SOURCE
#include "readers.h"
#include "flavor.h"
#include "sections.h"
#include "sleep.h"

#include <dlfcn.h>
#include <pthread.h>
#include <qslab/segment.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

struct reader {
	struct reader *next, *prev;      /* lock */
	struct urcu_qsbr_reader *qsbr;   /* const while registered */
	int tid;                         /* const while registered */
	pthread_t thread;
};

static struct reader none = {&none, &none, NULL, 0, 0};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list */
static _Thread_local struct reader self __attribute__((tls_model("initial-exec")));
static atomic_bool ours; /* a forked child: const from fork on */

static _Atomic unsigned long *counter(struct reader *reader)
{
	return (_Atomic unsigned long *)&reader->qsbr->ctr;
}

static struct urcu_gp *_Atomic found; /* liburcu's, after the first register call */

static _Atomic unsigned long *global_counter(void)
{
	return (_Atomic unsigned long *)&atomic_load_explicit(&found, memory_order_relaxed)->ctr;
}

static void add(struct reader *reader)
{
	reader->next = none.next;
	reader->prev = &none;
	none.next->prev = reader;
	none.next = reader;
}

bool readers_are_ours(void)
{
	return atomic_load_explicit(&ours, memory_order_relaxed);
}

bool readers_register(void)
{
	bool both = !readers_are_ours();
	struct urcu_qsbr_reader *reader = dlsym(RTLD_DEFAULT, "urcu_qsbr_reader"); /* this thread's */
	struct urcu_gp *gp = dlsym(RTLD_DEFAULT, "urcu_qsbr_gp");

	if (!reader || !gp || self.qsbr)
		return both; /* a second registration: liburcu's own check speaks */
	atomic_store(&found, gp);
	self = (struct reader){NULL, NULL, reader, (int)gettid(), pthread_self()};
	if (!both) {
		reader->tid = pthread_self();
		reader->registered = 1;
		reader->waiting = 0;
	}
	pthread_mutex_lock(&lock);
	if (!both)
		atomic_store(counter(&self), atomic_load(global_counter()));
	add(&self);
	pthread_mutex_unlock(&lock);
	return both;
}

bool readers_unregister(void)
{
	bool both = !readers_are_ours();

	if (self.qsbr) {
		pthread_mutex_lock(&lock);
		self.next->prev = self.prev;
		self.prev->next = self.next;
		pthread_mutex_unlock(&lock);
		if (!both) {
			atomic_store(counter(&self), 0);
			self.qsbr->registered = 0;
		}
		self.qsbr = NULL;
	}
	return both;
}

/* Lock held. A reader is past the grace period when offline (0) or at its counter. */
static bool all_past(unsigned long target)
{
	for (struct reader *reader = none.next; reader != &none; reader = reader->next) {
		unsigned long seen = atomic_load_explicit(counter(reader), memory_order_seq_cst);
		if (seen && seen != target)
			return false;
	}
	return true;
}

bool readers_synchronize(void)
{
	if (!readers_are_ours() || !flavor_is_qsbr())
		return false;
	pthread_mutex_lock(&lock);
	unsigned long target = atomic_load(global_counter()) + URCU_QSBR_GP_CTR;
	atomic_store_explicit(global_counter(), target, memory_order_seq_cst);
	for (unsigned turn = 0; !all_past(target); turn++)
		sleep_beside(&lock, turn);
	pthread_mutex_unlock(&lock);
	return true;
}

void reader_describe(struct reader_info *info, int tid, pthread_t thread)
{
	info->tid = tid;
	if (pthread_getname_np(thread, info->name, sizeof info->name))
		strcpy(info->name, "?");
}

size_t readers_holdouts(struct reader_info *list, size_t room)
{
	size_t count = 0;

	if (!flavor_is_qsbr())
		return sections_holdouts(flavor_get(), list, room);
	if (!atomic_load(&found))
		return 0;
	unsigned long target = atomic_load(global_counter());
	pthread_mutex_lock(&lock);
	for (struct reader *reader = none.next; reader != &none && count < room; reader = reader->next) {
		unsigned long seen = atomic_load(counter(reader));
		if (seen && seen != target)
			reader_describe(&list[count++], reader->tid, reader->thread);
	}
	pthread_mutex_unlock(&lock);
	return count;
}

/* In the child: of the readers only this thread is left. */
void readers_after_fork(void)
{
	bool registered = self.qsbr != NULL;
	bool seen = atomic_load(&found) != NULL; /* even if all have left: the parent may be inside liburcu's lock */

	pthread_mutex_init(&lock, NULL);
	none.next = none.prev = &none;
	if (registered) {
		self.tid = (int)gettid();
		add(&self);
	}
	if (seen)
		atomic_store(&ours, true);
}

_Static_assert(sizeof none.next == 8 && sizeof none.qsbr == 8 && sizeof none.tid == 4 && sizeof found == 8,
               "as published");
_Static_assert(sizeof ((struct urcu_qsbr_reader *)0)->ctr == 8 && sizeof ((struct urcu_gp *)0)->ctr == 8, "as published");

void readers_publish(struct qslab_segment_readers *out)
{
	*out = (struct qslab_segment_readers){
		.first = (uintptr_t)&none,
		.global = (uintptr_t)&found,
		.next = offsetof(struct reader, next),
		.qsbr = offsetof(struct reader, qsbr),
		.tid = offsetof(struct reader, tid),
		.counter = offsetof(struct urcu_qsbr_reader, ctr),
		.global_counter = offsetof(struct urcu_gp, ctr),
	};
}
