/* The hardened mode: ctest sets QSLAB_OPTIONS=harden for this program, each of whose tests is a process of its own. */
#define _GNU_SOURCE
#include "alloc/class.h"
#include "alloc/guard.h"
#include "alloc/harden.h"
#include "check.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

static const size_t some_sizes[] = {0, 1, 7, 8, 9, 24, 56, 57, 64, 100, 248, 249, 1000, 1016, 1017, 4088, 4096, 16376, 20000, 65536,
                                    200000, MEDIUM_MAX - SEAL_SIZE, MEDIUM_MAX - SEAL_SIZE + 1, MEDIUM_MAX, 300000, 1 << 20, 5000001};
#define SOME (sizeof some_sizes / sizeof *some_sizes)

static void need_mode(void)
{
	qslab_free(qslab_malloc(1));
	cr_assert(hardened, "not in the hardened mode: run by ctest, or with QSLAB_OPTIONS=harden");
}

static bool all(const unsigned char *bytes, size_t count, unsigned char value)
{
	return !count || (*bytes == value && !memcmp(bytes, bytes + 1, count - 1));
}

Test(harden, memory_is_zero_and_as_large_as_asked)
{
	need_mode();
	for (int round = 0; round < 3; round++) {
		for (size_t s = 0; s < SOME; s++) {
			void *objects[40];
			for (int i = 0; i < 40; i++) {
				objects[i] = qslab_malloc(some_sizes[s]);
				cr_assert_eq(qslab_usable_size(objects[i]), some_sizes[s]);
				cr_assert(all(objects[i], some_sizes[s], 0), "%zu bytes, round %d", some_sizes[s], round);
				memset(objects[i], 0xee, some_sizes[s]);
			}
			for (int i = 0; i < 40; i++)
				qslab_free(objects[i]);
		}
	}
}

Test(harden, realloc_keeps_what_was_there_and_shows_nothing_else)
{
	need_mode();
	for (size_t a = 0; a < SOME; a++) {
		for (size_t b = 0; b < SOME; b++) {
			size_t from = some_sizes[a], to = some_sizes[b], kept = from < to ? from : to;
			unsigned char *p = qslab_malloc(from);
			memset(p, 0x5a, from);
			unsigned char *q = qslab_realloc(p, to);
			if (!to) { /* as free */
				cr_assert_null(q);
				continue;
			}
			cr_assert(all(q, kept, 0x5a), "%zu to %zu", from, to);
			cr_assert(all(q + kept, to - kept, 0), "%zu to %zu: what is new is not zero", from, to);
			cr_assert_eq(qslab_usable_size(q), to);
			qslab_free(q);
		}
	}
}

Test(harden, alignment)
{
	need_mode();
	for (size_t alignment = 16; alignment <= 1 << 21; alignment *= 2) {
		for (size_t s = 0; s < SOME; s++) {
			unsigned char *p = qslab_aligned_alloc(alignment, some_sizes[s]);
			cr_assert(p && !((uintptr_t)p & (alignment - 1)) && all(p, some_sizes[s], 0));
			cr_assert_eq(qslab_usable_size(p), some_sizes[s] || alignment <= 4096 ? some_sizes[s] : 1); /* none is empty */
			memset(p, 1, some_sizes[s]);
			qslab_free(p);
		}
	}
}

/* In a slab of n objects, one follows the one before with a chance of 1 in n. */
Test(harden, the_order_within_a_slab_is_random)
{
	enum { MANY = 400 };
	char *objects[MANY];
	int ascending = 0;

	need_mode();
	for (int i = 0; i < MANY; i++)
		objects[i] = qslab_malloc(56);
	for (int i = 1; i < MANY; i++)
		ascending += objects[i] - objects[i - 1] == 64;
	cr_assert(ascending < MANY / 10, "%d", ascending); /* 0.4 are to be expected */
}

/* Only another free can take it out of the quarantine. */
Test(harden, a_freed_object_is_not_the_next_one)
{
	need_mode();
	for (int round = 0; round < 100; round++) {
		void *freed = qslab_malloc(100), *others[200];
		qslab_free(freed);
		for (int i = 0; i < 200; i++)
			cr_assert_neq(others[i] = qslab_malloc(100), freed);
		for (int i = 0; i < 200; i++)
			qslab_free(others[i]);
	}
}

/* ---- every byte behind an object, before it, and in it once it is free ----------------------------------------- */

/* How a child that does it ends: the signal, 0 if it exits. */
static int ending_of(void (*body)(unsigned char *object, size_t at), size_t size, size_t at)
{
	unsigned char *object = qslab_malloc(size);
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		freopen("/dev/null", "w", stderr);
		body(object, at);
		exit(0); /* with destructors */
	}
	int status;
	waitpid(child, &status, 0);
	qslab_free(object);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void write_and_free(unsigned char *object, size_t at)
{
	object[at] ^= 0x10;
	qslab_free(object);
}

static void clear_and_free(unsigned char *object, size_t at)
{
	object[at] = 0; /* as the end of a string that is too long */
	qslab_free(object);
}

static void write_and_realloc(unsigned char *object, size_t at)
{
	object[at] ^= 0x10;
	qslab_free(qslab_realloc(object, 10));
}

