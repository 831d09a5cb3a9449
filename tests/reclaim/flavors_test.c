/* The same promises whatever flavour the readers use. Every test is a process of its own. */
#include "retire.h"

#include <dlfcn.h>
#include <errno.h>

static const struct rcu_flavor_struct *flavor;

static void use(const struct rcu_flavor_struct *chosen)
{
	flavor = chosen;
	cr_assert_eq(qslab_rcu_set_flavor(chosen), 0);
}

enum { READERS = 3, SLOTS = 32 };

struct element {
	uint64_t magic;
	struct rcu_ptr rcu;
	uint64_t more[];
};

static struct element *_Atomic slots[SLOTS];
static atomic_bool stop;
static atomic_ulong reads;

#define MAGIC(slot) (0x6d61676963000000u + (slot))

static size_t more_of(unsigned slot)
{
	static const size_t more[8] = {0, 1, 5, 20, 100, 1000, 8000, 60000};
	return more[slot % 8];
}

static struct element *make(unsigned slot)
{
	size_t more = more_of(slot);
	struct element *element = qslab_malloc(sizeof *element + more * sizeof *element->more);
	cr_assert_not_null(element);
	element->magic = MAGIC(slot);
	for (size_t i = 0; i < more; i++)
		element->more[i] = MAGIC(slot) + i;
	return element;
}

static void check(const struct element *element, unsigned slot)
{
	cr_assert_eq(element->magic, MAGIC(slot));
	for (size_t i = 0; i < more_of(slot); i++)
		cr_assert_eq(element->more[i], MAGIC(slot) + i);
}

static void *reads_on(void *number)
{
	uint64_t random = (uintptr_t)number + 77;
	flavor->register_thread();
	while (!atomic_load(&stop)) {
		unsigned slot = next_random(&random) % SLOTS;
		flavor->read_lock();
		struct element *element = atomic_load(&slots[slot]);
		check(element, slot);
		if (next_random(&random) % 64 == 0)
			pause_ms((unsigned)(next_random(&random) % 64 ? 2 : 300));
		check(element, slot);
		flavor->read_unlock();
		flavor->read_quiescent_state();
		atomic_fetch_add(&reads, 1);
	}
	flavor->unregister_thread();
	return NULL;
}

static void core(const struct rcu_flavor_struct *chosen)
{
	pthread_t readers[READERS];
	uint64_t random = 4, replaced = 0;

	use(chosen);
	struct account before = account_open();
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i] = make(i);
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reads_on, (void *)i);
	flavor->register_thread();
	for (double end = seconds() + (getenv("QSLAB_SOAK") ? 60 : 2); seconds() < end; replaced++) {
		unsigned slot = next_random(&random) % SLOTS;
		const struct call *call = &calls[next_random(&random) % CALLS];
		struct element *old = atomic_exchange(&slots[slot], make(slot));
		call->retire(old, &old->rcu);
		flavor->read_quiescent_state();
		if (replaced % 512 == 0) { /* not too much at once */
			qslab_rcu_wait(qslab_rcu_get());
			if (replaced % 4096 == 0)
				qslab_rcu_barrier();
		}
	}
	flavor->unregister_thread();
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	for (unsigned i = 0; i < SLOTS; i++, replaced++)
		qslab_free_rcu_mightsleep(slots[i]);
	qslab_rcu_barrier();
	account_balances(&before, replaced);
	cr_assert_gt(atomic_load(&reads), 100);
	cr_assert_gt(replaced, 100);
}

Test(flavors, qsbr) { core(&urcu_qsbr_flavor); }
Test(flavors, memb) { core(&urcu_memb_flavor); }
Test(flavors, mb) { core(&urcu_mb_flavor); }
Test(flavors, bp) { core(&urcu_bp_flavor); }

