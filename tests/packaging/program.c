/* A program of somebody else's: retires an object, waits for it, and looks that it came back. `malloc`: is qslab's? */
#include <qslab/rcu.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu/urcu-qsbr.h>

struct object {
	int value;
	struct rcu_ptr rcu;
};

int main(int count, char **arguments)
{
	(void)arguments;
	urcu_qsbr_register_thread();
	struct object *object = qslab_malloc(sizeof *object);
	qslab_free_rcu(object, rcu);
	qslab_rcu_barrier();
	urcu_qsbr_unregister_thread();
	struct qslab_rcu_stats stats;
	qslab_rcu_stats(&stats);
	void *other = malloc(1);
	int well = stats.retired == 1 && stats.waiting == 0 && qslab_owns(other) == (count > 1);
	free(other);
	printf("qslab %d.%d.%d\n", QSLAB_VERSION_MAJOR, QSLAB_VERSION_MINOR, QSLAB_VERSION_PATCH);
	return !well;
}
