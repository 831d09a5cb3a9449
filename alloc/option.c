#define _GNU_SOURCE
#include "option.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct options options = {
	.retain = (size_t)64 << 20,
	.rcu_soft = (size_t)32 << 20,
	.rcu_hard = (size_t)1 << 30,
	.rcu_stall = 10,
	.profile = PROFILE_NEVER,
};

enum kind { FLAG, BYTES, FOREIGN };

static const struct option {
	const char *name;
	enum kind kind;
	void *value;
} known[] = {
	{"QSLAB_STATS", FLAG, &options.stats},
	{"QSLAB_RETAIN", BYTES, &options.retain},
	{"QSLAB_PROFILE", BYTES, &options.profile},
	{"QSLAB_RCU_SOFT", BYTES, &options.rcu_soft},
	{"QSLAB_RCU_HARD", BYTES, &options.rcu_hard},
	{"QSLAB_RCU_STALL", BYTES, &options.rcu_stall},
	{"QSLAB_RCU_DEBUG", FLAG, &options.rcu_debug},
	{"QSLAB_RCU_SAMPLE", BYTES, &options.rcu_sample},
	{"QSLAB_LIBRARY", FOREIGN, NULL}, /* the tool's */
	{"QSLAB_SOAK", FOREIGN, NULL},    /* the tests' */
};

/* Many programs close stderr at exit, before us. Some close every descriptor, and use its number for their own. */
static int error_copy = -1;
static struct stat error_file;

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

	if (*text < '0' || *text > '9' || errno || end[shift != 0] || number > SIZE_MAX >> shift)
		return false;
	*bytes = (size_t)number << shift;
	return true;
}

static void complain(const char *text, const char *why)
{
	size_t shown = strcspn(text, "\n"); /* one line, whatever is in it */
	report_line("qslab: environment %.*s: %s", shown < 160 ? (int)shown : 160, text, why);
}

static const struct option *find(const char *text, size_t length)
{
	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (strlen(known[i].name) == length && !strncmp(known[i].name, text, length))
			return &known[i];
	return NULL;
}

void option_init(void)
{
	for (char **variable = environ; variable && *variable; variable++) {
		const char *text = *variable;
		const char *value = strchr(text, '=');
		if (strncmp(text, "QSLAB_", 6) || !value)
			continue;
		const struct option *option = find(text, (size_t)(value - text));
		value++;
		if (!option)
			complain(text, "unknown option, ignored");
		else if ((option->kind == FLAG && !parse_flag(value, option->value)) ||
		         (option->kind == BYTES && !parse_bytes(value, option->value)))
			complain(text, "bad value, ignored");
	}
	if (options.stats && !fstat(STDERR_FILENO, &error_file))
		error_copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
}

int option_stats_fd(void)
{
	const int tried[] = {error_copy, STDERR_FILENO};

	for (unsigned i = 0; i < sizeof tried / sizeof *tried; i++) {
		struct stat file;
		if (!fstat(tried[i], &file) && file.st_dev == error_file.st_dev && file.st_ino == error_file.st_ino)
			return tried[i];
	}
	return -1;
}
