/* qslab why: what holds memory that no live object needs, and what would give it back. */
#define _GNU_SOURCE
#include "command.h"
#include "diagnosis.h"
#include "format.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#define LOOKS 5
#define MUCH ((uint64_t)1 << 20)   /* less is no finding */
#define LEAK_LEAST ((uint64_t)256 << 10)
#define SMALL ((uint64_t)32 << 10) /* less is not shown */
#define STALL_SECONDS 1.0
#define ROWS_MOST 5
#define ADDRESSES_MOST 8

/* Enough of what is resident to name. */
static bool matters(uint64_t bytes, uint64_t of)
{
	return bytes >= MUCH && bytes >= of / 5;
}

static uint64_t idle_cache(const struct snapshot *snapshot, const struct diagnosis *diagnosis)
{
	const uint64_t *resident = snapshot->memory.resident;
	return resident[KIND_SPAN_CACHE] + resident[KIND_SOURCE_FREE] + diagnosis->empty;
}

/* ---- verdicts: a line each ---------------------------------------------------------------------------------------- */

static bool say_fragmented(const struct diagnosis *diagnosis)
{
	const struct pin *all = &diagnosis->all;

	if (!matters(all->pinned, diagnosis->own))
		return false;
	printf("fragmented: %" PRIu64 " nearly empty slabs pin %s; %s in %" PRIu64 " live %s keep them\n", all->slabs,
	       human_bytes(all->pinned).text, human_bytes(all->bytes).text, all->objects,
	       plural(all->objects, "object", "objects"));
	return true;
}

static bool say_leaking(const struct growth *growth)
{
	uint64_t more = growth->after - growth->before;

	if (growth->after <= growth->before || more < LEAK_LEAST || more < growth->before / 200)
		return false;
	printf("%s: the live set grew by %s in %s, %s a second, %s; most of it: ",
	       growth->steady ? "leaking" : "growing", human_bytes(more).text, human_seconds(growth->seconds).text,
	       human_bytes((uint64_t)((double)more / growth->seconds)).text,
	       growth->steady ? "from each look to the next" : "but not from each look to the next");
	for (size_t i = 0; i < growth->row_count && i < 3; i++) {
		const struct growth_row *most = &growth->rows[i];
		printf("%s%" PRId64 " ", i ? ", " : "", most->objects);
		if (most->key.size)
			printf("objects of %s%s", key_size(&most->key).text, key_of(&most->key).text);
		else
			printf("large objects");
		printf(" (%s)", human_bytes((uint64_t)most->bytes).text);
	}
	putchar('\n');
	return true;
}

static bool say_stalled(const struct snapshot *snapshot, const struct diagnosis *diagnosis, const struct totals *totals)
{
	if (diagnosis->age < STALL_SECONDS)
		return false;
	for (size_t i = 0; i < diagnosis->culprit_count; i++) {
		const struct culprit *culprit = &diagnosis->culprits[i];
		struct thread_name thread = thread_name(snapshot, culprit->tid);
		if (culprit->seconds < STALL_SECONDS)
			continue;
		printf("held up by a stalled reader: thread %d (%s%s%s) has not been quiescent for %s; %" PRIu64
		       " objects, %s, wait for it\n", culprit->tid, thread.name, *thread.state ? ", " : "", thread.state,
		       human_seconds(culprit->seconds).text, totals->waiting, human_bytes(totals->waiting_bytes).text);
	}
	if (!diagnosis->culprit_count)
		printf("held up: a grace period has not ended for %s, and no reader that holds it up is known; %" PRIu64
		       " objects, %s, wait for it\n", human_seconds(diagnosis->age).text, totals->waiting,
		       human_bytes(totals->waiting_bytes).text);
	return true;
}

static bool say_caching(const struct snapshot *snapshot, const struct diagnosis *diagnosis)
{
	uint64_t idle = idle_cache(snapshot, diagnosis);

	if (!matters(idle, diagnosis->own))
		return false;
	printf("caching: %s are free and kept for reuse\n", human_bytes(idle).text);
	return true;
}

static bool say_hoarding(const struct snapshot *snapshot, const struct diagnosis *diagnosis)
{
	uint64_t magazines = snapshot->memory.resident[KIND_MAGAZINES];

	if (!matters(magazines + diagnosis->cached, diagnosis->own) || !diagnosis->hoarder_count || !diagnosis->hoarders[0].bytes)
		return false;
	const struct heap_view *most = &diagnosis->hoarders[0];
	printf("hoarding: threads keep %s of free objects in their magazines; thread %d (%s) has most, %s\n",
	       human_bytes(magazines).text, most->tid, thread_name(snapshot, most->tid).name,
	       human_bytes(most->bytes).text);
	return true;
}

