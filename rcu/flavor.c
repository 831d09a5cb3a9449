#define _GNU_SOURCE
#include "flavor.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <urcu/flavor.h>

/* Bound when the program, or a library it starts with, links liburcu-qsbr; else NULL. */
extern const struct rcu_flavor_struct urcu_qsbr_flavor __attribute__((weak));

static const struct rcu_flavor_struct *_Atomic chosen;
static const struct rcu_flavor_struct *_Atomic qsbr; /* urcu-qsbr, once found */
static const void *_Atomic bp;                       /* urcu-bp, as flavor_set found it */
static atomic_bool told;

static const struct rcu_flavor_struct *find_qsbr(void)
{
	const struct rcu_flavor_struct *found = &urcu_qsbr_flavor;

	if (!found)
		found = dlsym(RTLD_DEFAULT, "urcu_qsbr_flavor");
	if (!found) {
		void *library = dlopen("liburcu-qsbr.so.8", RTLD_NOW | RTLD_GLOBAL);
		found = library ? dlsym(library, "urcu_qsbr_flavor") : NULL;
	}
	if (found)
		atomic_store_explicit(&qsbr, found, memory_order_release);
	return found;
}

bool flavor_set(const struct rcu_flavor_struct *flavor)
{
	const struct rcu_flavor_struct *none = NULL;

	find_qsbr();
	atomic_store(&bp, dlsym(RTLD_DEFAULT, "urcu_bp_flavor"));
	return atomic_compare_exchange_strong(&chosen, &none, flavor) || none == flavor;
}

const struct rcu_flavor_struct *flavor_known(void)
{
	return atomic_load_explicit(&chosen, memory_order_acquire);
}

const struct rcu_flavor_struct *flavor_get(void)
{
	const struct rcu_flavor_struct *flavor = flavor_known();

	if (__builtin_expect(!!flavor, 1))
		return flavor;
	flavor = find_qsbr();
	if (flavor) {
		const struct rcu_flavor_struct *none = NULL;
		atomic_compare_exchange_strong(&chosen, &none, flavor);
		return atomic_load(&chosen);
	}
	if (!atomic_exchange(&told, true)) {
		static const char line[] = "qslab: liburcu-qsbr.so.8 cannot be loaded: what is freed by RCU stays allocated\n";
		if (write(STDERR_FILENO, line, sizeof line - 1) < 0) {
			/* nowhere left to say it */
		}
	}
	return NULL;
}

bool flavor_is_qsbr(void)
{
	const struct rcu_flavor_struct *flavor = flavor_known();
	return flavor && flavor == atomic_load_explicit(&qsbr, memory_order_acquire);
}

bool flavor_is_bp(void)
{
	const struct rcu_flavor_struct *flavor = flavor_known();
	return flavor && flavor == atomic_load(&bp);
}

bool flavor_is_signal(const struct rcu_flavor_struct *flavor)
{
	return flavor && flavor == dlsym(RTLD_DEFAULT, "urcu_signal_flavor");
}

bool flavor_wait_begin(const char *call)
{
	const struct rcu_flavor_struct *flavor = flavor_get();

	if (!flavor || !flavor->read_ongoing())
		return false;
	flavor->thread_offline(); /* of QSBR, whichever copy: the others' does nothing, and their section goes on */
	if (flavor->read_ongoing()) {
		char line[160];
		int length = snprintf(line, sizeof line, "qslab: %s: called inside a read-side section, which it would wait for\n",
		                      call);
		if (write(STDERR_FILENO, line, (size_t)length) >= 0)
			abort();
		abort();
	}
	return true;
}

void flavor_wait_end(bool was_online)
{
	if (was_online)
		flavor_get()->thread_online();
}
