/*
 * libqslab.so opened by a running program. With a private jemalloc it wants 2.6 KiB of static TLS, more than
 * glibc keeps for late comers by default: then dlopen must say so, and work once glibc is told to keep more.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TUNABLE "glibc.rtld.optional_static_tls=8192"
#define THREADS 4

static pthread_barrier_t opened, used, closed;
static void *(*make)(size_t);
static void (*drop)(void *);
static bool (*owns)(const void *);

/* Runs before the library comes and ends after it was closed. */
static void *older_thread(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&opened);
	for (size_t size = 1; size < 300000; size += 1 + size / 5) {
		void *mine = make(size), *libcs = malloc(size);
		if (!mine || !owns(mine) || owns(libcs))
			abort();
		drop(memset(mine, 1, size));
		free(libcs);
	}
	pthread_barrier_wait(&used);
	pthread_barrier_wait(&closed);
	return NULL;
}

static int use(void)
{
	pthread_t threads[THREADS];
	pthread_barrier_init(&opened, NULL, THREADS + 1);
	pthread_barrier_init(&used, NULL, THREADS + 1);
	pthread_barrier_init(&closed, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, older_thread, NULL))
			abort();
	void *library = dlopen(LIBRARY, RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	make = (void *(*)(size_t))dlsym(library, "qslab_malloc");
	drop = (void (*)(void *))dlsym(library, "qslab_free");
	owns = (bool (*)(const void *))dlsym(library, "qslab_owns");
	if (!make || !drop || !owns) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	pthread_barrier_wait(&opened);
	char *kept = strcpy(make(100), "kept");
	pthread_barrier_wait(&used);
	dlclose(library);
	pthread_barrier_wait(&closed);
	for (int i = 0; i < THREADS; i++) /* their ends run the library's code */
		pthread_join(threads[i], NULL);
	return strcmp(kept, "kept") != 0;
}

int main(int count, char **arguments)
{
	(void)count;
	if (getenv("GLIBC_TUNABLES"))
		return use();
	void *library = dlopen(LIBRARY, RTLD_NOW);
	if (library) {
		printf("it opens\n");
		return use();
	}
	const char *why = dlerror();
	printf("%s\n", why);
	fflush(stdout);
	if (!strstr(why, LIBRARY) || !strstr(why, "static TLS"))
		return 1;
	setenv("GLIBC_TUNABLES", TUNABLE, 1);
	execv("/proc/self/exe", arguments);
	return 1;
}
