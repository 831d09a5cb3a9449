/* Memory wanted and given back late: the many ways a thread and a process end. Each case is a child process. */
#define _GNU_SOURCE
#include "child.h"

#include <limits.h>
#include <malloc.h>
#include <stdatomic.h>

#define KEYS 40 /* more than glibc keeps in the thread itself */
#define CALLS (KEYS * PTHREAD_DESTRUCTOR_ITERATIONS)

static char *from_thread;
static pthread_key_t keys[KEYS];
static atomic_int calls;

__attribute__((destructor)) static void late(void) { stage('d'); }
__attribute__((destructor(101))) static void latest(void)
{
	if (calls && calls != CALLS)
		abort();
	free(from_thread);
	stage('D');
}

static void at_exit_first(void) { stage('a'); }
static void at_exit_second(void) { stage('b'); atexit(at_exit_first); }
static void at_quick(void) { stage('q'); }

/* Runs after the allocator's own destructor (main). */
static void key_ends(void *object)
{
	size_t key = *(size_t *)object;
	free(object);
	churn();
	size_t *next = malloc(sizeof *next + key * 1000);
	*next = key;
	if (calls++ < CALLS - KEYS) /* glibc gives up after as many rounds */
		pthread_setspecific(keys[key], next);
	else
		free(next);
}

static void *with_keys(void *unused)
{
	for (size_t i = 0; i < KEYS; i++) {
		pthread_key_create(&keys[i], key_ends);
		pthread_setspecific(keys[i], memcpy(malloc(sizeof i), &i, sizeof i));
	}
	from_thread = strdup("freed by a destructor");
	return unused;
}

static void *exits(void *main_thread)
{
	pthread_join(*(pthread_t *)main_thread, NULL);
	churn();
	exit(5);
}

static void handlers(void) { atexit(at_exit_second); churn(); exit(3); }
static void quick(void) { at_quick_exit(at_quick); at_quick_exit(at_quick); churn(); quick_exit(4); }

static void keys_again(void)
{
	start(with_keys, NULL, true);
	exit(0);
}

static void keys_of_main(void)
{
	with_keys(NULL);
	pthread_exit(NULL); /* the last thread: exit(0) follows the destructors */
}

static void main_goes_first(void)
{
	static pthread_t self;
	self = pthread_self();
	start(churning, NULL, false);
	start(churning, NULL, false);
	start(exits, &self, false);
	with_keys(NULL);
	pthread_exit(NULL);
}

static void others_go_on(void)
{
	for (int i = 0; i < 3; i++)
		start(churning, NULL, false);
	atexit(at_exit_second);
	churn();
	exit(6);
}

static void frees(void *object) { free(object); }

static void *leaves_object(void *unused)
{
	pthread_setspecific(keys[0], malloc(5000));
	return unused;
}

/* What threads' ends free is free: twice as many threads need no more. */
static void late_frees(void)
{
	size_t used[2];
	pthread_key_create(&keys[0], frees);
	for (int half = 0; half < 2; half++) {
		for (int i = 0; i < 300; i++)
			start(leaves_object, NULL, true);
		used[half] = mallinfo2().uordblks;
	}
	exit(used[1] < used[0] + 100 * 5000 ? 0 : 1);
}

/* Streams left open: their buffers are malloc's, written by exit. */
static void open_streams(void)
{
	for (int i = 0; i < 3; i++) {
		FILE *stream = fdopen(dup(trail), "w");
		setvbuf(stream, i == 2 ? malloc(100000) : NULL, _IOFBF, 100000);
		fputs("sssss", stream);
	}
	exit(7);
}

static const struct child_case cases[] = {
	{"exit handlers and destructors", handlers, 3, "badD"},
	{"quick_exit", quick, 4, "qq"},
	{"keys set again by their destructors", keys_again, 0, "dD"},
	{"the same in main, by pthread_exit", keys_of_main, 0, "dD"},
	{"main ends first, a thread exits", main_goes_first, 5, "dD"},
	{"exit while threads allocate", others_go_on, 6, "badD"},
	{"memory freed by threads' ends", late_frees, 0, "dD"},
	{"open streams", open_streams, 7, "dDsssssssssssssss"},
};

int main(void)
{
	free(malloc(1)); /* the allocator's key is made now, and its destructor runs before those here */
	return run_cases(cases, sizeof cases / sizeof *cases, 10);
}
