/* What malloc's callers may rely on. */
#include "check.h"

#include <errno.h>

Test(basic, alignment_and_room_for_every_size)
{
	for (size_t size = 0; size < 300000; size += size < 2000 ? 1 : size / 61) {
		unsigned char *p = qslab_malloc(size);
		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % 16, 0);
		cr_assert_geq(qslab_usable_size(p), size);
		memset(p, 0xa5, qslab_usable_size(p));
		qslab_free(p);
	}
}

Test(basic, zero_sizes)
{
	void *a = qslab_malloc(0), *b = qslab_malloc(0);
	cr_assert(a && b && a != b);
	qslab_free(a);
	qslab_free(b);
	qslab_free(NULL);
	cr_assert_eq(qslab_usable_size(NULL), 0);
	cr_assert_null(qslab_realloc(qslab_malloc(10), 0));
}

Test(basic, impossible_sizes_give_ENOMEM)
{
	volatile size_t huge = PTRDIFF_MAX;
	size_t sizes[] = {huge + 1, huge, SIZE_MAX, SIZE_MAX - 4096};
	void *kept = qslab_malloc(100);
	for (int i = 0; i < 4; i++) {
		errno = 0;
		cr_assert_null(qslab_malloc(sizes[i]));
		cr_assert_eq(errno, ENOMEM);
		errno = 0;
		cr_assert_null(qslab_calloc(2, sizes[i]));
		cr_assert_eq(errno, ENOMEM);
		errno = 0;
		cr_assert_null(qslab_realloc(kept, sizes[i]));
		cr_assert_eq(errno, ENOMEM);
		errno = 0;
		cr_assert_null(qslab_aligned_alloc(64, sizes[i]));
		cr_assert_eq(errno, ENOMEM);
	}
	errno = 0;
	cr_assert_null(qslab_reallocarray(kept, huge, 4));
	cr_assert_eq(errno, ENOMEM);
	memset(kept, 1, 100);
	qslab_free(kept);
}

Test(basic, calloc_is_zero_after_dirty_reuse)
{
	size_t sizes[] = {1, 16, 100, 1000, 5000, 40000, 200000, 300000, 3000000};
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			unsigned char *p = qslab_malloc(sizes[i]);
			memset(p, 0xff, sizes[i]);
			qslab_free(p);
			p = qslab_calloc(1, sizes[i]);
			for (size_t k = 0; k < sizes[i]; k++)
				cr_assert_eq(p[k], 0);
			qslab_free(p);
		}
	}
}

Test(basic, alignments)
{
	for (size_t alignment = 1; alignment <= (size_t)1 << 24; alignment *= 2) {
		for (size_t size = 1; size < 600000; size = size * 3 + 1) {
			unsigned char *p = qslab_aligned_alloc(alignment, size);
			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % alignment, 0, "%zu at %zu", size, alignment);
			p[0] = p[size - 1] = 1;
			cr_assert_eq(qslab_object_start(p + size - 1), p);
			qslab_free(p);
		}
	}
	errno = 0;
	cr_assert_null(qslab_aligned_alloc(48, 10));
	cr_assert_eq(errno, EINVAL);
	cr_assert_null(qslab_aligned_alloc(0, 10));
}

Test(basic, realloc_keeps_contents_between_all_kinds)
{
	size_t sizes[] = {1, 17, 300, 5000, 70000, 262144, 262145, 1 << 20, 5 << 20};
	enum { N = sizeof sizes / sizeof *sizes };
	for (int a = 0; a < N; a++) {
		for (int b = 0; b < N; b++) {
			unsigned char *p = qslab_malloc(sizes[a]);
			for (size_t k = 0; k < sizes[a]; k++)
				p[k] = (unsigned char)(k * 7 + (k >> 12));
			p = qslab_realloc(p, sizes[b]);
			cr_assert_not_null(p);
			size_t least = sizes[a] < sizes[b] ? sizes[a] : sizes[b];
			for (size_t k = 0; k < least; k++)
				cr_assert_eq(p[k], (unsigned char)(k * 7 + (k >> 12)));
			memset(p, 3, sizes[b]);
			qslab_free(p);
		}
	}
}

Test(basic, free_keeps_errno)
{
	static void *many[20000];
	for (int i = 0; i < 20000; i++)
		many[i] = qslab_malloc(4000);
	void *large = qslab_malloc(50 << 20);
	errno = 4711;
	for (int i = 0; i < 20000; i++)
		qslab_free(many[i]);
	qslab_free(large);
	cr_assert_eq(errno, 4711);
}

/* A buffer that grows step by step moves rarely: its pages are never copied. */
Test(basic, growing_buffer_rarely_moves)
{
	unsigned moves = 0;
	unsigned char *p = NULL;
	for (size_t size = 65536; size <= (size_t)128 << 20; size += 65536) {
		unsigned char *q = qslab_realloc(p, size);
		cr_assert_not_null(q);
		moves += q != p;
		p = q;
		p[size - 1] = (unsigned char)(size >> 16);
	}
	cr_assert_leq(moves, 40);
	for (size_t size = 65536; size <= (size_t)128 << 20; size += 65536)
		cr_assert_eq(p[size - 1], (unsigned char)(size >> 16));
	qslab_free(p);
}

/* Two in turn are in each other's way: they move, by page tables above 1 MiB where the kernel can. */
Test(basic, buffers_that_grow_in_turn_keep_their_contents)
{
	enum { STEP = 1 << 20, STEPS = 24, STRIDE = 512 };
	unsigned char *p[2] = {NULL, NULL};
	unsigned moves = 0;
	for (size_t n = 1; n <= STEPS; n++) {
		for (int b = 0; b < 2; b++) {
			unsigned char *q = qslab_realloc(p[b], n * STEP);
			cr_assert_not_null(q);
			moves += q != p[b];
			p[b] = q;
			for (size_t k = (n - 1) * STEP; k < n * STEP; k += STRIDE)
				q[k] = (unsigned char)(k / STRIDE * 7 + n + (size_t)b);
		}
	}
	cr_assert_gt(moves, 2u);
	for (int b = 0; b < 2; b++) {
		for (size_t k = 0; k < (size_t)STEPS * STEP; k += STRIDE)
			cr_assert_eq(p[b][k], (unsigned char)(k / STRIDE * 7 + k / STEP + 1 + (size_t)b));
		qslab_free(p[b]);
	}
}
