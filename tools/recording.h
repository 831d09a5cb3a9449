/* What `record`, or `stat --format json`, wrote: a sample for each line. */
#ifndef QSLAB_TOOLS_RECORDING_H
#define QSLAB_TOOLS_RECORDING_H

#include "key.h"
#include "reader.h"

struct sample_row {
	struct key key;
	uint64_t slabs, objects, live, live_bytes, resident;
};

/* All allocators of the process together. */
struct sample {
	double seconds;              /* since the recording began */
	long time;                   /* since 1970; 0: not known */
	int pid;
	char command[64];
	uint64_t rss, explained, kinds[KINDS];
	struct sample_row *rows;     /* by key */
	size_t row_count;
	uint64_t waiting, waiting_bytes, ready_bytes, completed, retired, reclaimed;
	double age;                  /* of the grace period in flight; 0: none is */
};

struct recording {
	struct sample *samples;
	size_t count;                /* 1 or more */
};

bool recording_load(struct recording *recording, const char *path, struct failure *why);
void recording_free(struct recording *recording);

const struct sample_row *sample_row(const struct sample *sample, const struct key *key); /* NULL: none */

#endif
