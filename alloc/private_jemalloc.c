/*
 * What the private copy of jemalloc calls under names of its own (tools/private-jemalloc).
 *
 * mmap: everything it maps itself is its own metadata, since extents come from the region. It is published, so that
 * tools can tell it from the program's memory. When it starts it tries what madvise does on a page of its own, and
 * writes there without asking whether it got one: then it has ours.
 */
#define _GNU_SOURCE
#include "segment.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct mapping {
	uint64_t start, size; /* size 0: none */
};

static struct {
	struct lock lock;
	struct mapping list[64]; /* lock; more than that are not known to tools */
} mappings;

static _Alignas(PAGE_SIZE) char trial[PAGE_SIZE];

void *qslab_je_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *qslab_je_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	void *got = mmap(at, size, protection, flags, fd, offset);

	if (got == MAP_FAILED && size == sizeof trial)
		return trial;
	lock_take(&mappings.lock);
	for (unsigned i = 0; got != MAP_FAILED && i < sizeof mappings.list / sizeof *mappings.list; i++)
		if (!mappings.list[i].size) {
			mappings.list[i] = (struct mapping){(uintptr_t)got, size};
			break;
		}
	lock_drop(&mappings.lock);
	return got;
}

/* Whole mappings, or the ends of one that was made longer to be aligned. */
int qslab_je_munmap(void *at, size_t size);
int qslab_je_munmap(void *at, size_t size)
{
	uint64_t start = (uintptr_t)at, end = start + size;

	if (at == trial)
		return 0;
	lock_take(&mappings.lock);
	for (struct mapping *m = mappings.list; m < mappings.list + sizeof mappings.list / sizeof *m; m++) {
		uint64_t last = m->start + m->size;
		if (!m->size || start >= last || end <= m->start)
			continue;
		if (start <= m->start)
			*m = (struct mapping){end, end < last ? last - end : 0};
		else
			m->size = start - m->start;
	}
	lock_drop(&mappings.lock);
	return munmap(at, size);
}

void source_publish(struct qslab_segment_meta *out)
{
	out->source = (uintptr_t)mappings.list;
	out->source_count = sizeof mappings.list / sizeof *mappings.list;
}

/*
 * MALLOC_CONF and /etc/malloc.conf are for the program's own jemalloc, of whatever release: this copy would obey them, or
 * complain of them.
 */
char *qslab_je_secure_getenv(const char *name);
char *qslab_je_secure_getenv(const char *name)
{
	(void)name;
	return NULL;
}

ssize_t qslab_je_readlink(const char *path, char *buffer, size_t size);
ssize_t qslab_je_readlink(const char *path, char *buffer, size_t size)
{
	(void)path, (void)buffer, (void)size;
	return -1;
}

/*
 * It starts in the middle of a program (gate.c), which may be in a sandbox that ends it for an `open`, or hold the loader's
 * lock. The files it would read with `syscall` say whether the kernel overcommits and has huge pages, for memory that it
 * maps itself, and it looks up pthread_create for a thread that it never has. How many cores there are decides
 * only whether a lock spins: two say yes.
 */
long qslab_je_syscall(long number, ...);
long qslab_je_syscall(long number, ...)
{
	va_list rest;
	long result = -1;

	va_start(rest, number);
	if (number == SYS_write) { /* what it has to say */
		int fd = va_arg(rest, int);
		const void *text = va_arg(rest, const void *);
		result = write(fd, text, va_arg(rest, size_t));
	} else {
		errno = ENOSYS;
	}
	va_end(rest);
	return result;
}

void *qslab_je_dlsym(void *handle, const char *name);
void *qslab_je_dlsym(void *handle, const char *name)
{
	(void)handle, (void)name;
	return NULL;
}

int qslab_je_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int qslab_je_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	(void)pid;
	CPU_ZERO_S(size, set);
	CPU_SET_S(0, size, set);
	CPU_SET_S(1, size, set);
	return 0;
}

/*
 * What it calls only to profile, which is off for good (source_jemalloc.c). Without these every process would load
 * libgcc_s and libm.
 */
struct _Unwind_Context;
typedef int trace_function(struct _Unwind_Context *context, void *argument);

int qslab_je__Unwind_Backtrace(trace_function *trace, void *argument);
int qslab_je__Unwind_Backtrace(trace_function *trace, void *argument)
{
	(void)trace, (void)argument;
	return 5; /* _URC_END_OF_STACK */
}

unsigned long qslab_je__Unwind_GetIP(struct _Unwind_Context *context);
unsigned long qslab_je__Unwind_GetIP(struct _Unwind_Context *context)
{
	(void)context;
	return 0;
}

double qslab_je_exp(double x);
double qslab_je_exp(double x)
{
	return x;
}

double qslab_je_log(double x);
double qslab_je_log(double x)
{
	return x;
}

double qslab_je_round(double x);
double qslab_je_round(double x)
{
	return x;
}
