/*
 * The hardened mode (QSLAB_OPTIONS=harden): an error of the program ends it with a report, or does no harm. Decided at the
 * first allocation, for good. No thread's heap is where the fast paths look (thread.c), so they know nothing of this: every
 * call takes the slow way, and from there this one.
 *
 * An object of a size class has a slot of the class's size:
 *
 *     [0, asked)           the program's
 *     [asked, size - 8)    padding: one byte value, drawn at start
 *     [size - 8, size)     the seal: in bits 48..63 the padding's length, below a keyed hash of that and of the address
 *
 * and a slot without a live object is zero in every byte: when it is freed, it is cleared; when it is given out, it is
 * looked at. So a seal of 0 says free, a valid one says live, and whoever frees takes it by an exchange: of two, one finds
 * 0. What was freed waits in the quarantine, a table of places: it takes a random one, and the object it finds there goes
 * back to its magazine. Slabs give their objects out in random order.
 *
 * Free spans are zero as well: slabs whose objects are all free, and what large objects leave. So nothing has to be cleared
 * that comes from there.
 *
 * A large object's padding fills its last page; a guard page follows (guard.h). When it is over its memory goes back
 * at once, its addresses are kept and protected (kept.h). The seal and the quarantine are not for objects of a cache's own
 * class, whose content may have to stay.
 */
#ifndef QSLAB_ALLOC_HARDEN_H
#define QSLAB_ALLOC_HARDEN_H

#include "base.h"

#define SEAL_SIZE 8
#define HARDEN_SAMPLE 5000 /* one allocation in so many is sampled (sample.h), unless told otherwise */

struct large;
struct object;

/* Const from the first allocation on. */
extern bool hardened;

/* At the first allocation or before main, when the options are known: the first call decides. */
void harden_start(void);

/* alignment: a power of two. NULL with errno. */
void *harden_alloc(size_t size, size_t alignment);

/* An object of at least `size` bytes of the size class, which has room for the seal. */
void *harden_alloc_class(unsigned class, size_t size);

/* An object known to be the start of one of a size class. Aborts with a report unless it is live and whole. */
void harden_free(const char *call, void *object);

/* The same with the size that the program names: SIZE_MAX for any. */
void harden_check_size(const char *call, const void *object, size_t size);

/* As realloc; the object is not NULL. */
void *harden_resize(const char *call, const struct object *object, size_t size);

/* Bytes the program may use of an object of a size class; 0 if it is not live. */
size_t harden_usable(const void *start, size_t slot);

/* large.c: a new object; one that ends. */
void harden_seal_large(struct large *large);
void harden_check_large(const char *call, const struct large *large);

/* A sampled object gets `size` of its page's bytes, at the page's end or its beginning: its new address. */
void *harden_place(struct large *large, size_t size, bool at_end);

/* The program asks for its memory: what is in the quarantine, and what is kept (kept.h), goes back. */
void harden_trim(void);

/* Bytes in the quarantine, roughly. */
size_t harden_quarantined(void);

/* Calls back for each object in the quarantine. */
void harden_each_quarantined(void (*callback)(void *object, void *argument), void *argument);

/* In a forked child: the places of threads that are gone. */
void harden_after_fork(void);

/* An even random number below `bound`. For chance, not for secrets. */
uint64_t harden_random(uint64_t bound);

#endif