/* Inside a read-side section every call that does not wait may be made, and frees nothing the section sees. */
static void inside_a_section(const struct rcu_flavor_struct *chosen)
{
	unsigned char *objects[CALLS * 20];
	use(chosen);
	struct account before = account_open();
	flavor->register_thread();
	flavor->read_lock();
	for (int i = 0; i < CALLS * 20; i++) {
		objects[i] = qslab_malloc(200);
		fill(objects[i], 200, (size_t)i);
		calls[i % CALLS].retire(objects[i], link_at(objects[i], 96));
	}
	for (int i = 0; i < 1500; i++) {
		void *other = qslab_malloc(200);
		memset(other, 0xcc, 200);
		qslab_free(other);
		if (i % 10 == 0)
			pause_ms(1 + (unsigned)i / 100);
	}
	for (int i = 0; i < CALLS * 20; i++)
		cr_assert_eq(changed(objects[i], 200, (size_t)i, 96), SIZE_MAX, "%s", calls[i % CALLS].name);
	flavor->read_unlock();
	flavor->unregister_thread();
	qslab_rcu_barrier();
	account_balances(&before, CALLS * 20);
}

Test(flavors, qsbr_inside) { inside_a_section(&urcu_qsbr_flavor); }
Test(flavors, memb_inside) { inside_a_section(&urcu_memb_flavor); }
Test(flavors, mb_inside) { inside_a_section(&urcu_mb_flavor); }
Test(flavors, bp_inside) { inside_a_section(&urcu_bp_flavor); }

/* A program may have a liburcu inside that nobody else sees: the flavor it names is not the one that is found. */
Test(flavors, qsbr_of_its_own)
{
	struct rcu_flavor_struct copy = urcu_qsbr_flavor;

	use(&copy);
	struct account before = account_open();
	flavor->register_thread();
	for (int i = 0; i < CALLS * 20; i++) {
		void *object = qslab_malloc(200);
		calls[i % CALLS].retire(object, link_at(object, 96));
	}
	qslab_rcu_wait(qslab_rcu_start()); /* as of any QSBR reader: a quiescent state, and it is online after it */
	qslab_rcu_barrier();
	cr_assert(flavor->read_ongoing());
	flavor->unregister_thread();
	account_balances(&before, CALLS * 20);
}

static void ends_well(pid_t child, int round)
{
	int status;

	waitpid(child, &status, 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: status %x", round, status);
}

/* The child of a process with readers of this flavour goes on as its parent does. */
static void forks(const struct rcu_flavor_struct *chosen)
{
	pthread_t readers[READERS];
	use(chosen);
	if (chosen == &urcu_bp_flavor) /* liburcu asks for this */
		pthread_atfork(urcu_bp_before_fork, urcu_bp_after_fork_parent, urcu_bp_after_fork_child);
	struct account before = account_open();
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i] = make(i);
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reads_on, (void *)i);
	for (int round = 0; round < 50; round++) {
		for (unsigned i = 0; i < SLOTS; i++) {
			struct element *old = atomic_exchange(&slots[i], make(i));
			calls[(i + (unsigned)round) % CALLS].retire(old, &old->rcu);
		}
		pid_t child = fork();
		if (child == 0) {
			alarm(30);
			for (unsigned i = 0; i < SLOTS; i++) {
				check(slots[i], i);
				calls[i % CALLS].retire(slots[i], &slots[i]->rcu);
				qslab_free(qslab_malloc(100));
			}
			qslab_rcu_barrier();
			_exit(stats().waiting != 0);
		}
		ends_well(child, round);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	for (unsigned i = 0; i < SLOTS; i++)
		qslab_free(slots[i]);
	qslab_rcu_barrier();
	account_balances(&before, 50 * SLOTS);
}

Test(flavors, qsbr_fork, .disabled = NO_FORK) { forks(&urcu_qsbr_flavor); }
Test(flavors, memb_fork, .disabled = NO_FORK) { forks(&urcu_memb_flavor); }
Test(flavors, mb_fork, .disabled = NO_FORK) { forks(&urcu_mb_flavor); }
Test(flavors, bp_fork, .disabled = NO_FORK) { forks(&urcu_bp_flavor); }

/* A fork may come in the middle of grace periods, ours and the program's, of a section, of a registration. */

static atomic_bool inside, leave;

