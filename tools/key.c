#include "key.h"

#include <stdio.h>
#include <string.h>

int key_compare(const struct key *a, const struct key *b)
{
	if (a->size != b->size)
		return a->size - 1 < b->size - 1 ? -1 : 1; /* 0 is the greatest */
	if (a->own != b->own)
		return a->own ? 1 : -1;
	return a->own ? strcmp(a->cache, b->cache) : 0;
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

	snprintf(text.text, sizeof text.text, "%.12s objects%s%.31s", key_size(key).text, key->own ? " of cache " : "",
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
