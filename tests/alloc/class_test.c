/* Size classes: every size has one, none wastes more than the table says, index arithmetic is exact. */
#include "alloc/class.h"
#include "alloc/layout.h"
#include "check.h"

TestSuite(classes, .init = class_init);

Test(classes, every_size_fits_its_class_tightly)
{
	for (size_t size = 0; size <= MEDIUM_MAX; size++) {
		unsigned c = class_of(size);
		cr_assert(c >= 1 && c < CLASS_COUNT);
		cr_assert(classes[c].size >= size);
		cr_assert(c == 1 || classes[c - 1].size < size, "size %zu would fit class %u", size, c - 1);
	}
}

Test(classes, aligned_ones_are_the_smallest_that_are)
{
	for (size_t alignment = 8; alignment <= PAGE_SIZE; alignment *= 2) {
		for (size_t size = 0; size <= MEDIUM_MAX; size++) {
			unsigned c = 1, found = class_aligned(size, alignment);
			while (classes[c].size < size || classes[c].size % alignment)
				c++;
			cr_assert_eq(found, c, "%zu aligned to %zu: %u, not %u", size, alignment, found, c);
		}
		cr_assert_eq(class_aligned(MEDIUM_MAX + 1, alignment), CLASS_NONE);
	}
}

Test(classes, sizes_are_multiples_of_16_and_slabs_waste_little)
{
	for (unsigned c = 1; c < CLASS_COUNT; c++) {
		cr_assert_eq(classes[c].size % 16, 0);
		cr_assert(classes[c].pages <= SLAB_PAGES_MAX);
		cr_assert(classes[c].capacity >= 1 && classes[c].capacity <= MAGAZINE_MAX);
		size_t bytes = classes[c].pages * PAGE_SIZE;
		cr_assert((bytes - (size_t)classes[c].objects * classes[c].size) * 16 <= bytes);
	}
}

/* Claims of class.h: the reciprocal divides exactly, and the divisor test accepts starts alone. */
Test(classes, index_and_start_are_exact_for_every_byte_of_every_class)
{
	for (unsigned c = 1; c < CLASS_COUNT; c++) {
		const struct class_info *info = &classes[c];
		size_t bytes = info->pages * PAGE_SIZE, slack = bytes - (size_t)info->objects * info->size;
		for (size_t at = 0; at < bytes; at++) {
			size_t to_end = bytes - at;
			bool start = at >= slack && (at - slack) % info->size == 0;
			cr_assert_eq(to_end * info->divisor < info->divisor, start, "class %u byte %zu", c, at);
			if (at >= slack)
				cr_assert_eq((at - slack) * info->recip >> RECIP_SHIFT, (at - slack) / info->size);
		}
	}
}
