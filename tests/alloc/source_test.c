/* What the source counts as dirty is what jemalloc has. */
#include "alloc/source.h"
#include "check.h"

#include <pthread.h>

/* The private copy's; none with another source. */
int qslab_je_mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length) __attribute__((weak));

static size_t jemalloc_dirty(void)
{
	uint64_t epoch = 1;
	unsigned arenas = 0;
	size_t length = sizeof arenas, sum = 0, known = 0;

	cr_assert_eq(qslab_je_mallctl("epoch", NULL, NULL, &epoch, sizeof epoch), 0);
	cr_assert_eq(qslab_je_mallctl("arenas.narenas", &arenas, &length, NULL, 0), 0);
	for (unsigned i = 0; i < arenas; i++) {
		char name[48];
		size_t pages = 0;
		length = sizeof pages;
		snprintf(name, sizeof name, "stats.arenas.%u.pdirty", i);
		known += !qslab_je_mallctl(name, &pages, &length, NULL, 0); /* not of one that was never used */
		sum += pages;
	}
	cr_assert(known);
	return sum * 4096;
}

enum { THREADS = 4, SLOTS = 64 };

static void *pages_come_and_go(void *number)
{
	uint64_t random = (uintptr_t)number + 7;
	void *slots[SLOTS] = {NULL};

	for (int i = 0; i < SCALE(4000); i++) {
		void **slot = &slots[next_random(&random) % SLOTS];
		size_t size = (size_t)1 << (12 + next_random(&random) % 11);
		size += next_random(&random) % size;
		switch (next_random(&random) % 8) {
		case 0:
			qslab_free(*slot);
			*slot = qslab_calloc(1, size);
			break;
		case 1:
			qslab_free(*slot);
			*slot = qslab_aligned_alloc((size_t)4096 << next_random(&random) % 11, size);
			break;
		case 2:
			if (next_random(&random) % 64 == 0)
				qslab_trim();
			break;
		case 3:
			qslab_free(*slot);
			*slot = NULL;
			break;
		default:
			*slot = qslab_realloc(*slot, size);
		}
	}
	for (int i = 0; i < SLOTS; i++)
		qslab_free(slots[i]);
	return NULL;
}

Test(source, dirty_is_what_it_has)
{
	pthread_t threads[THREADS];

	if (!qslab_je_mallctl)
		return;
	for (int round = 0; round < 4; round++) {
		for (uintptr_t i = 0; i < THREADS; i++)
			cr_assert(pthread_create(&threads[i], NULL, pages_come_and_go, (void *)(round * THREADS + i)) == 0);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		cr_assert_eq(load_relaxed(&source_dirty), jemalloc_dirty());
		if (round % 2)
			qslab_trim();
		cr_assert_eq(load_relaxed(&source_dirty), jemalloc_dirty());
	}
}
