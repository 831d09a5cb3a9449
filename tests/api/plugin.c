/*
 * A shared object may wait for grace periods while dlopen or dlclose runs it, holding the loader's lock: none of the
 * library's threads may need that lock. The first round is the process's first use of deferred free too.
 */
#include <dlfcn.h>
#include <qslab/rcu.h>
#include <stdio.h>
#include <unistd.h>

int plugin_calls;

int main(void)
{
	struct qslab_rcu_stats stats;

	alarm(60); /* it hung */
	for (int round = 1; round <= 20; round++) {
		void *plugin = dlopen(PLUGIN, RTLD_NOW);
		if (!plugin || dlclose(plugin) || plugin_calls != 2 * round) {
			printf("failed: round %d: %d calls\n", round, plugin_calls);
			return 1;
		}
	}
	qslab_rcu_stats(&stats);
	if (stats.retired != 40 || stats.waiting) {
		printf("failed: %lu of 40 retired, %lu wait\n", (unsigned long)stats.retired, (unsigned long)stats.waiting);
		return 1;
	}
	return 0;
}
