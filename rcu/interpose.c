/*
 * liburcu's calls that name a reader, or wait for readers, on their way to liburcu: bound before its own by
 * linking or preloading us first. In a forked child they end here (readers.h). Not part of libqslab.a.
 */
#define _GNU_SOURCE
#include "flavor.h"
#include "readers.h"
#include "sections.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

void urcu_qsbr_register_thread(void);
void urcu_qsbr_unregister_thread(void);
void urcu_qsbr_synchronize_rcu(void);
void urcu_memb_register_thread(void);
void urcu_memb_unregister_thread(void);
void urcu_memb_synchronize_rcu(void);
void urcu_mb_register_thread(void);
void urcu_mb_unregister_thread(void);
void urcu_mb_synchronize_rcu(void);

enum {
	QSBR_REGISTER, QSBR_UNREGISTER, QSBR_SYNCHRONIZE,
	MEMB_REGISTER, MEMB_UNREGISTER, MEMB_SYNCHRONIZE,
	MB_REGISTER, MB_UNREGISTER, MB_SYNCHRONIZE, CALLS
};

static struct {
	const char *library, *name;
	void (*_Atomic real)(void); /* liburcu's, once found */
} calls[CALLS] = {
	[QSBR_REGISTER] = {.library = "liburcu-qsbr.so.8", .name = "urcu_qsbr_register_thread"},
	[QSBR_UNREGISTER] = {.library = "liburcu-qsbr.so.8", .name = "urcu_qsbr_unregister_thread"},
	[QSBR_SYNCHRONIZE] = {.library = "liburcu-qsbr.so.8", .name = "urcu_qsbr_synchronize_rcu"},
	[MEMB_REGISTER] = {.library = "liburcu-memb.so.8", .name = "urcu_memb_register_thread"},
	[MEMB_UNREGISTER] = {.library = "liburcu-memb.so.8", .name = "urcu_memb_unregister_thread"},
	[MEMB_SYNCHRONIZE] = {.library = "liburcu-memb.so.8", .name = "urcu_memb_synchronize_rcu"},
	[MB_REGISTER] = {.library = "liburcu-mb.so.8", .name = "urcu_mb_register_thread"},
	[MB_UNREGISTER] = {.library = "liburcu-mb.so.8", .name = "urcu_mb_unregister_thread"},
	[MB_SYNCHRONIZE] = {.library = "liburcu-mb.so.8", .name = "urcu_mb_synchronize_rcu"},
};

/* Liburcu's, behind us; NULL: it is not loaded. */
static void (*find(int call))(void)
{
	void (*real)(void) = atomic_load(&calls[call].real);

	if (!real) {
		real = (void (*)(void))dlsym(RTLD_NEXT, calls[call].name);
		atomic_store(&calls[call].real, real);
	}
	return real;
}

/* Also of a liburcu that only a plugin sees (RTLD_LOCAL): it stays from then on. */
void interpose_find(void)
{
	for (int i = 0; i < CALLS; i++) {
		void *handle = find(i) ? NULL : dlopen(calls[i].library, RTLD_NOW | RTLD_NOLOAD);
		if (handle)
			atomic_store(&calls[i].real, (void (*)(void))dlsym(handle, calls[i].name));
	}
}

/*
 * The same, loaded if need be: a program linked with --as-needed may name liburcu through us alone. If it cannot be, the
 * process ends: a reader that nobody waits for would see freed memory.
 */
static void (*load(int call))(void)
{
	void (*real)(void) = find(call);
	if (!real) {
		void *handle = dlopen(calls[call].library, RTLD_NOW | RTLD_GLOBAL);
		real = handle ? (void (*)(void))dlsym(handle, calls[call].name) : NULL;
	}
	if (!real) {
		char line[160];
		int length = snprintf(line, sizeof line, "qslab: %s: %s cannot be loaded\n", calls[call].name,
		                      calls[call].library);
		ssize_t wrote = write(STDERR_FILENO, line, (size_t)length);
		(void)wrote; /* nowhere else to say it */
		abort();
	}
	atomic_store(&calls[call].real, real);
	return real;
}

static void pass_on(int call)
{
	load(call)();
}

/* Readers are found by liburcu's own names for them: it is loaded first. */
EXPORT void urcu_qsbr_register_thread(void)
{
	readers_register(load(QSBR_REGISTER));
}

EXPORT void urcu_qsbr_unregister_thread(void)
{
	if (readers_unregister())
		pass_on(QSBR_UNREGISTER);
}

EXPORT void urcu_qsbr_synchronize_rcu(void)
{
	if (readers_are_ours())
		readers_wait(); /* not for a grace period of ours: its flavour may be another */
	else
		pass_on(QSBR_SYNCHRONIZE);
}

EXPORT void urcu_memb_register_thread(void)
{
	void (*real)(void) = load(MEMB_REGISTER);
	if (sections_register(SECTIONS_MEMB))
		real();
}

EXPORT void urcu_memb_unregister_thread(void)
{
	if (sections_unregister(SECTIONS_MEMB))
		pass_on(MEMB_UNREGISTER);
}

EXPORT void urcu_memb_synchronize_rcu(void)
{
	if (!sections_synchronize(SECTIONS_MEMB))
		pass_on(MEMB_SYNCHRONIZE);
}

EXPORT void urcu_mb_register_thread(void)
{
	void (*real)(void) = load(MB_REGISTER);
	if (sections_register(SECTIONS_MB))
		real();
}

EXPORT void urcu_mb_unregister_thread(void)
{
	if (sections_unregister(SECTIONS_MB))
		pass_on(MB_UNREGISTER);
}

EXPORT void urcu_mb_synchronize_rcu(void)
{
	if (!sections_synchronize(SECTIONS_MB))
		pass_on(MB_SYNCHRONIZE);
}
