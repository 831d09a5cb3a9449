/* Plots over time, as SVG for the inside of an HTML page. */
#ifndef QSLAB_TOOLS_CHART_H
#define QSLAB_TOOLS_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum chart_unit { CHART_BYTES, CHART_SECONDS };

struct series {
	const char *name, *color;
	bool line;                   /* in a stacked chart: on top of it, not part of the stack */
	double *values;              /* one for each point in time */
};

struct chart {
	const char *id, *title, *note;
	enum chart_unit unit;
	bool stacked;
	const double *seconds;       /* points in time */
	size_t points;
	struct series *series;
	size_t series_count;
};

void chart_svg(FILE *out, const struct chart *chart);

#endif
