/* qslab report: a recording as one HTML page with plots over time, which needs nothing else. */
#define _GNU_SOURCE
#include "chart.h"
#include "command.h"
#include "format.h"
#include "text.h"
#include "recording.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZES_MOST 7

static const char page_head[] =
	"<meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/>\n<style>\n"
	":root{color-scheme:light dark}\n"
	"body{font:14px/1.45 system-ui,sans-serif;max-width:1000px;margin:1.5em auto;padding:0 1em;"
	"background:Canvas;color:CanvasText}\n"
	"h1{font-size:1.4em}h2{font-size:1.1em;margin:2em 0 .2em}p{margin:.2em 0 .6em;opacity:.75}\n"
	"svg{width:100%;height:auto;font-size:11px}svg text{fill:CanvasText}.y{text-anchor:end}.x{text-anchor:middle}\n"
	".grid{stroke:CanvasText;stroke-opacity:.15}.hover{fill:CanvasText;fill-opacity:0}.hover:hover{fill-opacity:.08}\n"
	".legend{list-style:none;padding:0;margin:.3em 0;display:flex;flex-wrap:wrap;gap:.2em 1.4em}\n"
	".legend span{display:inline-block;width:.9em;height:.9em;margin-right:.4em;vertical-align:-.1em}\n"
	"table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid #8884}"
	"td:first-child,th:first-child{text-align:left}\n"
	"</style>\n";

/* Kinds of resident memory that one colour stands for. */
static const struct {
	const char *name, *color;
	enum kind kinds[8];
	size_t count;
} groups[] = {
	{"not qslab's: files, stacks, other mappings", "#b8b8b8", {KIND_FILES, KIND_STACKS, KIND_BRK, KIND_ANONYMOUS}, 4},
	{"qslab's own", "#5b6570", {KIND_SLAB_HEADS, KIND_LARGE_SLACK, KIND_PAGE_MAP, KIND_DESCRIPTORS, KIND_SOURCE_OWN,
	                            KIND_SEGMENT}, 6},
	{"live objects", "#2c7bb6", {KIND_LIVE}, 1},
	{"live large objects", "#1a8a5a", {KIND_LIVE_LARGE}, 1},
	{"waiting for a grace period", "#e08a00", {KIND_WAITING, KIND_HELD}, 2},
	{"free in magazines and arrays", "#9a78bd", {KIND_MAGAZINES, KIND_READY}, 2},
	{"free in slabs", "#d7504a", {KIND_FREE, KIND_REMOTE}, 2},
	{"free spans", "#d9c27a", {KIND_SPAN_CACHE, KIND_SOURCE_FREE}, 2},
};
#define GROUPS (sizeof groups / sizeof *groups)

static double *values_for(const struct recording *recording)
{
	return need(calloc(recording->count, sizeof(double)));
}

static void draw_and_free(FILE *out, struct chart *chart)
{
	chart_svg(out, chart);
	for (size_t s = 0; s < chart->series_count; s++)
		free(chart->series[s].values);
}

static void draw_resident(FILE *out, const struct recording *recording, const double *seconds)
{
	struct series series[GROUPS + 1];
	struct chart chart = {"resident", "Resident memory", "What the process's memory is, stacked; the line is what the "
	                      "kernel counts (RSS).", CHART_BYTES, true, seconds, recording->count, series, GROUPS + 1};

	for (size_t g = 0; g < GROUPS; g++) {
		series[g] = (struct series){groups[g].name, groups[g].color, false, values_for(recording)};
		for (size_t i = 0; i < recording->count; i++)
			for (size_t k = 0; k < groups[g].count; k++)
				series[g].values[i] += (double)recording->samples[i].kinds[groups[g].kinds[k]];
	}
	series[GROUPS] = (struct series){"RSS", "currentColor", true, values_for(recording)};
	for (size_t i = 0; i < recording->count; i++)
		series[GROUPS].values[i] = (double)recording->samples[i].rss;
	draw_and_free(out, &chart);
}

/* ---- live bytes of the sizes that have most ------------------------------------------------------------------------- */

struct peak {
	struct key key;
	uint64_t bytes;
};

