#define _GNU_SOURCE
#include "stats.h"
#include "debug.h"
#include "harden.h"
#include "heap.h"
#include "large.h"
#include "meta.h"
#include "option.h"
#include "profile.h"
#include "region.h"
#include "report.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Heap's lock. */
static void count_slab(const struct slab *slab, struct qslab_memory *memory)
{
	unsigned nfree = load_relaxed(&slab->nfree) + load_relaxed(&slab->announced);

	memory->slabs++;
	memory->slab_free += (size_t)nfree * slab->size;
	memory->live += (size_t)(slab->objects - nfree) * slab->size; /* magazines are taken off below */
}

static void count_heap(struct heap *heap, struct qslab_memory *memory)
{
	size_t held = 0;

	lock_take(&heap->lock);
	for (unsigned c = 1; c < load_relaxed(&class_end); c++) {
		struct bin *bin = heap_bin(heap, c);
		for (struct slab *slab = bin ? bin->partial : NULL; slab; slab = slab->next)
			count_slab(slab, memory);
		for (struct slab *slab = bin ? bin->full : NULL; slab; slab = slab->next)
			count_slab(slab, memory);
		held += (size_t)heap_count_cached(heap, c) * classes[c].size;
	}
	lock_drop(&heap->lock);
	memory->magazines += held;
	memory->heaps++;
}

void qslab_memory(struct qslab_memory *memory)
{
	memset(memory, 0, sizeof *memory);
	for (struct heap *heap = heap_first(); heap; heap = heap->all_next)
		count_heap(heap, memory);
	size_t kept_large, kept = debug_quarantined(&kept_large);
	memory->magazines += load_relaxed(&heap_stock) + profile_shadow_bytes() + harden_quarantined() + kept;
	memory->live -= memory->live > memory->magazines ? memory->magazines : memory->live;
	memory->live_large = large_bytes();
	memory->live_large -= memory->live_large > kept_large ? kept_large : memory->live_large;
	memory->live += memory->live_large;
	memory->magazines += kept_large;

	struct span_stats spans;
	span_stats(&spans);
	memory->span_cache = spans.cached;
	memory->source_free = spans.dirty_in_source;
	memory->purged = spans.purged;
	memory->mapped = load_relaxed(&region.held);
	/* descriptors, and the part of the page map that covers the region */
	memory->metadata = meta_bytes() + (memory->mapped >> PAGE_SHIFT) * sizeof(uint64_t);
}

/* Resident bytes of the process, 0 if the system does not say. */
static size_t resident(void)
{
	char text[128] = "";
	ssize_t length = 0;
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* these calls are cancellation points */
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		length = read(fd, text, sizeof text - 1);
		close(fd);
	}
	pthread_setcancelstate(state, NULL);
	char *second = length > 0 ? strchr(text, ' ') : NULL;
	return second ? strtoul(second, NULL, 10) * system_page : 0;
}

size_t stats_table(char *text, size_t size)
{
	struct qslab_memory m;
	qslab_memory(&m);
	const struct {
		const char *name;
		size_t bytes;
	} rows[] = {
		{"live objects", m.live},
		{"  of them large", m.live_large},
		{"free in slabs", m.slab_free},
		{"free in magazines", m.magazines},
		{"span cache", m.span_cache},
		{"dirty in span source", m.source_free},
		{"metadata", m.metadata},
		{"address space taken", m.mapped},
		{"given back so far", m.purged},
		{"resident (whole process)", resident()},
	};
	int used = snprintf(text, size, "qslab: memory of process %d: %zu slabs, %zu heaps\n", (int)getpid(),
	                    m.slabs, m.heaps);
	size_t count = sizeof rows / sizeof *rows;
	for (size_t i = 0; i < count - !rows[count - 1].bytes; i++) /* without /proc nothing is said of the last */
		used += snprintf(text + used, size - (size_t)used, "qslab:   %-26s %12zu KiB\n", rows[i].name,
		                 rows[i].bytes >> 10);
	return (size_t)used;
}

void qslab_print_memory(int fd)
{
	char text[2048];
	report_write(fd, text, stats_table(text, sizeof text));
}

__attribute__((destructor)) static void at_exit(void)
{
	if (options.stats)
		qslab_print_memory(option_stats_fd());
}
