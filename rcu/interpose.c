/*
 * liburcu's calls that name a reader, or wait for readers, on their way to liburcu: bound before its own by
 * linking or preloading us first. In a forked child they end here (readers.h). Not part of libqslab.a.
 */
#define _GNU_SOURCE
#include "grace.h"
#include "readers.h"
#include "sections.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

void urcu_qsbr_register_thread(void);
void urcu_qsbr_unregister_thread(void);
void urcu_qsbr_synchronize_rcu(void);
void urcu_memb_register_thread(void);
void urcu_memb_unregister_thread(void);
void urcu_mb_register_thread(void);
void urcu_mb_unregister_thread(void);

/*
 * A program linked with --as-needed may name liburcu through us alone: then it is not loaded yet. If it cannot be, the
 * process ends: a reader that nobody waits for would see freed memory.
 */
static void pass_on(const char *library, const char *name)
{
	void (*real)(void) = (void (*)(void))dlsym(RTLD_NEXT, name);
	if (!real) {
		void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
		real = handle ? (void (*)(void))dlsym(handle, name) : NULL;
	}
	if (!real) {
		char line[160];
		int length = snprintf(line, sizeof line, "qslab: %s: %s cannot be loaded\n", name, library);
		ssize_t wrote = write(STDERR_FILENO, line, (size_t)length);
		(void)wrote; /* nowhere else to say it */
		abort();
	}
	real();
}

EXPORT void urcu_qsbr_register_thread(void)
{
	if (readers_register())
		pass_on("liburcu-qsbr.so.8", "urcu_qsbr_register_thread");
}

EXPORT void urcu_qsbr_unregister_thread(void)
{
	if (readers_unregister())
		pass_on("liburcu-qsbr.so.8", "urcu_qsbr_unregister_thread");
}

EXPORT void urcu_qsbr_synchronize_rcu(void)
{
	if (readers_are_ours())
		grace_wait(grace_cookie(), "synchronize_rcu");
	else
		pass_on("liburcu-qsbr.so.8", "urcu_qsbr_synchronize_rcu");
}

EXPORT void urcu_memb_register_thread(void)
{
	pass_on("liburcu-memb.so.8", "urcu_memb_register_thread");
	sections_registered(SECTIONS_MEMB);
}

EXPORT void urcu_memb_unregister_thread(void)
{
	sections_unregister(SECTIONS_MEMB);
	pass_on("liburcu-memb.so.8", "urcu_memb_unregister_thread");
}

EXPORT void urcu_mb_register_thread(void)
{
	pass_on("liburcu-mb.so.8", "urcu_mb_register_thread");
	sections_registered(SECTIONS_MB);
}

EXPORT void urcu_mb_unregister_thread(void)
{
	sections_unregister(SECTIONS_MB);
	pass_on("liburcu-mb.so.8", "urcu_mb_unregister_thread");
}
