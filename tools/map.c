/* qslab map: the region page by page, in the terminal or as a picture. */
#define _GNU_SOURCE
#include "map.h"

#include "command.h"
#include "diagnosis.h"
#include "format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES (MAP_LINE_PAGES * (uint64_t)SOURCE_PAGE)
#define LETTER_PAGES 8

const struct page_style page_styles[PAGE_STATES] = {
	[PAGE_NONE] = {"none", "#ffffff", '.', 0, "not in use, or the allocator's own"},
	[PAGE_ABSENT] = {"absent", "#e8e8e8", '_', 236, "slab: not resident"},
	[PAGE_QUARTER] = {"live1", "#d73027", '1', 160, "slab: up to a quarter live"},
	[PAGE_HALF] = {"live2", "#fdae61", '2', 214, "slab: up to half live"},
	[PAGE_MORE] = {"live3", "#a6d0e4", '3', 117, "slab: up to three quarters live"},
	[PAGE_FULL] = {"live4", "#2c7bb6", '4', 31, "slab: more live"},
	[PAGE_FREE] = {"free", "#f6d5d2", '0', 224, "slab: no live object on this page, some on others"},
	[PAGE_CACHED] = {"cached", "#c9b8de", 'c', 141, "slab without live objects, some in magazines"},
	[PAGE_WAITING] = {"waiting", "#8a5a00", 'w', 94, "slab without live objects, some waiting for a grace period"},
	[PAGE_LARGE] = {"large", "#1a8a5a", 'L', 29, "large object"},
	[PAGE_LARGE_WAITING] = {"largew", "#f0d000", 'W', 220, "large object waiting for a grace period, or free and kept"},
	[PAGE_SPAN] = {"span", "#bdbdbd", 's', 250, "free span"},
};

/* ---- cells ------------------------------------------------------------------------------------------------------ */

static bool is_slab(enum page_state state)
{
	return state >= PAGE_ABSENT && state <= PAGE_WAITING;
}

/* Bytes of live objects in each page of the slab. */
static void count_live(const struct slab_view *slab, uint32_t *bytes)
{
	memset(bytes, 0, slab->pages * sizeof *bytes);
	for (unsigned i = 0; i < slab->objects; i++) {
		if (!(slab->live[i / 64] >> i % 64 & 1))
			continue;
		uint64_t at = slab->first - slab->address + (uint64_t)i * slab->size, end = at + slab->size;
		while (at < end) {
			uint64_t page = at / SOURCE_PAGE, stop = (page + 1) * SOURCE_PAGE < end ? (page + 1) * SOURCE_PAGE : end;
			if (page < slab->pages)
				bytes[page] += (uint32_t)(stop - at);
			at = stop;
		}
	}
}

static enum page_state state_of(const struct slab_view *slab, unsigned page, uint32_t live)
{
	if (!(slab->resident_pages[page / 64] >> page % 64 & 1))
		return PAGE_ABSENT;
	if (live)
		return live <= SOURCE_PAGE / 4 ? PAGE_QUARTER : live <= SOURCE_PAGE / 2 ? PAGE_HALF :
		       live <= SOURCE_PAGE / 4 * 3 ? PAGE_MORE : PAGE_FULL;
	if (slab->count[LIVE])
		return PAGE_FREE;
	return slab->count[WAITING] ? PAGE_WAITING : slab->count[MAGAZINE] || slab->count[READY] ? PAGE_CACHED : PAGE_FREE;
}

static void fill(struct map *map, uint64_t address, size_t pages, enum page_state state, size_t index)
{
	size_t page = (address - map->base) / SOURCE_PAGE, end = map->lines * MAP_LINE_PAGES;

	for (size_t i = page; i < page + pages && i < end; i++)
		map->cells[i] = (struct cell){(uint8_t)state, (uint32_t)index};
}

