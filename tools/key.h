/* Whose objects a row is about: all of one size, or those of a cache with slabs of its own. */
#ifndef QSLAB_TOOLS_KEY_H
#define QSLAB_TOOLS_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key {
	uint32_t size;               /* of an object; 0: large objects, each with a span of its own */
	bool own;                    /* of the cache alone */
	char cache[96];              /* its name; not own: of a cache among others, or "" */
};

/* By size, large objects last; of one size, those of caches last. 0: the same, whatever caches share the size. */
int key_compare(const struct key *a, const struct key *b);

/* Of rows that each begin with their key, and lie in its order: the one of that key; NULL: none. */
const void *key_find(const void *rows, size_t count, size_t size, const struct key *key);

/* The rows with one of that key at *at, new and otherwise zero if there was none; the array may have moved. */
void *key_add(void *rows, size_t *count, size_t size, const struct key *key, size_t *at);

struct key_text {
	char text[144];
};
struct key_text key_size(const struct key *key);    /* "48 B", "large" */
struct key_text key_objects(const struct key *key); /* "48 B objects", "large objects", "48 B objects of cache route" */
struct key_text key_of(const struct key *key);      /* "", " of cache route", " (some of cache route)" */

#endif
