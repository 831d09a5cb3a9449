/*
 * The gate in front of the span source. Closed, from fork's prepare to its end, nobody is inside jemalloc: spans come
 * from the mmap source, and what must go back to jemalloc waits.
 */
#ifndef QSLAB_ALLOC_GATE_H
#define QSLAB_ALLOC_GATE_H

#include "span.h"

#define BEGIN_BYTES ((size_t)8 << 20) /* of spans, before jemalloc starts (gate.c) */

/* As the source's calls (source.h). Of alloc the mmap source serves too, where the other has none. */
struct span gate_alloc(size_t pages, size_t alignment, bool zero);
bool gate_free(struct span span, size_t pages);   /* false: it must wait for the gate */
bool gate_resize(struct span span, size_t pages, size_t new_pages);
void gate_purge(void);                            /* not while it is closed */

void gate_close(void);
void gate_open(void);
bool gate_is_closed(void);

/* In the child, still closed. */
void gate_after_fork(void);

#endif
