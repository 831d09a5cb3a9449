/* Bytes that wait for grace periods, as of sealed arrays, and the limits on them. */
#ifndef QSLAB_RECLAIM_PRESSURE_H
#define QSLAB_RECLAIM_PRESSURE_H

#include "alloc/base.h"

/*
 * An array or list with that many bytes was sealed, or freed. Any thread, under the lock that guards it. Adding: true
 * if the grace period should hurry.
 */
bool pressure_add(size_t bytes);
void pressure_remove(size_t bytes);

/* With no lock held, after pressure_add: counts this thread's crossings of the hard limit, calls the program's callback. */
void pressure_tell(void);

size_t pressure_bytes(void);
size_t pressure_peak(void);
uint64_t pressure_over_hard(void);
bool pressure_is_soft(void); /* above the soft limit, or memory is short */
bool pressure_is_hard(void);

/* The reclaimer's, now and then: asks the system, once a second at most, whether memory is short (shortage.h). */
void pressure_look(void);

void pressure_set(size_t soft, size_t hard, void (*callback)(size_t bytes));

/* Says where the counters are (segment.c). */
struct qslab_segment_grace;
void pressure_publish(struct qslab_segment_grace *out);

#endif
