#define _GNU_SOURCE
#include "kept.h"
#include "guard.h"
#include "harden.h"
#include "large.h"
#include "region.h"
#include "report.h"
#include "sample.h"
#include "segment.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEPT_PAGES ((size_t)1 << 16) /* 256 MiB of address space */

/* The lock is held across mprotect: a page in the ring is always protected. Last in the lock order. */
static struct {
	struct lock lock;
	struct large *_Atomic kept[KEPT_COUNT]; /* written under the lock; the signal handler reads */
	unsigned next, oldest;                  /* lock; [oldest, next), modulo KEPT_COUNT, may be kept */
	size_t pages;                           /* lock: of those */
	bool handled;                           /* lock: our handler is installed */
} ring;

static struct sigaction previous;
static atomic_flag reported = ATOMIC_FLAG_INIT;

/* ---- reports ------------------------------------------------------------------------------------------------ */

struct large *kept_find(const void *address)
{
	for (unsigned i = 0; i < KEPT_COUNT; i++) {
		struct large *large = atomic_load_explicit(&ring.kept[i], acquire);
		if (large && (uintptr_t)address - (uintptr_t)large->span.start < large->pages << PAGE_SHIFT)
			return large;
	}
	return NULL;
}

static void report_kept(const struct large *large, const void *address)
{
	const struct sample *sample = large->sample;
	report_line("qslab: use after %s: address %p, %td bytes into the %s object %p",
	            sample && sample->retired ? "the grace period" : "free", address,
	            (const char *)address - (const char *)large_start(large), sample ? "sampled" : "freed large",
	            large_start(large));
	event_print_here("touched");
	if (sample)
		sample_print(sample);
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
	bool fault = info->si_code > 0; /* not sent by kill */
	const struct large *kept = fault ? kept_find(info->si_addr) : NULL;

	if (kept || (fault && guard_has(info->si_addr))) {
		if (atomic_flag_test_and_set(&reported))
			for (;;)
				pause(); /* another thread is reporting, and will die for all */
		if (kept)
			report_kept(kept, info->si_addr);
		else
			guard_report(info->si_addr);
		die_by_default(info);
	} else if (previous.sa_flags & SA_SIGINFO) {
		errno = saved;
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler == SIG_DFL || (fault && previous.sa_handler == SIG_IGN)) {
		die_by_default(info);
	} else if (previous.sa_handler != SIG_IGN) {
		errno = saved;
		previous.sa_handler(number);
	}
	errno = saved;
}

/* Lock held. */
static void install(void)
{
	struct sigaction ours = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	if (ring.handled)
		return;
	sigemptyset(&ours.sa_mask);
	sigaction(SIGSEGV, NULL, &previous); /* first, so that the handler never runs without it */
	ring.handled = !sigaction(SIGSEGV, &ours, NULL);
}

void kept_start(void)
{
	lock_take(&ring.lock);
	install();
	lock_drop(&ring.lock);
}

/* ---- the ring ------------------------------------------------------------------------------------------------- */

static bool protect(const struct large *large, int how)
{
	return !mprotect(large->span.start, large->pages << PAGE_SHIFT, how);
}

/* Lock held. The oldest place in use is free then; what was there and can be given back, or NULL. */
static struct large *take_oldest(void)
{
	struct large *_Atomic *slot = &ring.kept[ring.oldest++ % KEPT_COUNT];
	struct large *large = load_relaxed(slot);

	if (!large)
		return NULL;
	store_relaxed(slot, NULL);
	ring.pages -= large->pages;
	return protect(large, PROT_READ | PROT_WRITE) ? large : NULL; /* for want of mappings; its pages are lost */
}

/* True if it is kept. At the first one, not before, the handler: by then a program has installed its own. */
static bool keep(struct large *large)
{
	struct large *_Atomic *slot = &ring.kept[ring.next % KEPT_COUNT];

	install();
	atomic_store_explicit(slot, large, release); /* before it is protected; pairs with kept_find */
	if (!protect(large, PROT_NONE)) {
		store_relaxed(slot, NULL);
		return false;
	}
	ring.next++;
	ring.pages += large->pages;
	return true;
}

/* Lock held. Those that leave are linked by next. */
static struct large *take_until(unsigned count, size_t pages)
{
	struct large *gone = NULL;

	while (ring.next - ring.oldest > count || (ring.next != ring.oldest && ring.pages > pages)) {
		struct large *oldest = take_oldest();
		if (oldest) {
			oldest->next = gone;
			gone = oldest;
		}
	}
	return gone;
}

static void discard_all(struct large *gone)
{
	for (struct large *next; gone; gone = next) {
		next = gone->next;
		large_discard(gone);
	}
}

void kept_add(struct large *large)
{
	bool fits = large->pages <= KEPT_PAGES;
	int saved = errno;

	if (hardened)
		region_purge(large->span.start, (large->pages - !!large->guarded) << PAGE_SHIFT); /* its memory goes; its addresses stay */
	lock_take(&ring.lock);
	struct large *gone = take_until(KEPT_COUNT - 1, fits ? KEPT_PAGES - large->pages : KEPT_PAGES);
	bool kept = fits && keep(large);
	lock_drop(&ring.lock);
	if (!kept)
		large_discard(large);
	discard_all(gone);
	errno = saved;
}

bool kept_empty(void)
{
	lock_take(&ring.lock);
	struct large *gone = take_until(0, 0);
	lock_drop(&ring.lock);
	discard_all(gone);
	return gone;
}

void kept_after_fork(void)
{
	lock_drop(&ring.lock);
}

void kept_publish(struct qslab_segment_held *out)
{
	out->samples = PUBLISH_WORD(ring.kept[0], 8);
	out->sample_count = KEPT_COUNT;
}
