#define _GNU_SOURCE
#include "option.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

struct options options = {
	.retain = (size_t)64 << 20,
	.rcu_soft = (size_t)32 << 20,
	.rcu_hard = (size_t)1 << 30,
	.rcu_stall = 10,
	.profile = PROFILE_NEVER,
	.rcu_sample = SAMPLE_DEFAULT,
#ifdef QSLAB_HARDEN
	.harden = true,
#endif
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
	{"QSLAB_HARDEN", FLAG, &options.harden},
	{"QSLAB_DEEPBIND", FLAG, &options.deepbind},
	{"QSLAB_THP", FLAG, &options.thp},
	{"QSLAB_LIBRARY", FOREIGN, NULL}, /* the tool's */
	{"QSLAB_SOAK", FOREIGN, NULL},    /* the tests' */
};

/* Many programs close stderr at exit, before us. Some close every descriptor, and use its number for their own. */
static int error_copy = -1;
static struct stat error_file;

static bool parse_flag(const char *text, size_t length, bool *flag)
{
	if (length != 1 || (*text != '0' && *text != '1'))
		return false;
	*flag = *text == '1';
	return true;
}

static bool parse_bytes(const char *text, size_t length, size_t *bytes)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

	if (!length || *text < '0' || *text > '9' || errno || end + (shift != 0) != text + length ||
	    number > SIZE_MAX >> shift)
		return false;
	*bytes = (size_t)number << shift;
	return true;
}

static void complain(const char *text, size_t length, const char *why)
{
	size_t shown = strcspn(text, "\n"); /* one line, whatever is in it */
	shown = shown < length ? shown : length;
	report_line("qslab: environment %.*s: %s", shown < 160 ? (int)shown : 160, text, why);
}

/* In a list names are written in small letters, without QSLAB_. */
static bool same(const char *known_name, const char *text, size_t length, bool listed)
{
	if (listed)
		known_name += sizeof "QSLAB_" - 1;
	for (; length && *known_name; length--, text++)
		if (*known_name++ != (!listed ? *text : *text >= 'a' && *text <= 'z' ? *text - 'a' + 'A' : *text == '_' ? '_' : 0))
			return false;
	return !length && !*known_name;
}

/* NAME=VALUE, or NAME alone for 1, of that length. */
static void take(const char *text, size_t length, bool listed)
{
	const char *equals = memchr(text, '=', length);
	size_t name = equals ? (size_t)(equals - text) : length;
	const char *value = equals ? equals + 1 : "1";
	size_t value_length = equals ? length - name - 1 : 1;

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
		const struct option *option = &known[i];
		if (!same(option->name, text, name, listed))
			continue;
		if ((option->kind == FLAG && !parse_flag(value, value_length, option->value)) ||
		    (option->kind == BYTES && !parse_bytes(value, value_length, option->value)))
			complain(text, length, "bad value, ignored");
		return;
	}
	complain(text, length, "unknown option, ignored");
}

/* QSLAB_OPTIONS. */
static void take_list(const char *text)
{
	for (size_t length; *text; text += length + (text[length] == ',')) {
		length = strcspn(text, ",");
		if (length)
			take(text, length, true);
	}
}

void option_init(void)
{
	static const char list[] = "QSLAB_OPTIONS=";
	static atomic_flag done = ATOMIC_FLAG_INIT;

	if (!environ || atomic_flag_test_and_set(&done))
		return;
	if (getauxval(AT_SECURE)) /* its environment is another's: whoever ran it may not choose how it runs */
		return;
	for (char **variable = environ; *variable; variable++) {
		const char *text = *variable;
		if (strncmp(text, "QSLAB_", 6) || !strchr(text, '='))
			continue;
		if (strncmp(text, list, sizeof list - 1))
			take(text, strlen(text), false);
		else
			take_list(text + sizeof list - 1);
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
