/* Preloaded into a daemon: when it exits, how many objects it retired, and how many of them are not free again. */
#include <qslab/rcu.h>
#include <stdio.h>
#include <stdlib.h>

static void __attribute__((destructor)) report(void)
{
	struct qslab_rcu_stats stats;
	FILE *file = fopen(getenv("RETIRED_FILE"), "a");
	if (!file)
		return;
	qslab_rcu_barrier();
	qslab_rcu_stats(&stats);
	fprintf(file, "%lu %lu\n", (unsigned long)stats.retired, (unsigned long)stats.waiting);
	fclose(file);
}
