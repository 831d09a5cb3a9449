/* Between the host, dlopen.c or tests/soak by visit.c, and guest.c. */
#ifndef QSLAB_TESTS_GUEST_H
#define QSLAB_TESTS_GUEST_H

#include <stdatomic.h>
#include <stddef.h>

#define OWN 80 /* objects of a guest: 1 byte to 125 kB */

/* The host's. */
extern atomic_int guests_come, guests_gone, guest_errors;
void *guest_open(const char *path);
/* Each third round leaves a destructor to a thread, and the guest goes when that has gone. */
void guest_visit(const char *path, int round);

/* The guest's, by dlsym. */
void *guest_make(size_t size);
void guest_adopt(void *object); /* the guest frees it as it is unloaded */
void guest_stay(void);          /* leaves a TLS destructor to the calling thread */

#endif
