#define _GNU_SOURCE
#include "option.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options options = {.stats = false, .retain = (size_t)64 << 20};

static bool parse_flag(const char *text, bool *flag)
{
	if (strcmp(text, "0") && strcmp(text, "1"))
		return false;
	*flag = *text == '1';
	return true;
}

static bool parse_bytes(const char *text, size_t *bytes)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

	if (end == text || *text == '-' || errno || end[shift != 0] || number > SIZE_MAX >> shift)
		return false;
	*bytes = (size_t)number << shift;
	return true;
}

static void complain(const char *text, const char *why)
{
	report_line("qslab: environment %.160s: %s", text, why);
}

void option_init(void)
{
	for (char **variable = environ; variable && *variable; variable++) {
		const char *text = *variable;
		const char *value = strchr(text, '=');
		if (strncmp(text, "QSLAB_", 6) || !value++)
			continue;
		bool good = true;
		if (!strncmp(text, "QSLAB_STATS=", 12))
			good = parse_flag(value, &options.stats);
		else if (!strncmp(text, "QSLAB_RETAIN=", 13))
			good = parse_bytes(value, &options.retain);
		else if (strncmp(text, "QSLAB_LIBRARY=", 14) && strncmp(text, "QSLAB_SOAK=", 11))
			complain(text, "unknown option, ignored"); /* those two are the tool's and the tests' */
		if (!good)
			complain(text, "bad value, ignored");
	}
	/* many programs close stderr at exit, before us */
	options.stats_fd = options.stats ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) : -1;
}
