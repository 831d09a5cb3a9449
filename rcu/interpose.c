/*
 * liburcu-qsbr's calls that name a reader, or wait for readers, on their way to liburcu: bound before its own by
 * linking or preloading us first. In a forked child they end here (readers.h). Not part of libqslab.a.
 */
#define _GNU_SOURCE
#include "grace.h"
#include "readers.h"

#include <dlfcn.h>

#define EXPORT __attribute__((visibility("default")))

void urcu_qsbr_register_thread(void);
void urcu_qsbr_unregister_thread(void);
void urcu_qsbr_synchronize_rcu(void);

static void pass_on(const char *name)
{
	void (*real)(void) = (void (*)(void))dlsym(RTLD_NEXT, name);
	if (real)
		real();
}

EXPORT void urcu_qsbr_register_thread(void)
{
	if (readers_register())
		pass_on("urcu_qsbr_register_thread");
}

EXPORT void urcu_qsbr_unregister_thread(void)
{
	if (readers_unregister())
		pass_on("urcu_qsbr_unregister_thread");
}

EXPORT void urcu_qsbr_synchronize_rcu(void)
{
	if (readers_are_ours())
		grace_wait(grace_cookie(), "synchronize_rcu");
	else
		pass_on("urcu_qsbr_synchronize_rcu");
}
