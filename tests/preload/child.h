/*
 * Tests whose cases are child processes: how each ends, and the letters that its stages left on the way.
 * churn() is the work of every stage: objects of all kinds, each freed and allocated anew.
 */
#ifndef QSLAB_TESTS_CHILD_H
#define QSLAB_TESTS_CHILD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct child_case {
	const char *name;
	void (*body)(void);
	int status;
	const char *letters;
};

static int trail = -1; /* a pipe in the child: one letter for each stage that ran */

static void churn(void)
{
	static _Thread_local char *kept[30];
	for (int i = 0; i < 30; i++) {
		size_t size = (size_t)i * i * 400 + 10;
		if (kept[i] && kept[i][size - 1] != i)
			abort();
		free(kept[i]);
		kept[i] = realloc(calloc(1, size / 2), size);
		kept[i][size - 1] = (char)i;
	}
}

static void stage(char letter)
{
	churn();
	if (trail >= 0 && write(trail, &letter, 1) != 1)
		abort();
}

/* A thread that never ends. */
static void *churning(void *unused)
{
	for (;;)
		churn();
	return unused;
}

static void start(void *(*body)(void *), void *argument, bool wait)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, body, argument))
		abort();
	if (wait)
		pthread_join(thread, NULL);
}

static bool passes(const struct child_case *test)
{
	int ends[2], status;
	char letters[100] = "";
	if (pipe(ends))
		abort();
	pid_t child = fork();
	if (child == 0) {
		alarm(60); /* a deadlock dies of it */
		trail = ends[1];
		test->body();
		_exit(99);
	}
	close(ends[1]);
	for (size_t length = 0; length < sizeof letters - 1 && read(ends[0], letters + length, 1) == 1;)
		length++;
	close(ends[0]);
	waitpid(child, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == test->status && !strcmp(letters, test->letters))
		return true;
	fprintf(stderr, "%s: status %#x instead of %d, stages %s instead of %s\n", test->name, status,
	        test->status, letters, test->letters);
	return false;
}

/* A status for main: 0 if all cases passed in all rounds. */
static int run_cases(const struct child_case *cases, size_t count, int rounds)
{
	int failures = 0;
	for (int round = 0; round < rounds; round++)
		for (size_t i = 0; i < count; i++)
			failures += !passes(&cases[i]);
	return failures != 0;
}

#endif
