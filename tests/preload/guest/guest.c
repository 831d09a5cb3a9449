/* The shared object of dlopen.c: allocates as it is loaded, frees as it is unloaded. */
#define _GNU_SOURCE
#include "guest.h"

#include <stdlib.h>
#include <string.h>

static void *own[OWN], *adopted;
static __thread char local[20000]; /* too large for static TLS: the loader allocates it on first use */

extern int __cxa_thread_atexit_impl(void (*function)(void *), void *argument, void *object);
extern void *__dso_handle;

__attribute__((constructor)) static void come(void)
{
	for (size_t i = 0; i < OWN; i++)
		own[i] = memset(malloc(1 + i * i * 20), (int)i, 1 + i * i * 20);
	guests_come++;
}

__attribute__((destructor)) static void go(void)
{
	for (size_t i = 0; i < OWN; i++) {
		guest_errors += *(unsigned char *)own[i] != i;
		free(own[i]);
	}
	if (adopted)
		guest_errors += strcmp(adopted, "from the host") != 0;
	free(adopted);
	guests_gone++;
}

void *guest_make(size_t size)
{
	return malloc(size);
}

void guest_adopt(void *object)
{
	free(adopted); /* if it was still here for an earlier visitor's thread */
	adopted = object;
}

static void thread_ends(void *object)
{
	guest_errors += strcmp(object, "from the thread") != 0 || strcmp(local, object) != 0;
	free(object);
	free(malloc(100));
}

/* As C++'s thread_local does; keeps this object loaded until the thread has ended. */
void guest_stay(void)
{
	strcpy(local, "from the thread");
	if (__cxa_thread_atexit_impl(thread_ends, strdup(local), &__dso_handle))
		abort();
}
