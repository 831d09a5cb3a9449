/* What holds memory in a snapshot that no live object needs, and who. */
#ifndef QSLAB_TOOLS_DIAGNOSIS_H
#define QSLAB_TOOLS_DIAGNOSIS_H

#include "totals.h"

/* Nearly empty: some object is live, and at most a quarter of them. */
#define NEARLY_EMPTY 4

/* Nearly empty slabs of one class. */
struct pin {
	struct key key;
	uint64_t slabs, objects, bytes; /* objects: live ones left in them; bytes: theirs */
	uint64_t resident, pinned;      /* pinned: the resident memory that holds no live object */
	double oldest;                  /* seconds since the first of them was made; -1: not known */
};

/* A reader that the grace period in flight waits for. */
struct culprit {
	int tid;
	double seconds;
};

struct diagnosis {
	struct pin *pins;            /* oldest first */
	size_t pin_count;
	struct pin all;              /* of those with `enough` slabs: few slabs of a size are in use, not stranded */
	uint64_t own;                /* resident bytes that are qslab's */
	uint64_t live;               /* resident bytes of live objects */
	uint64_t empty;              /* resident bytes of slabs without any object in use, cached or waiting */
	uint64_t cached;             /* of slabs whose only objects not free are in magazines and ready arrays: the rest of them */
	uint64_t scattered;          /* free bytes in slabs that are not nearly empty */
	double age;                  /* seconds of the oldest grace period in flight; 0: none is */
	struct culprit *culprits;
	size_t culprit_count;
	struct heap_view *hoarders;  /* heaps with most bytes in magazines first */
	size_t hoarder_count;
};

#define PIN_ENOUGH 4

void diagnose(struct diagnosis *diagnosis, const struct snapshot *snapshot);
void diagnosis_free(struct diagnosis *diagnosis);

bool is_nearly_empty(const struct slab_view *slab);

/* Resident bytes besides live objects and those that wait for a grace period. */
uint64_t slab_idle(const struct slab_view *slab);

/* Seconds since it was made; -1: not known. */
double slab_age(const struct snapshot *snapshot, const struct slab_view *slab);

/* How the live set changed over several looks. */
struct growth {
	double seconds;
	uint64_t before, after;      /* live bytes */
	bool steady;                 /* it grew from each look to the next */
	struct growth_row {
		struct key key;
		int64_t objects, bytes;
	} *rows;                     /* what grew, most bytes first */
	size_t row_count;
};
void growth_of(struct growth *growth, const struct totals *looks, size_t count);
void growth_free(struct growth *growth);

#endif
