/*
 * qslab/rcu.h: deferred free. An object given to one of these calls is freed after a grace period: once every
 * reader that could have seen it has passed a quiescent state.
 *
 *     struct route { ...; struct rcu_ptr rcu; };          old = rcu_dereference(*slot);
 *                                                          rcu_assign_pointer(*slot, new);
 *                                                          qslab_free_rcu(old, rcu);
 *
 * Rules for all calls here, unless one says otherwise:
 *   - Objects are qslab's own, of any size: from qslab_malloc, or from malloc in a process that preloads
 *     libqslab-malloc.so. NULL is accepted and ignored. The caller has already made the object unreachable for
 *     new readers and gives it up: only readers that hold it may still look.
 *   - Any thread may call, a registered reader or not, holding locks, inside a read-side section, from TLS
 *     destructors; but not from a signal handler (qslab_free_rcu_nolock is for that).
 *   - Nothing waits and nothing is a quiescent state of the caller, save calls named _wait, _barrier or
 *     _mightsleep. Under QSBR a wait is a quiescent state: every pointer the caller borrowed dies.
 *   - errno is kept unless an error is documented. No call is a cancellation point, those that wait included.
 *   - Misuse (a foreign or interior pointer) prints one line to stderr and aborts.
 *
 * Finding misuse, by environment, in any program; both cost nothing when off:
 *   QSLAB_RCU_DEBUG=1   for tests; some microseconds and 200 bytes an object. Every object has a record of who
 *       allocated, and who retired or freed it. Double retire, free of a retired, retire of a freed object abort with
 *       the stacks of both. An object that is freed, or whose grace period is over, is filled with 0x6b and
 *       quarantined (16 MiB or 65,536 objects; larger ones than 2 MiB are not): a reader that holds on finds 0x6b,
 *       and what it writes is reported when the object leaves the quarantine or the process exits: offset, bytes,
 *       who allocated, who retired. Retired objects are untouched until their grace period is over.
 *   QSLAB_RCU_SAMPLE=N  for production. About one in N slow-path allocations of at most 4 KiB (one that finds the
 *       thread's magazine empty) gets a page of its own. Freed, or its grace period over, the page is made
 *       inaccessible; the last 256 such pages are kept. Who touches one dies of SIGSEGV after a report of who touched,
 *       who allocated, who retired and how long ago. The handler is installed when the first page is made
 *       inaccessible and passes other faults on to the handler it found; a program that installs its own later
 *       loses the report, not the fault.
 * Stacks have 16 frames, by backtrace(): function names need -rdynamic, addresses serve addr2line.
 *
 * A forked child goes on deferring and freeing, and no reader that fork left behind holds it up, if libqslab.so is linked
 * before liburcu, or preloaded, so that it sees readers register. Else (libqslab.a, liburcu first, or liburcu in a plugin
 * alone beside the preloaded library) the child of a QSBR program with other readers waits for them for ever in any call
 * that waits, and its retired objects stay; and fork itself waits for a grace period that runs, two seconds at most.
 *
 * Readers are liburcu's, of the flavour urcu-qsbr, or of any other after qslab_rcu_set_flavor(). Sources of the
 * ideas: the kernel's kfree_rcu, kvfree_rcu, kfree_rcu_nolock and SLUB's sheaves; kmem_free_q.
 */
#ifndef QSLAB_RCU_H
#define QSLAB_RCU_H

#include <qslab/qslab.h>

