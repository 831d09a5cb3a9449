#define _GNU_SOURCE
#include "objects.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OBJECTS_MAX 8192
#define SECRET 0x5345435245543432u

struct object objects[OBJECTS_MAX];
size_t object_count;
const char *harm;

/* Without a buffer of malloc's. */
_Noreturn void end(int status, const char *line)
{
	dprintf(STDOUT_FILENO, "%s\n", line);
	_exit(status);
}

static bool mapped(const unsigned char *address)
{
	unsigned char resident;
	return !mincore((void *)((uintptr_t)address & ~(uintptr_t)4095), 1, &resident);
}

void check_new(const unsigned char *start, size_t size)
{
	if (!start)
		end(1, "malloc fails");
	if (size >= 16 && (uintptr_t)start % 16)
		end(0, "missed: a misaligned address is handed out");
	if (!mapped(start) || !mapped(start + size - 1))
		end(0, "missed: an address without memory is handed out");
	for (size_t i = 0; i < object_count; i++)
		if (start < objects[i].start + objects[i].size && objects[i].start < start + size)
			end(0, objects[i].mine ? "missed: memory that was never malloc's is handed out" :
			                         "missed: the same memory is handed out twice");
}

/* Object number i is whole. */
static void check_content(size_t i)
{
	const struct object *o = &objects[i];
	if (o->byte && (o->start[0] != o->byte || memcmp(o->start, o->start + 1, o->size - 1)))
		harm = o->mine ? "missed: memory that was never malloc's is changed" : "missed: a live object is changed";
}

void add(void *start, size_t size, unsigned char byte, bool mine)
{
	if (object_count == OBJECTS_MAX)
		end(1, "too many objects");
	if (byte)
		memset(start, byte, size);
	objects[object_count++] = (struct object){start, size, byte, mine};
}

void *adopt(void *start, size_t size)
{
	static unsigned char byte;
	check_new(start, size);
	add(start, size, 0x80 + byte++ % 100, false);
	return start;
}

void *take(size_t size) { return adopt(malloc(size), size); }

struct object *object_at(const void *start)
{
	for (size_t i = 0; i < object_count; i++)
		if (objects[i].start == start)
			return &objects[i];
	end(1, "no object of the program's");
}

void *forget(void *start)
{
	struct object *object = object_at(start);
	check_content((size_t)(object - objects));
	*object = objects[--object_count];
	return start;
}

void drop_all(void)
{
	for (size_t i = 0; i < object_count; i++)
		check_content(i);
	while (object_count) {
		size_t i = object_count * 7 / 11;
		struct object o = objects[i];
		objects[i] = objects[--object_count];
		if (!o.mine)
			free(o.start);
	}
}

static bool all_zero(const unsigned char *start, size_t size)
{
	return !start[0] && !memcmp(start, start + 1, size - 1);
}

void *take_zeroed(size_t size)
{
	void *start = calloc(1, size);
	check_new(start, size);
	if (!all_zero(start, size))
		end(0, "missed: calloc's object is not zero");
	return adopt(start, size);
}

size_t plenty(size_t size) { return size < 8192 ? 1500 : 8; }

void exercise(size_t size)
{
	for (size_t i = 0; i < plenty(size); i++)
		take(size);
	for (size_t i = 0; i < 20; i++)
		for (size_t other = 8; other < 10000; other += other < 256 ? 8 : other / 4)
			i % 4 ? take(other) : take_zeroed(other);
	for (size_t i = 0; i < 4; i++)
		i % 2 ? take(LARGE >> i) : take_zeroed(LARGE >> i);
}

void take_group(size_t size)
{
	for (size_t i = size < LARGE ? 64 : 8; i > 0; i--)
		take(size);
}

void take_neighbours(size_t size, unsigned char **low, unsigned char **high)
{
	ptrdiff_t closest = PTRDIFF_MAX;
	take_group(size);
	for (size_t i = 0; i < object_count; i++)
		for (size_t j = 0; j < object_count; j++) {
			ptrdiff_t distance = objects[j].start - objects[i].start;
			if (distance > 0 && distance < closest) {
				closest = distance;
				*low = objects[i].start;
				*high = objects[j].start;
			}
		}
}

unsigned char *take_one(size_t size)
{
	take_group(size);
	return objects[object_count / 2].start;
}

unsigned char *take_and_free(size_t size)
{
	unsigned char *p = take_one(size);
	free(forget(p));
	return p;
}

void wait_for_owner(const void *freed, size_t size)
{
	for (size_t i = 0; i < plenty(size) && take(size) != freed; i++)
		;
}

void *mine(void *start, size_t size)
{
	add(start, size, 0xee, true);
	return start;
}

void plant_secret(void *start, size_t size)
{
	for (uint64_t *word = start; size >= sizeof *word; size -= sizeof *word)
		*word++ = SECRET;
}

void find_secret(const void *start, size_t size)
{
	for (const uint64_t *word = start; size >= sizeof *word; size -= sizeof *word)
		if (*word++ == SECRET)
			end(0, "missed: the secret of a freed object is readable");
}
