/* Misuse is named in one line, then the process aborts. */
#include "check.h"

#include <pthread.h>

static void free_it(void *p) { qslab_free(p); }
static void size_it(void *p) { qslab_usable_size(p); }
static void realloc_it(void *p) { qslab_realloc(p, 10); }

static void free_twice(void *size)
{
	void *p = qslab_malloc((size_t)size);
	qslab_free(p);
	qslab_free(p);
}

/* Others are freed in between: few, and the first is still in the magazine; many, and it is in its slab. */
static void free_twice_apart(size_t size, int between)
{
	void *others[2000], *p = qslab_malloc(size);
	for (int i = 0; i < between; i++)
		others[i] = qslab_malloc(size);
	qslab_free(p);
	for (int i = 0; i < between; i++)
		qslab_free(others[i]);
	qslab_free(p);
}
static void free_twice_few_apart(void *size) { free_twice_apart((size_t)size, 5); }
static void free_twice_many_apart(void *size) { free_twice_apart((size_t)size, 2000); }

static void *free_in_thread(void *p) { qslab_free(p); return NULL; }

/* A thread that has ended returned it to its slab. */
static void free_twice_in_threads(void *size)
{
	void *p = qslab_malloc((size_t)size);
	pthread_t thread;
	pthread_create(&thread, NULL, free_in_thread, p);
	pthread_join(thread, NULL);
	qslab_free(p);
}

/* The program wiped the object after its first free: caught when both copies return to the slab. */
static void free_twice_wiped(void *size)
{
	void *others[2000], *p = qslab_malloc((size_t)size), *q = qslab_malloc((size_t)size);
	for (int i = 0; i < 2000; i++)
		others[i] = qslab_malloc((size_t)size);
	qslab_free(p);
	qslab_free(q);
	memset(p, 0, 16);
	qslab_free(p);
	for (int i = 0; i < 2000; i++)
		qslab_free(others[i]);
}

Test(misuse, double_free)
{
	size_t sizes[] = {16, 64, 1000, 5000, 100000};
	for (int i = 0; i < 5; i++)
		expect_abort(free_twice, (void *)sizes[i], "qslab_free(0x", "double free");
	expect_abort(free_twice, (void *)(1 << 20), "qslab_free(0x", "double free");
	for (int i = 0; i < 4; i++)
		expect_abort(free_twice_wiped, (void *)sizes[i], "free(0x", "double free");
	for (int i = 0; i < 5; i++) {
		expect_abort(free_twice_few_apart, (void *)sizes[i], "qslab_free(0x", "double free");
		expect_abort(free_twice_many_apart, (void *)sizes[i], "qslab_free(0x", "");
		expect_abort(free_twice_in_threads, (void *)sizes[i], "qslab_free(0x", "");
	}
}

/* It is in a magazine or, after many others, in its slab. */
static void realloc_freed(size_t size, int between)
{
	void *others[2000], *p = qslab_malloc(size);
	for (int i = 0; i < between; i++)
		others[i] = qslab_malloc(size);
	qslab_free(p);
	for (int i = 0; i < between; i += 2)
		qslab_free(others[i]);
	qslab_realloc(p, size - 1);
}
static void realloc_freed_at_once(void *size) { realloc_freed((size_t)size, 0); }
static void realloc_freed_later(void *size) { realloc_freed((size_t)size, 2000); }

Test(misuse, realloc_of_a_freed_object)
{
	size_t sizes[] = {16, 64, 1000, 5000, 100000};
	for (int i = 0; i < 5; i++)
		expect_abort(realloc_freed_at_once, (void *)sizes[i], "qslab_realloc(0x", "use of a freed");
	for (int i = 0; i < 4; i++)
		expect_abort(realloc_freed_later, (void *)sizes[i], "qslab_realloc(0x", "use of a freed");
	expect_abort(realloc_freed_at_once, (void *)(1 << 20), "qslab_realloc(0x", "not a qslab object");
}

/* A live object may look like a freed one. */
Test(misuse, a_copied_mark_is_no_double_free)
{
	for (size_t size = 16; size <= 100000; size *= 5) {
		void *p = qslab_malloc(size), *q = qslab_malloc(size);
		qslab_free(p);
		memcpy(q, p, 16);
		cr_assert(qslab_realloc(q, size) == q);
		qslab_free(q);
		void *again = qslab_malloc(size);
		cr_assert(again == q || again == p);
		qslab_free(again);
	}
}

Test(misuse, interior_pointers)
{
	size_t sizes[] = {16, 64, 48, 1000, 20000, 100000, 1 << 20};
	for (int i = 0; i < 7; i++) {
		char *p = qslab_malloc(sizes[i]);
		char start[40];
		snprintf(start, sizeof start, "%p", (void *)p);
		expect_abort(free_it, p + 1, "interior pointer: 1 bytes", start);
		expect_abort(free_it, p + 8, "interior pointer: 8 bytes", start);
		expect_abort(size_it, p + 8, "qslab_usable_size", "interior pointer");
		expect_abort(realloc_it, p + 8, "qslab_realloc", "interior pointer");
		if (sizes[i] > 16)
			expect_abort(free_it, p + 16, "interior pointer: 16 bytes", start);
		if (sizes[i] > 9000)
			expect_abort(free_it, p + 4096, "interior pointer: 4096 bytes", start);
		qslab_free(p);
	}
}

Test(misuse, foreign_pointers)
{
	static char data[64] = "not bss: that is an anonymous mapping";
	char local[64];
	char *libc = malloc(64);
	qslab_free(qslab_malloc(1));
	expect_abort(free_it, data + 16, "not a qslab object", "static data of ");
	expect_abort(free_it, local, "not a qslab object", "stack");
	expect_abort(free_it, libc, "not a qslab object", "");
	expect_abort(free_it, (void *)64, "not a qslab object", "unmapped");
	expect_abort(realloc_it, libc, "qslab_realloc", "not a qslab object");
	free(libc);
}
