/*
 * qslab: the explicit API.
 *
 * Every call here works in a program whose malloc is something else; pointers of the two must not be
 * mixed. In a process that also preloads libqslab-malloc.so these are the same calls as malloc and free.
 * A program that links -lqslab-malloc needs no -lqslab, whose calls it has. If both come, -lqslab-malloc goes first: else
 * they are two allocators.
 *
 * Unless a call says otherwise: any thread may call it at any time, including from destructors that run
 * after the thread's own state is gone; it must not be called from a signal handler; it never waits for
 * another thread's progress except for short internal locks on slow paths; it is no cancellation point; and misuse
 * (a pointer that is not the start of a live object) prints one line to stderr and aborts.
 *
 * Link it rather than dlopen it: it has more static TLS than glibc keeps for libraries that come late, so
 * dlopen fails and says so unless GLIBC_TUNABLES=glibc.rtld.optional_static_tls=8192. Once there it stays:
 * dlclose does not unload it. A plugin with libqslab.a inside has to stay as well: it is linked with -Wl,-z,nodelete,
 * as pkg-config --static and qslab::static do.
 *
 * Hardened mode: QSLAB_OPTIONS=harden in the environment (or QSLAB_HARDEN=1, or a build with -DQSLAB_HARDEN=ON). Overflows
 * and underflows by a run of writes, double frees, writes after free, and wrong sizes given to a sized free end the process
 * with a report, or do no harm. A usable size is then the size asked for. Decided at the first allocation. THREATS.md says
 * what is caught, what is not, and what it costs. A program that has rights its caller has not (AT_SECURE) reads no
 * variable of ours.
 */
#ifndef QSLAB_QSLAB_H
#define QSLAB_QSLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* a struct and a function of one name, as stat */
extern "C" {
#endif

#define QSLAB_VERSION_MAJOR 0
#define QSLAB_VERSION_MINOR 1
#define QSLAB_VERSION_PATCH 0

#define QSLAB_API __attribute__((visibility("default")))

/* ---- allocation: the malloc family by our own names -------------------------------------------- */

/*
 * At least `size` bytes, aligned to 16; the caller owns them until it frees them. A size of 0 gives a
 * distinct object. Errors: NULL with ENOMEM when memory is exhausted or size exceeds PTRDIFF_MAX.
 * Cost: a table look-up and an array pop; every few dozen calls a refill from slab bitmaps.
 */
QSLAB_API void *qslab_malloc(size_t size) __attribute__((malloc, alloc_size(1)));

/* As qslab_malloc(count * size), zeroed; ENOMEM if the product overflows. */
QSLAB_API void *qslab_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));

/*
 * Changes an object's size, in place where it can; otherwise moves it, and the old pointer is dead.
 * Large objects move by page tables, not by copying. NULL acts as malloc; size 0 frees and returns NULL,
 * as glibc does. On ENOMEM the object is untouched.
 */
QSLAB_API void *qslab_realloc(void *object, size_t size) __attribute__((alloc_size(2)));

/* As qslab_realloc(object, count * size); ENOMEM if the product overflows. */
QSLAB_API void *qslab_reallocarray(void *object, size_t count, size_t size)
	__attribute__((alloc_size(2, 3)));

/* Any power-of-two alignment. EINVAL for another alignment, ENOMEM as malloc. */
QSLAB_API void *qslab_aligned_alloc(size_t alignment, size_t size)
	__attribute__((malloc, alloc_size(2)));

/*
 * Gives an object back; NULL is accepted; errno is kept. Aborts with one line on a pointer that is not
 * ours or is inside an object. A double free aborts at once if the object lies in a thread's magazine or in its slab,
 * else (it was written to after the first free) when it returns to its slab, unless it is allocated again before. A word
 * of the object is overwritten. Cost: an array push; every few dozen calls a flush.
 */
QSLAB_API void qslab_free(void *object);

/*
 * `count` objects of `size` bytes each into objects[]; as qslab_malloc, and any call may free them. Returns how many:
 * fewer than count, with ENOMEM, only when memory is exhausted; the rest of objects[] is then undefined.
 * Cost: per object less than half of qslab_malloc's from some 16 on (perf/bulk_bench). Source: the kernel's
 * kmem_cache_alloc_bulk, which is all or nothing.
 */
QSLAB_API size_t qslab_malloc_bulk(size_t size, size_t count, void **objects);

/* As qslab_free on each of objects[0..count-1], of any sizes; NULLs are skipped. Cheapest if neighbours' sizes are alike. */
QSLAB_API void qslab_free_bulk(size_t count, void *const *objects);

/* The bytes that qslab_malloc(size) would give. Source: nallocx, malloc_good_size. */
QSLAB_API size_t qslab_good_size(size_t size) __attribute__((const));

/* The bytes that may be used, at least those asked for; 0 for NULL. */
QSLAB_API size_t qslab_usable_size(const void *object);

/* ---- interior pointers -------------------------------------------------------------------------- */

/*
 * For any address inside a live object, small or large: its start, and its usable size. For any other
 * address: NULL, 0 and false. Whether an object is live is the caller's knowledge: a freed object's
 * address may still be answered as if it were. Cost: two loads and a multiply; a few more loads for
 * large objects. Async-signal-safe. Source: snmalloc's external_pointer, the kernel's nearest_obj.
 */
QSLAB_API void *qslab_object_start(const void *address);
QSLAB_API size_t qslab_object_size(const void *address);
QSLAB_API bool qslab_owns(const void *address);

/* ---- memory going back, and where it is --------------------------------------------------------- */

/*
 * Returns to the system, now, all memory that no live object and no other thread's magazine needs.
 * True if any was returned. Takes every heap's lock in turn; costs a system call per run of free pages, and of free
 * objects in slabs that stay.
 */
QSLAB_API bool qslab_trim(void);

/*
 * Where the memory is, in bytes. live + slab_free + magazines is what all slabs' objects and large objects
 * measure together; exact when no other thread is running.
 */
struct qslab_memory {
	size_t live;        /* in objects the program holds, rounded up to their class */
	size_t live_large;  /* the part of live in objects with a span of their own */
	size_t slab_free;   /* free objects in slabs */
	size_t magazines;   /* free objects in threads' magazines, or in a quarantine */
	size_t span_cache;  /* resident spans kept for reuse */
	size_t source_free; /* dirty in the span source, at most */
	size_t metadata;    /* descriptors, page map, thread state, committed */
	size_t mapped;      /* address space taken from the system for spans */
	size_t purged;      /* bytes given back to the system so far */
	size_t slabs;       /* slabs in use */
	size_t heaps;       /* heaps ever made: the most threads at once */
};

/* Fills *memory; exact for the calling thread, within a magazine's worth for running ones. */
QSLAB_API void qslab_memory(struct qslab_memory *memory);

/* Writes the memory table as text to a file descriptor; never allocates. */
QSLAB_API void qslab_print_memory(int fd);

#ifdef __cplusplus
}
#pragma GCC diagnostic pop
#endif
#endif
