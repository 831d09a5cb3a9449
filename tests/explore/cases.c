#define _GNU_SOURCE
#include "cases.h"
#include "schedule.h"

#include "alloc/gate.h"
#include "alloc/heap.h"
#include "alloc/thread.h"
#include "alloc/vacant.h"

#include <qslab/qslab.h>
#include <qslab/rcu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

#define SIZE  16384 /* four to a slab, four in a magazine */
#define TWICE ((size_t)80 << 10) /* two in a magazine */
#define LARGE ((size_t)300 << 10)
#define STARTS (BEGIN_BYTES + LARGE) /* jemalloc */

/* ---- objects, whose contents say whose they are ---------------------------------------------------------------- */

static uint64_t stamps; /* by whose turn it is */

static void *new(size_t size)
{
	uint64_t *object = qslab_malloc(size);

	CHECK(object, "no memory");
	object[0] = object[size / 8 - 1] = ++stamps;
	return object;
}

static uint64_t stamp_of(void *object, size_t size)
{
	uint64_t *words = object;

	CHECK(words[0] && words[0] == words[size / 8 - 1], "somebody wrote to an object");
	return words[0];
}

static void drop(void *object, size_t size)
{
	stamp_of(object, size);
	memset(object, 0, 8);
	qslab_free(object);
}

/* The thread's magazines are empty then. */
static void flush_all(void)
{
	heap_flush_all(thread_heap_get(), false);
}

/* ---- remote frees, drains, and the death of slabs -------------------------------------------------------------- */

#define OBJECTS 12

static void *objects[OBJECTS];

static void remote(unsigned index)
{
	for (unsigned round = 0; round < 2; round++) {
		if (index == round) /* a heap's thread goes on with what came back */
			for (unsigned i = 0; i < OBJECTS; i++)
				objects[i] = new(SIZE);
		schedule_meet(NULL);
		for (unsigned i = index; i < OBJECTS; i += 3)
			drop(objects[i], SIZE);
		flush_all();
		schedule_meet(check_given_back);
	}
}

/* ---- a thread's end, adoption of its slabs or of its heap, and remote frees to them ------------------------------ */

static bool published;

static void adopt(unsigned index)
{
	void *mine[4];

	if (index == 0) {
		for (unsigned i = 0; i < 8; i++)
			objects[i] = new(SIZE);
		published = true;
		drop(objects[0], SIZE);
		return; /* two slabs, or one, with free objects, and frees to come */
	}
	if (index < 3)
		drop(new(1024), 1024); /* has a heap before there is an orphan */
	while (!published)
		schedule_yield();
	if (index == 1) {
		for (unsigned i = 1; i < 8; i++)
			if (i != 5)
				drop(objects[i], SIZE);
	} else {
		if (index == 2)
			drop(objects[5], SIZE);
		for (unsigned i = 0; i < 4; i++)
			mine[i] = new(SIZE);
		for (unsigned i = 0; i < 4; i++)
			drop(mine[i], SIZE);
	}
	flush_all();
	schedule_meet(check_given_back);
}

/* Beside all that a thread takes what is free, for its pages. */
static void vacant(unsigned index)
{
	if (index < 3) {
		adopt(index);
		return;
	}
	drop(new(1024), 1024);
	while (!published)
		schedule_yield();
	vacant_discard();
	vacant_discard();
	flush_all();
	schedule_meet(check_given_back);
}

/* ---- a slab that moves from a heap whose thread is gone, while its last objects come back ------------------------- */

static struct heap *_Atomic owner;

static void move(unsigned index)
{
	void *object;

	drop(new(1024), 1024);
	schedule_meet(NULL); /* each has a heap before there is an orphan */
	if (index == 0) {
		for (unsigned i = 0; i < 4; i++)
			objects[i] = new(SIZE);
		drop(objects[0], SIZE);
		atomic_store(&owner, thread_heap_get());
		return;
	}
	while (!atomic_load(&owner) || load_relaxed(&atomic_load(&owner)->state) != HEAP_ORPHAN)
		schedule_yield();
	if (index == 1) {
		object = new(SIZE);
		drop(object, SIZE);
	} else {
		for (unsigned i = 1; i < 4; i++)
			drop(objects[i], SIZE);
	}
	flush_all();
	schedule_meet(check_given_back);
}

/* ---- deferred frees: magazines exchanged, readers meanwhile ------------------------------------------------------- */

static void *_Atomic slot;

