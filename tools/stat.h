/* One snapshot in each of the formats, on stdout. */
#ifndef QSLAB_TOOLS_STAT_H
#define QSLAB_TOOLS_STAT_H

#include "reader.h"

#include <stdio.h>

/* `name`: of the process or file, for people. */
void stat_table(const struct snapshot *snapshot, const char *name);
void stat_json(const struct snapshot *snapshot, const char *name); /* one line */
void stat_prometheus(const struct snapshot *snapshot, FILE *out);
void stat_csv(const struct snapshot *snapshot, bool header);

/* objects of all classes; bytes of a class's objects in a place */
static inline uint64_t class_bytes(const struct class_view *class, enum place place)
{
	return class->count[place] * class->size;
}

#endif