static void write_freed(unsigned char *object, size_t at)
{
	qslab_free(object);
	object[at] = 1;
}

Test(harden, every_byte_behind_an_object, .disabled = NO_FORK)
{
	need_mode();
	for (size_t size = 40; size <= 58; size += 3) { /* padding of 0 to 14 bytes */
		size_t slot = qslab_good_size(size) + SEAL_SIZE;
		for (size_t at = size; at < slot; at++) {
			cr_assert_eq(ending_of(write_and_free, size, at), SIGABRT, "byte %zu of %zu", at, size);
			cr_assert_eq(ending_of(write_and_realloc, size, at), SIGABRT, "byte %zu of %zu", at, size);
		}
		cr_assert_eq(ending_of(clear_and_free, size, size), SIGABRT, "the byte behind %zu", size);
		cr_assert_eq(ending_of(write_freed, size, size - 1), SIGABRT, "the last of %zu, freed", size);
	}
}

Test(harden, large_objects_end_at_a_guard, .disabled = NO_FORK)
{
	size_t size = (size_t)1 << 20;

	need_mode();
	cr_assert_eq(ending_of(write_and_free, size, size), SIGSEGV);
	cr_assert_eq(ending_of(write_and_free, size - 5, size - 5), SIGABRT);
	cr_assert_eq(ending_of(clear_and_free, size - 5, size - 1), SIGABRT);
	cr_assert_eq(ending_of(write_and_realloc, size - 5, size - 1), SIGABRT);
	cr_assert_eq(ending_of(write_freed, size, 12345), SIGSEGV);
	cr_assert_eq(ending_of(write_freed, size, 0), SIGSEGV);
}

static void free_with_its_size(unsigned char *object, size_t size)
{
	harden_check_size("free_sized", object, size);
	qslab_free(object);
}

/* The size that was asked for is the right one, also where an object of none has a byte: it has a page, or is sampled. */
Test(harden, sizes, .disabled = NO_FORK)
{
	need_mode();
	for (size_t s = 0; s < SOME; s++) {
		cr_assert_eq(ending_of(free_with_its_size, some_sizes[s], some_sizes[s]), 0, "%zu", some_sizes[s]);
		cr_assert_eq(ending_of(free_with_its_size, some_sizes[s], some_sizes[s] + 2), SIGABRT, "%zu", some_sizes[s]);
		void *aligned = qslab_aligned_alloc(8192, some_sizes[s]);
		free_with_its_size(aligned, some_sizes[s]);
	}
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

/* What is kept of freed large objects goes back when there is no other memory. */
Test(harden, kept_addresses_serve_when_memory_is_out, .disabled = SANITIZED)
{
	struct rlimit limit;

	need_mode();
	for (int i = 0; i < 300; i++)
		qslab_free(qslab_malloc(600000));
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = 1;
	setrlimit(RLIMIT_AS, &limit);
	for (int i = 0; i < 100; i++)
		cr_assert_not_null(qslab_malloc(600000), "%d", i);
}

/* At RLIMIT_DATA a guard page cannot be had back: nobody may come upon it. */
Test(harden, guards_that_stay_are_not_used, .disabled = SANITIZED)
{
	enum { MOST = 1 << 20 };
	static unsigned char *objects[MOST];
	const size_t sizes[] = {3000, 700, 40000, 3000};
	struct rlimit limit;
	size_t data, count;

	need_mode();
	memset(objects, 1, sizeof objects);
	FILE *file = fopen("/proc/self/statm", "r");
	cr_assert(fscanf(file, "%*u %*u %*u %*u %*u %zu", &data) == 1);
	fclose(file);
	getrlimit(RLIMIT_DATA, &limit);
	limit.rlim_cur = (data << PAGE_SHIFT) + ((size_t)64 << 20);
	setrlimit(RLIMIT_DATA, &limit);
	for (int i = 0; i < 4; i++) {
		for (count = 0; count < MOST && (objects[count] = qslab_malloc(sizes[i])); count++)
			memset(objects[count], 1, sizes[i]);
		cr_assert(count < MOST && count > 200, "%zu objects of %zu bytes", count, sizes[i]);
		for (size_t j = 0; j < count; j++)
			qslab_free(objects[j]);
	}
}

/* More slabs than there are guards that are mappings; behind the last one is a guard all the same, if marks are to be had. */
Test(harden, guards_are_not_endless, .disabled = SANITIZED)
{
	enum { MANY = GUARDS_MOST + 500 };
	static unsigned char *objects[MANY];

	need_mode();
	for (int i = 0; i < MANY; i++) {
		cr_assert_not_null(objects[i] = qslab_malloc(150000)); /* a slab each */
		objects[i][149999] = 1;
	}
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool marks = !madvise(page, 4096, 102); /* MADV_GUARD_INSTALL */
	munmap(page, 4096);
	int ending = ending_of(write_and_free, 150000, qslab_good_size(150000) + SEAL_SIZE);
	cr_assert(marks ? ending == SIGSEGV : ending == 0 || ending == SIGABRT, "%d", ending);
	for (int i = 0; i < MANY; i++)
		qslab_free(objects[i]);
	qslab_trim();
	struct qslab_memory memory;
	qslab_memory(&memory);
	cr_assert_eq(memory.live, 0);
}
