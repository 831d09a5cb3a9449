/*
 * What calls.c holds the library to: which objects there are, what is in them, and which readers may still look at those
 * that were retired. All of it is guarded by one lock, taken beside the library's calls, never around one: an object
 * enters after the call that gave it, and leaves before the call that takes it. So it is right with threads that run
 * free, too.
 */
#ifndef QSLAB_TESTS_FUZZ_MODEL_H
#define QSLAB_TESTS_FUZZ_MODEL_H

#include "tests/keeps_errno.h"

#include <errno.h>
#include <qslab/cache.h>
#include <qslab/qslab.h>
#include <qslab/rcu.h>
#include <qslab/stats.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) ((condition) ? (void)0 : model_fail(__FILE__, __LINE__, #condition))

enum { THREADS = 4, SLOTS = 192, CACHES = 8, COOKIES = 2 * THREADS, GONE = 1024 };

enum { DEBUGGED = 1, HARDENED = 2, PROFILED = 4 };

/* A cache, and what the program knows of it. Written while nobody else uses it. */
struct pool {
	struct qslab_cache *cache; /* NULL: none */
	size_t size, align;
	unsigned flags;
	bool own;                  /* slabs of its own */
	unsigned char *magic;      /* an object begins with this address, as its constructor left it; NULL: no constructor */
	size_t live;               /* under the lock */
};

/* An object the program holds. Its first `head` bytes are its constructor's. */
struct thing {
	unsigned char *start;
	size_t asked, usable, head;
	uint32_t seed;
	struct pool *pool;         /* NULL: none */
	bool there, busy;          /* busy: in some thread's hands */
	bool moving;               /* where it is is not known */
};

/* A retired object: until each of `readers` has been quiescent it is as it was, its link apart. */
struct gone {
	struct thing thing;
	size_t link;               /* offset; SIZE_MAX: none */
	unsigned readers;          /* bit t: thread t */
	bool type_only;            /* only its type is kept (TYPESAFE_BY_RCU) */
};

extern unsigned model_modes;  /* of this process: const */
extern struct pool pools[CACHES];

_Noreturn void model_fail(const char *file, int line, const char *what);

/* At the start of a run; at its end: nothing is left. */
void model_begin(void);

void content_put(const struct thing *thing);
void content_check(const struct thing *thing, size_t size, size_t link);
void zero_check(const void *object, size_t size);

/* ---- objects -------------------------------------------------------------------------------------------------- */

/* Is there room for so many more objects of the size? */
bool model_room(size_t count, size_t size);

/* A new object is all right: alignment, size, disjoint from all others, of its constructor's making. Filled and kept. */
void model_enter(void *object, size_t asked, size_t align, struct pool *pool);

/* The object in a slot or the next after it that is nobody's, NULL if there is none. It is the caller's to put or drop. */
struct thing *model_take(unsigned slot);
void model_put(struct thing *thing);

/* Before it is freed: looks at its content, then forgets it. Where it is: the thing may be another's at once. */
void *model_drop(struct thing *thing);

/* Before it is retired, for the readers of now, or for those of a cookie. */
enum { NO_COOKIE = -1 };
void *model_retire(struct thing *thing, size_t link, int cookie);

/* Around realloc: it may be gone from where it was; if it failed, it is not. After it: what fits was kept. */
void model_moving(struct thing *thing, bool moving);
void model_moved(struct thing *thing, void *object, size_t asked);

/* ---- readers -------------------------------------------------------------------------------------------------- */

/* The thread may look at objects: after it has told liburcu. */
void model_online(unsigned thread);

/* It looks at them for the last time, and holds none: before it is quiescent, or may be. */
void model_offline(unsigned thread);

/* Nothing is deferred any more. */
void model_reclaimed(void);

/* ---- cookies: of which readers the grace period waits ------------------------------------------------------------ */

/* Before and after one is taken. */
void model_cookie_begin(unsigned index);
void model_cookie_end(unsigned index, qslab_rcu_cookie cookie);

/* 0: none. */
qslab_rcu_cookie model_cookie(unsigned index);

/* Its grace period is over. */
void model_cookie_over(unsigned index);

/* ---- looks at everything; exact when no other thread runs -------------------------------------------------------- */

void model_walk(struct pool *pool, bool exact);
size_t model_deferred(const struct pool *pool);

#endif
