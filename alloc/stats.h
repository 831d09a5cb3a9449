/* Where the memory is; the reports of it. Nothing here allocates. */
#ifndef QSLAB_ALLOC_STATS_H
#define QSLAB_ALLOC_STATS_H

#include <qslab/qslab.h>

/* The table as text; returns its length. */
size_t stats_table(char *text, size_t size);

#endif
