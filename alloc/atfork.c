/*
 * Fork handlers are run in the order of their registration in the child, and the other way round before the fork. Libraries
 * that the program is linked with have their constructors run before ours: one that registers a handler there would allocate
 * in the child from locks whose holders are gone. So whoever registers first, our handlers come before.
 */
#define _GNU_SOURCE
#include "thread.h"

#include <dlfcn.h>
#include <errno.h>

#ifdef __GLIBC__

typedef void handler(void);
typedef int registrar(handler *prepare, handler *parent, handler *child, void *dso);

/* ThreadSanitizer's, of a program that has it: it registers a handler before the calls that it intercepts can be made. */
void __tsan_init(void) __attribute__((weak));

registrar __register_atfork; /* what pthread_atfork, which is linked statically, calls */

__attribute__((visibility("default"))) int __register_atfork(handler *prepare, handler *parent, handler *child, void *dso)
{
	static registrar *_Atomic next;
	registrar *found = load_relaxed(&next);

	if (unlikely(!found)) { /* any thread may be the first */
		found = (registrar *)dlsym(RTLD_NEXT, "__register_atfork");
		store_relaxed(&next, found);
		if (!__tsan_init)
			allocator_start(); /* comes here again */
	}
	return likely(found) ? found(prepare, parent, child, dso) : ENOMEM;
}

#endif
