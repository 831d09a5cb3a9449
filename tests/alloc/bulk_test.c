/* Bulk calls: distinct whole objects that any call frees, NULLs, mixed sizes, misuse, good_size. */
#include "alloc/region.h"
#include "check.h"

#include <errno.h>
#include <pthread.h>

enum { MOST = 700 };

static size_t live(void)
{
	struct qslab_memory memory;
	qslab_memory(&memory);
	return memory.live;
}

static const size_t sizes[] = {0, 1, 16, 24, 64, 100, 256, 1000, 4096, 20000, 262144, 300000};
static const size_t counts[] = {0, 1, 2, 7, 64, 65, 128, 129, 300};

Test(bulk, distinct_and_whole)
{
	void *objects[MOST];
	size_t before = live();

	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
			size_t size = sizes[s], count = size > 4096 && counts[c] > 64 ? 64 : counts[c];
			cr_assert_eq(qslab_malloc_bulk(size, count, objects), count);
			for (size_t i = 0; i < count; i++) {
				cr_assert_eq((uintptr_t)objects[i] % 16, 0);
				cr_assert_eq(qslab_object_start(objects[i]), objects[i]);
				cr_assert_geq(qslab_usable_size(objects[i]), size);
				memset(objects[i], (int)i, size);
			}
			for (size_t i = 0; i < count && size; i++)
				cr_assert_eq(((unsigned char *)objects[i])[size - 1], (unsigned char)i);
			if (c % 2)
				qslab_free_bulk(count, objects);
			else
				for (size_t i = 0; i < count; i++)
					qslab_free(objects[i]);
		}
	}
	cr_assert_eq(live(), before);
}

Test(bulk, mixed_sizes_and_nulls)
{
	void *objects[MOST];
	uint64_t random = 7;
	size_t before = live();

	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < MOST; i++)
			objects[i] = next_random(&random) % 8 ? qslab_malloc(random_size(&random)) : NULL;
		errno = 77;
		qslab_free_bulk(MOST, objects);
		cr_assert_eq(errno, 77);
	}
	cr_assert_eq(live(), before);
}

static void *frees_elsewhere(void *objects)
{
	qslab_free_bulk(MOST, objects);
	cr_assert_eq(qslab_malloc_bulk(48, MOST, objects), MOST); /* to be freed by the other */
	return NULL;
}

Test(bulk, between_threads)
{
	void *objects[MOST];
	size_t before = live();

	for (int round = 0; round < SCALE(50); round++) {
		pthread_t thread;
		cr_assert_eq(qslab_malloc_bulk(96, MOST, objects), MOST);
		pthread_create(&thread, NULL, frees_elsewhere, objects);
		pthread_join(thread, NULL);
		qslab_free_bulk(MOST, objects);
	}
	cr_assert_eq(live(), before);
}

Test(bulk, too_much)
{
	void *objects[4];
	errno = 0;
	cr_assert_eq(qslab_malloc_bulk(SIZE_MAX, 4, objects), 0);
	cr_assert_eq(errno, ENOMEM);
	cr_assert_eq(qslab_malloc_bulk((size_t)1 << 50, 4, objects), 0);
}

static void frees_two(void *pair)
{
	qslab_free_bulk(2, pair);
}

/* Where a slab ends another class's may begin, or nothing at all: what lies there is no object of the first. */
Test(bulk, the_end_of_a_slab)
{
	enum { MANY = 8000 };
	static char *small[MANY];
	void *pair[2] = {NULL, NULL};

	for (int i = 0; i < MANY; i++) {
		small[i] = qslab_malloc(64);
		cr_assert(qslab_malloc(128));
	}
	for (int i = 0; i < MANY && !pair[0]; i++) {
		bool last = entry_descriptor(entry_of(small[i])) != entry_descriptor(entry_of(small[i] + 64));
		pair[0] = last ? small[i] : NULL;
		pair[1] = small[i] + 64;
	}
	cr_assert(pair[0]);
	if (!qslab_object_start(pair[1])) { /* jemalloc's pad */
		expect_abort(frees_two, pair, "qslab_free_bulk(", "not a qslab object");
		return;
	}
	frees_two(pair);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(qslab_usable_size(qslab_malloc(64)), 64);
}

/* Two objects of one class and of different slabs, to begin with: what follows them is looked up one by one. */
static void *far_apart[2];

static void make_far_apart(void)
{
	static void *objects[5000];
	cr_assert_eq(qslab_malloc_bulk(64, 5000, objects), 5000);
	far_apart[0] = objects[0];
	far_apart[1] = objects[4999];
}

static void frees_twice(void *argument)
{
	void *object = qslab_malloc(64);
	void *objects[] = {qslab_malloc(64), object, qslab_malloc(64), object};
	qslab_free_bulk(4, objects);
}

static void frees_twice_far(void *argument)
{
	void *objects[] = {far_apart[0], far_apart[1], far_apart[0]};
	qslab_free_bulk(3, objects);
}

static void frees_inside(void *argument)
{
	char *object = qslab_malloc(64);
	void *objects[] = {qslab_malloc(64), object + 16};
	qslab_free_bulk(2, objects);
}

static void frees_inside_far(void *argument)
{
	void *objects[] = {far_apart[0], far_apart[1], (char *)qslab_malloc(64) + 16};
	qslab_free_bulk(3, objects);
}

static void frees_foreign(void *argument)
{
	void *objects[] = {qslab_malloc(64), argument};
	qslab_free_bulk(2, objects);
}

static void frees_foreign_far(void *argument)
{
	void *objects[] = {far_apart[0], far_apart[1], argument};
	qslab_free_bulk(3, objects);
}

Test(bulk, misuse)
{
	int here;
	expect_abort(frees_twice, NULL, "qslab_free_bulk(", "double free of a 64-byte object");
	expect_abort(frees_inside, NULL, "qslab_free_bulk(", "interior pointer");
	expect_abort(frees_foreign, &here, "qslab_free_bulk(", "not a qslab object");
	make_far_apart();
	expect_abort(frees_twice_far, NULL, "qslab_free_bulk(", "double free of a 64-byte object");
	expect_abort(frees_inside_far, NULL, "qslab_free_bulk(", "interior pointer");
	expect_abort(frees_foreign_far, &here, "qslab_free_bulk(", "not a qslab object");
}

Test(bulk, good_size)
{
	for (size_t size = 0; size < 600000; size += size < 5000 ? 1 : 997) {
		void *object = qslab_malloc(size);
		cr_assert_eq(qslab_good_size(size), qslab_usable_size(object), "%zu: %zu", size, qslab_good_size(size));
		qslab_free(object);
	}
}
