/*
 * Included first by every file of the core in a build with QSLAB_TEST_SYSTEM_PAGE: there what is asked of the system must be
 * whole pages of that size, as it must where the kernel has such. (munmap of an anonymous mapping takes any size.)
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

static inline void *checked_whole(void *address, size_t size)
{
	if ((uintptr_t)address % QSLAB_TEST_SYSTEM_PAGE || size % QSLAB_TEST_SYSTEM_PAGE)
		abort();
	return address;
}

#define madvise(address, size, advice) (madvise)(checked_whole(address, size), size, advice)
#define mprotect(address, size, how) (mprotect)(checked_whole(address, size), size, how)
#define mremap(address, size, new_size, flags, to) \
	(mremap)(checked_whole(address, size), size, new_size, flags, checked_whole(to, new_size))
#define mmap(address, size, how, flags, fd, offset) \
	(mmap)((address) ? checked_whole(address, size) : NULL, size, how, flags, fd, offset)
