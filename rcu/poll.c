#define _GNU_SOURCE
#include "poll.h"
#include "copies.h"
#include "flavor.h"
#include "grace.h"
#include "readers.h"
#include "registry.h"
#include "sleep.h"


#define STRIDE (1ul << 20) /* from a counter of ours to the next: liburcu's own steps, of 2, do not get there while one is stored */
/*
 * From one begin to the next, if there is more than one reader: each then finds the counter in another's cache, and has three
 * fences to pass, some 200 ns. The only reader is mostly the one that retires.
 */
#define PACE_NS 10000
#define MISSES_MOST 16 /* walks in a row that did not close: a reader that registers needs a moment */

static struct {
	atomic_bool on;                /* `running`; anyone reads it */
	unsigned long last, highest;   /* `running`: the counter while polling is on; the highest we published */
	struct cds_list_head *_Atomic head; /* of liburcu's list; set once */
	unsigned asked;                /* `running`: readers, when one began last */
	unsigned misses;               /* `running`: walks since that did not close */
	int64_t began;                 /* `running`: and when that was */
	/* readers.lock: */
	struct reader *order[POLL_READERS]; /* all readers, as liburcu's list had them last */
	unsigned long changes;         /* readers.changes when `order` was made */
	unsigned long left;            /* readers.changes when the worker left */
	unsigned awaited;              /* readers still to pass */
	struct {
		const struct reader *reader;
		unsigned long seen;
	} await[POLL_READERS];
} polling;

bool poll_is_on(void)
{
	return atomic_load_explicit(&polling.on, memory_order_relaxed);
}

static void set_on(bool on)
{
	atomic_store_explicit(&polling.on, on, memory_order_relaxed);
}

static void enter(unsigned long counter)
{
	polling.last = counter;
	polling.misses = 0;
	set_on(true);
}

bool poll_is_fresh(void)
{
	return atomic_load_explicit(&polling.head, memory_order_acquire) && /* then readers.gp is there, too */
	       atomic_load_explicit(global_counter(), memory_order_relaxed) == URCU_QSBR_GP_ONLINE;
}

static struct cds_list_head *next_of(const struct cds_list_head *node)
{
	return __atomic_load_n(&node->next, __ATOMIC_RELAXED);
}

/* Is there a reader of that node from i on? Then it is the i-th. */
static bool comes_at(unsigned i, const struct cds_list_head *node)
{
	for (unsigned k = i; k < readers.count; k++) {
		struct reader *reader = polling.order[k];
		if (&reader->qsbr->node != node)
			continue;
		polling.order[k] = polling.order[i];
		polling.order[i] = reader;
		return true;
	}
	return false;
}

static void list_readers(void)
{
	unsigned count = 0;

	for (EACH_READER(reader))
		polling.order[count++] = reader;
	polling.changes = readers.changes;
}

/* 2. of begin; the readers' lock held. Follows no link but of readers that are registered now. */
static bool walk(void)
{
	struct cds_list_head *head = atomic_load_explicit(&polling.head, memory_order_relaxed), *node;

	if (readers.count > POLL_READERS)
		return false;
	if (polling.changes != readers.changes)
		list_readers();
	polling.awaited = 0;
	node = next_of(head);
	for (unsigned i = 0; i < readers.count; i++) {
		if (BROKEN(walk))
			node = &polling.order[i]->qsbr->node;
		if (!comes_at(i, node))
			return false;
		struct reader *reader = polling.order[i];
		unsigned long seen = atomic_load_explicit(reader_counter(reader), memory_order_acquire);
		if (seen) {
			polling.await[polling.awaited].reader = reader;
			polling.await[polling.awaited++].seen = seen;
		}
		node = next_of(node);
	}
	return node == head || BROKEN(walk);
}

/* 3. */
static bool publish(void)
{
	unsigned long expected = polling.last;
	unsigned long next = (expected > polling.highest ? expected : polling.highest) + STRIDE;

	grace_fence(); /* the walk comes first */
	if (!atomic_compare_exchange_strong(global_counter(), &expected, next))
		return false;
	polling.last = polling.highest = next;
	return true;
}

