/*
 * The published segment (include/qslab/segment.h), and who fills in its parts: each file that has the data. They run
 * once, in the constructor, while there is one thread.
 */
#ifndef QSLAB_ALLOC_SEGMENT_H
#define QSLAB_ALLOC_SEGMENT_H

#include "base.h"

#include <qslab/segment.h>

/* NULL before segment_init, and if there was no memory for it. */
extern struct qslab_segment *segment;

/* After class_init. */
void segment_init(void);

/* In the child. */
void segment_after_fork(void);

void cache_publish(struct qslab_segment_caches *out);
void profile_publish(struct qslab_segment_profile *out);
void kept_publish(struct qslab_segment_held *out);
void harden_publish(struct qslab_segment_quarantine *out);
void debug_publish(struct qslab_segment_quarantine *out);
void heap_publish(struct qslab_segment_heaps *out);
void large_publish(struct qslab_segment_large *out);
void span_publish(struct qslab_segment_spans *out);
void meta_publish(struct qslab_segment_meta *out);
void source_publish(struct qslab_segment_meta *out);

/* A field's offset; readers rely on its width, in bytes. */
#define PUBLISH(type, field, width)                                                                       \
	((uint32_t)(offsetof(type, field) + 0 * sizeof(struct {                                           \
		_Static_assert(sizeof(((type *)0)->field) == (width), "published as another width");      \
		char nothing;                                                                             \
	})))

/* A word's address, likewise. */
#define PUBLISH_WORD(word, width)                                                                         \
	((uint64_t)((uintptr_t)&(word) + 0 * sizeof(struct {                                              \
		_Static_assert(sizeof(word) == (width), "published as another width");                    \
		char nothing;                                                                             \
	})))

#endif
