/* What the C++ tests share. */
#ifndef QSLAB_TESTS_CXX_H
#define QSLAB_TESTS_CXX_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>

static int failures;

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			failures++; \
		} \
	} while (0)

#endif
