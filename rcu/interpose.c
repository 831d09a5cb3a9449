/*
 * liburcu's calls that name a reader, or wait for readers, on their way to liburcu: bound before its own by
 * linking or preloading us first. In a forked child they end here (readers.h). Not part of libqslab.a.
 */
#define _GNU_SOURCE
#define _LGPL_SOURCE /* for the layout of liburcu's readers */
#include "copies.h"
#include "readers.h"
#include "sections.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>

#define EXPORT __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

void urcu_mb_register_thread(void);
void urcu_mb_unregister_thread(void);
void urcu_mb_synchronize_rcu(void);

__attribute__((constructor)) static void begin(void)
{
	copies_start();
}

/*
 * Loaded if need be: a program linked with --as-needed may name liburcu through us alone. If it cannot be, the process
 * ends: a reader that nobody waits for would see freed memory.
 */
static void find(enum copy_flavor flavor, const void *caller, struct copies *found)
{
	copies_of(flavor, caller, found);
	if (found->count)
		return;
	char line[160];
	int length = snprintf(line, sizeof line, "qslab: %s cannot be loaded\n", copies_library(flavor));
	ssize_t wrote = write(STDERR_FILENO, line, (size_t)length);
	(void)wrote; /* nowhere else to say it */
	abort();
}

static enum sections_flavor sections_of(enum copy_flavor flavor)
{
	return flavor == COPY_MEMB ? SECTIONS_MEMB : SECTIONS_MB;
}

static bool is_registered(enum copy_flavor flavor, const struct copy *copy)
{
	void *reader = copy_reader(copy);

	if (!reader)
		return false;
	return flavor == COPY_QSBR ? ((struct urcu_qsbr_reader *)reader)->registered : ((struct urcu_reader *)reader)->registered;
}

/* Of several, the first, in the order they were loaded. */
static void enroll(enum copy_flavor flavor, const void *caller)
{
	struct copies found;

	find(flavor, caller, &found);
	const struct copy *copy = &found.list[0];
	if (flavor == COPY_QSBR)
		readers_register(copy, copy_reader(copy));
	else
		sections_register(sections_of(flavor), copy, copy_reader(copy));
}

/* Of several, the one that the thread is registered with. */
static void leave(enum copy_flavor flavor, const void *caller)
{
	struct copies found;
	unsigned i = 0;

	find(flavor, caller, &found);
	while (i + 1 < found.count && !is_registered(flavor, &found.list[i]))
		i++;
	if (flavor == COPY_QSBR)
		readers_unregister(&found.list[i]);
	else
		sections_unregister(sections_of(flavor), &found.list[i]);
}

/* Of several, all. */
static void wait_for(enum copy_flavor flavor, const void *caller)
{
	struct copies found;

	find(flavor, caller, &found);
	for (unsigned i = 0; i < found.count; i++) {
		const struct copy *copy = &found.list[i];
		bool done = flavor == COPY_QSBR ? readers_wait(copy) : sections_wait(sections_of(flavor), copy);
		if (!done)
			copy->synchronize();
	}
}

EXPORT void urcu_qsbr_register_thread(void)
{
	enroll(COPY_QSBR, CALLER);
}

EXPORT void urcu_qsbr_unregister_thread(void)
{
	leave(COPY_QSBR, CALLER);
}

EXPORT void urcu_qsbr_synchronize_rcu(void)
{
	wait_for(COPY_QSBR, CALLER);
}

EXPORT void urcu_memb_register_thread(void)
{
	enroll(COPY_MEMB, CALLER);
}

EXPORT void urcu_memb_unregister_thread(void)
{
	leave(COPY_MEMB, CALLER);
}

EXPORT void urcu_memb_synchronize_rcu(void)
{
	wait_for(COPY_MEMB, CALLER);
}

EXPORT void urcu_mb_register_thread(void)
{
	enroll(COPY_MB, CALLER);
}

EXPORT void urcu_mb_unregister_thread(void)
{
	leave(COPY_MB, CALLER);
}

EXPORT void urcu_mb_synchronize_rcu(void)
{
	wait_for(COPY_MB, CALLER);
}
