#define _GNU_SOURCE
#include "chart.h"

#include "format.h"
#include "text.h"

#include <math.h>

#define WIDTH 960
#define HEIGHT 300
#define LEFT 84
#define RIGHT 16
#define TOP 10
#define BOTTOM 26
#define PLOT_WIDTH (WIDTH - LEFT - RIGHT)
#define PLOT_HEIGHT (HEIGHT - TOP - BOTTOM)
#define POINTS_MOST 800
#define HOVERS_MOST 240

struct scale {
	double first, last, top;     /* seconds; value */
	size_t step;                 /* points are drawn in steps */
};

static struct human text_of(const struct chart *chart, double value)
{
	return chart->unit == CHART_BYTES ? human_bytes((uint64_t)(value > 0 ? value + .5 : 0)) : human_seconds(value);
}

static double x_of(const struct scale *scale, double seconds)
{
	double width = scale->last - scale->first;
	return LEFT + (width > 0 ? (seconds - scale->first) / width : 0) * PLOT_WIDTH;
}

static double y_of(const struct scale *scale, double value)
{
	return TOP + PLOT_HEIGHT - value / scale->top * PLOT_HEIGHT;
}

/* A fifth of the range or more, and round: a power of 2 for bytes; 2, 5 or 10 times a power of 10 for seconds. */
static double nice_step(double range, enum chart_unit unit)
{
	double least = range / 5, step = 1;

	if (unit == CHART_BYTES) {
		step = pow(1024, floor(log(fmax(least, 1)) / log(1024)));
		while (step < least)
			step *= 2;
		return step;
	}
	step = pow(10, floor(log10(fmax(least, 1e-6))));
	return step * 2 >= least ? step * 2 : step * 5 >= least ? step * 5 : step * 10;
}

static double stacked_at(const struct chart *chart, size_t point, size_t below)
{
	double sum = 0;
	for (size_t s = 0; s < below; s++)
		if (!chart->series[s].line)
			sum += chart->series[s].values[point];
	return sum;
}

static struct scale scale_of(const struct chart *chart)
{
	struct scale scale = {chart->seconds[0], chart->seconds[chart->points - 1], 0, 1 + chart->points / POINTS_MOST};

	for (size_t i = 0; i < chart->points; i++) {
		if (chart->stacked)
			scale.top = fmax(scale.top, stacked_at(chart, i, chart->series_count));
		for (size_t s = 0; s < chart->series_count; s++)
			scale.top = fmax(scale.top, chart->series[s].values[i]);
	}
	double step = nice_step(scale.top, chart->unit);
	scale.top = fmax(ceil(scale.top / step), 1) * step;
	return scale;
}

/* The point after `point` that is drawn: the last one always is. */
static size_t next_point(const struct chart *chart, const struct scale *scale, size_t point)
{
	size_t next = point + scale->step;
	return next < chart->points || point == chart->points - 1 ? next : chart->points - 1;
}

static void draw_axes(FILE *out, const struct chart *chart, const struct scale *scale)
{
	double step = nice_step(scale->top, chart->unit), range = scale->last - scale->first;

	for (double value = 0; value <= scale->top * 1.001; value += step)
		fprintf(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/><text class=\"y\" x=\"%d\" "
		             "y=\"%.1f\">%s</text>\n", LEFT, y_of(scale, value), WIDTH - RIGHT, y_of(scale, value), LEFT - 6,
		        y_of(scale, value) + 4, text_of(chart, value).text);
	step = nice_step(range > 0 ? range : 1, CHART_SECONDS);
	for (double at = 0; at <= range * 1.001; at += step)
		fprintf(out, "<text class=\"x\" x=\"%.1f\" y=\"%d\">%s</text>\n", x_of(scale, scale->first + at), HEIGHT - 8,
		        human_seconds(at).text);
}

