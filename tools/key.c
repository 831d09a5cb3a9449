#include "key.h"
#include "source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int key_compare(const struct key *a, const struct key *b)
{
	if (a->size != b->size)
		return a->size - 1 < b->size - 1 ? -1 : 1; /* 0 is the greatest */
	if (a->own != b->own)
		return a->own ? 1 : -1;
	return a->own ? strcmp(a->cache, b->cache) : 0;
}

/* Where the row of that key is, or would be. True: it is. */
static bool find(const void *rows, size_t count, size_t size, const struct key *key, size_t *at)
{
	int order = 1;

	for (*at = 0; *at < count; ++*at)
		if ((order = key_compare((const void *)((const char *)rows + *at * size), key)) >= 0)
			break;
	return *at < count && !order;
}

const void *key_find(const void *rows, size_t count, size_t size, const struct key *key)
{
	size_t at;
	return find(rows, count, size, key, &at) ? (const char *)rows + at * size : NULL;
}

void *key_add(void *rows, size_t *count, size_t size, const struct key *key, size_t *at)
{
	if (find(rows, *count, size, key, at))
		return rows;
	rows = need(realloc(rows, (*count + 1) * size));
	char *row = (char *)rows + *at * size;
	memmove(row + size, row, (*count - *at) * size);
	memset(row, 0, size);
	memcpy(row, key, sizeof *key);
	++*count;
	return rows;
}

struct key_text key_size(const struct key *key)
{
	struct key_text text = {"large"};

	if (key->size)
		snprintf(text.text, sizeof text.text, "%u B", key->size);
	return text;
}

struct key_text key_objects(const struct key *key)
{
	struct key_text text;

	snprintf(text.text, sizeof text.text, "%.12s objects%s%.95s", key_size(key).text, key->own ? " of cache " : "",
	         key->own ? key->cache : "");
	return text;
}

struct key_text key_of(const struct key *key)
{
	struct key_text text = {""};

	if (*key->cache)
		snprintf(text.text, sizeof text.text, key->own ? " of cache %s" : " (some of cache %s)", key->cache);
	return text;
}
