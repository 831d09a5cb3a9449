#define _GNU_SOURCE
#include "readers.h"
#include "copies.h"
#include "flavor.h"
#include "poll.h"
#include "registry.h"
#include "sections.h"
#include "sleep.h"

#include <qslab/segment.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

struct readers readers = {
	.none = {.next = &readers.none, .prev = &readers.none},
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static _Thread_local struct reader self __attribute__((tls_model("initial-exec")));
static pthread_mutex_t waiting = PTHREAD_MUTEX_INITIALIZER; /* one grace period at a time; before readers.lock */
static atomic_bool ours; /* a forked child: const from fork on */

static void add(struct reader *reader)
{
	reader->next = readers.none.next;
	reader->prev = &readers.none;
	readers.none.next->prev = reader;
	readers.none.next = reader;
	readers.count++;
	reader->since = ++readers.changes;
}

static void remove_reader(struct reader *reader)
{
	reader->next->prev = reader->prev;
	reader->prev->next = reader->next;
	readers.count--;
	readers.changes++;
	poll_forget(reader);
}

bool readers_seen(void)
{
	return atomic_load(&readers.gp);
}

bool readers_are_ours(void)
{
	return atomic_load_explicit(&ours, memory_order_relaxed);
}

/* Is it the copy whose readers are known? */
static bool is_known(const struct copy *copy)
{
	return copy->gp && copy->gp == atomic_load(&readers.gp);
}

void readers_register(const struct copy *copy, void *its)
{
	struct urcu_gp *none = NULL;

	if (copy->gp && its) /* before liburcu's: a child forked from here on leaves those locks alone */
		atomic_compare_exchange_strong(&readers.gp, &none, copy->gp);
	bool known = is_known(copy), both = !known || !readers_are_ours();
	if (both)
		copy->enroll(); /* before it is added: who is known has its links (poll.h) */
	if (!known || self.qsbr)
		return; /* a second registration: liburcu's own check spoke */
	struct urcu_qsbr_reader *reader = its;
	self = (struct reader){.qsbr = reader, .tid = (int)gettid(), .thread = pthread_self()};
	if (!both) {
		reader->tid = pthread_self();
		reader->registered = 1;
		reader->waiting = 0;
	}
	pthread_mutex_lock(&readers.lock);
	if (!both)
		atomic_store(reader_counter(&self), atomic_load(global_counter()));
	add(&self);
	pthread_mutex_unlock(&readers.lock);
	if (both)
		poll_registered(&self, copy);
}

void readers_unregister(const struct copy *copy)
{
	bool known = is_known(copy), both = !known || !readers_are_ours();

	if (known && self.qsbr) {
		pthread_mutex_lock(&readers.lock);
		remove_reader(&self);
		pthread_mutex_unlock(&readers.lock);
		if (!both) {
			atomic_store(reader_counter(&self), 0);
			self.qsbr->registered = 0;
		}
		self.qsbr = NULL;
	}
	if (both)
		copy->leave();
}

/* Lock held. A reader is past the grace period when offline (0) or at its counter. */
static bool all_past(unsigned long target)
{
	for (EACH_READER(reader)) {
		unsigned long seen = atomic_load_explicit(reader_counter(reader), memory_order_seq_cst);
		if (seen && seen != target)
			return false;
	}
	return true;
}

static void wait_for_all(void)
{
	pthread_mutex_lock(&waiting);
	pthread_mutex_lock(&readers.lock);
	unsigned long target = atomic_load(global_counter()) + URCU_QSBR_GP_CTR;
	atomic_store_explicit(global_counter(), target, memory_order_seq_cst);
	for (unsigned turn = 0; !all_past(target); turn++)
		sleep_beside(&readers.lock, turn);
	pthread_mutex_unlock(&readers.lock);
	pthread_mutex_unlock(&waiting);
}

bool readers_synchronize(void)
{
	if (!readers_are_ours() || !flavor_is_qsbr())
		return false;
	wait_for_all();
	return true;
}

bool readers_wait(const struct copy *copy)
{
	if (!readers_are_ours() || !is_known(copy))
		return false;
	bool online = self.qsbr && atomic_load(reader_counter(&self));
	if (online)
		atomic_store(reader_counter(&self), 0);
	atomic_thread_fence(memory_order_seq_cst); /* what was unlinked, before a reader is looked at */
	wait_for_all();
	if (online)
		atomic_store(reader_counter(&self), atomic_load(global_counter()));
	atomic_thread_fence(memory_order_seq_cst); /* before the caller reads again, or frees */
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
	if (!readers_seen())
		return 0;
	unsigned long target = atomic_load(global_counter());
	pthread_mutex_lock(&readers.lock);
	for (EACH_READER(reader)) {
		if (count == room)
			break;
		unsigned long seen = atomic_load(reader_counter(reader));
		if (seen && seen != target)
			reader_describe(&list[count++], reader->tid, reader->thread);
	}
	pthread_mutex_unlock(&readers.lock);
	return count;
}

/* In the child: of the readers only this thread is left. */
void readers_after_fork(void)
{
	bool registered = self.qsbr != NULL;
	bool seen = readers_seen(); /* even if all have left: the parent may be inside liburcu's lock */

	pthread_mutex_init(&readers.lock, NULL);
	pthread_mutex_init(&waiting, NULL);
	readers.none.next = readers.none.prev = &readers.none;
	readers.count = 0;
	if (registered) {
		self.tid = (int)gettid();
		add(&self);
	}
	if (seen)
		atomic_store(&ours, true);
	poll_after_fork();
}

_Static_assert(sizeof self.next == 8 && sizeof self.qsbr == 8 && sizeof self.tid == 4 && sizeof readers.gp == 8,
               "as published");
_Static_assert(sizeof ((struct urcu_qsbr_reader *)0)->ctr == 8 && sizeof ((struct urcu_gp *)0)->ctr == 8, "as published");

void readers_publish(struct qslab_segment_readers *out)
{
	*out = (struct qslab_segment_readers){
		.first = (uintptr_t)&readers.none,
		.global = (uintptr_t)&readers.gp,
		.next = offsetof(struct reader, next),
		.qsbr = offsetof(struct reader, qsbr),
		.tid = offsetof(struct reader, tid),
		.counter = offsetof(struct urcu_qsbr_reader, ctr),
		.global_counter = offsetof(struct urcu_gp, ctr),
	};
}