/* Nothing to see. */
static bool is_zero(const struct chart *chart, size_t s)
{
	for (size_t i = 0; i < chart->points; i++)
		if (chart->series[s].values[i] > 0)
			return false;
	return true;
}

static void draw_area(FILE *out, const struct chart *chart, const struct scale *scale, size_t s)
{
	fprintf(out, "<path class=\"series\" fill=\"%s\" d=\"M", chart->series[s].color);
	for (size_t i = 0; i < chart->points; i = next_point(chart, scale, i))
		fprintf(out, "%.1f,%.1f ", x_of(scale, chart->seconds[i]), y_of(scale, stacked_at(chart, i, s + 1)));
	for (size_t i = chart->points; i-- > 0;)
		if (i % scale->step == 0 || i == chart->points - 1)
			fprintf(out, "%.1f,%.1f ", x_of(scale, chart->seconds[i]), y_of(scale, stacked_at(chart, i, s)));
	fputs("Z\"><title>", out);
	xml_text(out, chart->series[s].name);
	fputs("</title></path>\n", out);
}

static void draw_line(FILE *out, const struct chart *chart, const struct scale *scale, size_t s)
{
	fprintf(out, "<polyline class=\"series\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
	        chart->series[s].color);
	for (size_t i = 0; i < chart->points; i = next_point(chart, scale, i))
		fprintf(out, "%.1f,%.1f ", x_of(scale, chart->seconds[i]), y_of(scale, chart->series[s].values[i]));
	fputs("\"><title>", out);
	xml_text(out, chart->series[s].name);
	fputs("</title></polyline>\n", out);
}

/* Columns over all, with every value of their moment. */
static void draw_hovers(FILE *out, const struct chart *chart, const struct scale *scale)
{
	size_t step = 1 + chart->points / HOVERS_MOST;

	for (size_t i = 0; i < chart->points; i += step) {
		double from = x_of(scale, chart->seconds[i]);
		double to = i + step < chart->points ? x_of(scale, chart->seconds[i + step]) : WIDTH - RIGHT;
		fprintf(out, "<rect class=\"hover\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>%s", from, TOP,
		        fmax(to - from, 1), PLOT_HEIGHT, human_seconds(chart->seconds[i]).text);
		for (size_t s = 0; s < chart->series_count; s++) {
			fputs("\n", out);
			xml_text(out, chart->series[s].name);
			fprintf(out, ": %s", text_of(chart, chart->series[s].values[i]).text);
		}
		fputs("</title></rect>\n", out);
	}
}

static void draw_legend(FILE *out, const struct chart *chart)
{
	fputs("<ul class=\"legend\">\n", out);
	for (size_t s = chart->series_count; s-- > 0;) {
		if (chart->stacked && is_zero(chart, s))
			continue;
		fprintf(out, "<li><span style=\"background:%s\"></span>", chart->series[s].color);
		xml_text(out, chart->series[s].name);
		fprintf(out, ": %s</li>\n", text_of(chart, chart->series[s].values[chart->points - 1]).text);
	}
	fputs("</ul>\n", out);
}

void chart_svg(FILE *out, const struct chart *chart)
{
	struct scale scale = scale_of(chart);

	fprintf(out, "<section id=\"%s\"><h2>", chart->id);
	xml_text(out, chart->title);
	fputs("</h2><p>", out);
	xml_text(out, chart->note);
	fprintf(out, "</p>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
	draw_axes(out, chart, &scale);
	for (size_t s = 0; s < chart->series_count; s++)
		if (chart->stacked && !chart->series[s].line && !is_zero(chart, s))
			draw_area(out, chart, &scale, s);
	for (size_t s = 0; s < chart->series_count; s++)
		if (!chart->stacked || chart->series[s].line)
			draw_line(out, chart, &scale, s);
	draw_hovers(out, chart, &scale);
	fputs("</svg>\n", out);
	draw_legend(out, chart);
	fputs("</section>\n", out);
}
