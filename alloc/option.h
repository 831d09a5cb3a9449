/*
 * QSLAB_* environment options; unknown ones are reported. QSLAB_OPTIONS=harden,retain=16M holds several, as
 * QSLAB_HARDEN=1 and QSLAB_RETAIN=16M would be. A program with rights that its caller has not (AT_SECURE) reads none.
 */
#ifndef QSLAB_ALLOC_OPTION_H
#define QSLAB_ALLOC_OPTION_H

#include "base.h"

#define PROFILE_NEVER SIZE_MAX
#define SAMPLE_DEFAULT SIZE_MAX

struct options {
	bool stats;       /* QSLAB_STATS=1: the memory table at exit, on what is stderr at start */
	size_t retain;    /* QSLAB_RETAIN=BYTES[KMG]: most freed memory kept resident on regret (span.h) */
	size_t rcu_soft;  /* QSLAB_RCU_SOFT=BYTES[KMG]: more waiting than this hurries grace periods */
	size_t rcu_hard;  /* QSLAB_RCU_HARD=BYTES[KMG]: more than this makes _mightsleep wait */
	size_t rcu_stall; /* QSLAB_RCU_STALL=SECONDS: a longer grace period is reported; 0: never */
	bool rcu_debug;   /* QSLAB_RCU_DEBUG=1: records, poison and quarantine for every object (debug.h) */
	size_t profile;   /* QSLAB_PROFILE=BYTES[KMG]: one byte in so many is sampled; 0: none yet (profile.h) */
	size_t rcu_sample; /* QSLAB_RCU_SAMPLE=N: one in N slow allocations gets a page, to be protected (sample.h) */
	bool harden;      /* QSLAB_HARDEN=1: the hardened mode (harden.h) */
	bool deepbind;    /* QSLAB_DEEPBIND=1: dlopen is left RTLD_DEEPBIND (deepbind.c) */
	bool thp;         /* QSLAB_THP=1: huge pages are asked for (region.c) */
};

/* Defaults until option_init has run, at the first allocation or before main; const after. */
extern struct options options;

/* The first call reads them. */
void option_init(void);

/* A descriptor of what was stderr at start; -1 if the program kept none. Only if options.stats. */
int option_stats_fd(void);

#endif
