/* The region grows by pieces that are mapped whole, or not at all. */
#include "alloc/flush.h"
#include "alloc/region.h"
#include "alloc/slab.h"
#include "check.h"

#include <sys/mman.h>
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

#define SLABS 24

static unsigned resident_pages(const struct slab *slab)
{
	unsigned char seen[SLAB_PAGES_MAX];
	unsigned pages = classes[slab->class].pages, resident = 0;

	cr_assert(mincore(slab_span(slab).start, pages << PAGE_SHIFT, seen) == 0);
	for (unsigned i = 0; i < pages; i++)
		resident += seen[i] & 1;
	return resident;
}

static bool kernel_faults_in(void)
{
	void *page = mmap(NULL, system_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool does = madvise(page, system_page, 23) == 0; /* MADV_POPULATE_WRITE */
	munmap(page, system_page);
	return does;
}

/* A class's first slabs have the pages that are used, those of one that grows all of them; of large objects none has more. */
static void count_pages(size_t size, bool grows)
{
	unsigned resident[SLABS], count = 0;

	for (const struct slab *last = NULL; count < SLABS;) {
		void *object = qslab_malloc(size);
		if (slab_of(object) != last)
			resident[count++] = resident_pages(last = slab_of(object));
	}
	unsigned all = classes[class_of(size)].pages;
	cr_assert_gt(all, resident[0], "%u of %u", resident[0], all);
	if (grows)
		cr_assert_eq(resident[SLABS - 1], all, "%u of %u", resident[SLABS - 1], all);
	else
		cr_assert_gt(all, resident[SLABS - 1], "%u of %u", resident[SLABS - 1], all);
}

Test(region, what_grows_has_its_pages_at_once)
{
	if (!kernel_faults_in())
		return;
	count_pages(4096, true);
	count_pages(16384, false);
}
