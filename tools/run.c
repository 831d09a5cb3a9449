/* qslab run: a command with libqslab-malloc.so preloaded. */
#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* True if the library at `place` can be read; *path is then its absolute name, good after any chdir. */
static bool resolve(const char *place, char path[PATH_MAX])
{
	return realpath(place, path) && !access(path, R_OK);
}

/* The loader would only warn, and run the command without it. */
static bool is_shared_library(const char *path)
{
	ElfW(Ehdr) own, header;
	int fd = open(path, O_RDONLY | O_CLOEXEC), self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	bool is = read(self, &own, sizeof own) == sizeof own && read(fd, &header, sizeof header) == sizeof header &&
	          !memcmp(header.e_ident, own.e_ident, EI_DATA + 1) && header.e_machine == own.e_machine &&
	          header.e_type == ET_DYN;

	close(fd);
	close(self);
	if (!is)
		fprintf(stderr, "qslab: %s: not a shared library of this machine\n", path);
	return is;
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

/* What execvp will run; false if that is not known. */
static bool find_program(const char *name, char path[PATH_MAX])
{
	const char *list = getenv("PATH");

	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
	for (const char *folder = list ? list : ""; *folder;) {
		int length = (int)strcspn(folder, ":");
		if (snprintf(path, PATH_MAX, "%.*s/%s", length, folder, name) < PATH_MAX && !access(path, X_OK))
			return true;
		folder += length + (folder[length] == ':');
	}
	return false;
}

/* A program that no loader starts. One that is no ELF file, as a script, is not. */
static bool is_static(int fd)
{
	ElfW(Ehdr) header;
	ElfW(Phdr) part;

	if (read(fd, &header, sizeof header) != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) ||
	    header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
	    header.e_phentsize != sizeof part)
		return false;
	for (unsigned i = 0; i < header.e_phnum; i++)
		if (pread(fd, &part, sizeof part, (off_t)(header.e_phoff + i * sizeof part)) != sizeof part ||
		    part.p_type == PT_INTERP)
			return false;
	return true;
}

/* The loader says nothing, and the command would run over its own malloc. It runs so all the same: its children may not. */
static void warn_of_deaf_program(const char *name)
{
	char path[PATH_MAX];
	struct stat file;

	if (!find_program(name, path))
		return;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && is_static(fd))
		fprintf(stderr, "qslab: %s: statically linked, runs over the malloc that is in it\n", path);
	else if (!stat(path, &file) && (((file.st_mode & S_ISUID) && file.st_uid != geteuid()) ||
	                                ((file.st_mode & S_ISGID) && file.st_gid != getegid())))
		fprintf(stderr, "qslab: %s: set-user-ID or set-group-ID, nothing is preloaded into it\n", path);
	if (fd >= 0)
		close(fd);
}

int command_run(int count, char **arguments)
{
	int at = 0;
	bool stats = false, profile = false;

	for (; at < count && arguments[at][0] == '-'; at++) {
		if (!strcmp(arguments[at], "--")) {
			at++;
			break;
		}
		if (!strcmp(arguments[at], "--stats"))
			stats = true;
		else if (!strcmp(arguments[at], "--profile"))
			profile = true;
		else
			return wrong_usage("run: unknown option ", arguments[at]);
	}
	if (at >= count)
		return wrong_usage("run: no command given", "");

	char library[PATH_MAX];
	if (!find_library(library))
		return 1;
	if (!is_shared_library(library))
		return 1;
	if (strpbrk(library, ": ")) {
		fprintf(stderr, "qslab: %s: LD_PRELOAD cannot name a path with a space or a colon\n", library);
		return 1;
	}
	const char *before = getenv("LD_PRELOAD");
	char *preload = NULL;
	if (asprintf(&preload, "%s%s%s", library, before && *before ? ":" : "", before ? before : "") < 0 ||
	    setenv("LD_PRELOAD", preload, 1) || (stats && setenv("QSLAB_STATS", "1", 1)) ||
	    (profile && setenv("QSLAB_PROFILE", "4M", 0))) {
		fprintf(stderr, "qslab: out of memory\n");
		return 1;
	}
	warn_of_deaf_program(arguments[at]);
	execvp(arguments[at], arguments + at);
	int why = errno;
	fprintf(stderr, "qslab: %s: %s\n", arguments[at], strerror(why));
	return why == ENOENT ? 127 : 126;
}
