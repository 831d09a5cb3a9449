/* What a program reads or writes that is not, or no longer, its object. */
#define _GNU_SOURCE
#include "misuse.h"
#include "objects.h"

#include <stdlib.h>
#include <string.h>

/* ---- beside an object ---- */

static void overflow(size_t size, size_t much)
{
	unsigned char *low, *high;
	take_neighbours(size, &low, &high);
	memset(low + size, 'A', much);
}

static void overflow_nul(size_t size, size_t much)
{
	unsigned char *low, *high;
	take_neighbours(size, &low, &high);
	memset(low + size, 0, much);
}

static void underflow(size_t size, size_t much)
{
	unsigned char *low, *high;
	take_neighbours(size, &low, &high);
	memset(high - much, 'A', much);
}

/* ---- after its end ---- */

static void read_freed(size_t size, size_t unused)
{
	unsigned char *p = take_one(size);
	forget(p);
	plant_secret(p, size);
	free(p);
	find_secret(p, size);
}

static void write_reused(size_t size, size_t much)
{
	unsigned char *p = take_and_free(size);
	wait_for_owner(p, size);
	memset(p + size / 2, 'A', much);
}

static void write_before_calloc(size_t size, size_t much)
{
	unsigned char *p = take_and_free(size);
	memset(p + size / 2, 'A', much);
	for (size_t i = 0; i < plenty(size); i++)
		take_zeroed(size);
}

static void read_uninitialised(size_t size, size_t unused)
{
	unsigned char *p = take_one(size);
	forget(p);
	plant_secret(p, size);
	free(p);
	for (size_t i = 0; i < plenty(size); i++) {
		void *new = malloc(size);
		check_new(new, size);
		find_secret(new, size);
		adopt(new, size);
	}
}

const struct misuse content_cases[] = {
	{"overflow-24-by-1", overflow, 24, 1},
	{"overflow-24-by-nul", overflow_nul, 24, 1},
	{"overflow-32-by-1", overflow, 32, 1},
	{"overflow-64-by-1", overflow, 64, 1},
	{"overflow-5000-by-1", overflow, 5000, 1},
	{"overflow-1M-by-1", overflow, LARGE, 1},
	{"overflow-64-by-64", overflow, 64, 64},
	{"overflow-64-by-4096", overflow, 64, 4096},
	{"overflow-1M-by-page", overflow, LARGE, 4096},
	{"overflow-1M-by-1M", overflow, LARGE, LARGE},
	{"underflow-64-by-1", underflow, 64, 1},
	{"underflow-64-by-16", underflow, 64, 16},
	{"underflow-1M-by-1", underflow, LARGE, 1},
	{"read-freed-64", read_freed, 64, 0},
	{"read-freed-1M", read_freed, LARGE, 0},
	{"write-freed-64-reused", write_reused, 64, 8},
	{"write-freed-1M-reused", write_reused, LARGE, 8},
	{"write-freed-64-calloc", write_before_calloc, 64, 8},
	{"write-freed-1M-calloc", write_before_calloc, LARGE, 8},
	{"uninitialised-64", read_uninitialised, 64, 0},
	{"uninitialised-1M", read_uninitialised, LARGE, 0},
	{0},
};
