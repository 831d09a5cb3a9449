/*
 * Bugs planted in the core, of programs over qslab-core-test: a line of its protocols that is not there (BROKEN in
 * alloc/mark.h). A test that does not notice one tests less than it says.
 */
#ifndef QSLAB_TESTS_PLANTED_H
#define QSLAB_TESTS_PLANTED_H

#include <stdbool.h>
#include <stdio.h>

/* Before any other thread is there; false: there is none of that name. */
bool plant(const char *name);

void plant_list(FILE *out);

#endif
