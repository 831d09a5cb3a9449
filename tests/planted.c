#include "planted.h"

#include "alloc/mark.h"

#include <string.h>

static const struct {
	const char *name, *what;
} bugs[] = {
	{"collect", "a drain does not list a slab again whose bits are on their way (D3)"},
	{"put", "a remote free does not wait until a slab that moves is where it goes (R1)"},
	{"look", "who frees a slab's last object from afar does not take it in (R4)"},
	{"inherit", "who moves a slab does not list it for those that came meanwhile (R3)"},
	{"gate", "threads enter the span source while a fork has closed it"},
	{"cookie", "cookies are one grace period too low"},
	{"walk", "polling asks only the readers it knows, not all of liburcu's list"},
	{"barrier", "the barrier frees what ripens, and not what came in behind it"},
};

static const char *planted;

bool plant(const char *name)
{
	for (unsigned i = 0; i < sizeof bugs / sizeof *bugs; i++)
		if (strcmp(bugs[i].name, name) == 0)
			planted = bugs[i].name;
	return planted;
}

void plant_list(FILE *out)
{
	for (unsigned i = 0; i < sizeof bugs / sizeof *bugs; i++)
		fprintf(out, "  %-8s %s\n", bugs[i].name, bugs[i].what);
}

bool mark_broken(const char *name)
{
	return planted && strcmp(planted, name) == 0;
}
