/*
 * Readers of the flavours with read-side sections (memb, mb) across fork: liburcu's registry in the child still names
 * threads that are gone, perhaps in the middle of a section, and their memory will be used again. They are taken out.
 */
#ifndef QSLAB_RCU_SECTIONS_H
#define QSLAB_RCU_SECTIONS_H

enum sections_flavor { SECTIONS_MEMB, SECTIONS_MB, SECTIONS_FLAVORS };

/* What interpose.c saw of the calling thread: after liburcu registered it, before liburcu unregisters it. */
void sections_registered(enum sections_flavor flavor);
void sections_unregister(enum sections_flavor flavor);

/* In the child, no grace period in flight: the registries hold this thread only. */
void sections_after_fork(void);

#endif
