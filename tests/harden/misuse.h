/* The cases: each commits its error once, and returns if it was not caught. */
#ifndef QSLAB_TESTS_MISUSE_H
#define QSLAB_TESTS_MISUSE_H

#include <stddef.h>

struct misuse {
	const char *name;
	void (*commit)(size_t size, size_t argument);
	size_t size, argument;
};

/* To a nameless one. */
extern const struct misuse content_cases[], free_cases[], forgery_cases[];

/* Static data for cases about it. */
#define AREA ((size_t)4096)
extern unsigned char attacker[AREA];

#endif
