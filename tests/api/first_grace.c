/*
 * The first deferred free of a process that links the preload library: whoever asks for the first grace period has the loader
 * find liburcu's calls, and the loader allocates what it says of those that are not there. So malloc is called inside
 * that search, by the thread that searches, and may come upon an array that waits for that very grace period. Each child
 * has another size and another number of objects before, so that one of them finds its magazine empty then.
 */
#include <qslab/qslab.h>
#include <qslab/rcu.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

#define SIZES 16  /* of 32, 48 ... bytes: the loader's messages are among them */
#define PHASES 64
#define RETIRED 1000

static void *kept[PHASES];

static void defer(size_t size, int before)
{
	urcu_qsbr_register_thread();
	for (int i = 0; i < before; i++)
		kept[i] = qslab_malloc(size);
	for (int i = 0; i < RETIRED; i++) {
		struct rcu_ptr *object = qslab_malloc(size);
		qslab_free_rcu_link(object, object);
	}
	urcu_qsbr_quiescent_state();
	for (int i = 0; i < before; i++)
		qslab_free(kept[i]);
	qslab_rcu_barrier();
	urcu_qsbr_unregister_thread();
	_exit(0);
}

int main(void)
{
	void *libcs = malloc(100);

	if (!qslab_owns(libcs)) {
		fputs("malloc is not the preload library's\n", stderr);
		return 1;
	}
	free(libcs);
	for (int i = 0; i < SIZES; i++)
		for (int before = 0; before < PHASES; before++) {
			size_t size = 32 + 16 * (size_t)i;
			int status = -1;
			pid_t child = fork();
			if (child == 0) {
				alarm(60); /* a deadlock dies of it */
				defer(size, before);
			}
			if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
				fprintf(stderr, "%d objects of %zu bytes before: status %#x\n", before, size, status);
				return 1;
			}
		}
	return 0;
}