bool poll_is_due(void)
{
	return polling.asked < 2 || sleep_clock_exact() - polling.began >= PACE_NS;
}

bool poll_begin(void)
{
	if (!poll_is_on() || pthread_mutex_trylock(&readers.lock))
		return false;
	bool closed = walk();
	polling.asked = readers.count;
	pthread_mutex_unlock(&readers.lock);
	MARK(poll_walked);
	if (!closed) {
		if (++polling.misses == MISSES_MOST)
			set_on(false);
		return false;
	}
	polling.misses = 0;
	if (!publish()) {
		set_on(false);
		return false;
	}
	if (polling.asked > 1)
		polling.began = sleep_clock_exact();
	return true;
}

#ifdef __SANITIZE_THREAD__ /* it does not see what liburcu does: tests/reclaim/tsan_urcu.c tells it */
void tsan_urcu_passed(void) __attribute__((weak));
#endif

bool poll_passed(void)
{
	if (pthread_mutex_trylock(&readers.lock))
		return false;
	while (polling.awaited) {
		const struct reader *reader = polling.await[polling.awaited - 1].reader;
		/* acquire: pairs with the reader's fences around its quiescent state */
		if (atomic_load_explicit(reader_counter(reader), memory_order_acquire) == polling.await[polling.awaited - 1].seen)
			break;
		polling.awaited--;
	}
	bool passed = !polling.awaited;
	pthread_mutex_unlock(&readers.lock);
#ifdef __SANITIZE_THREAD__
	if (passed && tsan_urcu_passed)
		tsan_urcu_passed();
#endif
	return passed;
}

void poll_forget(const struct reader *reader)
{
	for (unsigned i = polling.awaited; i--;)
		if (polling.await[i].reader == reader)
			polling.await[i] = polling.await[--polling.awaited];
}

static bool may_ask(void)
{
	return atomic_load_explicit(&polling.head, memory_order_acquire) && !readers_are_ours() && flavor_is_qsbr();
}

void poll_start(void)
{
	if (may_ask() && atomic_load(global_counter()) == URCU_QSBR_GP_ONLINE)
		enter(URCU_QSBR_GP_ONLINE);
}

/* The readers' lock held. Is there one that was there when the worker left? */
static bool one_stayed(void)
{
	const struct reader *first = readers.none.prev;
	return first != &readers.none && first->since <= polling.left;
}

/* Without readers liburcu returns at once, and makes no step: a step may then be another's. */
unsigned long poll_leave(void)
{
	unsigned long left = 0;

	set_on(false);
	if (!may_ask() || pthread_mutex_trylock(&readers.lock))
		return 0;
	if (readers.count)
		left = atomic_load(global_counter());
	polling.left = readers.changes;
	pthread_mutex_unlock(&readers.lock);
	return left;
}

void poll_enter(unsigned long left)
{
	if (!left || atomic_load(global_counter()) != left + URCU_QSBR_GP_CTR || pthread_mutex_trylock(&readers.lock))
		return;
	if (readers.count <= POLL_READERS && one_stayed())
		enter(left + URCU_QSBR_GP_CTR);
	pthread_mutex_unlock(&readers.lock);
}

/* Readers' nodes lie in threads' memory, and what liburcu moves them to in a grace period on a stack: the head is liburcu's. */
void poll_registered(const struct reader *reader, const struct copy *copy)
{
	const struct cds_list_head *node = &reader->qsbr->node;

	if (atomic_load_explicit(&polling.head, memory_order_relaxed))
		return;
	struct cds_list_head *beside[2] = {next_of(node), __atomic_load_n(&node->prev, __ATOMIC_RELAXED)};
	for (int i = 0; i < 2; i++)
		if (copy_holds(copy, beside[i]))
			atomic_store_explicit(&polling.head, beside[i], memory_order_release);
}

void poll_after_fork(void)
{
	set_on(false);
	polling.awaited = 0;
}