/* ---- what gives memory back ---------------------------------------------------------------------------------------- */

static void row(uint64_t bytes, const char *what, const char *remedy, bool *head)
{
	if (bytes < SMALL)
		return;
	if (!*head)
		printf("\nelse free or waiting, and what gives it back:\n\n");
	*head = true;
	printf("  %10s  %-32s  %s\n", human_bytes(bytes).text, what, remedy);
}

static void print_pins(const struct diagnosis *diagnosis)
{
	bool head = false;

	for (size_t i = 0; i < diagnosis->pin_count; i++) {
		const struct pin *pin = &diagnosis->pins[i];
		if (pin->pinned < SMALL)
			continue;
		if (!head)
			printf("\nnearly empty slabs (a quarter live, or less), the oldest first:\n\n"
			       "  %12s %8s %8s %10s %10s  %s\n", "age", "objects", "slabs", "resident", "pinned", "given back by");
		head = true;
		printf("  %12s %8s %8" PRIu64 " %10s %10s  freeing the %" PRIu64 " %s left%s\n",
		       pin->oldest < 0 ? "?" : human_seconds(pin->oldest).text, key_size(&pin->key).text, pin->slabs,
		       human_bytes(pin->resident).text, human_bytes(pin->pinned).text, pin->objects,
		       plural(pin->objects, "object", "objects"), key_of(&pin->key).text);
	}
}

static void print_hoarders(const struct snapshot *snapshot, const struct diagnosis *diagnosis)
{
	for (size_t i = 0; i < diagnosis->hoarder_count && i < ROWS_MOST; i++) {
		const struct heap_view *heap = &diagnosis->hoarders[i];
		if (heap->bytes < MUCH / 16)
			break;
		printf("  %10s    thread %d (%s): %" PRIu64 " objects\n", human_bytes(heap->bytes).text, heap->tid,
		       thread_name(snapshot, heap->tid).name, heap->objects);
	}
}

static void print_waiting(const struct snapshot *snapshot, const struct diagnosis *diagnosis, bool *head)
{
	char text[160] = "the end of the grace period: nothing to do";

	if (diagnosis->culprit_count && diagnosis->age >= STALL_SECONDS) {
		int tid = diagnosis->culprits[0].tid;
		snprintf(text, sizeof text, "thread %d (%s)%s calling rcu_quiescent_state, or rcu_thread_offline before it sleeps",
		         tid, thread_name(snapshot, tid).name, diagnosis->culprit_count > 1 ? " and the others" : "");
	}
	row(snapshot->memory.resident[KIND_WAITING], "waiting for a grace period", text, head);
}

/* In the hardened and the debug mode it counts as in magazines. */
static bool has_quarantine(const struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->allocator_count; i++)
		if (snapshot->allocators[i].segment.quarantine.objects)
			return true;
	return false;
}

static void print_rest(const struct snapshot *snapshot, const struct diagnosis *diagnosis)
{
	const uint64_t *resident = snapshot->memory.resident;
	bool head = false;

	print_waiting(snapshot, diagnosis, &head);
	row(resident[KIND_SPAN_CACHE] + resident[KIND_SOURCE_FREE], "free spans", "malloc_trim(0)", &head);
	row(diagnosis->empty, "slabs that are all free", "malloc_trim(0)", &head);
	row(diagnosis->scattered, "free in slabs that are well used",
	    "nothing: the next allocations of their sizes use it", &head);
	row(diagnosis->cached, "free in slabs that magazines keep", "what gives the magazines' objects back", &head);
	row(resident[KIND_READY], "free after a grace period",
	    "the next allocations of the threads that deferred it, or their end", &head);
	if (has_quarantine(snapshot))
		row(resident[KIND_MAGAZINES], "in magazines or in quarantine",
		    "malloc_trim(0) in the hardened mode; nothing in the debug mode", &head);
	else
		row(resident[KIND_MAGAZINES], "in threads' magazines",
		    "malloc_trim(0) called by the thread itself, or its end", &head);
	if (resident[KIND_MAGAZINES] >= SMALL)
		print_hoarders(snapshot, diagnosis);
}

/* ---- single slabs --------------------------------------------------------------------------------------------------- */

struct aged {
	const struct slab_view *slab;
};

static int by_birth(const void *a, const void *b)
{
	const struct slab_view *x = ((const struct aged *)a)->slab, *y = ((const struct aged *)b)->slab;
	if (x->born != y->born)
		return x->born < y->born ? -1 : 1;
	return x->address < y->address ? -1 : x->address > y->address;
}

