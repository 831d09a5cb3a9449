/*
 * A shared object loaded with RTLD_DEEPBIND has our malloc all the same, and is searched for where this program's own
 * RUNPATH says. With QSLAB_DEEPBIND=1 it has libc's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef void *allocator(size_t size);

static void *find(void *guest, const char *name)
{
	void *found = guest ? dlsym(guest, name) : NULL;
	if (!found) {
		fprintf(stderr, "%s: %s\n", name, dlerror());
		exit(1);
	}
	return found;
}

static int run_again(const char *self)
{
	pid_t child = fork();
	int status;

	if (!child) {
		setenv("QSLAB_DEEPBIND", "1", 1);
		execl(self, self, "kept", (char *)NULL);
		_exit(126);
	}
	return child < 0 || waitpid(child, &status, 0) != child || status != 0;
}

int main(int count, char **arguments)
{
	/* no path: only our RUNPATH has it */
	void *guest = dlopen("deep_guest.so", RTLD_NOW | RTLD_DEEPBIND);
	allocator *(*which)(void) = (allocator * (*)(void)) find(guest, "guest_malloc");
	void (*drop)(void *) = (void (*)(void *))find(guest, "guest_free");
	char *(*copy)(const char *) = (char *(*)(const char *))find(guest, "guest_copy");
	int failures = 0;

	if (count > 1) {
		if (which() == malloc) {
			fprintf(stderr, "QSLAB_DEEPBIND=1, and the flag is gone\n");
			return 1;
		}
		return 0;
	}
	if (which() != malloc) {
		fprintf(stderr, "the guest has another malloc\n");
		return 1; /* the rest would end the process */
	}
	drop(strdup("made here"));
	char *made = copy("made there");
	failures += strcmp(made, "made there") != 0;
	free(made);
	drop(copy("made and dropped there"));
	if (dlopen("no_such_guest.so", RTLD_NOW) || !strstr(dlerror(), "no_such_guest.so")) {
		fprintf(stderr, "what is not there was found, or the error does not name it\n");
		failures++;
	}
	failures += dlopen(NULL, RTLD_NOW) == NULL;
	failures += run_again(arguments[0]);
	return failures != 0;
}