#include <stdint.h>

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* a struct and a function of one name, as stat */
extern "C" {
#endif

/* A link of one pointer, at any offset of an object. Its content is ours from the retiring call on. */
struct rcu_ptr {
	struct rcu_ptr *next;
};

struct rcu_head;          /* liburcu's: fields of this type are accepted too, for objects that also use call_rcu */
struct rcu_flavor_struct; /* liburcu's */

/* ---- deferred free -------------------------------------------------------------------------------- */

/*
 * qslab_free_rcu(object, field): frees `object` after a grace period. `field` names its member of type struct
 * rcu_ptr or struct rcu_head; any other type does not compile. Never fails: an array slot is used if there is
 * one, else the object is linked through the field. Cost: as qslab_free, plus a share of one grace period.
 */
#ifdef __cplusplus
extern "C++" { /* whoever includes this in an extern "C" of his own */
namespace qslab_detail {
inline struct rcu_ptr *link(struct rcu_ptr *field) { return field; }
inline struct rcu_ptr *link(struct rcu_head *field) { return reinterpret_cast<struct rcu_ptr *>(field); }
}
}
#define QSLAB_RCU_LINK(field_address) (::qslab_detail::link(field_address))
#else
#define QSLAB_RCU_LINK(field_address)                                                                     \
	((struct rcu_ptr *)_Generic((field_address), struct rcu_ptr *: (field_address), struct rcu_head *: (field_address)))
#endif

#define qslab_free_rcu(object, field)                                                                     \
	do {                                                                                              \
		__typeof__(object) qslab_object_ = (object);                                              \
		if (qslab_object_)                                                                        \
			qslab_free_rcu_link(qslab_object_, QSLAB_RCU_LINK(&qslab_object_->field));        \
	} while (0)

/* What the macro calls: `link` lies inside `object`. */
QSLAB_API void qslab_free_rcu_link(void *object, struct rcu_ptr *link);

/* The same from the link alone: the object around it is found by the interior pointer. Some loads dearer. */
QSLAB_API void qslab_free_rcu_head(struct rcu_ptr *link);

/*
 * Headless. Returns 0, or ENOMEM if no array slot could be had: then the object is still the caller's.
 */
QSLAB_API int qslab_free_rcu_try(void *object) __attribute__((warn_unused_result));

/*
 * Headless; never fails. Waits for a grace period (a quiescent state of the caller) only if no array slot can be
 * had, or if more bytes wait than the hard limit allows.
 */
QSLAB_API void qslab_free_rcu_mightsleep(void *object);

/*
 * Headless, many: retires objects[0..count-1]; NULLs are skipped. Returns how many it took, from the first on:
 * fewer than count only when memory for arrays is exhausted; the rest is still the caller's.
 */
QSLAB_API size_t qslab_free_rcu_bulk(size_t count, void *const *objects);

/*
 * As qslab_free_rcu from any context: signal handlers, even one that interrupted malloc, free or any call of this
 * header. Async-signal-safe. Cost: one compare-and-swap on a shared word; a wake-up when it was the first.
 */
#define qslab_free_rcu_nolock(object, field)                                                              \
	do {                                                                                              \
		__typeof__(object) qslab_object_ = (object);                                              \
		if (qslab_object_)                                                                        \
			qslab_free_rcu_nolock_link(qslab_object_, QSLAB_RCU_LINK(&qslab_object_->field)); \
	} while (0)
QSLAB_API void qslab_free_rcu_nolock_link(void *object, struct rcu_ptr *link);

/* ---- grace periods by cookie ---------------------------------------------------------------------- */

/*
 * A cookie names the end of a grace period that begins after it was taken. get only notes it; start also asks for
 * the grace period. poll: is it over? With QSBR readers each call is also a step towards it; it never waits. wait:
 * returns when it is; a quiescent state of a QSBR caller; aborts inside a read-side section of the other flavours. As
 * the kernel's get_state_, start_poll_, poll_state_ and cond_synchronize_rcu.
 */
typedef uint64_t qslab_rcu_cookie;
QSLAB_API qslab_rcu_cookie qslab_rcu_get(void);
QSLAB_API qslab_rcu_cookie qslab_rcu_start(void);
QSLAB_API bool qslab_rcu_poll(qslab_rcu_cookie cookie);
QSLAB_API void qslab_rcu_wait(qslab_rcu_cookie cookie);

/* Frees now if the cookie's grace period is over, else after it. 0, or ENOMEM as qslab_free_rcu_try. */
QSLAB_API int qslab_free_rcu_poll(qslab_rcu_cookie cookie, void *object) __attribute__((warn_unused_result));

/*
 * Returns when every object retired before the call, by any thread, is free again. Waits; a quiescent state of a
 * QSBR caller. Call it before dlclose of code that readers run, and before a test counts memory.
 */
QSLAB_API void qslab_rcu_barrier(void);

/* ---- free queue: collect under a lock, free after unlock -------------------------------------------- */

/*
 * A list through the objects' links; one owner at a time, no allocation, 2 words. flush frees all at once: no
 * reader may look any more. flush_rcu hands the list whole to RCU, in constant time. Both leave it empty.
 */
struct qslab_free_q {
	struct rcu_ptr *first, *last;
};
static inline void qslab_free_q_init(struct qslab_free_q *q)
{
	q->first = q->last = NULL;
}
#define qslab_free_q_add(q, object, field)                                                                \
	do {                                                                                              \
		__typeof__(object) qslab_object_ = (object);                                              \
		if (qslab_object_)                                                                        \
			qslab_free_q_link((q), QSLAB_RCU_LINK(&qslab_object_->field));                    \
	} while (0)
static inline void qslab_free_q_link(struct qslab_free_q *q, struct rcu_ptr *link)
{
	link->next = NULL;
	if (q->last)
		q->last->next = link;
	else
		q->first = link;
	q->last = link;
}
QSLAB_API void qslab_free_q_flush(struct qslab_free_q *q);
QSLAB_API void qslab_free_q_flush_rcu(struct qslab_free_q *q);

/* ---- flavour, limits, counters ------------------------------------------------------------------------ */

/*
 * The liburcu flavour whose readers are waited for, for instance &urcu_memb_flavor. Before the first use of this
 * header; later it returns EBUSY. 0 if it took effect. Default: urcu_qsbr_flavor, as the dynamic linker finds it: who
 * has a copy that it does not see (liburcu-qsbr.a in a program, its names hidden) names that here, or nobody waits for
 * its readers. EINVAL for urcu_signal_flavor: its grace periods need every reader to take a signal, and a thread that
 * forks takes none.
 */
QSLAB_API int qslab_rcu_set_flavor(const struct rcu_flavor_struct *flavor);

/*
 * Back-pressure by bytes waiting. Above `soft` grace periods are hurried; above `hard`, _mightsleep waits, and
 * `callback` (may be NULL) is called once per crossing, with the bytes waiting, by the thread that crosses: one that
 * retires, ends, or waits in a barrier; or ours, with all signals blocked, when it takes over what came by link. It
 * must not call this header, save _nolock. 0 leaves a limit as it is. Environment: QSLAB_RCU_SOFT, QSLAB_RCU_HARD.
 */
QSLAB_API void qslab_rcu_set_limits(size_t soft, size_t hard, void (*callback)(size_t bytes));

/* Exact when no other thread runs; retired = reclaimed + waiting always holds then. */
struct qslab_rcu_stats {
	uint64_t retired, reclaimed;         /* objects, ever */
	uint64_t waiting, waiting_bytes;     /* objects, and their bytes, not yet free again */
	uint64_t peak_bytes;                 /* most bytes waiting at once, as seen when batches were sealed */
	uint64_t started, completed;         /* grace periods of ours */
	uint64_t exchanged;                  /* arrays that became magazines whole */
	uint64_t flushed;                    /* objects that went back to slabs */
	uint64_t chained;                    /* objects that went by the link */
	uint64_t over_hard;                  /* crossings of the hard limit */
	uint64_t stalls;                     /* reports of a grace period that does not end */
};
QSLAB_API void qslab_rcu_stats(struct qslab_rcu_stats *stats);

#ifdef __cplusplus
}
#pragma GCC diagnostic pop
#endif
#endif
