/*
 * liburcu is not built for ThreadSanitizer, which would not see that a reader's quiescent state comes before the end
 * of the grace period that waited for it, and would call every reuse a race. These stand in front of liburcu's own,
 * also inside the flavours' structs, and say it: what a reader did before it left a section comes before whatever
 * follows a synchronize. A library linked before liburcu, under -fsanitize=thread only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>

static atomic_ulong edge;

static void call_real(void (*_Atomic *real)(void), const char *name)
{
	void (*function)(void) = atomic_load_explicit(real, memory_order_relaxed);
	if (!function)
		atomic_store_explicit(real, function = (void (*)(void))dlsym(RTLD_NEXT, name), memory_order_relaxed);
	function();
}

#define LEAVES(name)                                                                                       \
	void name(void);                                                                                  \
	void name(void)                                                                                   \
	{                                                                                                 \
		static void (*_Atomic real)(void);                                                        \
		atomic_fetch_add_explicit(&edge, 1, memory_order_release);                                \
		call_real(&real, #name);                                                                  \
	}

/* A synchronize is a quiescent state too. */
#define WAITS(name)                                                                                        \
	void name(void);                                                                                  \
	void name(void)                                                                                   \
	{                                                                                                 \
		static void (*_Atomic real)(void);                                                        \
		atomic_fetch_add_explicit(&edge, 1, memory_order_release);                                \
		call_real(&real, #name);                                                                  \
		atomic_load_explicit(&edge, memory_order_acquire);                                        \
	}

/* rcu/poll.c: readers were seen to be quiescent. */
void tsan_urcu_passed(void);
void tsan_urcu_passed(void)
{
	atomic_load_explicit(&edge, memory_order_acquire);
}

LEAVES(urcu_qsbr_quiescent_state)
LEAVES(urcu_qsbr_thread_offline)
LEAVES(urcu_memb_read_unlock)
LEAVES(urcu_mb_read_unlock)
LEAVES(urcu_bp_read_unlock)
WAITS(urcu_qsbr_synchronize_rcu)
WAITS(urcu_memb_synchronize_rcu)
WAITS(urcu_mb_synchronize_rcu)
WAITS(urcu_bp_synchronize_rcu)
