/* The scripted workload that runs while calls fail, and what its parts share. */
#ifndef QSLAB_TESTS_WORKLOAD_H
#define QSLAB_TESTS_WORKLOAD_H

#include "alloc/fault.h"
#include "tests/keeps_errno.h"

#include <errno.h>
#include <pthread.h>
#include <qslab/cache.h>
#include <qslab/qslab.h>
#include <qslab/rcu.h>
#include <qslab/stats.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REQUIRE(condition) ((condition) ? (void)0 : workload_fail(__FILE__, __LINE__, #condition))

/* What may fail without memory: then with ENOMEM, and only if a call of the system has failed. */
#define TRIED(call) (errno = 0, workload_tried((call), __FILE__, __LINE__, #call))

_Noreturn void workload_fail(const char *file, int line, const char *what);
void *workload_tried(void *object, const char *file, int line, const char *call);

/* An object with something in it that depends on where it is, how long, and `seed`. */
void content_put(void *object, size_t size, unsigned seed);
void content_check(const void *object, size_t size, unsigned seed);

/* The script. Returns only if everything was as documented. */
void workload_run(void);

/* Its parts about deferred free (workload_rcu.c). */
void deferred_run(void);   /* with a reader, all ways to retire */
void deferred_all_ways(unsigned seed);
void deferred_done(void);  /* the barrier, and what must hold after it */
void caches_run(void);

#endif
