#include "gate.h"
#include "aside.h"
#include "region.h"
#include "source.h"

#include <errno.h>

/*
 * jemalloc starts when it is needed. Until the spans that were taken make BEGIN_BYTES, which in most processes they never
 * do, the mmap source serves alone; the one beyond starts it, inside the gate, while others go on with mmap's. At a limit it
 * would fail, and it cannot be started twice: unless there is room it is tried again as many bytes later. A span goes back
 * to where it came from.
 */
#define ROOM ((size_t)16 << 20) /* its first blocks and the region's next piece, with what alignment takes */

enum stage { BEGINNING, STARTING, STARTED, NEVER };

#ifdef QSLAB_NO_JEMALLOC
static const struct span_source *const main_source = &source_mmap; /* never called */
static atomic_uint stage = NEVER;
#else
static const struct span_source *const main_source = &source_jemalloc;
static atomic_uint stage = BEGINNING; /* the one thread that makes it STARTING says what came of it */
#endif
static atomic_size_t begun; /* bytes taken while BEGINNING, since jemalloc was last tried */

/*
 * The number of threads inside jemalloc, and CLOSED. Closing waits for the count to fall to its own thread's share;
 * entering pairs with that. The share, `inside`, is raised before the count and lowered after it: a signal handler
 * that forks in between may wait for one thread too few, but never for its own.
 */
#define CLOSED 0x40000000u
static atomic_uint gate;
static _Thread_local unsigned inside __attribute__((tls_model("initial-exec")));

static bool is_started(void)
{
	return atomic_load_explicit(&stage, acquire) == STARTED; /* pairs with start */
}

static void leave(void)
{
	atomic_fetch_sub_explicit(&gate, 1, release); /* pairs with gate_close */
	atomic_signal_fence(memory_order_seq_cst);
	inside--;
}

static bool enter(void)
{
	inside++;
	atomic_signal_fence(memory_order_seq_cst);
	MARK(gate_enter);
	if (atomic_fetch_add_explicit(&gate, 1, acquire) & CLOSED && !BROKEN(gate)) { /* pairs with gate_open */
		leave();
		return false;
	}
	MARK(gate_inside);
	return true;
}

void gate_close(void)
{
	atomic_fetch_or_explicit(&gate, CLOSED, acq_rel);
	MARK(gate_closed);
	while ((atomic_load_explicit(&gate, acquire) & ~CLOSED) > inside)
		nap();
	MARK(gate_empty);
}

void gate_open(void)
{
	MARK(gate_opens);
	atomic_fetch_and_explicit(&gate, ~CLOSED, acq_rel);
}

bool gate_is_closed(void)
{
	return load_relaxed(&gate) & CLOSED;
}

/* Only this thread is left; what it holds inside jemalloc it still holds. */
void gate_after_fork(void)
{
	atomic_store_explicit(&gate, inside | CLOSED, relaxed);
	source_mmap_after_fork();
#ifndef QSLAB_NO_JEMALLOC
	if (is_started() && !inside)
		source_jemalloc_after_fork();
#endif
}

/* ---- the beginning --------------------------------------------------------------------------------------------- */

static void init(void *started)
{
	*(bool *)started = main_source->init();
}

/* jemalloc's takes 14 KiB of stack, so it is called aside. */
static void start(void)
{
	unsigned beginning = BEGINNING;
	bool started = false;

	if (!enter())
		return; /* forking: the next one does it */
	if (atomic_compare_exchange_strong_explicit(&stage, &beginning, STARTING, relaxed, relaxed)) {
		MARK(gate_starting);
		int saved = errno;
		store_relaxed(&begun, 0);
		bool tried = region_room(ROOM) && aside(init, &started);
		/* pairs with is_started */
		atomic_store_explicit(&stage, !tried ? BEGINNING : started ? STARTED : NEVER, release);
		errno = saved;
	}
	leave();
}

/* Of so many bytes that a span is to have, or have more. */
static void begin(size_t bytes)
{
	if (load_relaxed(&stage) == BEGINNING &&
	    atomic_fetch_add_explicit(&begun, bytes, relaxed) + bytes > BEGIN_BYTES)
		start();
}

/* ---- through it ------------------------------------------------------------------------------------------------ */

struct span gate_alloc(size_t pages, size_t alignment, bool zero)
{
	struct span span = {0};

	begin(pages << PAGE_SHIFT);
	if (is_started() && enter()) {
		span.start = main_source->alloc(pages, alignment, zero);
		leave();
	}
	if (!span.start) {
		span.start = source_mmap.alloc(pages, alignment, zero);
		span.from_mmap = true;
	}
	return span;
}

bool gate_free(struct span span, size_t pages)
{
	if (span.from_mmap) {
		source_mmap.free(span.start, pages);
		return true;
	}
	if (!enter())
		return false;
	main_source->free(span.start, pages);
	leave();
	return true;
}

bool gate_resize(struct span span, size_t pages, size_t new_pages)
{
	if (span.from_mmap) {
		bool resized = source_mmap.resize(span.start, pages, new_pages);
		if (resized && new_pages > pages)
			begin((new_pages - pages) << PAGE_SHIFT); /* not before: it takes the addresses behind */
		return resized;
	}
	if (!enter())
		return false;
	bool done = main_source->resize(span.start, pages, new_pages);
	leave();
	return done;
}

void gate_purge(void)
{
	if (!is_started() || !enter())
		return;
	main_source->purge();
	leave();
}
