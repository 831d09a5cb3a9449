/* QSLAB_* environment options, read once before main; unknown ones are reported. */
#ifndef QSLAB_ALLOC_OPTION_H
#define QSLAB_ALLOC_OPTION_H

#include "base.h"

#define PROFILE_NEVER SIZE_MAX

struct options {
	bool stats;       /* QSLAB_STATS=1: the memory table at exit, on what is stderr at start */
	size_t retain;    /* QSLAB_RETAIN=BYTES[KMG]: most freed memory kept resident on regret (span.h) */
	size_t rcu_soft;  /* QSLAB_RCU_SOFT=BYTES[KMG]: more waiting than this hurries grace periods */
	size_t rcu_hard;  /* QSLAB_RCU_HARD=BYTES[KMG]: more than this makes _mightsleep wait */
	size_t rcu_stall; /* QSLAB_RCU_STALL=SECONDS: a longer grace period is reported; 0: never */
	bool rcu_debug;   /* QSLAB_RCU_DEBUG=1: records, poison and quarantine for every object (debug.h) */
	size_t profile;   /* QSLAB_PROFILE=BYTES[KMG]: one byte in so many is sampled; 0: none yet (profile.h) */
	size_t rcu_sample; /* QSLAB_RCU_SAMPLE=N: one in N slow allocations gets a page, to be protected (sample.h) */
};

/* Defaults until option_init has run; const after. */
extern struct options options;

void option_init(void);

/* A descriptor of what was stderr at start; -1 if the program kept none. Only if options.stats. */
int option_stats_fd(void);

#endif
