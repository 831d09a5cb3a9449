#define _GNU_SOURCE
#include "recording.h"

#include "text.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MOST 1e10

/* What is missing is 0, and so is what is no number. */
static uint64_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	json_int_t integer = json_integer_value(value);
	return integer > 0 ? (uint64_t)integer : 0;
}

/* Whoever wrote it: not negative, and of a size that can be drawn. */
static double seconds(const json_t *object, const char *key)
{
	double value = json_number_value(json_object_get(object, key));
	return value > 0 && value < SECONDS_MOST ? value : 0;
}

static struct sample_row *row_for(struct sample *sample, const struct key *key)
{
	size_t at;

	sample->rows = key_add(sample->rows, &sample->row_count, sizeof *sample->rows, key, &at);
	return &sample->rows[at];
}

static void take_allocator(struct sample *sample, const json_t *allocator)
{
	const json_t *class, *large = json_object_get(allocator, "large"), *grace = json_object_get(allocator, "grace");
	size_t i;

	json_array_foreach(json_object_get(allocator, "classes"), i, class) {
		uint64_t size = number(class, "size");
		if (!size || size > UINT32_MAX)
			continue;
		struct key key = {.size = (uint32_t)size};
		const char *own = json_string_value(json_object_get(class, "cache"));
		const char *shared = json_string_value(json_object_get(class, "shared_by"));
		key.own = own != NULL;
		text_valid(key.cache, sizeof key.cache, own ? own : shared ? shared : "");
		text_printable(key.cache);
		struct sample_row *row = row_for(sample, &key);
		row->slabs += number(class, "slabs");
		row->objects += number(class, "objects");
		row->live += number(class, "live");
		row->live_bytes += number(class, "live") * size;
		row->resident += number(class, "resident");
	}
	if (number(large, "objects")) {
		struct sample_row *row = row_for(sample, &(struct key){.size = 0});
		row->objects += number(large, "objects");
		row->live += number(large, "live");
		row->live_bytes += number(large, "bytes");
		row->resident += number(large, "resident");
	}
	sample->waiting += number(grace, "waiting");
	sample->waiting_bytes += number(grace, "waiting_bytes");
	sample->ready_bytes += number(grace, "ready_bytes");
	sample->completed += number(grace, "completed");
	sample->retired += number(grace, "retired");
	sample->reclaimed += number(grace, "reclaimed");
	double age = seconds(grace, "age_seconds");
	if (age > sample->age)
		sample->age = age;
}

/* False: it is no sample. */
static bool take(struct sample *sample, const json_t *line)
{
	const json_t *allocators = json_object_get(line, "allocators"), *allocator;
	const json_t *kinds = json_object_get(line, "resident");
	const char *command = json_string_value(json_object_get(line, "command"));
	size_t i;

	if (!json_is_array(allocators))
		return false;
	*sample = (struct sample){
		.seconds = seconds(line, "seconds"),
		.time = (long)number(line, "time"),
		.pid = (int)number(line, "pid"),
		.rss = number(line, "rss"),
		.explained = number(line, "explained"),
	};
	snprintf(sample->command, sizeof sample->command, "%s", command ? command : "");
	for (unsigned kind = 0; kind < KINDS; kind++)
		sample->kinds[kind] = number(kinds, kind_key(kind));
	json_array_foreach(allocators, i, allocator)
		take_allocator(sample, allocator);
	return true;
}

static bool load_lines(struct recording *recording, FILE *file, const char *path, struct failure *why)
{
	char *text = NULL;
	size_t room = 0, number_of_line = 0;
	ssize_t length;
	bool well = true;

	while (well && (length = getline(&text, &room, file)) > 0) {
		number_of_line++;
		json_error_t error;
		json_t *line = json_loadb(text, (size_t)length, 0, &error);
		if (!line && recording->count && text[length - 1] != '\n')
			break; /* it was being written */
		recording->samples = need(realloc(recording->samples, (recording->count + 1) * sizeof *recording->samples));
		well = line && take(&recording->samples[recording->count], line);
		recording->count += well;
		json_decref(line);
	}
	if (!well)
		fail(why, "%s: line %zu: not of a recording, nor of `stat --format json`", path, number_of_line);
	else if (ferror(file))
		fail(why, "%s: %s", path, strerror(errno));
	else if (!recording->count)
		fail(why, "%s: empty", path);
	free(text);
	return well && !ferror(file) && recording->count;
}

bool recording_load(struct recording *recording, const char *path, struct failure *why)
{
	FILE *file = fopen(path, "re");

	*recording = (struct recording){NULL, 0};
	if (!file) {
		fail(why, "%s: %s", path, strerror(errno));
		return false;
	}
	bool well = load_lines(recording, file, path, why);
	fclose(file);
	if (!well)
		recording_free(recording);
	return well;
}

void recording_free(struct recording *recording)
{
	for (size_t i = 0; i < recording->count; i++)
		free(recording->samples[i].rows);
	free(recording->samples);
	*recording = (struct recording){NULL, 0};
}

const struct sample_row *sample_row(const struct sample *sample, const struct key *key)
{
	return key_find(sample->rows, sample->row_count, sizeof *sample->rows, key);
}
