/* For people. */
#define _GNU_SOURCE
#include "stat.h"

#include "text.h"
#include "totals.h"

static unsigned long kib(uint64_t bytes)
{
	return (bytes + 1023) >> 10;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_memory(const struct memory_view *memory)
{
	printf("\n%-34s %12s %7s\n", "resident", "KiB", "%");
	for (unsigned kind = 0; kind < KINDS; kind++)
		if (memory->resident[kind])
			printf("  %-32s %12lu %7.1f\n", kind_text(kind), kib(memory->resident[kind]),
			       percent(memory->resident[kind], memory->rss));
	printf("  %-32s %12lu %7.1f\n", "explained", kib(memory->explained), percent(memory->explained, memory->rss));
	if (memory_moved(memory))
		printf("(RSS moved by %lu KiB while it was read: approximate)\n", kib(memory->moved));
	else if (memory->changing)
		puts("(the process gives memory back faster than it can be read: approximate)");
}

static void print_classes(const struct allocator *allocator)
{
	printf("\n%8s %8s %10s %10s %10s %9s %9s %9s %9s %6s %10s\n", "size", "slabs", "objects", "live", "free",
	       "magazine", "remote", "waiting", "ready", "live %", "resident");
	for (size_t c = 0; c < allocator->class_count; c++) {
		const struct class_view *class = &allocator->classes[c];
		if (!class->slabs)
			continue;
		printf("%8u %8lu %10lu %10lu %10lu %9lu %9lu %9lu %9lu %6.1f %6lu KiB  %s\n", class->size, class->slabs,
		       class->total, class->count[LIVE], class->count[FREE], class->count[MAGAZINE],
		       class->count[REMOTE], class->count[WAITING], class->count[READY],
		       percent(class->count[LIVE], class->total), kib(class->resident), class_key(class).cache);
	}
	uint64_t bytes = 0, count[PLACES] = {0}, resident = 0;
	for (size_t i = 0; i < allocator->large_count; i++) {
		const struct large_view *large = &allocator->larges[i];
		bytes += large->size;
		resident += large->resident + large->slack;
		count[large->place]++;
	}
	if (allocator->large_count)
		printf("%8s %8s %10zu %10lu %10s %9lu %9s %9lu %9lu %6s %6lu KiB of %lu\n", "large", "", allocator->large_count,
		       count[LIVE], "", count[MAGAZINE], "", count[WAITING], count[READY], "", kib(resident), kib(bytes));
}

static void print_rcu(const struct rcu_view *rcu)
{
	if (!rcu->deferrers && !rcu->started && !rcu->reader_count && !rcu->retired)
		return;
	printf("\ngrace periods: %lu started, %lu completed", rcu->started, rcu->completed);
	if (rcu->age >= 0)
		printf("; one has run for %.3f s", (double)rcu->age / 1e9);
	printf("\n  waiting: %lu objects, %lu KiB; for %lu of them it is over; ready: %lu, %lu KiB\n", rcu->waiting,
	       kib(rcu->waiting_bytes), rcu->over, rcu->ready, kib(rcu->ready_bytes));
	printf("  retired so far %lu, free again %lu; most bytes waiting %lu KiB; stalls %lu\n", rcu->retired,
	       rcu->reclaimed, kib(rcu->peak_bytes), rcu->stalls);
	for (size_t i = 0; i < rcu->reader_count; i++)
		if (rcu->readers[i].holds_up)
			printf("  held up by the reader in thread %d\n", rcu->readers[i].tid);
}

static void print_allocator(const struct allocator *allocator)
{
	uint64_t owned = 0, spans = 0;

	for (size_t i = 0; i < allocator->heap_count; i++)
		owned += allocator->heaps[i].owned;
	for (size_t i = 0; i < allocator->span_count; i++)
		spans += allocator->spans[i].pages * SOURCE_PAGE;
	print_classes(allocator);
	printf("\nheaps: %zu, %lu of them with a thread; slabs: %zu; cached spans: %zu, %lu KiB; given back so far: %lu KiB\n",
	       allocator->heap_count, owned, allocator->slab_count, allocator->span_count, kib(spans),
	       kib(allocator->span_counters.purged));
	print_rcu(&allocator->rcu);
	if (allocator->torn)
		printf("(%zu slabs or lists would not stand still: approximate)\n", allocator->torn);
}

void stat_table(const struct snapshot *snapshot, const char *name)
{
	printf("%s: qslab %.16s", name, snapshot->allocators[0].segment.release);
	if (snapshot->memory_known)
		printf(", %s %lu KiB", snapshot->live ? "RSS" : "pages with content", kib(snapshot->memory.rss));
	if (snapshot->memory_known && !snapshot->memory.changing)
		printf(", %.1f %% explained", percent(snapshot->memory.explained, snapshot->memory.rss));
	putchar('\n');
	if (snapshot->memory_known)
		print_memory(&snapshot->memory);
	for (size_t i = 0; i < snapshot->allocator_count; i++) {
		if (snapshot->allocator_count > 1)
			printf("\nallocator %zu, at 0x%lx\n", i, snapshot->allocators[i].region_base);
		print_allocator(&snapshot->allocators[i]);
	}
}
