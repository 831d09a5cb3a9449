/*
 * The objects of a program that misuses malloc, and whether they come to harm. Each live one is full of a byte of its
 * own, which is checked before it is freed; each new one is checked to be nobody else's.
 *
 * Two kinds of harm. An object that was changed is noted and the program goes on, for the allocator may still find out
 * when it is freed, or at exit. Memory of another owner handed out, or a secret read, ends the program at once: what
 * the allocator would say later is too late.
 */
#ifndef QSLAB_TESTS_OBJECTS_H
#define QSLAB_TESTS_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>

#define LARGE ((size_t)1 << 20)

extern struct object {
	unsigned char *start;
	size_t size;
	unsigned char byte; /* 0: its content is not checked */
	bool mine;          /* not from malloc */
} objects[];
extern size_t object_count;
extern const char *harm; /* noted */

/* With its last line of stdout. */
_Noreturn void end(int status, const char *line);

/* What malloc gave is nobody else's, or the program ends. */
void check_new(const unsigned char *start, size_t size);

/* The program's from now on, full of the byte. */
void add(void *start, size_t size, unsigned char byte, bool mine);

/* New objects: checked, and full of bytes that no error writes. */
void *adopt(void *start, size_t size);
void *take(size_t size);
void *take_zeroed(size_t size);

/* Memory that is not malloc's, so must never come from it, nor change. */
void *mine(void *start, size_t size);

struct object *object_at(const void *start);

/* No longer live; the caller has freed it, or is about to. */
void *forget(void *start);

/* Everything goes, out of order. */
void drop_all(void);

/* So many that whatever is wrong with free memory of the size comes up. */
size_t plenty(size_t size);

/* New objects of the size, and of all. */
void exercise(size_t size);

/* Objects of one size; one of them, with live neighbours; the same, freed; the two that are closest to each other. */
void take_group(size_t size);
unsigned char *take_one(size_t size);
unsigned char *take_and_free(size_t size);
void take_neighbours(size_t size, unsigned char **low, unsigned char **high);

/* Until the freed object has a new owner, or plenty of others have come instead. */
void wait_for_owner(const void *freed, size_t size);

/* The program ends if a later owner, or the earlier one, finds any of it. */
void plant_secret(void *start, size_t size);
void find_secret(const void *start, size_t size);

#endif
