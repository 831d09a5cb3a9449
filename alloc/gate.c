#include "gate.h"
#include "source.h"

static const struct span_source *main_source = &source_mmap; /* const after gate_init */

/*
 * The number of threads inside jemalloc, and CLOSED. Closing waits for the count to fall to its own thread's share;
 * entering pairs with that. The share, `inside`, is raised before the count and lowered after it: a signal handler
 * that forks in between may wait for one thread too few, but never for its own.
 */
#define CLOSED 0x40000000u
static atomic_uint gate;
static _Thread_local unsigned inside __attribute__((tls_model("initial-exec")));

static void leave(void)
{
	atomic_fetch_sub_explicit(&gate, 1, release); /* pairs with gate_close */
	atomic_signal_fence(memory_order_seq_cst);
	inside--;
}

static bool enter(void)
{
	if (main_source == &source_mmap)
		return false;
	inside++;
	atomic_signal_fence(memory_order_seq_cst);
	MARK(gate_enter);
	if (atomic_fetch_add_explicit(&gate, 1, acquire) & CLOSED) { /* pairs with gate_open */
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
		nanosleep(&(struct timespec){0, 20000}, NULL);
}

void gate_open(void)
{
	atomic_fetch_and_explicit(&gate, ~CLOSED, acq_rel);
}

bool gate_is_closed(void)
{
	return load_relaxed(&gate) & CLOSED;
}

void gate_init(void)
{
#ifndef QSLAB_NO_JEMALLOC
	if (source_jemalloc.init())
		main_source = &source_jemalloc;
#endif
}

/* Only this thread is left; what it holds inside jemalloc it still holds. */
void gate_after_fork(void)
{
	atomic_store_explicit(&gate, inside | CLOSED, relaxed);
	source_mmap_after_fork();
#ifndef QSLAB_NO_JEMALLOC
	if (main_source == &source_jemalloc && !inside)
		source_jemalloc_after_fork();
#endif
}

/* ---- through it ------------------------------------------------------------------------------------------------ */

struct span gate_alloc(size_t pages, size_t alignment, bool zero)
{
	struct span span = {NULL, false};

	if (enter()) {
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
	if (span.from_mmap)
		return source_mmap.resize(span.start, pages, new_pages);
	if (!enter())
		return false;
	bool done = main_source->resize(span.start, pages, new_pages);
	leave();
	return done;
}

void gate_purge(void)
{
	if (!enter())
		return;
	main_source->purge();
	leave();
}
