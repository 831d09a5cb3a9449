/*
 * Large objects that are over, kept for a while with their pages protected: sampled ones (sample.h), and in the hardened
 * mode all. Who touches one dies by SIGSEGV, after a report. What falls out of the ring is given back.
 */
#ifndef QSLAB_ALLOC_KEPT_H
#define QSLAB_ALLOC_KEPT_H

#include "base.h"

#define KEPT_COUNT 256

struct large;

/* The fault handler from now on, not from the first kept object on: guard pages are there (guard.h). */
void kept_start(void);

/* large.c: nothing knows the object any more. Protects and keeps it; gives older ones back. */
void kept_add(struct large *large);

/* Gives all that are kept back; false if there were none. When memory is out. */
bool kept_empty(void);

/* The object kept there, or NULL. Takes no lock. */
struct large *kept_find(const void *address);

void kept_after_fork(void);

#endif
