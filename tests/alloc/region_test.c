/* The region grows by pieces that are mapped whole, or not at all. */
#include "alloc/region.h"
#include "check.h"

#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
#define FAR (64 * MIB) /* within what the page map covers at once, beyond what is mapped ahead */

/* One that would have begun far ahead, for its alignment, fails at a limit: what lies before it is not mapped. */
static void grow_after_a_failure(void)
{
	struct rlimit old;

	qslab_free(qslab_malloc(1));
	getrlimit(RLIMIT_AS, &old);
	if (setrlimit(RLIMIT_AS, &(struct rlimit){MIB, old.rlim_max}))
		_exit(3);
	void *none = region_grow(MIB, FAR);
	if (setrlimit(RLIMIT_AS, &old) || none)
		_exit(2);
	for (int i = 0; i < 64; i++) {
		void *piece = region_grow(MIB, 4096);
		if (!piece)
			_exit(1);
		memset(piece, 1, MIB);
	}
	void *aligned = region_grow(MIB, FAR);
	if (!aligned || (uintptr_t)aligned % FAR)
		_exit(4);
	memset(aligned, 1, MIB);
	_exit(0);
}

Test(region, a_piece_after_one_that_failed_is_mapped, .disabled = SANITIZED)
{
	expect_success(grow_after_a_failure);
}
