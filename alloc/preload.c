/* The C library's malloc family, and C++'s new and delete by their mangled names, over the core. */
#define _GNU_SOURCE
#include "fast.h"
#include "stats.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t size)
{
	return fast_malloc(size);
}

EXPORT void free(void *object)
{
	fast_free("free", object);
}

EXPORT void *calloc(size_t count, size_t size)
{
	return zeroed_malloc(count, size);
}

EXPORT void *realloc(void *object, size_t size)
{
	return resize("realloc", object, size);
}

/* By the dynamic realloc, as glibc's does: a program may have a malloc of its own with no reallocarray. */
EXPORT void *reallocarray(void *object, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(object, total);
}

static bool power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

/* glibc rounds an odd alignment up to a power of two, and refuses one that has none. */
EXPORT void *memalign(size_t alignment, size_t size)
{
	if (alignment > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	size_t rounded = 16;
	while (rounded < alignment)
		rounded *= 2;
	return aligned_malloc(rounded, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
	if (!power_of_two(alignment) || alignment % sizeof(void *))
		return EINVAL;
	void *object = aligned_malloc(alignment, size);
	if (!object)
		return ENOMEM; /* and errno says so too, as in glibc */
	*out = object;
	return 0;
}

EXPORT void *valloc(size_t size)
{
	return aligned_malloc((size_t)getpagesize(), size);
}

EXPORT void *pvalloc(size_t size)
{
	size_t page = (size_t)getpagesize();

	if (size > PTRDIFF_MAX - page) {
		errno = ENOMEM;
		return NULL;
	}
	return aligned_malloc(page, ALIGN_UP(size, page));
}

EXPORT size_t malloc_usable_size(void *object)
{
	return usable_size("malloc_usable_size", object);
}

EXPORT void cfree(void *object);
EXPORT void cfree(void *object)
{
	fast_free("cfree", object);
}

/* C23. The sizes are the program's promise; the page map knows better, and the hardened mode checks them. */
EXPORT void free_sized(void *object, size_t size);
EXPORT void free_sized(void *object, size_t size)
{
	fast_free_sized("free_sized", object, size);
}

EXPORT void free_aligned_sized(void *object, size_t alignment, size_t size);
EXPORT void free_aligned_sized(void *object, size_t alignment, size_t size)
{
	(void)alignment;
	fast_free_sized("free_aligned_sized", object, size);
}

#ifdef __GLIBC__
/* glibc's other names of the same: who wraps malloc calls them, and frees what came from any of the family with them. */
#if __has_attribute(copy) /* or gcc warns that they say less */
#define ALSO(name, of) EXPORT __typeof__(of) name __attribute__((alias(#of), copy(of)))
#else
#define ALSO(name, of) EXPORT __typeof__(of) name __attribute__((alias(#of)))
#endif
ALSO(__libc_malloc, malloc);
ALSO(__libc_calloc, calloc);
ALSO(__libc_realloc, realloc);
ALSO(__libc_free, free);
ALSO(__libc_memalign, memalign);
ALSO(__libc_valloc, valloc);
ALSO(__libc_pvalloc, pvalloc);
#endif

/* ---- reports and tuning --------------------------------------------------------------------------- */

EXPORT int malloc_trim(size_t pad)
{
	(void)pad;
	return trim();
}

/*
 * glibc's parameters tune what does not exist here. As in glibc, every parameter is accepted, so that programs
 * that give up when mallopt fails do not.
 */
EXPORT int mallopt(int parameter, int value)
{
	(void)parameter, (void)value;
	return 1;
}

#ifdef __GLIBC__ /* the family is smaller elsewhere */
EXPORT struct mallinfo2 mallinfo2(void)
{
	struct qslab_memory m;
	qslab_memory(&m);
	size_t small = m.live - m.live_large;
	return (struct mallinfo2){
		.arena = small + m.slab_free + m.magazines + m.span_cache + m.source_free,
		.ordblks = m.slabs,
		.hblkhd = m.live_large,
		.fsmblks = m.magazines,
		.uordblks = small,
		.fordblks = m.slab_free + m.magazines + m.span_cache + m.source_free,
		.keepcost = m.span_cache + m.source_free,
	};
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 m = mallinfo2();
	return (struct mallinfo){
		.arena = (int)m.arena,
		.ordblks = (int)m.ordblks,
		.hblkhd = (int)m.hblkhd,
		.fsmblks = (int)m.fsmblks,
		.uordblks = (int)m.uordblks,
		.fordblks = (int)m.fordblks,
		.keepcost = (int)m.keepcost,
	};
}
#pragma GCC diagnostic pop
#endif

/* On the stream stderr, as in glibc, whose last lines are kept for those who parse them. */
EXPORT void malloc_stats(void)
{
	char text[3072];
	struct qslab_memory m;
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	size_t used = stats_table(text, sizeof text);
	qslab_memory(&m);
	snprintf(text + used, sizeof text - used,
	         "Total (incl. mmap):\n"
	         "system bytes     = %10zu\n"
	         "in use bytes     = %10zu\n"
	         "max mmap regions = %10u\n"
	         "max mmap bytes   = %10zu\n",
	         m.mapped, m.live, 0u, m.live_large);
	fputs(text, stderr);
	pthread_setcancelstate(state, NULL);
}

EXPORT int malloc_info(int options, FILE *stream)
{
	if (options) {
		errno = EINVAL;
		return -1;
	}
	struct qslab_memory m;
	qslab_memory(&m);
	fprintf(stream,
	        "<malloc version=\"qslab-1\">\n"
	        "<total type=\"live\" size=\"%zu\"/>\n"
	        "<total type=\"live-large\" size=\"%zu\"/>\n"
	        "<total type=\"slab-free\" size=\"%zu\"/>\n"
	        "<total type=\"magazines\" size=\"%zu\"/>\n"
	        "<total type=\"span-cache\" size=\"%zu\"/>\n"
	        "<total type=\"source-free\" size=\"%zu\"/>\n"
	        "<total type=\"metadata\" size=\"%zu\"/>\n"
	        "<system type=\"current\" size=\"%zu\"/>\n"
	        "<system type=\"purged\" size=\"%zu\"/>\n"
	        "<slabs count=\"%zu\"/>\n"
	        "<heaps count=\"%zu\"/>\n"
	        "</malloc>\n",
	        m.live, m.live_large, m.slab_free, m.magazines, m.span_cache, m.source_free, m.metadata,
	        m.mapped, m.purged, m.slabs, m.heaps);
	return 0;
}
