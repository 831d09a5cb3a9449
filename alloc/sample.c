#define _GNU_SOURCE
#include "sample.h"
#include "large.h"
#include "meta.h"
#include "report.h"
#include "segment.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t every; /* const after sample_start; 0: off */

static _Thread_local uint64_t left __attribute__((tls_model("initial-exec"))); /* until the next */
static _Thread_local uint64_t seed __attribute__((tls_model("initial-exec")));

/* The lock is held across mprotect: a page in the ring is always protected. Last in the lock order. */
static struct {
	struct lock lock;
	struct large *_Atomic kept[SAMPLE_KEPT]; /* written under the lock; the signal handler reads */
	unsigned next;                           /* lock */
	bool handled;                            /* lock: our handler is installed */
} ring;

static struct sigaction previous;
static atomic_flag reported = ATOMIC_FLAG_INIT;

bool sample_start(size_t n)
{
	every = n;
	return every;
}

/* 1 .. 2 * every - 1, evenly: every, on average. */
static uint64_t draw(void)
{
	if (!seed)
		seed = (uintptr_t)&seed ^ (uint64_t)event_now().time << 20 ^ 1;
	return 1 + xorshift(&seed) % (2 * every - 1);
}

void *sample_alloc(size_t size)
{
	if (likely(!every) || size > PAGE_SIZE)
		return NULL;
	if (!left)
		left = draw();
	if (--left)
		return NULL;
	int saved = errno;
	struct sample *sample = meta_alloc(sizeof *sample);
	void *object = sample ? large_alloc(PAGE_SIZE, PAGE_SIZE, false) : NULL;
	if (object) {
		*sample = (struct sample){.allocated = event_now()};
		large_find(object)->sample = sample;
	} else if (sample) {
		meta_free(sample, sizeof *sample);
	}
	errno = saved;
	return object;
}

struct sample *sample_of(const void *object)
{
	struct large *large = every ? large_find(object) : NULL;
	return large ? large->sample : NULL;
}

bool sample_end(void *object, bool retired, const struct event *event)
{
	struct sample *sample = sample_of(object);

	if (!sample)
		return true;
	if (sample->retired)
		return false;
	sample->retired = retired;
	sample->ended = *event;
	return true;
}

void sample_revive(void *object)
{
	struct sample *sample = sample_of(object);

	if (sample) {
		sample->retired = false;
		sample->ended = (struct event){0};
	}
}

/* ---- reports ------------------------------------------------------------------------------------------------ */

static void print(const struct sample *sample)
{
	event_print("allocated", &sample->allocated);
	event_print(sample->retired ? "retired" : "freed", &sample->ended);
}

static struct large *kept_at(const void *address)
{
	for (unsigned i = 0; i < SAMPLE_KEPT; i++) {
		struct large *large = atomic_load_explicit(&ring.kept[i], acquire);
		if (large && (uintptr_t)address - (uintptr_t)large->span.start < large->pages << PAGE_SHIFT)
			return large;
	}
	return NULL;
}

bool sample_explain(const void *address)
{
	struct large *large = NULL;

	if (every && !(large = large_find(address)))
		large = kept_at(address);
	if (!large || !large->sample)
		return false;
	print(large->sample);
	return true;
}

/* The signal comes again when the handler returns, and kills: the core shows the culprit. */
static void die_by_default(const siginfo_t *info)
{
	struct sigaction by_default = {.sa_handler = SIG_DFL};

	sigaction(SIGSEGV, &by_default, NULL);
	if (info->si_code <= 0) /* sent by kill, not by a fault */
		raise(SIGSEGV);
}

static void handle(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	struct large *large = info->si_code > 0 ? kept_at(info->si_addr) : NULL;

	if (large) {
		if (atomic_flag_test_and_set(&reported))
			for (;;)
				pause(); /* another thread is reporting, and will die for all */
		const struct sample *sample = large->sample;
		report_line("qslab: use after %s: address %p, %zu bytes into the sampled object %p",
		            sample->retired ? "the grace period" : "free", info->si_addr,
		            (size_t)((uintptr_t)info->si_addr - (uintptr_t)large->span.start), large->span.start);
		event_print_here("touched");
		print(sample);
		die_by_default(info);
	} else if (previous.sa_flags & SA_SIGINFO) {
		errno = saved;
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
		die_by_default(info);
	} else {
		errno = saved;
		previous.sa_handler(number);
	}
	errno = saved;
}

/* ---- the ring --------------------------------------------------------------------------------------------- */

/* Lock held. At the first protected page, not before: by then a program has installed its own. */
static void install(void)
{
	struct sigaction ours = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	if (ring.handled)
		return;
	sigemptyset(&ours.sa_mask);
	sigaction(SIGSEGV, NULL, &previous); /* first, so that the handler never runs without it */
	ring.handled = !sigaction(SIGSEGV, &ours, NULL);
}

static bool protect(const struct large *large, int how)
{
	return !mprotect(large->span.start, large->pages << PAGE_SHIFT, how);
}

void sample_keep(struct large *large)
{
	int saved = errno;

	lock_take(&ring.lock);
	install();
	struct large *_Atomic *slot = &ring.kept[ring.next++ % SAMPLE_KEPT];
	struct large *oldest = load_relaxed(slot);
	if (oldest && !protect(oldest, PROT_READ | PROT_WRITE))
		oldest = NULL; /* for want of mappings; its page is lost */
	atomic_store_explicit(slot, large, release); /* before it is protected; pairs with kept_at */
	bool kept = protect(large, PROT_NONE);
	if (!kept)
		store_relaxed(slot, NULL);
	lock_drop(&ring.lock);
	if (oldest)
		large_discard(oldest);
	if (!kept)
		large_discard(large);
	errno = saved;
}

void sample_after_fork(void)
{
	lock_drop(&ring.lock);
}

void sample_publish(struct qslab_segment_held *out)
{
	out->samples = PUBLISH_WORD(ring.kept[0], 8);
	out->sample_count = SAMPLE_KEPT;
}
