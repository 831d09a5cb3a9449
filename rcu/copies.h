/*
 * The copies of liburcu in this process. A call that interpose.c sees would have gone, without us, to the first copy in the
 * global scope, else to its caller's own: linked into it, or among the libraries that it needs, which nobody else may see
 * (dlopen without RTLD_GLOBAL). There it goes; a reader that registers with one copy while another is asked to wait sees
 * freed memory.
 *
 * Copies are found by the list of loaded objects and their symbol tables, not by dlsym: the loader's lock is held while
 * constructors run, and these may wait for a thread that registers.
 */
#ifndef QSLAB_RCU_COPIES_H
#define QSLAB_RCU_COPIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum copy_flavor { COPY_QSBR, COPY_MEMB, COPY_MB, COPY_FLAVORS };

struct copy {
	void (*enroll)(void);      /* liburcu's register_thread, unregister_thread, synchronize_rcu */
	void (*leave)(void);
	void (*synchronize)(void);
	void *gp;                  /* its counter and its flavor, of one in the global scope behind us, which stays; else NULL */
	const void *flavor;
	size_t reader[2];          /* its thread-local reader: module and offset, for the loader; module 0: hidden */
	uintptr_t start, end;      /* of what it is linked into */
};

/* Does the address lie in what it is linked into? */
static inline bool copy_holds(const struct copy *copy, const void *address)
{
	return (uintptr_t)address >= copy->start && (uintptr_t)address < copy->end;
}

#define COPIES_MOST 8

struct copies {
	struct copy list[COPIES_MOST];
	unsigned count; /* 0: none can be had. 1: that one. More: nothing tells which */
};

/* By a constructor, or earlier by a call from another library's: finds the global ones. */
void copies_start(void);

/*
 * Of a call from that address. Where the caller has no copy of its own, and nobody else has, the system's is loaded, and stays
 * in the global scope. Any thread. Asks for the loader's lock at the very start; and for a caller with no copy of its own
 * to load one, or once after each load: a copy that is still being loaded must not be called.
 */
void copies_of(enum copy_flavor flavor, const void *caller, struct copies *found);

const char *copies_library(enum copy_flavor flavor);

/* The calling thread's, NULL if it is hidden. */
void *copy_reader(const struct copy *copy);

#endif
