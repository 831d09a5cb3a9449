/*
 * Knows the layout of liburcu's reader and grace-period counter from its header, whose inline code is not used. A grace
 * period is liburcu's: wait for the sections of the other phase, change the phase, wait again.
 */
#define _GNU_SOURCE
#define _LGPL_SOURCE
#include "sections.h"
#include "copies.h"
#include "readers.h"
#include "sleep.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <urcu/urcu-memb.h>

struct link {
	struct link *next, *prev;  /* lock */
	struct urcu_reader *urcu;  /* const while registered; NULL: not registered */
	int tid;                   /* const while registered */
	pthread_t thread;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;    /* the lists */
static pthread_mutex_t waiting = PTHREAD_MUTEX_INITIALIZER; /* one grace period at a time; before lock */
static _Thread_local struct link self[SECTIONS_FLAVORS] __attribute__((tls_model("initial-exec")));

static struct {
	const void *_Atomic symbol;       /* its flavor, before its gp is found */
	struct urcu_gp *_Atomic found;    /* its gp, after the first register call */
	struct link none;                 /* lock: the list's head */
	atomic_bool ours;                 /* a forked child: const from fork on */
} flavors[SECTIONS_FLAVORS] = {
	[SECTIONS_MEMB] = {
		.none = {.next = &flavors[SECTIONS_MEMB].none, .prev = &flavors[SECTIONS_MEMB].none},
	},
	[SECTIONS_MB] = {
		.none = {.next = &flavors[SECTIONS_MB].none, .prev = &flavors[SECTIONS_MB].none},
	},
};

/* Lock held, or nobody else is there. */
static void add(enum sections_flavor flavor, struct link *link)
{
	struct link *none = &flavors[flavor].none;

	link->next = none->next;
	link->prev = none;
	none->next->prev = link;
	none->next = link;
}

static bool is_known(enum sections_flavor flavor, const struct copy *copy)
{
	return copy->gp && copy->gp == atomic_load(&flavors[flavor].found);
}

void sections_register(enum sections_flavor flavor, const struct copy *copy, void *its)
{
	struct link *link = &self[flavor];

	if (copy->gp && its && !atomic_load(&flavors[flavor].found)) {
		atomic_store(&flavors[flavor].symbol, copy->flavor);
		atomic_store(&flavors[flavor].found, copy->gp);
	}
	bool known = is_known(flavor, copy), both = !known || !atomic_load(&flavors[flavor].ours);
	if (known && !link->urcu) { /* else a second registration: liburcu's own check speaks */
		struct urcu_reader *reader = its;
		*link = (struct link){NULL, NULL, reader, (int)gettid(), pthread_self()};
		if (!both) {
			reader->tid = pthread_self();
			reader->registered = 1;
		}
		pthread_mutex_lock(&lock);
		add(flavor, link);
		pthread_mutex_unlock(&lock);
	}
	if (both)
		copy->enroll();
}

void sections_unregister(enum sections_flavor flavor, const struct copy *copy)
{
	bool known = is_known(flavor, copy), both = !known || !atomic_load(&flavors[flavor].ours);
	struct link *link = &self[flavor];

	if (known && link->urcu) {
		pthread_mutex_lock(&lock);
		link->next->prev = link->prev;
		link->prev->next = link->next;
		pthread_mutex_unlock(&lock);
		if (!both)
			link->urcu->registered = 0;
		link->urcu = NULL;
	}
	if (both)
		copy->leave();
}

bool sections_seen(void)
{
	return atomic_load(&flavors[SECTIONS_MEMB].found) || atomic_load(&flavors[SECTIONS_MB].found);
}

/* A full fence here, and in every reader of memb, which has only a compiler's barrier where the kernel has this. */
static void fence(enum sections_flavor flavor)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (flavor == SECTIONS_MEMB && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

/* In a section that began in the other phase. */
static bool holds_up(const struct link *link, unsigned long phase)
{
	unsigned long seen = __atomic_load_n(&link->urcu->ctr, __ATOMIC_SEQ_CST);
	return (seen & URCU_GP_CTR_NEST_MASK) && ((seen ^ phase) & URCU_GP_CTR_PHASE);
}

/* Lock held. */
static bool all_past(enum sections_flavor flavor, unsigned long phase)
{
	struct link *none = &flavors[flavor].none;

	fence(flavor);
	for (struct link *link = none->next; link != none; link = link->next)
		if (holds_up(link, phase))
			return false;
	return true;
}

static bool synchronize(enum sections_flavor flavor)
{
	struct urcu_gp *gp = atomic_load(&flavors[flavor].found);
	int saved = errno;

	if (!atomic_load(&flavors[flavor].ours))
		return false;
	pthread_mutex_lock(&waiting);
	pthread_mutex_lock(&lock);
	for (int pass = 0; pass < 2; pass++) {
		if (pass)
			__atomic_store_n(&gp->ctr, gp->ctr ^ URCU_GP_CTR_PHASE, __ATOMIC_SEQ_CST);
		for (unsigned turn = 0; !all_past(flavor, gp->ctr); turn++)
			sleep_beside(&lock, turn);
	}
	fence(flavor);
	pthread_mutex_unlock(&lock);
	pthread_mutex_unlock(&waiting);
	errno = saved;
	return true;
}

bool sections_wait(enum sections_flavor flavor, const struct copy *copy)
{
	return is_known(flavor, copy) && synchronize(flavor);
}

/* SECTIONS_FLAVORS: none of these, or no thread ever registered with it. */
static int which(const struct rcu_flavor_struct *flavor)
{
	int i = 0;

	while (i < SECTIONS_FLAVORS && (!flavor || (const void *)flavor != atomic_load(&flavors[i].symbol)))
		i++;
	return i;
}

bool sections_synchronize_for(const struct rcu_flavor_struct *flavor)
{
	int i = which(flavor);
	return i < SECTIONS_FLAVORS && synchronize(i);
}

size_t sections_holdouts(const struct rcu_flavor_struct *flavor, struct reader_info *list, size_t room)
{
	size_t count = 0;
	int i = which(flavor);
	struct urcu_gp *gp = i < SECTIONS_FLAVORS ? atomic_load(&flavors[i].found) : NULL;

	if (!gp)
		return 0;
	pthread_mutex_lock(&lock);
	unsigned long phase = __atomic_load_n(&gp->ctr, __ATOMIC_SEQ_CST);
	for (struct link *link = flavors[i].none.next; link != &flavors[i].none && count < room; link = link->next)
		if (holds_up(link, phase))
			reader_describe(&list[count++], link->tid, link->thread);
	pthread_mutex_unlock(&lock);
	return count;
}

/* In the child: of the readers only this thread is left. */
void sections_after_fork(void)
{
	int saved = errno;

	pthread_mutex_init(&lock, NULL);
	pthread_mutex_init(&waiting, NULL);
	for (int flavor = 0; flavor < SECTIONS_FLAVORS; flavor++) {
		struct urcu_gp *gp = atomic_load(&flavors[flavor].found);
		if (!gp)
			continue;
		flavors[flavor].none.next = flavors[flavor].none.prev = &flavors[flavor].none;
		if (self[flavor].urcu) {
			self[flavor].tid = (int)gettid();
			add(flavor, &self[flavor]);
		}
		gp->futex = 0; /* nobody of liburcu's waits any more */
		atomic_store(&flavors[flavor].ours, true);
		if (flavor == SECTIONS_MEMB)
			syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	}
	errno = saved;
}