static void print_slab(const struct snapshot *snapshot, const struct slab_view *slab)
{
	double age = slab_age(snapshot, slab);
	unsigned shown = 0;

	printf("  0x%" PRIx64 "  %s old, %u of %u objects of %u B live:", slab->address,
	       age < 0 ? "?" : human_seconds(age).text, slab->count[LIVE], slab->objects, slab->size);
	for (unsigned i = 0; i < slab->objects; i++)
		if (slab->live[i / 64] >> i % 64 & 1 && shown++ < ADDRESSES_MOST)
			printf(" 0x%" PRIx64, slab->first + (uint64_t)i * slab->size);
	printf("%s\n", shown > ADDRESSES_MOST ? " ..." : "");
}

static void print_slabs(const struct snapshot *snapshot, long most)
{
	struct aged *list = NULL;
	size_t count = 0;

	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		list = need(realloc(list, (count + allocator->slab_count + 1) * sizeof *list));
		for (size_t i = 0; i < allocator->slab_count; i++)
			if (is_nearly_empty(&allocator->slabs[i]))
				list[count++].slab = &allocator->slabs[i];
	}
	if (count) {
		qsort(list, count, sizeof *list, by_birth);
		printf("\nthe oldest nearly empty slabs, and what lives in them:\n\n");
	}
	for (size_t i = 0; i < count && i < (size_t)most; i++)
		print_slab(snapshot, list[i].slab);
	free(list);
}

/* ---- the command ------------------------------------------------------------------------------------------------------ */

static void explain(const char *name, const struct snapshot *snapshot, const struct totals *looks, size_t count,
                    long slabs)
{
	const struct totals *last = &looks[count - 1];
	struct diagnosis diagnosis;
	struct growth growth = {.row_count = 0};
	bool found = false;

	diagnose(&diagnosis, snapshot);
	if (count > 1)
		growth_of(&growth, looks, count);
	printf("%s: %s resident, %s of it in live objects\n\n", name, human_bytes(snapshot->memory.rss).text,
	       human_bytes(diagnosis.live).text);
	found |= say_stalled(snapshot, &diagnosis, last);
	found |= count > 1 && say_leaking(&growth);
	found |= say_fragmented(&diagnosis);
	found |= say_hoarding(snapshot, &diagnosis);
	found |= say_caching(snapshot, &diagnosis);
	if (!found)
		printf("nothing stands out: not fragmented, no stalled reader%s\n",
		       count > 1 ? ", the live set does not grow" : "");
	if (count > 1 && growth.after <= growth.before + LEAK_LEAST && found)
		printf("not leaking: the live set changed by %s in %s\n",
		       human_change((int64_t)(growth.after - growth.before)).text, human_seconds(growth.seconds).text);
	if (count == 1 && snapshot->live)
		printf("whether it leaks takes a longer look: qslab why --interval 10 %d\n", snapshot->pid);
	print_pins(&diagnosis);
	print_rest(snapshot, &diagnosis);
	if (slabs)
		print_slabs(snapshot, slabs);
	diagnosis_free(&diagnosis);
	growth_free(&growth);
}

static void pause_for(double seconds)
{
	struct timespec left = {(time_t)seconds, 0};

	left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
	nanosleep(&left, NULL);
}

int command_why(int count, char **arguments)
{
	double interval = 0;
	long slabs = 0;
	const struct option options[] = {
		{"--interval", OPTION_SECONDS, &interval, 0, 0},
		{"--slabs", OPTION_NUMBER, &slabs, 1, 1000000},
	};
	struct words words;
	struct failure why;
	long pid;
	int status = 2;

	if (!parse_arguments("why", count, arguments, options, 2, &words, 1, 1, "no process or core file given"))
		return 2;
	if (interval > 0 && !parse_number(words.list[0], 1, INT_MAX, &pid))
		return wrong_usage("why: --interval needs a process that runs, not ", words.list[0]);
	struct reader *reader = open_target(words.list[0], &status);
	if (!reader)
		return status;
	struct totals looks[LOOKS];
	struct snapshot *snapshot = NULL;
	size_t taken = 0, wanted = interval > 0 ? LOOKS : 1;
	while (taken < wanted) {
		snapshot_free(snapshot);
		snapshot = reader_snapshot(reader, SNAPSHOT_MEMORY, &why);
		if (!snapshot)
			break;
		totals_take(&looks[taken++], snapshot);
		if (taken < wanted)
			pause_for(interval / (LOOKS - 1));
	}
	if (snapshot)
		explain(target_name(reader, snapshot).text, snapshot, looks, taken, slabs);
	for (size_t i = 0; i < taken; i++)
		totals_free(&looks[i]);
	status = snapshot ? finish_output() : failed(why.text);
	snapshot_free(snapshot);
	reader_close(reader);
	return status;
}
