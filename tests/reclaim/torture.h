/*
 * Torture of deferred free, as rcutorture's ageing pipe: readers hold elements for as long as they like, and an
 * element that changes in their hands was freed early; at the end everything retired must be free again.
 *
 *   torture.c           phases, the account at the end
 *   torture_events.c    signals, forks, progress
 *   torture_element.c   elements, slots, how they are checked and retired
 *   torture_threads.c   readers, updaters, floods, short-lived threads
 *
 * tests/soak/ has all but torture.c too.
 *
 * Exit status: 0 good, 1 early reuse, 2 loss, 3 no progress.
 */
#ifndef QSLAB_TESTS_TORTURE_H
#define QSLAB_TESTS_TORTURE_H

#include <qslab/rcu.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <urcu/flavor.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum { GOOD = 0, EARLY = 1, LOSS = 2, HANG = 3 };
enum { SLOTS = 192, AMMUNITION = 64 };

/* Ends the process with one line. Async-signal-safe enough: it does not allocate. */
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

double seconds(void);
/* To its full length whatever signals come; at most until the run ends if `cut`. */
void sleep_us(uint64_t microseconds, bool cut);

/* What threads' numbers are drawn from; written before they start. */
extern uint64_t seed;

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/*
 * Counts limits set on memory and lifted again: odd while there is one. An allocation that fails is explained by a
 * limit if there was one after `before`, which was read before it.
 */
extern atomic_uint limits;
extern atomic_ulong count_nulls;
void null_explained(unsigned before, size_t size);
/* qslab_malloc, again and again while memory is limited. */
void *obtain(size_t size);

/* ---- elements: a slot's elements are all of one size, their link at one place; SIZE_MAX: they have none ---- */

struct slot {
	void *_Atomic current;
	void *_Atomic ammunition; /* made ahead for the signal handler */
	size_t size, offset;
};
extern struct slot slots[SLOTS];

/* What a reader holds. */
struct hold {
	const void *element;
	unsigned slot;
	uint64_t stamp;
	double since;
};

void elements_init(void);
void *element_make(unsigned slot);
struct hold element_hold(unsigned slot, const char *who);
void element_check(const struct hold *hold, const char *who);
/* What slots hold, in bytes of their classes. */
size_t elements_bytes(void);
/* As the heap walk counts it: what the program may use. */
size_t elements_usable(void);

/* Per updating thread: what it collects before it hands it over. */
enum { COLLECTED = 48, WAITED = 16 };
struct collector {
	struct qslab_free_q queue;
	void *many[COLLECTED];
	unsigned count;
	struct { /* freed by hand once the cookie is over */
		void *object;
		struct rcu_ptr *link;
		qslab_rcu_cookie cookie;
	} waited[WAITED];
	unsigned waiting;
};
void collector_init(struct collector *collector);
void collector_flush(struct collector *collector);

/* Replaces a slot's element and retires the old one by some call; `may_wait` allows those that wait. */
void element_replace(unsigned slot, struct collector *collector, uint64_t *random, bool may_wait);
void element_replace_in_handler(unsigned slot);
void retire_object(void *object, size_t offset, struct collector *collector, uint64_t *random, bool may_wait);

/* ---- threads ---- */

extern const struct rcu_flavor_struct *flavor, urcu_qsbr_flavor;
extern atomic_bool stop;
extern bool brisk; /* readers hold nothing for long, so that grace periods are ended by polling, most of the time */
extern _Thread_local bool reading; /* a fault now is an early unmap */
extern atomic_ulong count_reads, count_replaced, count_retired, count_polled, count_flooded, count_threads,
	count_signals, count_long;

/* ---- events ---- */

extern const char *volatile doing; /* what a hang is said to hang in */
void handlers_install(void);
/* Every so often to any thread but the caller, whose handler retires; until stop. */
void signals_start(unsigned microseconds);
void signals_stop(void);
/* A child that works on, and has ended well. `inside` threads at most are inside a call now. */
void fork_once(uint64_t *random, unsigned inside);
/* Every now and then: ends the process if threads or grace periods stand still. */
void check_progress(void);

void *reader(void *number);
void *updater(void *number);
void *flooder(void *number);
void *spawner(void *number);
void *short_life(void *number);

#endif
