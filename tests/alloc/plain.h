/*
 * Criterion's words over a plain runner, for ThreadSanitizer, where whose shadow lies Criterion's own maps memory, and
 * for machines that are emulated. Each test runs in a forked child; the closing line counts them.
 */
#ifndef QSLAB_TESTS_PLAIN_H
#define QSLAB_TESTS_PLAIN_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_test {
	const char *name;
	void (*run)(void);
	struct plain_options {
		bool disabled;
		double timeout; /* ctest has one */
	} options;
	struct plain_test *next;
};

/* A child of a process with threads may start some (check.h says which). */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static struct plain_test *plain_tests;
static void (*plain_init)(void);

#define TestSuite(suite, ...) \
	__attribute__((constructor)) static void plain_suite_##suite(void) \
	{ \
		struct { void (*init)(void); } options = {__VA_ARGS__}; \
		plain_init = options.init; \
	}
#define Test(suite, test, ...) \
	static void suite##_##test(void); \
	__attribute__((constructor)) static void plain_add_##suite##_##test(void) \
	{ \
		static struct plain_test entry = {#suite "::" #test, suite##_##test, {__VA_ARGS__}, NULL}; \
		entry.next = plain_tests; \
		plain_tests = &entry; \
	} \
	static void suite##_##test(void)

#define cr_assert(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1); \
		} \
	} while (0)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b))
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b))
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b))
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b))
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b))
#define cr_assert_null(a, ...) cr_assert((a) == NULL)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL)
#define cr_assert_not(a, ...) cr_assert(!(a))

int main(void)
{
	int passed = 0, failed = 0;

	for (struct plain_test *test = plain_tests; test; test = test->next) {
		if (test->options.disabled)
			continue;
		pid_t child = fork();
		if (child == 0) {
			if (plain_init)
				plain_init();
			test->run();
			_exit(0);
		}
		int status = -1;
		waitpid(child, &status, 0);
		if (status) {
			fprintf(stderr, "FAILED %s (status %x)\n", test->name, (unsigned)status);
			failed++;
		} else {
			passed++;
		}
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}

#endif
