/*
 * The switchboard of faults. Only in a build with QSLAB_TEST (tests/CMakeLists.txt), which puts this file before every
 * source of the core, of all layers: there each call below asks the board first, and fails as the system would.
 * Nothing of it is compiled in any other build. The system calls stand here alone; FAULT(place) marks the places that
 * are the core's own. Test programs include this file for the board, and without QSLAB_TEST call the system itself.
 */
#define _GNU_SOURCE
#ifndef QSLAB_ALLOC_FAULT_H
#define QSLAB_ALLOC_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>

enum fault_place {
	FAULT_SPAN,        /* span_alloc, span_extend */
	FAULT_META,        /* meta_alloc */
	FAULT_MMAP,        /* for want of memory */
	FAULT_TAKEN,       /* mmap where the region goes on: somebody else has mapped there */
	FAULT_MREMAP,
	FAULT_MUNMAP,      /* too many mappings: what is left of one would be two */
	FAULT_MPROTECT,
	FAULT_MADVISE,     /* as on locked pages */
	FAULT_MINCORE,
	FAULT_MEMFD,
	FAULT_THREAD,      /* pthread_create */
	FAULT_KEY,         /* pthread_key_create */
	FAULT_KEEP,        /* pthread_setspecific */
	FAULT_SIGACTION,
	FAULT_OPEN,        /* of files in /proc */
	FAULT_RANDOM,      /* getrandom */
	FAULT_PRCTL,
	FAULT_FUTEX,       /* a wait that ends at once: EINTR, or a wake-up for no reason */
	FAULT_SCHED,       /* sched_getattr and sched_setattr, as a filter forbids them */
	FAULT_LIBURCU,     /* of a flavour that the program names through us alone: loading it */
	FAULT_PLACES
};

#define FAULT_NAMES                                                                                         \
	{"span", "meta", "mmap", "taken", "mremap", "munmap", "mprotect", "madvise", "mincore", "memfd", "thread", \
	 "key", "keep", "sigaction", "open", "random", "prctl", "futex", "sched", "liburcu"}

/*
 * Calls [nth, nth + length) of `place` fail, counted from 1 over the process and its forked children. Who runs the
 * process writes the first line, before; the core the others.
 */
struct fault_board {
	unsigned place, nth, length;
	atomic_uint calls[FAULT_PLACES];
	atomic_uint failed;
};

/*
 * Counts a call; if it is to fail, sets errno and returns true. Any thread, any context. The board is in the file whose
 * descriptor FAULT_BOARD names; without it nothing fails.
 */
bool fault(enum fault_place place, int error);

/* Has any call failed so far? */
bool fault_happened(void);

/* From here on nothing fails in this process. */
void fault_end(void);

#ifdef QSLAB_TEST

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAULT(place) fault(FAULT_##place, ENOMEM)

#define mmap(at, size, protection, flags, fd, offset)                                                       \
	(((flags) & MAP_FIXED_NOREPLACE && fault(FAULT_TAKEN, EEXIST)) || fault(FAULT_MMAP, ENOMEM)         \
	         ? MAP_FAILED                                                                               \
	         : mmap(at, size, protection, flags, fd, offset))
#define mremap(...) (fault(FAULT_MREMAP, ENOMEM) ? MAP_FAILED : mremap(__VA_ARGS__))
#define munmap(...) (fault(FAULT_MUNMAP, ENOMEM) ? -1 : munmap(__VA_ARGS__))
#define mprotect(...) (fault(FAULT_MPROTECT, ENOMEM) ? -1 : mprotect(__VA_ARGS__))
#define madvise(...) (fault(FAULT_MADVISE, EINVAL) ? -1 : madvise(__VA_ARGS__))
#define mincore(...) (fault(FAULT_MINCORE, EAGAIN) ? -1 : mincore(__VA_ARGS__))
#define memfd_create(...) (fault(FAULT_MEMFD, EMFILE) ? -1 : memfd_create(__VA_ARGS__))
#define pthread_create(...) (fault(FAULT_THREAD, errno) ? EAGAIN : pthread_create(__VA_ARGS__))
#define pthread_key_create(...) (fault(FAULT_KEY, errno) ? EAGAIN : pthread_key_create(__VA_ARGS__))
#define pthread_setspecific(...) (fault(FAULT_KEEP, errno) ? ENOMEM : pthread_setspecific(__VA_ARGS__))
#define sigaction(...) (fault(FAULT_SIGACTION, EINVAL) ? -1 : sigaction(__VA_ARGS__))
#define open(...) (fault(FAULT_OPEN, EMFILE) ? -1 : open(__VA_ARGS__))
#define getrandom(...) (fault(FAULT_RANDOM, EAGAIN) ? -1 : getrandom(__VA_ARGS__))
#define prctl(...) (fault(FAULT_PRCTL, EINVAL) ? -1 : prctl(__VA_ARGS__))
#define dlopen(...) (fault(FAULT_LIBURCU, errno) ? NULL : dlopen(__VA_ARGS__))

static inline bool fault_syscall(long number, long operation)
{
	if (number == SYS_clock_nanosleep)
		return false;
	if (number != SYS_futex)
		return fault(FAULT_SCHED, EPERM);
	return operation == FUTEX_WAIT_PRIVATE && fault(FAULT_FUTEX, EINTR);
}
#define syscall(number, first, second, ...)                                                                 \
	(fault_syscall(number, (long)(second)) ? -1 : syscall(number, first, second, __VA_ARGS__))

#endif
#endif
