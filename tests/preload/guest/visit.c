/* A host's part: a guest is loaded, gives and takes memory, and is unloaded. */
#define _GNU_SOURCE
#include "guest.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

atomic_int guests_come, guests_gone, guest_errors;

static void *call(void *guest, const char *name)
{
	void *function = dlsym(guest, name);
	if (!function) {
		fprintf(stderr, "%s\n", dlerror());
		abort();
	}
	return function;
}

void *guest_open(const char *path)
{
	void *guest = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!guest) {
		fprintf(stderr, "%s\n", dlerror());
		abort();
	}
	return guest;
}

/* Leaves a destructor behind, and closes the last handle: the object goes when the thread has gone. */
static void *stay(void *guest)
{
	((void (*)(void))call(guest, "guest_stay"))();
	dlclose(guest);
	return NULL;
}

void guest_visit(const char *path, int round)
{
	void *guest = guest_open(path);
	void *(*make)(size_t) = call(guest, "guest_make");
	void (*adopt)(void *) = call(guest, "guest_adopt");
	void *mine[50];
	for (int i = 0; i < 50; i++) {
		size_t size = 1 + (size_t)(i * i * 37 + round) % 90000;
		mine[i] = memset(make(size), i, size);
	}
	adopt(strdup("from the host"));
	if (round % 3 == 0) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, stay, guest))
			abort();
		pthread_join(thread, NULL);
	} else {
		dlclose(guest);
	}
	for (int i = 0; i < 50; i++) { /* its maker is gone */
		guest_errors += *(unsigned char *)mine[i] != i;
		free(mine[i]);
	}
}
