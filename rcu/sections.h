/*
 * Readers of the flavours with read-side sections (memb, mb): who is in one; and across fork. The child inherits liburcu's registry with
 * threads that are gone, perhaps in the middle of a section, and its locks in any state. So, as with QSBR (readers.h), a
 * child of a process whose register calls were seen (interpose.c) leaves liburcu's alone: it keeps the registry of the
 * threads that it registers itself, and waits for them over liburcu's own counters.
 */
#ifndef QSLAB_RCU_SECTIONS_H
#define QSLAB_RCU_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum sections_flavor { SECTIONS_MEMB, SECTIONS_MB, SECTIONS_FLAVORS };

/*
 * What interpose.c saw: the calling thread registers with that copy of liburcu, or unregisters. Of each flavour the readers
 * of one copy are known, as with QSBR.
 */
struct copy;
void sections_register(enum sections_flavor flavor, const struct copy *copy, void *its);
void sections_unregister(enum sections_flavor flavor, const struct copy *copy);

/* In such a child: waits until every section that runs has ended, and returns true. Else false: liburcu is to do it. */
bool sections_wait(enum sections_flavor flavor, const struct copy *copy);
struct rcu_flavor_struct;
bool sections_synchronize_for(const struct rcu_flavor_struct *flavor);

/* As readers_holdouts, of this flavour; none if it is not one of these. */
struct reader_info;
size_t sections_holdouts(const struct rcu_flavor_struct *flavor, struct reader_info *list, size_t room);

/* Was a thread of one of these flavours ever registered? */
bool sections_seen(void);

void sections_after_fork(void);

#endif