static int by_bytes(const void *a, const void *b)
{
	const struct peak *x = a, *y = b;
	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

/* The most live bytes of each size at any time, most first. */
static struct peak *peaks_of(const struct recording *recording, size_t *count)
{
	struct peak *peaks = NULL;

	*count = 0;
	for (size_t i = 0; i < recording->count; i++)
		for (size_t r = 0; r < recording->samples[i].row_count; r++) {
			const struct sample_row *row = &recording->samples[i].rows[r];
			size_t at = 0;
			while (at < *count && key_compare(&peaks[at].key, &row->key))
				at++;
			if (at == *count) {
				peaks = need(realloc(peaks, (*count + 1) * sizeof *peaks));
				peaks[(*count)++] = (struct peak){row->key, 0};
			}
			if (row->live_bytes > peaks[at].bytes)
				peaks[at].bytes = row->live_bytes;
		}
	if (*count)
		qsort(peaks, *count, sizeof *peaks, by_bytes);
	return peaks;
}

static void draw_sizes(FILE *out, const struct recording *recording, const double *seconds)
{
	static const char *const colors[SIZES_MOST] = {"#2c7bb6", "#d7504a", "#1a8a5a", "#e08a00", "#9a78bd", "#45b5c4",
	                                               "#8c6d46"};
	struct series series[SIZES_MOST];
	struct key_text names[SIZES_MOST];
	size_t count;
	struct peak *peaks = peaks_of(recording, &count);
	struct chart chart = {"sizes", "Live objects by size", "The sizes with most live bytes; a line that only rises is a "
	                      "leak, or a cache that grows.", CHART_BYTES, false, seconds, recording->count, series, 0};

	for (size_t s = 0; s < count && s < SIZES_MOST && peaks[s].bytes; s++) {
		names[s] = key_objects(&peaks[s].key);
		series[s] = (struct series){names[s].text, colors[s], true, values_for(recording)};
		for (size_t i = 0; i < recording->count; i++) {
			const struct sample_row *row = sample_row(&recording->samples[i], &peaks[s].key);
			series[s].values[i] = row ? (double)row->live_bytes : 0;
		}
		chart.series_count++;
	}
	free(peaks);
	if (chart.series_count)
		draw_and_free(out, &chart);
}

/* ---- deferred free ---------------------------------------------------------------------------------------------------- */

static void draw_deferred(FILE *out, const struct recording *recording, const double *seconds)
{
	struct series bytes[2] = {{"waiting for a grace period", "#e08a00", true, values_for(recording)},
	                          {"free again, kept in arrays", "#9a78bd", true, values_for(recording)}};
	struct series ages[1] = {{"age of the grace period in flight", "#d7504a", true, values_for(recording)}};
	struct chart chart = {"deferred", "Deferred free", "Bytes retired and not free yet.", CHART_BYTES, false, seconds,
	                      recording->count, bytes, 2};
	struct chart age = {"grace", "Grace periods", "One that grows old waits for a reader that is stalled.",
	                    CHART_SECONDS, false, seconds, recording->count, ages, 1};

	for (size_t i = 0; i < recording->count; i++) {
		bytes[0].values[i] = (double)recording->samples[i].waiting_bytes;
		bytes[1].values[i] = (double)recording->samples[i].ready_bytes;
		ages[0].values[i] = recording->samples[i].age;
	}
	draw_and_free(out, &chart);
	draw_and_free(out, &age);
}

/* ---- the page ------------------------------------------------------------------------------------------------------------ */

static void write_table(FILE *out, const struct sample *a, const struct sample *b)
{
	fputs("<section id=\"table\"><h2>First and last</h2>\n<table><thead><tr><th>resident</th><th>first</th>"
	      "<th>last</th><th>change</th></tr></thead><tbody>\n", out);
	for (unsigned kind = 0; kind <= KINDS; kind++) {
		uint64_t before = kind < KINDS ? a->kinds[kind] : a->rss, after = kind < KINDS ? b->kinds[kind] : b->rss;
		if (before || after)
			fprintf(out, "<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n",
			        kind < KINDS ? kind_text(kind) : "all (RSS)", human_bytes(before).text, human_bytes(after).text,
			        human_change((int64_t)(after - before)).text);
	}
	fputs("</tbody></table></section>\n", out);
}

static void write_page(FILE *out, const struct recording *recording)
{
	const struct sample *first = &recording->samples[0], *last = &recording->samples[recording->count - 1];
	double *seconds = values_for(recording);
	char begun[64] = "at an unknown time";
	time_t time_of_day = first->time;
	struct tm day;

	for (size_t i = 0; i < recording->count; i++)
		seconds[i] = recording->samples[i].seconds;
	if (time_of_day && localtime_r(&time_of_day, &day))
		strftime(begun, sizeof begun, "%Y-%m-%d %H:%M:%S", &day);
	fputs("<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head>\n", out);
	fputs(page_head, out);
	fprintf(out, "<title>qslab: process %d (", first->pid);
	xml_text(out, first->command);
	fprintf(out, ")</title></head><body>\n<h1>process %d (", first->pid);
	xml_text(out, first->command);
	fprintf(out, ")</h1>\n<p>%zu looks over %s, begun %s. Hover for figures.</p>\n", recording->count,
	        human_seconds(last->seconds - first->seconds).text, begun);
	draw_resident(out, recording, seconds);
	draw_sizes(out, recording, seconds);
	if (last->retired)
		draw_deferred(out, recording, seconds);
	write_table(out, first, last);
	fputs("</body></html>\n", out);
	free(seconds);
}

int command_report(int count, char **arguments)
{
	const char *path = NULL;
	const struct option options[] = {{"-o", OPTION_TEXT, &path, 0, 0}};
	struct recording recording;
	struct words words;
	struct failure why;

	if (!parse_arguments("report", count, arguments, options, 1, &words, 1, 1, "no recording given"))
		return 2;
	if (!recording_load(&recording, words.list[0], &why))
		return failed(why.text);
	FILE *out = path ? fopen(path, "we") : stdout;
	bool well = out != NULL;
	if (well) {
		write_page(out, &recording);
		well = !path || !ferror(out);
		well &= !path || !fclose(out);
	}
	recording_free(&recording);
	if (!well)
		fail(&why, "%s: %s", path, strerror(errno));
	return well ? finish_output() : failed(why.text);
}
