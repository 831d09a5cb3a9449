/* The shared object of plugin.c: defers and waits as it is loaded, and again as it is unloaded. */
#include <qslab/rcu.h>

extern int plugin_calls;

static void defers_and_waits(void)
{
	struct rcu_ptr *object = qslab_malloc(sizeof *object);

	qslab_free_rcu_link(object, object);
	qslab_rcu_barrier();
	plugin_calls++;
}

__attribute__((constructor)) static void loaded(void)
{
	defers_and_waits();
}

__attribute__((destructor)) static void unloaded(void)
{
	defers_and_waits();
}
