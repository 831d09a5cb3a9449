/*
 * Counts what touches shared cache lines, for perf/bench scaling. Only in a build with -DQSLAB_COUNT=ON, which
 * puts this file before every source of the core; without it nothing of this is compiled.
 *
 * There COUNT(lock) stands in lock_take, and each atomic read-modify-write of the core is counted by its macro of
 * stdatomic.h, a lock's own too. A macro that is not counted yet does not compile: none is forgotten. The counts
 * are printed to stderr when the process ends.
 */
#ifndef QSLAB_ALLOC_COUNT_H
#define QSLAB_ALLOC_COUNT_H

#include <stdatomic.h>

enum count { COUNT_lock, COUNT_lock_wait, COUNT_atomic, COUNT_fence, COUNTS };

void count_add(enum count what);

#define COUNT(what) count_add(COUNT_##what)

#define COUNTED_FETCH(operation, p, v, order) (COUNT(atomic), __atomic_fetch_##operation((p), (v), (order)))
#define COUNTED_EXCHANGE(p, v, order)                                                                     \
	__extension__({                                                                                   \
		__auto_type count_p_ = (p);                                                               \
		__typeof__((void)0, *count_p_) count_new_ = (v), count_old_;                              \
		COUNT(atomic);                                                                            \
		__atomic_exchange(count_p_, &count_new_, &count_old_, (order));                           \
		count_old_;                                                                               \
	})
#define COUNTED_COMPARE(p, expected, v, weak, order, failed)                                              \
	__extension__({                                                                                   \
		__auto_type count_p_ = (p);                                                               \
		__typeof__((void)0, *count_p_) count_new_ = (v);                                          \
		COUNT(atomic);                                                                            \
		__atomic_compare_exchange(count_p_, (expected), &count_new_, (weak), (order), (failed));  \
	})

#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_exchange_explicit
#undef atomic_exchange
#undef atomic_compare_exchange_weak_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_strong
#undef atomic_thread_fence
#undef atomic_fetch_add
#undef atomic_fetch_sub
#undef atomic_fetch_or
#undef atomic_fetch_and
#undef atomic_fetch_xor
#undef atomic_fetch_xor_explicit
#undef atomic_compare_exchange_weak
#define atomic_fetch_add_explicit(p, v, order) COUNTED_FETCH(add, p, v, order)
#define atomic_fetch_sub_explicit(p, v, order) COUNTED_FETCH(sub, p, v, order)
#define atomic_fetch_or_explicit(p, v, order) COUNTED_FETCH(or, p, v, order)
#define atomic_fetch_and_explicit(p, v, order) COUNTED_FETCH(and, p, v, order)
#define atomic_exchange_explicit(p, v, order) COUNTED_EXCHANGE(p, v, order)
#define atomic_exchange(p, v) COUNTED_EXCHANGE(p, v, memory_order_seq_cst)
#define atomic_compare_exchange_weak_explicit(p, e, v, order, failed) COUNTED_COMPARE(p, e, v, 1, order, failed)
#define atomic_compare_exchange_strong_explicit(p, e, v, order, failed) COUNTED_COMPARE(p, e, v, 0, order, failed)
#define atomic_compare_exchange_strong(p, e, v) \
	COUNTED_COMPARE(p, e, v, 0, memory_order_seq_cst, memory_order_seq_cst)
#define atomic_thread_fence(order) (COUNT(fence), __atomic_thread_fence(order))

#endif