static void *stays_inside(void *unused)
{
	flavor->register_thread();
	flavor->read_lock();
	atomic_store(&inside, true);
	while (!atomic_load(&stop))
		pause_ms(1);
	flavor->read_unlock();
	flavor->unregister_thread();
	return unused;
}

static void *comes_and_goes(void *unused)
{
	while (!atomic_load(&stop)) {
		flavor->register_thread();
		flavor->read_lock();
		flavor->read_unlock();
		flavor->unregister_thread();
	}
	return unused;
}

static void *synchronizes(void *unused)
{
	while (!atomic_load(&stop))
		flavor->update_synchronize_rcu();
	return unused;
}

/* The child's own: an element changes in its hands if the child does not wait for it. */
static void *holds_on(void *unused)
{
	flavor->register_thread();
	flavor->read_lock();
	struct element *element = atomic_load(&slots[0]);
	atomic_store(&inside, true);
	while (!atomic_load(&leave)) {
		if (element->magic != MAGIC(0))
			_exit(2);
		pause_ms(1);
	}
	flavor->read_unlock();
	flavor->unregister_thread();
	return unused;
}

static _Noreturn void child_of_many(void)
{
	pthread_t reader;

	alarm(30);
	atomic_store(&inside, false);
	pthread_create(&reader, NULL, holds_on, NULL);
	while (!atomic_load(&inside))
		pause_ms(1);
	qslab_free_rcu(slots[0], rcu);
	for (int i = 0; i < 300; i++) { /* of its size, so that one of them is it if it is free */
		memset(qslab_malloc(sizeof(struct element)), 0xcc, sizeof(struct element));
		pause_ms(1);
	}
	uint64_t completed = stats().completed;
	atomic_store(&leave, true);
	pthread_join(reader, NULL);
	flavor->update_synchronize_rcu();
	qslab_rcu_barrier();
	_exit(stats().waiting || stats().completed == completed);
}

static void forks_in_between(const struct rcu_flavor_struct *chosen, bool used)
{
	void *(*const run[])(void *) = {stays_inside, comes_and_goes, comes_and_goes, synchronizes};
	pthread_t threads[4];

	use(chosen);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, run[i], NULL);
	while (!atomic_load(&inside))
		pause_ms(1);
	slots[0] = make(0);
	if (used) { /* a grace period of ours is under way */
		qslab_free_rcu_mightsleep(qslab_malloc(100));
		AWAIT(stats().started > 0);
	}
	for (int round = 0; round < 10; round++) {
		pid_t child = fork();
		if (child == 0)
			child_of_many();
		ends_well(child, round);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* Not bp: there liburcu's own handlers wait for the grace period, which would wait for ever. */
Test(flavors, qsbr_fork_between, .disabled = NO_THREADS_IN_CHILD) { forks_in_between(&urcu_qsbr_flavor, true); }
Test(flavors, memb_fork_between, .disabled = NO_THREADS_IN_CHILD) { forks_in_between(&urcu_memb_flavor, true); }
Test(flavors, mb_fork_between, .disabled = NO_THREADS_IN_CHILD) { forks_in_between(&urcu_mb_flavor, true); }
Test(flavors, memb_fork_first, .disabled = NO_THREADS_IN_CHILD) { forks_in_between(&urcu_memb_flavor, false); }
Test(flavors, mb_fork_first, .disabled = NO_THREADS_IN_CHILD) { forks_in_between(&urcu_mb_flavor, false); }

/* A thread that forks would wait for a grace period that waits for its signal. */
Test(flavors, signal_is_refused)
{
	void *library = dlopen("liburcu-signal.so.8", RTLD_NOW | RTLD_GLOBAL);
	const struct rcu_flavor_struct *signals = library ? dlsym(library, "urcu_signal_flavor") : NULL;

	if (signals) /* later liburcus have none */
		cr_assert_eq(qslab_rcu_set_flavor(signals), EINVAL);
	cr_assert_eq(qslab_rcu_set_flavor(&urcu_qsbr_flavor), 0);
}
