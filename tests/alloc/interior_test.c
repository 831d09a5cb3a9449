/* Any address inside a live object leads to its start and size; no other address does. */
#include "alloc/class.h"
#include "alloc/large.h"
#include "alloc/region.h"
#include "check.h"

#include <sys/mman.h>

static void check_object(unsigned char *p, size_t size, size_t step)
{
	for (size_t at = 0; at < size; at += at + step < size || at == size - 1 ? step : size - 1 - at) {
		cr_assert_eq(qslab_object_start(p + at), p, "byte %zu of %zu", at, size);
		cr_assert_eq(qslab_object_size(p + at), size);
		cr_assert(qslab_owns(p + at));
	}
}

Test(interior, every_byte_of_every_class)
{
	enum { MANY = 9 };
	qslab_free(qslab_malloc(1));
	for (unsigned c = 1; c < CLASS_COUNT; c++) {
		unsigned char *p[MANY];
		for (int i = 0; i < MANY; i++)
			p[i] = qslab_malloc(classes[c].size);
		for (int i = 0; i < MANY; i++) {
			cr_assert_eq(qslab_usable_size(p[i]), classes[c].size);
			check_object(p[i], classes[c].size, classes[c].size > 65536 && i ? 4093 : 1);
			for (int j = 0; j < i; j++)
				cr_assert(p[i] + classes[c].size <= p[j] || p[j] + classes[c].size <= p[i]);
		}
		for (int i = 0; i < MANY; i++)
			qslab_free(p[i]);
	}
}

Test(interior, large_objects)
{
	unsigned char *p[40];
	size_t size = 262145;
	for (int i = 0; i < 40; i++, size += size / 7)
		p[i] = qslab_malloc(size);
	for (int i = 0; i < 40; i++)
		check_object(p[i], qslab_usable_size(p[i]), 1021);
	for (int i = 0; i < 40; i += 2) {
		qslab_free(p[i]);
		cr_assert_not(qslab_owns(p[i]));
		cr_assert_not(qslab_owns(p[i] + 100000));
	}
	for (int i = 1; i < 40; i += 2)
		check_object(p[i], qslab_usable_size(p[i]), 4091);
	for (int i = 1; i < 40; i += 2) { /* grown in place or moved: every page still leads back */
		p[i] = qslab_realloc(p[i], qslab_usable_size(p[i]) * 2 + 1);
		check_object(p[i], qslab_usable_size(p[i]), 4091);
		qslab_free(p[i]);
	}
}

/* A cached span serves an object that is somewhat smaller: that is as large as asked for, and zero; the rest is nobody's. */
Test(interior, large_objects_in_longer_spans)
{
	enum { LEAST = 80, MOST = 448 };
	unsigned char *kept[20];
	unsigned count = 0;

	if (system_page > PAGE_SIZE)
		return; /* large objects are aligned to the system's page, and no cached span serves those that ask for more than ours */
	for (size_t pages = LEAST; pages <= MOST; count++) {
		size_t longer = span_whole(pages + 1), size = (pages << PAGE_SHIFT) - 10;
		unsigned char *before = qslab_malloc(longer << PAGE_SHIFT);
		memset(before, 0xee, longer << PAGE_SHIFT);
		qslab_free(before);
		kept[count] = qslab_calloc(1, size);
		cr_assert_eq(kept[count], before, "%zu pages", pages);
		check_object(kept[count], ALIGN_UP(size, system_page), 1021);
		cr_assert_not(qslab_owns(before + ALIGN_UP(size, system_page)));
		for (size_t at = 0; at < size; at++)
			cr_assert_eq(kept[count][at], 0);
		pages = longer;
	}
	while (count--) {
		unsigned char *grown = qslab_realloc(kept[count], qslab_usable_size(kept[count]) + 1);
		check_object(grown, qslab_usable_size(grown), 1021);
		qslab_free(grown);
	}
}

Test(interior, other_memory_is_not_ours)
{
	static int data;
	int local;
	void *libc = malloc(100);
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const void *foreign[] = {&data, &local, libc, page, NULL, (void *)-1, (void *)16};
	qslab_free(qslab_malloc(1));
	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
		cr_assert_not(qslab_owns(foreign[i]));
		cr_assert_null(qslab_object_start(foreign[i]));
		cr_assert_eq(qslab_object_size(foreign[i]), 0);
	}
	free(libc);
}

static char *lowest, *highest; /* of what the object has had */

static char *resized(char *p, size_t size)
{
	p = qslab_realloc(p, size);
	cr_assert_not_null(p);
	lowest = p < lowest ? p : lowest;
	highest = p + size > highest ? p + size : highest;
	for (size_t at = 0; at < size; at += 4096)
		cr_assert_eq(qslab_object_start(p + at), p, "%zu of %zu", at, size);
	return p;
}

/* No page behind the object finds it, and none behind its span has an entry of a large one. */
static void none_behind(char *p, size_t size)
{
	const struct large *large = large_find(p);
	cr_assert_not_null(large);
	for (char *page = p + ALIGN_UP(size, system_page); page < highest; page += 4096) {
		cr_assert_null(qslab_object_start(page), "%zu behind %zu", (size_t)(page - p), size);
		cr_assert(page < p + (large->pages << PAGE_SHIFT) || entry_class(entry_of(page)) != CLASS_LARGE,
		          "%zu behind %zu", (size_t)(page - p), size);
	}
}

/*
 * A span that grows or shrinks in place is cut into other blocks: every page finds the object, none behind it does, and
 * none at all once it is freed.
 */
Test(interior, large_objects_that_grow_and_shrink)
{
	for (size_t start = 300000; start < 700000; start += 36864) {
		char *p = lowest = highest = qslab_malloc(start);
		for (size_t size = start; size < 6000000; size += 4096 * (1 + size / 200000))
			p = resized(p, size);
		for (size_t size = 6000000; size > start; size -= 65536 * (1 + size / 500000)) {
			p = resized(p, size);
			none_behind(p, size);
		}
		qslab_free(p);
		for (char *page = lowest; page < highest; page += 4096)
			cr_assert_neq(entry_class(entry_of(page)), CLASS_LARGE, "left behind: %p in [%p, %p)", (void *)page,
			              (void *)lowest, (void *)highest);
	}
}
