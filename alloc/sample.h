/*
 * Sampling (QSLAB_RCU_SAMPLE=N), cheap enough for production. About one in N slow allocations of at most a page gets
 * a page of the system's of its own: a large object with a struct sample. When it is freed, or its grace period is over,
 * the page is protected and kept (kept.h); who touches it then dies by SIGSEGV, after a report of who touched, who allocated,
 * and who retired or freed it. In the hardened mode a guard page lies behind it, and objects stand at either end of theirs.
 */
#ifndef QSLAB_ALLOC_SAMPLE_H
#define QSLAB_ALLOC_SAMPLE_H

#include "stack.h"

struct large;

extern _Thread_local uint64_t sample_left __attribute__((tls_model("initial-exec"))); /* until this thread's next; 0: ask */

struct sample {
	struct event allocated, ended; /* ended: the retirement, or the free; thread 0 before */
	bool retired;                  /* what ended was */
};

/* True if objects are to be sampled. */
bool sample_start(size_t every);

/* sample_alloc's, when the turn may have come. */
void *sample_take(size_t size);

/* An object of a page of its own, or NULL: it is not this one's turn, or there is no memory. */
static inline void *sample_alloc(size_t size)
{
	if (size > PAGE_SIZE)
		return NULL;
	if (likely(sample_left > 1)) {
		sample_left--;
		return NULL;
	}
	return sample_take(size);
}

/* The object's, or NULL. */
struct sample *sample_of(const void *object);

/* Notes the free or the retirement, if the object is sampled; false if it is retired already. */
bool sample_end(void *object, bool retired, const struct event *event);
void sample_revive(void *object);

/* Who allocated it, and who ended it. */
void sample_print(const struct sample *sample);

/* Prints what is known of the sampled object at the address; false if none is. */
bool sample_explain(const void *address);

#endif
