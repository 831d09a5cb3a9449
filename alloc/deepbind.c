/*
 * dlopen without RTLD_DEEPBIND. With it a shared object calls libc's own malloc and free, past any that were preloaded,
 * while libc's strdup and the rest of the process call ours: the first object that crosses ends the process (PHP, whose
 * extensions are loaded so, does not start over any preloaded malloc). QSLAB_DEEPBIND=1 leaves the flag alone.
 *
 * libc's dlopen searches where its caller says, by its return address: so this must end in a jump, and the file is
 * compiled with optimization in every build (CMakeLists.txt). tests/preload/deepbind.c fails otherwise.
 */
#define _GNU_SOURCE
#include "option.h"

#include <dlfcn.h>

#ifdef RTLD_DEEPBIND

typedef void *opener(const char *file, int mode);

static opener *_Atomic next;

/* Any thread may be the first. NULL only where libc has no dlopen to call. */
static opener *find_next(void)
{
	opener *found = (opener *)dlsym(RTLD_NEXT, "dlopen");

	store_relaxed(&next, found);
	return found;
}

__attribute__((visibility("default"))) void *dlopen(const char *file, int mode)
{
	opener *open = load_relaxed(&next);

	if (unlikely(!open) && !(open = find_next()))
		return NULL;
	return open(file, options.deepbind ? mode : mode & ~RTLD_DEEPBIND);
}

#endif
