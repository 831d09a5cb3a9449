/*
 * Memory for descriptors: heaps, slabs, large objects, magazine slots. Own mappings, outside the region, and
 * where the system gives none, pages of spans (span_meta_alloc).
 * What is freed here is kept for the same size again and never unmapped, so descriptors are type-stable:
 * a late reader of one that died finds an old or a new descriptor, or zeros, never something else of another size.
 * Pieces are multiples of 64 bytes, aligned to 64. Any thread; a lock, rarely a system call.
 */
#ifndef QSLAB_ALLOC_META_H
#define QSLAB_ALLOC_META_H

#include "base.h"

#define META_SIZE_MAX ((size_t)24 << 10)

/* Zeroed when fresh; as it was left when reused. NULL if the system gives no memory. */
void *meta_alloc(size_t size);
void meta_free(void *piece, size_t size);

/* Zeroed memory, page-aligned, for good: for pieces to come. */
void meta_add(void *chunk, size_t size);

/* Gives pages of dead pieces back, if there may be many. Makes system calls; no other lock of ours should be held. */
void meta_trim(void);

/* Of pages that hold pieces, or did: not those that meta_trim gave back. */
size_t meta_bytes(void);
void meta_after_fork(void);

#endif
