/* A snapshot's heap profile by call site: estimates, from samples; and caches with slabs of their own, exactly. */
#ifndef QSLAB_TOOLS_SITES_H
#define QSLAB_TOOLS_SITES_H

#include "reader.h"

/* Pinned: what nearly empty slabs hold besides live objects, shared among the objects left in them. */
enum value { VALUE_LIVE, VALUE_WAITING, VALUE_PINNED, VALUES };

struct site {
	const uint64_t *stack;       /* return addresses, innermost first, without the library's; NULL: a cache's */
	size_t depth;                /* 0: not known */
	const char *cache;           /* its name */
	double objects[VALUES], bytes[VALUES];
	uint64_t samples;            /* 0: exact */
};

struct sites {
	struct site *list;           /* most of the value first */
	size_t count;
	double bytes[VALUES];        /* sums */
	uint64_t samples, lost;
	uint64_t rate;               /* bytes to a sample now; 0: none are taken */
	bool ready;                  /* the process has a heap profile */
};

struct symbols;

/* Of a snapshot with SNAPSHOT_MEMORY and SNAPSHOT_PROFILE, which must outlive it. */
void sites_take(struct sites *sites, const struct snapshot *snapshot, struct symbols *symbols, enum value order);
void sites_free(struct sites *sites);

#endif
