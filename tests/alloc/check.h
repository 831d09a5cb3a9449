/* What several tests need. */
#ifndef QSLAB_TESTS_CHECK_H
#define QSLAB_TESTS_CHECK_H

#if defined(__SANITIZE_THREAD__) || defined(QSLAB_PLAIN_TESTS)
#include "plain.h"
#else
#include <criterion/criterion.h>
#endif
#include <qslab/qslab.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#define SCALE(n) ((n) / 10)
#else
#define SANITIZED 0
#define SCALE(n) (getenv("QSLAB_SOAK") ? (n) * 20 : (n))
#endif

/*
 * What a forked child may do under a sanitizer. ASan's allocator may have been locked by another thread, for ever. TSan
 * knows a thread by its pthread_t until it is joined, and a child's new thread gets that of a dead one; only detached
 * ones, as ours, may start there.
 */
#ifdef __SANITIZE_ADDRESS__
#define NO_FORK 1
#else
#define NO_FORK 0
#endif
#define NO_THREADS_IN_CHILD SANITIZED

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A size as programs ask for: mostly small, some medium, a few large. */
static inline size_t random_size(uint64_t *state)
{
	uint64_t r = next_random(state);
	switch (r % 64) {
	case 0:
		return 1 + next_random(state) % (1 << 20);
	case 1 ... 4:
		return 1 + next_random(state) % 65536;
	default:
		return 1 + next_random(state) % 1024;
	}
}

/* Runs `body`, which ends by _exit, in a child: asserts that all went well. */
static inline void expect_success(void (*body)(void))
{
	int status;
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0)
		body();
	waitpid(child, &status, 0);
	cr_assert_eq(status, 0, "status %x", (unsigned)status);
}

/* Runs `body` in a child and asserts that it aborts after exactly one line that contains both texts. */
static inline void expect_abort(void (*body)(void *), void *argument, const char *text, const char *text2)
{
	int pipe_ends[2];
	char line[1024] = "";

	cr_assert(pipe(pipe_ends) == 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(pipe_ends[1], STDERR_FILENO);
		body(argument);
		_exit(0);
	}
	close(pipe_ends[1]);
	size_t length = 0;
	ssize_t got;
	while ((got = read(pipe_ends[0], line + length, sizeof line - 1 - length)) > 0)
		length += (size_t)got;
	close(pipe_ends[0]);
	int status;
	waitpid(child, &status, 0);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "no abort; stderr: %s", line);
	cr_assert(strncmp(line, "qslab: ", 7) == 0, "not our line: %s", line);
	cr_assert(strchr(line, '\n') == line + length - 1, "more than one line: %s", line);
	cr_assert(strstr(line, text) && strstr(line, text2), "'%s' and '%s' not in: %s", text, text2, line);
}

#endif