void map_make(struct map *map, const struct snapshot *snapshot, const struct allocator *allocator)
{
	uint64_t base = allocator->region_base / LINE_BYTES * LINE_BYTES;
	uint64_t size = allocator->region_base + allocator->region_size - base;

	*map = (struct map){snapshot, allocator, base, (size_t)((size + LINE_BYTES - 1) / LINE_BYTES), NULL};
	map->cells = need(calloc(map->lines * MAP_LINE_PAGES + 1, sizeof *map->cells));
	for (size_t i = 0; i < allocator->span_count; i++)
		if (allocator->spans[i].resident)
			fill(map, allocator->spans[i].address, allocator->spans[i].pages, PAGE_SPAN, i);
	for (size_t i = 0; i < allocator->large_count; i++)
		fill(map, allocator->larges[i].address, allocator->larges[i].pages,
		     allocator->larges[i].place == LIVE ? PAGE_LARGE : PAGE_LARGE_WAITING, i);
	for (size_t i = 0; i < allocator->slab_count; i++) {
		const struct slab_view *slab = &allocator->slabs[i];
		uint32_t live[UINT8_MAX + 1];
		if (slab->pages > UINT8_MAX)
			continue;
		count_live(slab, live);
		for (unsigned p = 0; p < slab->pages; p++)
			fill(map, slab->address + p * SOURCE_PAGE, 1, state_of(slab, p, live[p]), i);
	}
}

void map_free(struct map *map)
{
	free(map->cells);
}

bool map_line_empty(const struct map *map, size_t line)
{
	return map_run(map, line * MAP_LINE_PAGES) == MAP_LINE_PAGES &&
	       map->cells[line * MAP_LINE_PAGES].state == PAGE_NONE;
}

size_t map_run(const struct map *map, size_t page)
{
	size_t count = 1, end = (page / MAP_LINE_PAGES + 1) * MAP_LINE_PAGES;

	while (page + count < end && map->cells[page + count].state == map->cells[page].state &&
	       map->cells[page + count].index == map->cells[page].index)
		count++;
	return count;
}

struct map_text map_describe(const struct map *map, size_t page)
{
	const struct cell *cell = &map->cells[page];
	const struct allocator *allocator = map->allocator;
	struct map_text text = {""};

	if (is_slab(cell->state)) {
		const struct slab_view *slab = &allocator->slabs[cell->index];
		double age = slab_age(map->snapshot, slab);
		struct key key = class_key(&allocator->classes[slab->class]);
		snprintf(text.text, sizeof text.text,
		         "slab 0x%" PRIx64 " of %s: %u of %u live, %u free, %u in magazines, %u waiting; %s old",
		         slab->address, key_objects(&key).text, slab->count[LIVE], slab->objects, slab->count[FREE] + slab->count[REMOTE],
		         slab->count[MAGAZINE] + slab->count[READY], slab->count[WAITING], age < 0 ? "?" : human_seconds(age).text);
	} else if (cell->state == PAGE_LARGE || cell->state == PAGE_LARGE_WAITING) {
		const struct large_view *large = &allocator->larges[cell->index];
		snprintf(text.text, sizeof text.text, "large object 0x%" PRIx64 ": %s%s, %s resident", large->address,
		         human_bytes(large->size).text, large->place == LIVE ? "" : large->place == WAITING ? " waiting for a grace period" : " free, and kept for a while",
		         human_bytes(large->resident + large->slack).text);
	} else if (cell->state == PAGE_SPAN) {
		const struct span_view *span = &allocator->spans[cell->index];
		snprintf(text.text, sizeof text.text, "free span 0x%" PRIx64 ": %s, %s resident", span->address,
		         human_bytes(span->pages * SOURCE_PAGE).text, human_bytes(span->resident).text);
	} else {
		snprintf(text.text, sizeof text.text, "%s", page_styles[PAGE_NONE].text);
	}
	return text;
}

/* ---- the terminal --------------------------------------------------------------------------------------------------- */

