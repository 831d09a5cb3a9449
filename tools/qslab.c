/* qslab: run a program on qslab's malloc. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage_text[] =
	"usage: qslab run [--stats] -- COMMAND [ARGUMENT...]\n"
	"       qslab --version | --help\n"
	"\n"
	"  run      runs COMMAND with libqslab-malloc.so preloaded\n"
	"  --stats  prints where its memory is, on stderr, when it exits\n"
	"\n"
	"The library is the one beside this program (../lib), or $QSLAB_LIBRARY.\n"
	"Exit status: COMMAND's; 126 if it cannot be executed, 127 if there is none such,\n"
	"1 for a missing library, 2 for wrong usage.\n";

static int wrong_usage(const char *why, const char *what)
{
	fprintf(stderr, "qslab: %s%s; see qslab --help\n", why, what);
	return 2;
}

/* True if the library at `place` can be read; *path is then its absolute name, good after any chdir. */
static bool resolve(const char *place, char path[PATH_MAX])
{
	return realpath(place, path) && !access(path, R_OK);
}

/* The preload library's path; false, with a line, if there is none that can be read. */
static bool find_library(char path[PATH_MAX])
{
	static const char *const places[] = {"../lib", "../" QSLAB_INSTALL_LIBDIR}; /* build tree, installed */
	const char *given = getenv("QSLAB_LIBRARY");

	if (given && *given) {
		if (resolve(given, path))
			return true;
		fprintf(stderr, "qslab: QSLAB_LIBRARY=%s: %s\n", given, strerror(errno));
		return false;
	}
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	if (length < 0) {
		perror("qslab: /proc/self/exe");
		return false;
	}
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		char place[PATH_MAX + 256];
		snprintf(place, sizeof place, "%s/%s/libqslab-malloc.so", self, places[i]);
		if (resolve(place, path))
			return true;
	}
	fprintf(stderr, "qslab: libqslab-malloc.so is not beside %s (../lib); set QSLAB_LIBRARY\n", self);
	return false;
}

static int run(int count, char **arguments)
{
	int at = 0;
	bool stats = false;

	for (; at < count && arguments[at][0] == '-'; at++) {
		if (!strcmp(arguments[at], "--")) {
			at++;
			break;
		}
		if (strcmp(arguments[at], "--stats"))
			return wrong_usage("run: unknown option ", arguments[at]);
		stats = true;
	}
	if (at >= count)
		return wrong_usage("run: no command given", "");

	char library[PATH_MAX];
	if (!find_library(library))
		return 1;
	if (strpbrk(library, ": ")) {
		fprintf(stderr, "qslab: %s: LD_PRELOAD cannot name a path with a space or a colon\n", library);
		return 1;
	}
	const char *before = getenv("LD_PRELOAD");
	char *preload = NULL;
	if (asprintf(&preload, "%s%s%s", library, before && *before ? ":" : "", before ? before : "") < 0 ||
	    setenv("LD_PRELOAD", preload, 1) || (stats && setenv("QSLAB_STATS", "1", 1))) {
		fprintf(stderr, "qslab: out of memory\n");
		return 1;
	}
	execvp(arguments[at], arguments + at);
	fprintf(stderr, "qslab: %s: %s\n", arguments[at], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}

int main(int count, char **arguments)
{
	if (count < 2)
		return wrong_usage("no subcommand given", "");
	if (!strcmp(arguments[1], "run"))
		return run(count - 2, arguments + 2);
	if (!strcmp(arguments[1], "--help") || !strcmp(arguments[1], "help"))
		return fputs(usage_text, stdout) < 0;
	if (!strcmp(arguments[1], "--version"))
		return puts("qslab " QSLAB_TOOL_VERSION) < 0;
	return wrong_usage("unknown subcommand ", arguments[1]);
}
