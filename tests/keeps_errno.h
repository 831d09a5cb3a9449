/* KEPT(call): makes the call, which must keep errno. REQUIRE is the test's own. */
#ifndef QSLAB_TESTS_KEEPS_ERRNO_H
#define QSLAB_TESTS_KEEPS_ERRNO_H

#include <errno.h>

#define KEPT(call)                                                                                          \
	do {                                                                                                \
		errno = 77;                                                                                 \
		call;                                                                                       \
		REQUIRE(errno == 77);                                                                       \
	} while (0)

#endif