static void retire(void *object, bool linked)
{
	if (!object)
		return;
	if (linked)
		qslab_free_rcu_nolock_link(object, (struct rcu_ptr *)((char *)object + 64));
	else
		CHECK(qslab_free_rcu_try(object) == 0, "no memory");
}

static void look(void)
{
	void *object = atomic_load(&slot);

	if (!object)
		return;
	uint64_t stamp = stamp_of(object, TWICE);
	for (unsigned i = 0; i < 4; i++) {
		mark_reached("reader");
		CHECK(stamp_of(object, TWICE) == stamp, "freed too early");
	}
}

static void exchange(unsigned index)
{
	urcu_qsbr_register_thread();
	for (unsigned i = 0; i < 12; i++) {
		look();
		if (index < 2)
			retire(atomic_exchange(&slot, new(TWICE)), i % 4 == 3);
		mark_reached("quiescent");
		urcu_qsbr_quiescent_state();
		if (i % 3 == 2)
			schedule_yield(); /* to the grace worker, or nothing gets ripe */
	}
	if (index == 0)
		retire(atomic_exchange(&slot, NULL), false);
	urcu_qsbr_unregister_thread();
	schedule_meet(NULL);
	if (index == 0)
		retire(atomic_exchange(&slot, NULL), false);
}

/* ---- the barrier, against retirement and threads' ends ------------------------------------------------------------ */

static uint64_t retired;

static void barrier(unsigned index)
{
	struct qslab_rcu_stats stats;

	if (index < 2) {
		for (unsigned i = 0; i < 6; i++) {
			retire(new(SIZE), index);
			retired++; /* the call has returned */
			if (i % 2)
				schedule_yield(); /* a barrier takes the chain's first ones, and more come in */
		}
		return;
	}
	for (unsigned i = 0; i < 2; i++) {
		uint64_t before = retired;
		qslab_rcu_barrier();
		qslab_rcu_stats(&stats);
		CHECK(stats.reclaimed >= before, "%llu of %llu", (unsigned long long)stats.reclaimed,
		      (unsigned long long)before);
	}
}

/* ---- fork, the gate closing while others allocate ----------------------------------------------------------------- */

static void in_child(void **mine)
{
	alarm(DEADLOCK_S / 2); /* before the parent's, which would leave it behind */
	check_counts();
	for (unsigned i = 0; i < 3; i++)
		drop(mine[i], SIZE);
	for (unsigned i = 0; i < 3; i++)
		drop(mine[i] = new(LARGE), LARGE);
	for (unsigned i = 0; i < 3; i++)
		retire(mine[i] = new(SIZE), false);
	qslab_rcu_barrier();
	flush_all();
	check_counts();
	_exit(0);
}

static bool shut;

static void watch_gate(const char *mark)
{
	CHECK(!shut || strcmp(mark, "gate_inside"), "a thread in the span source, whose gate is closed");
	if (!strcmp(mark, "gate_empty") || !strcmp(mark, "gate_opens"))
		shut = !strcmp(mark, "gate_empty");
}

static void forking(unsigned index)
{
	void *mine[3];
	int status;

	schedule_watch = watch_gate;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 3; i++)
			mine[i] = new(SIZE);
		if (index == 2 && round == 1) {
			pid_t child = fork();
			if (child == 0)
				in_child(mine);
			CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the child");
		}
		size_t size = round ? LARGE : STARTS;
		if (index == 1)
			drop(new(size), size);
		for (unsigned i = 0; i < 3; i++)
			if (index == 0)
				retire(mine[i], false);
			else
				drop(mine[i], SIZE);
	}
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

const struct explore_case cases[] = {
	{"remote", 300, 3, remote},
	{"adopt", 300, 4, adopt},
	{"vacant", 300, 4, vacant},
	{"move", 100, 3, move},
	{"exchange", 600, 3, exchange},
	{"barrier", 400, 4, barrier},
	{"fork", 400, 3, forking},
};
const unsigned case_count = sizeof cases / sizeof *cases;

/* Readers are the core's own in a forked child whose parent had one (rcu/readers.h), and so every step of theirs. */
void cases_prepare(void)
{
	qslab_free(qslab_malloc(16));
	urcu_qsbr_register_thread();
	urcu_qsbr_unregister_thread();
}

void cases_settle(void)
{
	struct qslab_memory memory;

	qslab_rcu_barrier();
	check_counts();
	flush_all();
	heap_trim(0);
	check_given_back();
	qslab_memory(&memory);
	CHECK(!memory.live && !memory.magazines && !memory.slabs, "%zu bytes live, %zu in magazines, %zu slabs", memory.live,
	      memory.magazines, memory.slabs);
}
