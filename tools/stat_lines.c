/* For spreadsheets and for Prometheus. */
#define _GNU_SOURCE
#include "stat.h"

#include <time.h>

/* ---- CSV: a row for each class that has slabs, and one for large objects ------------------------------------- */

static void csv_row(const struct snapshot *snapshot, size_t allocator, const char *class, const struct class_view *row)
{
	printf("%ld,%d,%zu,%s,%u,%lu,%lu", (long)time(NULL), snapshot->pid, allocator, class, row->size, row->slabs,
	       row->total);
	for (unsigned p = 0; p < PLACES; p++)
		printf(",%lu", row->count[p]);
	printf(",%lu\n", row->resident);
}

void stat_csv(const struct snapshot *snapshot, bool header)
{
	if (header) {
		printf("time,pid,allocator,class,size,slabs,objects");
		for (unsigned p = 0; p < PLACES; p++)
			printf(",%s", place_key(p));
		printf(",resident\n");
	}
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		for (size_t c = 0; c < allocator->class_count; c++) {
			char number[24];
			snprintf(number, sizeof number, "%zu", c);
			if (allocator->classes[c].slabs)
				csv_row(snapshot, a, number, &allocator->classes[c]);
		}
		struct class_view large = {.total = allocator->large_count};
		for (size_t i = 0; i < allocator->large_count; i++) {
			large.count[allocator->larges[i].place]++;
			large.resident += allocator->larges[i].resident + allocator->larges[i].slack;
		}
		csv_row(snapshot, a, "large", &large);
	}
}

/* ---- Prometheus: the text format, gauges and counters ----------------------------------------------------------- */

static void metric(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP qslab_%s %s\n# TYPE qslab_%s %s\n", name, help, name, type);
}

/* qslab_NAME{pid="..",allocator=".."} VALUE for each allocator; `at` is the value's place in it. */
static void each(FILE *out, const struct snapshot *snapshot, const char *name, const char *type, const char *help, size_t at)
{
	metric(out, name, type, help);
	for (size_t a = 0; a < snapshot->allocator_count; a++)
		fprintf(out, "qslab_%s{pid=\"%d\",allocator=\"%zu\"} %lu\n", name, snapshot->pid, a,
		       *(const uint64_t *)((const char *)&snapshot->allocators[a] + at));
}

static void print_classes(FILE *out, const struct snapshot *snapshot)
{
	metric(out, "slabs", "gauge", "Slabs, by object size.");
	for (size_t a = 0; a < snapshot->allocator_count; a++)
		for (size_t c = 0; c < snapshot->allocators[a].class_count; c++)
			if (snapshot->allocators[a].classes[c].slabs)
				fprintf(out, "qslab_slabs{pid=\"%d\",allocator=\"%zu\",class=\"%zu\",size=\"%u\"} %lu\n",
				       snapshot->pid, a, c, snapshot->allocators[a].classes[c].size,
				       snapshot->allocators[a].classes[c].slabs);
	metric(out, "objects", "gauge", "Objects in slabs, by object size and by where they are.");
	for (size_t a = 0; a < snapshot->allocator_count; a++)
		for (size_t c = 0; c < snapshot->allocators[a].class_count; c++)
			for (unsigned p = 0; snapshot->allocators[a].classes[c].slabs && p < PLACES; p++)
				fprintf(out, "qslab_objects{pid=\"%d\",allocator=\"%zu\",class=\"%zu\",size=\"%u\",place=\"%s\"} %lu\n",
				       snapshot->pid, a, c, snapshot->allocators[a].classes[c].size, place_key(p),
				       snapshot->allocators[a].classes[c].count[p]);
}

void stat_prometheus(const struct snapshot *snapshot, FILE *out)
{
	const struct memory_view *memory = &snapshot->memory;

	metric(out, "rss_bytes", "gauge", "Resident memory of the process.");
	fprintf(out, "qslab_rss_bytes{pid=\"%d\"} %lu\n", snapshot->pid, memory->rss);
	metric(out, "explained_bytes", "gauge", "Resident memory whose use is known.");
	fprintf(out, "qslab_explained_bytes{pid=\"%d\"} %lu\n", snapshot->pid, memory->explained);
	metric(out, "rss_moved_bytes", "gauge", "By how much rss_bytes changed while it was read; 0 if it did not.");
	fprintf(out, "qslab_rss_moved_bytes{pid=\"%d\"} %lu\n", snapshot->pid, memory->moved);
	metric(out, "resident_bytes", "gauge", "Resident memory by use.");
	for (unsigned kind = 0; kind < KINDS; kind++)
		fprintf(out, "qslab_resident_bytes{pid=\"%d\",kind=\"%s\"} %lu\n", snapshot->pid, kind_key(kind),
		       memory->resident[kind]);
	print_classes(out, snapshot);
#define EACH(name, type, help, field) each(out, snapshot, name, type, help, offsetof(struct allocator, field))
	EACH("large_objects", "gauge", "Objects with a span of their own.", large_count);
	EACH("heaps", "gauge", "Heaps ever made: the most threads at once.", heap_count);
	EACH("purged_bytes_total", "counter", "Bytes given back to the system.", span_counters.purged);
	EACH("grace_periods_started_total", "counter", "Grace periods begun.", rcu.started);
	EACH("grace_periods_completed_total", "counter", "Grace periods ended.", rcu.completed);
	EACH("retired_total", "counter", "Objects given to deferred free.", rcu.retired);
	EACH("reclaimed_total", "counter", "Of these, objects free again.", rcu.reclaimed);
	EACH("waiting_objects", "gauge", "Objects that wait for a grace period.", rcu.waiting);
	EACH("waiting_bytes", "gauge", "Bytes that wait for a grace period.", rcu.waiting_bytes);
	EACH("ready_bytes", "gauge", "Bytes free again after a grace period, kept in arrays.", rcu.ready_bytes);
	EACH("over_hard_limit_total", "counter", "Crossings of the hard limit on bytes waiting.", rcu.over_hard);
	EACH("stalls_total", "counter", "Reports of grace periods that did not end.", rcu.stalls);
#undef EACH
	metric(out, "grace_period_age_seconds", "gauge", "Age of the grace period in flight; 0 if none is.");
	for (size_t a = 0; a < snapshot->allocator_count; a++)
		fprintf(out, "qslab_grace_period_age_seconds{pid=\"%d\",allocator=\"%zu\"} %.9f\n", snapshot->pid, a,
		       snapshot->allocators[a].rcu.age > 0 ? (double)snapshot->allocators[a].rcu.age / 1e9 : 0.0);
}
