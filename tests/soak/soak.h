/*
 * Soak: everything at once, for hours: the threads, signals and forks of tests/reclaim/torture, beside them the malloc
 * family and caches of all kinds by threads that come and go, spikes, limits on memory, and guests by dlopen.
 * Every few seconds all threads end, and the process is quiet: then all identities must hold, and RSS be bounded.
 *
 *   soak.c     options, phases, the log
 *   family.c   the malloc family
 *   caches.c   caches
 *   events.c   what happens to the process as a whole
 *   quiet.c    the account in a quiet phase, and over all of them
 *
 * Exit status as torture's; content that changed is 1.
 */
#ifndef QSLAB_TESTS_SOAK_H
#define QSLAB_TESTS_SOAK_H

#include "../reclaim/torture.h"

#define MIB ((size_t)1 << 20)
/* Our page map and jemalloc's take 16 bytes, at most, for each page of addresses that was ever in use: of its `mapped`. */
#define MAPS(mapped) ((mapped) / 4096 * 16)

/* Written once, at start. */
extern bool debug_mode; /* every object costs microseconds and 200 bytes more */
extern bool exact;      /* no quarantine, whose objects count as live, and no seals, which a walk leaves out */
extern atomic_ulong count_family, count_cached, count_lives, count_forks, count_spikes, count_limits, count_guests;

/* Draws a size as programs ask for: mostly small, a few of megabytes. */
size_t draw_size(uint64_t *random);

/* A thread's life each: some hundred operations, on objects that any thread may free. */
void family_life(uint64_t random);
void caches_life(uint64_t random);

/* While no other thread runs: what is held now, in bytes of classes; ends the process if content changed. */
size_t family_bytes(void);
size_t caches_bytes(void);
void caches_init(void);

/* Goes through all kinds of events; each takes a second or two at most. Forks have `inside` of fork_once. */
void event(unsigned number, uint64_t *random, unsigned inside);
void spike(uint64_t *random);

/* The main thread's: how much memory the program asks for at once, as far as can be seen from here. */
void demand_look(void);

/* One quiet phase, of `idle` seconds. After the first one memory in use must stay what the program holds. */
struct quiet {
	struct qslab_memory memory; /* before memory was given back */
	size_t kept, rss;           /* resident bytes before that, and after */
};
struct quiet quiet(double idle);
/* The line fitted to RSS beyond what is live and MAPS, over the quiet phases after `warm` seconds. */
void quiet_warm(double warm);
struct fit {
	unsigned phases;
	double growth, error; /* from the first to the last, in bytes; its standard error */
};
struct fit quiet_fit(void);
size_t resident(void);

#endif
