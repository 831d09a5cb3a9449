/* A snapshot's allocators together, by object size and cache; and its process, for people. */
#ifndef QSLAB_TOOLS_TOTALS_H
#define QSLAB_TOOLS_TOTALS_H

#include "key.h"
#include "reader.h"

struct size_row {
	struct key key;
	uint64_t slabs, objects;     /* slabs of large objects: 0 */
	uint64_t count[PLACES];
	uint64_t bytes[PLACES];
	uint64_t resident;
	uint64_t resident_bytes[PLACES];
};

struct totals {
	struct size_row *rows;       /* by key; only those that have slabs, and large objects */
	size_t row_count;
	struct size_row all;         /* their sum */
	uint64_t waiting, waiting_bytes; /* for a grace period */
	uint64_t completed, retired, reclaimed;
	uint64_t span_cache;         /* bytes */
	int64_t age;                 /* of the oldest grace period in flight, ns; -1 */
	int64_t now;                 /* as snapshot.now */
};

void totals_take(struct totals *totals, const struct snapshot *snapshot);
void totals_free(struct totals *totals);
const struct size_row *totals_row(const struct totals *totals, const struct key *key); /* NULL: none */

struct key class_key(const struct class_view *class);

/* "process 12 (redis-server)" or "core.12 (redis-server)". */
struct target_name {
	char text[400];
};
struct target_name target_name(const struct reader *reader, const struct snapshot *snapshot);

/* A thread's name, "?" if it has none any more, and its state in words ("sleeping"), "" if not known. */
struct thread_name {
	char name[32], state[32];
};
struct thread_name thread_name(const struct snapshot *snapshot, int tid);

/* A core file; one that was cut short is said to be, on stderr. NULL, with *why. */
struct reader *open_core(const char *path, struct failure *why);

/* Of a process by number, or of a core file by name. NULL: a line was printed, the status is in *status. */
struct reader *open_target(const char *text, int *status);

#endif
