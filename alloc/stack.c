/*
 * Stacks are interned: an entry is written once, published by its bucket's head (release), and never changed or
 * moved; so it is found and printed without the lock.
 */
#define _GNU_SOURCE
#include "stack.h"
#include "report.h"
#include "segment.h"
#include "unwind.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUCKETS ((size_t)1 << 16)
#define WORDS ((size_t)8 << 20) /* 64 MiB of addresses: half a million stacks. Later ones are not known */
#define INSIDE_MOST 2           /* frames of this file */

struct entry {
	uint32_t next;  /* const: of the same bucket, or 0 */
	uint32_t depth; /* const */
	void *frames[]; /* const */
};

_Static_assert(STACK_DEPTH_PROFILE + INSIDE_MOST <= UNWIND_MOST, "a stack is taken at once");
_Static_assert(sizeof(struct entry) == sizeof(uint64_t), "an entry's head is one word");

static struct {
	struct lock lock;
	uint64_t *words;                /* const after stack_start; words[0] is no entry */
	_Atomic uint64_t used;          /* lock; tools read it */
	_Atomic uint32_t *buckets;      /* written under the lock */
} depot;

static _Thread_local bool busy __attribute__((tls_model("initial-exec")));
static _Thread_local int32_t own_thread __attribute__((tls_model("initial-exec")));

static struct entry *entry_at(uint32_t id)
{
	return (struct entry *)&depot.words[id];
}

/*
 * A static program's code is not known to the unwinder, which aborts, before the C run time's own constructor has said
 * where it is: ahead of those that have no priority, and after stack_start.
 */
extern const char _DYNAMIC[] __attribute__((weak, visibility("hidden")));
static bool constructed;

static bool can_unwind(void)
{
	return _DYNAMIC || constructed;
}

/* The first call loads libgcc_s, which allocates. */
static void load_unwinder(void)
{
	void *frames[2];

	if (can_unwind())
		backtrace(frames, 2);
}

__attribute__((constructor)) static void construct(void)
{
	if (can_unwind())
		return;
	constructed = true;
	if (depot.words)
		load_unwinder();
}

bool stack_start(void)
{
	size_t size = WORDS * sizeof *depot.words + BUCKETS * sizeof *depot.buckets;

	if (depot.words)
		return true;
	load_unwinder();
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	depot.words = memory;
	depot.buckets = (void *)(depot.words + WORDS);
	store_relaxed(&depot.used, 1);
	return true;
}

static uint32_t find(uint32_t id, void **frames, unsigned depth)
{
	for (; id; id = entry_at(id)->next)
		if (entry_at(id)->depth == depth && !memcmp(entry_at(id)->frames, frames, depth * sizeof *frames))
			break;
	return id;
}

/* Lock held. */
static uint32_t add(_Atomic uint32_t *bucket, void **frames, unsigned depth)
{
	uint64_t used = load_relaxed(&depot.used);
	if (WORDS - used < depth + 1)
		return 0;
	uint32_t id = (uint32_t)used;
	struct entry *entry = entry_at(id);
	store_relaxed(&depot.used, used + depth + 1);
	entry->next = load_relaxed(bucket);
	entry->depth = depth;
	memcpy(entry->frames, frames, depth * sizeof *frames);
	atomic_store_explicit(bucket, id, release); /* pairs with intern */
	return id;
}

static uint32_t intern(void **frames, unsigned depth)
{
	uint64_t hash = depth;

	for (unsigned i = 0; i < depth; i++)
		hash = (hash ^ (uintptr_t)frames[i]) * 0x9e3779b97f4a7c15;
	_Atomic uint32_t *bucket = &depot.buckets[hash >> 48];
	uint32_t id = find(atomic_load_explicit(bucket, acquire), frames, depth); /* pairs with add */
	if (id)
		return id;
	lock_take(&depot.lock);
	id = find(load_relaxed(bucket), frames, depth);
	if (!id)
		id = add(bucket, frames, depth);
	lock_drop(&depot.lock);
	return id;
}

/* Without the first `inside` frames. */
SLOW static uint32_t stack_here(int most, int inside)
{
	void *frames[STACK_DEPTH_PROFILE + INSIDE_MOST];

	if (!depot.words || busy || !can_unwind())
		return 0;
	busy = true;
	atomic_signal_fence(memory_order_seq_cst);
	int depth = unwind_take(frames, most + inside);
	uint32_t id = depth > inside ? intern(frames + inside, (unsigned)(depth - inside)) : 0;
	atomic_signal_fence(memory_order_seq_cst);
	busy = false;
	return id;
}

static int64_t clock_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

SLOW struct event event_now(void)
{
	int saved = errno;
	if (!own_thread)
		own_thread = gettid();
	struct event event = {stack_here(STACK_DEPTH, 2), own_thread, clock_now()};
	errno = saved;
	return event;
}

uint32_t stack_take(void)
{
	return stack_here(STACK_DEPTH_PROFILE, 1); /* a frame of ours too many, or none, as it is compiled */
}

void event_print(const char *what, const struct event *event)
{
	if (!event->thread)
		return;
	int64_t age = (clock_now() - event->time) / 1000;
	report_line("qslab: %s by thread %d, %lld.%06lld s ago%s", what, (int)event->thread,
	            (long long)age / 1000000, (long long)age % 1000000, event->stack ? ":" : ", stack not known");
	if (event->stack) {
		struct entry *entry = entry_at(event->stack);
		backtrace_symbols_fd(entry->frames, (int)entry->depth, STDERR_FILENO);
	}
}

void event_print_here(const char *what)
{
	void *frames[2 * STACK_DEPTH];

	report_line("qslab: %s by thread %d:", what, (int)gettid());
	int depth = can_unwind() ? backtrace(frames, 2 * STACK_DEPTH) : 0;
	if (depth > 1)
		backtrace_symbols_fd(frames + 1, depth - 1, STDERR_FILENO);
}

void stack_after_fork(void)
{
	own_thread = 0;
	lock_drop(&depot.lock);
}

void stack_publish(struct qslab_segment_profile *out)
{
	out->stacks = (uintptr_t)depot.words;
	out->stacks_used = PUBLISH_WORD(depot.used, 8);
}