/* The most frequent state of a letter's pages; of two as frequent, the one that says more. */
static enum page_state state_of_letter(const struct map *map, size_t page)
{
	unsigned counts[PAGE_STATES] = {0};
	enum page_state best = PAGE_NONE;

	for (size_t i = 0; i < LETTER_PAGES; i++)
		counts[map->cells[page + i].state]++;
	for (unsigned s = 1; s < PAGE_STATES; s++)
		if (counts[s] > counts[best] || (counts[s] && best == PAGE_NONE && counts[s] == counts[best]))
			best = (enum page_state)s;
	return best;
}

static void print_letter(enum page_state state, bool color)
{
	if (!color)
		putchar(page_styles[state].letter);
	else if (state == PAGE_NONE)
		fputs("\033[0m ", stdout);
	else
		printf("\033[48;5;%um ", page_styles[state].terminal);
}

static void print_legend(bool color)
{
	printf("a line: 2 MiB, a %s: %u pages\n", color ? "cell" : "letter", LETTER_PAGES);
	for (unsigned s = color; s < PAGE_STATES; s++) {
		printf("  ");
		print_letter((enum page_state)s, color);
		printf("%s  %s\n", color ? "\033[0m" : "", page_styles[s].text);
	}
	putchar('\n');
}

static void print_map(const struct map *map, bool color)
{
	size_t empty = 0;

	for (size_t line = 0; line <= map->lines; line++) {
		bool end = line == map->lines;
		if (!end && map_line_empty(map, line)) {
			empty++;
			continue;
		}
		if (empty && !end)
			printf("%14s  %s not in use\n", "...", human_bytes(empty * LINE_BYTES).text);
		empty = 0;
		if (end)
			break;
		printf("%14" PRIx64 "  ", map->base + line * LINE_BYTES);
		for (size_t page = 0; page < MAP_LINE_PAGES; page += LETTER_PAGES)
			print_letter(state_of_letter(map, line * MAP_LINE_PAGES + page), color);
		puts(color ? "\033[0m" : "");
	}
}

/* ---- the command -------------------------------------------------------------------------------------------------------- */

static int write_picture(const char *path, const struct map *maps, size_t count, const char *name)
{
	char why[400];
	FILE *file = fopen(path, "we");
	bool well = file != NULL;

	if (well) {
		map_svg(file, maps, count, name);
		well = !ferror(file);
		well &= !fclose(file);
	}
	if (well)
		return 0;
	snprintf(why, sizeof why, "%s: %s", path, strerror(errno));
	return failed(why);
}

static int show(const struct snapshot *snapshot, const char *name, const char *path)
{
	struct map *maps = need(calloc(snapshot->allocator_count + 1, sizeof *maps));
	bool color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	int status = 0;

	for (size_t a = 0; a < snapshot->allocator_count; a++)
		map_make(&maps[a], snapshot, &snapshot->allocators[a]);
	if (path) {
		status = write_picture(path, maps, snapshot->allocator_count, name);
	} else {
		printf("%s\n", name);
		print_legend(color);
		for (size_t a = 0; a < snapshot->allocator_count; a++)
			print_map(&maps[a], color);
		status = finish_output();
	}
	for (size_t a = 0; a < snapshot->allocator_count; a++)
		map_free(&maps[a]);
	free(maps);
	return status;
}

int command_map(int count, char **arguments)
{
	const char *path = NULL;
	const struct option options[] = {{"-o", OPTION_TEXT, &path, 0, 0}};
	struct words words;
	struct failure why;
	int status = 2;

	if (!parse_arguments("map", count, arguments, options, 1, &words, 1, 1, "no process or core file given"))
		return 2;
	struct reader *reader = open_target(words.list[0], &status);
	if (!reader)
		return status;
	struct snapshot *snapshot = reader_snapshot(reader, SNAPSHOT_MEMORY, &why);
	status = snapshot ? show(snapshot, target_name(reader, snapshot).text, path) : failed(why.text);
	snapshot_free(snapshot);
	reader_close(reader);
	return status;
}
