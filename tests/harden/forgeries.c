/* Attacks on what allocators keep in free objects, or before live ones. */
#define _GNU_SOURCE
#include "misuse.h"
#include "objects.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TARGET (attacker + 1024)

/* A freed object with other freed ones before and, if asked for, behind it in whatever list there is. */
static unsigned char *take_and_free_several(size_t size, size_t later)
{
	unsigned char *p = take_one(size);
	free(forget(objects[1].start));
	free(forget(objects[3].start));
	free(forget(p));
	while (later-- > 0)
		free(forget(objects[5].start));
	return p;
}

/* Its first words become an attacker's. */
static void write_links(size_t size, uintptr_t first, uintptr_t second, size_t much)
{
	uintptr_t words[2] = {first, second};
	memcpy(take_and_free_several(size, 0), words, much);
	mine(attacker, AREA);
}

static void poison(size_t size, size_t much)
{
	write_links(size, (uintptr_t)TARGET, (uintptr_t)TARGET, much);
}

static void poison_list(size_t size, size_t much)
{
	write_links(size, (uintptr_t)TARGET - 24, (uintptr_t)TARGET - 16, much);
}

/* As a list needs it that keeps an address combined with where it lies. */
static void poison_mangled(size_t size, size_t much)
{
	unsigned char *p = take_and_free_several(size, 0);
	uintptr_t link = (uintptr_t)p >> 12 ^ (uintptr_t)TARGET;
	memcpy(p, &link, much);
	mine(attacker, AREA);
}

static void fill_freed(size_t size, size_t much)
{
	memset(take_and_free_several(size, 1), 0xff, much);
}

/* A header before a live object says that it is larger. */
static void forge_header(size_t size, size_t pretended)
{
	unsigned char *low, *high;
	size_t header[2] = {0, pretended | 1};
	take_neighbours(size, &low, &high);
	memcpy(high - sizeof header, header, sizeof header);
	free(forget(high));
}

/* What looks like two objects with headers before them, and is none; the first is freed. */
static void free_forged(unsigned char *start, size_t size)
{
	size_t header[2] = {0, size | 1};
	memcpy(start, header, sizeof header);
	memcpy(start + size, header, sizeof header);
	free(start + sizeof header);
}

static void forge_static(size_t unused, size_t size)
{
	add(attacker, AREA, 0, true);
	free_forged(TARGET, size);
}

static void forge_interior(size_t size, size_t pretended)
{
	unsigned char *p = take_one(size);
	object_at(p)->byte = 0;
	free_forged(p + size / 4, pretended);
}

const struct misuse forgery_cases[] = {
	{"poison-link", poison, 64, 8},
	{"poison-link-mangled", poison_mangled, 64, 8},
	{"poison-16-bytes", poison, 64, 16},
	{"poison-list-2000", poison_list, 2000, 16},
	{"fill-freed-64", fill_freed, 64, 64},
	{"fill-freed-1M", fill_freed, LARGE, LARGE},
	{"forge-header", forge_header, 64, 144},
	{"forge-static", forge_static, 64, 80},
	{"forge-interior", forge_interior, 256, 80},
	{0},
};
