/* Descriptors' memory: pieces never overlap, keep what they hold through every trim, and dead ones' pages go back. */
#include "alloc/meta.h"
#include "check.h"

#include <sys/mman.h>

enum { PIECES = 6000, ROUNDS = 8 };

static const size_t sizes[] = {64, 192, 384, 1000, 5000};
static struct { unsigned char *at; size_t size; } pieces[PIECES];

static unsigned char tag(unsigned i) { return (unsigned char)(i * 7 + 1); }

static void check_piece(unsigned i)
{
	for (size_t b = 0; b < pieces[i].size; b++)
		cr_assert_eq(pieces[i].at[b], tag(i), "piece %u of %zu bytes, byte %zu", i, pieces[i].size, b);
}

static void fill_empty(uint64_t *random)
{
	for (unsigned i = 0; i < PIECES; i++) {
		if (pieces[i].at)
			continue;
		pieces[i].size = sizes[next_random(random) % (sizeof sizes / sizeof *sizes)];
		pieces[i].at = meta_alloc(pieces[i].size);
		cr_assert_not_null(pieces[i].at);
		cr_assert_eq((uintptr_t)pieces[i].at % 64, 0);
		memset(pieces[i].at, tag(i), pieces[i].size);
	}
}

static size_t resident_pages(void)
{
	size_t size, pages;
	FILE *file = fopen("/proc/self/statm", "r");
	cr_assert(fscanf(file, "%zu %zu", &size, &pages) == 2);
	fclose(file);
	return pages;
}

Test(meta, pieces_keep_what_they_hold)
{
	uint64_t random = 17;
	for (int round = 0; round < ROUNDS; round++) {
		fill_empty(&random);
		for (unsigned i = 0; i < PIECES; i++) {
			check_piece(i);
			if (next_random(&random) % 8 <= (unsigned)round) {
				meta_free(pieces[i].at, pieces[i].size);
				pieces[i].at = NULL;
			}
		}
		meta_trim();
	}
}

Test(meta, pages_of_dead_pieces_go_back, .disabled = SANITIZED)
{
	enum { COUNT = 40000, SIZE = 384 };
	static void *many[COUNT];
	size_t before = resident_pages(), said_before = meta_bytes();

	for (int i = 0; i < COUNT; i++)
		memset(many[i] = meta_alloc(SIZE), 1, SIZE);
	size_t peak = resident_pages();
	size_t said_peak = meta_bytes();
	cr_assert_geq(peak - before, COUNT * SIZE / PAGE_SIZE);
	cr_assert_geq(said_peak - said_before, COUNT * SIZE);
	for (int i = 0; i < COUNT; i++)
		if (i % 1000) /* one in a thousand stays */
			meta_free(many[i], SIZE);
	meta_trim();
	cr_assert_leq(resident_pages(), before + (peak - before) / 8);
	cr_assert_leq(meta_bytes(), said_before + (said_peak - said_before) / 8);
	for (int i = 0; i < COUNT; i += 1000)
		for (int b = 0; b < SIZE; b++)
			cr_assert_eq(((unsigned char *)many[i])[b], 1);
}
