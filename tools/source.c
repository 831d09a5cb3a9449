#define _GNU_SOURCE
#include "source.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fail(struct failure *failure, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(failure->text, sizeof failure->text, format, arguments);
	va_end(arguments);
}

void *need(void *memory)
{
	if (memory)
		return memory;
	fputs("qslab: out of memory\n", stderr);
	exit(1);
}

bool source_read_pieces(struct source *source, struct piece *pieces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pieces[i].got = false;
	return !count || source->calls->read(source, pieces, count);
}

bool source_read(struct source *source, uint64_t at, void *to, size_t size)
{
	struct piece piece = {at, to, size, false};
	return source_read_pieces(source, &piece, 1) && piece.got;
}

bool source_map(struct source *source, bool detail, struct mappings *mappings)
{
	*mappings = (struct mappings){NULL, 0, 0, 0, 0, 0};
	return source->calls->map(source, detail, mappings);
}

uint64_t source_rss(struct source *source)
{
	return source->calls->rss(source);
}

void source_resident(struct source *source, uint64_t start, size_t pages, uint8_t *flags)
{
	memset(flags, 0, pages);
	source->calls->resident(source, start, pages, flags);
}

void source_close(struct source *source)
{
	if (source)
		source->calls->close(source);
}

struct mapping *mappings_add(struct mappings *mappings, uint64_t start, uint64_t end, const char *name)
{
	GROW(mappings->list, mappings->count);
	mappings->list[mappings->count] = (struct mapping){.start = start, .end = end, .name = need(strdup(name))};
	return &mappings->list[mappings->count++];
}

void mappings_free(struct mappings *mappings)
{
	for (size_t i = 0; i < mappings->count; i++)
		free(mappings->list[i].name);
	free(mappings->list);
	*mappings = (struct mappings){NULL, 0, 0, 0, 0, 0};
}
