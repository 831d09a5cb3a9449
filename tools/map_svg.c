/* The map as a picture: SVG, a line of 2 MiB each, with what a page is as hover text. */
#define _GNU_SOURCE
#include "map.h"

#include "format.h"
#include "text.h"

#include <inttypes.h>

#define PAGE_WIDTH 2
#define LEFT 132
#define TOP 34
#define LINE_HEIGHT 14
#define LINE_STEP 16
#define LEGEND_STEP 18
#define LEGEND_COLUMNS 2
#define WIDTH (LEFT + MAP_LINE_PAGES * PAGE_WIDTH + 16)

#define LEGEND_ROWS ((PAGE_STATES + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS)
#define MAP_TOP (TOP + LEGEND_ROWS * LEGEND_STEP + 14)

static void draw_head(FILE *out, const char *name, unsigned height)
{
	fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" viewBox=\"0 0 %d %u\" "
	             "font-family=\"sans-serif\" font-size=\"12\">\n<style>\n", WIDTH, height, WIDTH, height);
	for (unsigned s = 0; s < PAGE_STATES; s++)
		fprintf(out, ".%s{fill:%s}\n", page_styles[s].class, page_styles[s].color);
	fprintf(out, ".address{font-family:monospace;font-size:11px;fill:#555;text-anchor:end}\n"
	             ".gap{fill:#777;font-style:italic}\n.legend rect{stroke:#999;stroke-width:.5}\n"
	             ".row{fill:none;stroke:#ddd;stroke-width:.5}\n"
	             "</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"12\" y=\"20\" "
	             "font-size=\"14\" font-weight=\"bold\">");
	xml_text(out, name);
	fprintf(out, ": a line is 2 MiB, a page %d px</text>\n<g class=\"legend\">\n", PAGE_WIDTH);
	for (unsigned s = 0; s < PAGE_STATES; s++) {
		unsigned x = 12 + s / LEGEND_ROWS * (WIDTH / LEGEND_COLUMNS), y = TOP + s % LEGEND_ROWS * LEGEND_STEP;
		fprintf(out, "<rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"20\" height=\"12\"/><text x=\"%u\" y=\"%u\">",
		        page_styles[s].class, x, y, x + 26, y + 11);
		xml_text(out, page_styles[s].text);
		fputs("</text>\n", out);
	}
	fputs("</g>\n", out);
}

static void draw_line(FILE *out, const struct map *map, size_t line, unsigned y)
{
	size_t first = line * MAP_LINE_PAGES;
	uint64_t address = map->base + first * SOURCE_PAGE;

	fprintf(out, "<text class=\"address\" x=\"%u\" y=\"%u\">0x%" PRIx64 "</text><rect class=\"row\" x=\"%u\" y=\"%u\" "
	             "width=\"%u\" height=\"%u\"/>\n", LEFT - 8, y + 11, address, LEFT, y, MAP_LINE_PAGES * PAGE_WIDTH,
	        LINE_HEIGHT);
	for (size_t page = 0, run; page < MAP_LINE_PAGES; page += run) {
		run = map_run(map, first + page);
		if (map->cells[first + page].state == PAGE_NONE)
			continue;
		fprintf(out, "<rect class=\"%s\" x=\"%zu\" y=\"%u\" width=\"%zu\" height=\"%u\"><title>",
		        page_styles[map->cells[first + page].state].class, LEFT + page * PAGE_WIDTH, y, run * PAGE_WIDTH,
		        LINE_HEIGHT);
		fprintf(out, "0x%" PRIx64 ", %zu %s, ", address + page * SOURCE_PAGE, run, plural(run, "page", "pages"));
		xml_text(out, page_styles[map->cells[first + page].state].text);
		fputs("\n", out);
		xml_text(out, map_describe(map, first + page).text);
		fputs("</title></rect>\n", out);
	}
}

/* Draws the lines that are in use, with the gaps between them; returns where it ends. Only measures if out is NULL. */
static unsigned draw_map(FILE *out, const struct map *map, unsigned y)
{
	size_t empty = 0;

	for (size_t line = 0; line < map->lines; line++) {
		if (map_line_empty(map, line)) {
			empty++;
			continue;
		}
		if (empty) {
			if (out)
				fprintf(out, "<text class=\"gap\" x=\"%u\" y=\"%u\">%s not in use</text>\n", LEFT, y + 11,
				        human_bytes(empty * MAP_LINE_PAGES * SOURCE_PAGE).text);
			y += LINE_STEP;
			empty = 0;
		}
		if (out)
			draw_line(out, map, line, y);
		y += LINE_STEP;
	}
	return y + LINE_STEP;
}

void map_svg(FILE *out, const struct map *maps, size_t count, const char *name)
{
	unsigned height = MAP_TOP, y = MAP_TOP;

	for (size_t a = 0; a < count; a++)
		height = draw_map(NULL, &maps[a], height);
	draw_head(out, name, height);
	for (size_t a = 0; a < count; a++)
		y = draw_map(out, &maps[a], y);
	fputs("</svg>\n", out);
}
