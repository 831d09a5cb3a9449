#ifndef QSLAB_TOOLS_STAT_JSON_H
#define QSLAB_TOOLS_STAT_JSON_H

#include "reader.h"

#include <jansson.h>

/* A snapshot as an object; the caller's. */
json_t *snapshot_json(const struct snapshot *snapshot);

#endif
