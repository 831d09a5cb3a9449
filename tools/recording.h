/* What `record`, or `stat --format json`, wrote: a sample for each line. */
#ifndef QSLAB_TOOLS_RECORDING_H
#define QSLAB_TOOLS_RECORDING_H

#include "reader.h"

struct sample_row {
	uint32_t size;               /* of an object; 0: large objects */
	uint64_t slabs, objects, live, live_bytes, resident;
};

/* All allocators of the process together. */
struct sample {
	double seconds;              /* since the recording began */
	long time;                   /* since 1970; 0: not known */
	int pid;
	char command[64];
	uint64_t rss, explained, kinds[KINDS];
	struct sample_row *rows;     /* by size, large objects last */
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

const struct sample_row *sample_row(const struct sample *sample, uint32_t size); /* NULL: none */

/* "48 B objects", "large objects" */
struct row_name {
	char text[32];
};
struct row_name row_name(uint32_t size);

#endif
