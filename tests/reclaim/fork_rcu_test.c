/* fork while grace periods are in flight and other threads read and defer. */
#include "retire.h"

#include "rcu/grace.h"

#include <qslab/cache.h>

enum { READERS = 3, UPDATERS = 2, SLOTS = 64 };

struct element {
	uint64_t magic[2];
	struct rcu_ptr rcu;
	char more[];
};

static struct element *_Atomic slots[SLOTS];
static atomic_bool stop;
static atomic_ulong retired;

static struct element *make(unsigned slot)
{
	struct element *element = qslab_malloc(sizeof *element + (slot % 16 ? slot * 40 : 300000));
	cr_assert_not_null(element);
	element->magic[0] = slot;
	element->magic[1] = ~(uint64_t)slot;
	return element;
}

static bool intact(const struct element *element, unsigned slot)
{
	return element->magic[0] == slot && element->magic[1] == ~(uint64_t)slot;
}

static void replace(unsigned slot, const struct call *call)
{
	struct element *old = atomic_exchange(&slots[slot], make(slot));
	call->retire(old, &old->rcu);
	atomic_fetch_add(&retired, 1);
}

static void *reads(void *number)
{
	uint64_t random = (uintptr_t)number + 3;
	urcu_qsbr_register_thread();
	while (!atomic_load(&stop)) {
		unsigned slot = next_random(&random) % SLOTS;
		struct element *element = atomic_load(&slots[slot]);
		cr_assert(intact(element, slot));
		if (next_random(&random) % 256 == 0)
			pause_ms(next_random(&random) % 30);
		cr_assert(intact(element, slot));
		urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

static void *updates(void *number)
{
	uint64_t random = (uintptr_t)number + 30;
	bool registered = (uintptr_t)number % 2;
	if (registered)
		urcu_qsbr_register_thread();
	for (int i = 0; !atomic_load(&stop); i++) {
		replace(next_random(&random) % SLOTS, &calls[next_random(&random) % CALLS]);
		if (registered)
			urcu_qsbr_quiescent_state();
		if (i % 200 == 0)
			qslab_rcu_wait(qslab_rcu_get()); /* bounds what waits */
	}
	if (registered)
		urcu_qsbr_unregister_thread();
	return NULL;
}

static void *reads_in_child(void *result)
{
	urcu_qsbr_register_thread();
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		struct element *element = atomic_load(&slots[slot]);
		if (slot % 16 == 0)
			pause_ms(10);
		if (!intact(element, slot))
			*(int *)result = 10;
		if (slot % 8 == 0)
			urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

static void replace_all(int from)
{
	for (unsigned slot = 0; slot < SLOTS; slot++)
		replace(slot, &calls[(slot + (unsigned)from) % CALLS]);
}

/* 0 if the child can go on as any process. `exact`: nobody was inside a call at fork, so the counts are exact. */
static int in_child(bool exact, bool online, int round)
{
	int result = 0;
	alarm(60);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		if (!intact(slots[slot], slot))
			return 1;
	for (int i = 0; i < 200; i++)
		qslab_free(qslab_malloc((size_t)i * 64));
	replace_all(round);
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, reads_in_child, &result))
			return 2;
	if (online)
		urcu_qsbr_quiescent_state();
	qslab_rcu_barrier();
	replace_all(round + 1);
	if (online)
		urcu_qsbr_thread_offline();
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	if (result)
		return result;
	/* readers of the child hold its grace periods up as anybody's */
	struct reader reader = {0};
	reader_start(&reader);
	qslab_rcu_cookie cookie = qslab_rcu_start();
	void *object = qslab_malloc(100);
	fill(object, 100, 1);
	qslab_free_rcu_mightsleep(object);
	for (int i = 0; i < 20; i++, pause_ms(1))
		if (qslab_rcu_poll(cookie) || changed(object, 100, 1, SIZE_MAX) != SIZE_MAX)
			return 3;
	reader_stop(&reader);
	qslab_rcu_barrier();
	if (!qslab_rcu_poll(cookie))
		return 4;
	struct qslab_rcu_stats now = stats();
	if (exact && (now.waiting || now.waiting_bytes || now.retired != now.reclaimed))
		return 5;
	if (now.waiting > UPDATERS)
		return 6;
	if (online)
		urcu_qsbr_thread_online();
	return 0;
}

enum state { UNREGISTERED, OFFLINE, ONLINE };

static void forks(enum state state, bool updaters)
{
	pthread_t threads[READERS + UPDATERS];
	int running = 0;
	struct account before = account_open();

	for (unsigned slot = 0; slot < SLOTS; slot++)
		slots[slot] = make(slot);
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&threads[running++], NULL, reads, (void *)i);
	for (uintptr_t i = 0; updaters && i < UPDATERS; i++)
		pthread_create(&threads[running++], NULL, updates, (void *)i);
	if (state != UNREGISTERED)
		urcu_qsbr_register_thread();
	if (state == OFFLINE)
		urcu_qsbr_thread_offline();
	int rounds = getenv("QSLAB_SOAK") ? 1000 : 40;
	for (int round = 0; round < rounds; round++) {
		replace_all(round); /* pending, and a grace period asked for or under way */
		qslab_rcu_start();
		struct element *borrowed = state == ONLINE ? atomic_load(&slots[round % SLOTS]) : NULL;
		pid_t child = fork();
		cr_assert_geq(child, 0);
		if (child == 0)
			_exit(borrowed && !intact(borrowed, (unsigned)round % SLOTS) ? 9
			                                                           : in_child(!updaters, state == ONLINE, round));
		if (borrowed)
			cr_assert(intact(borrowed, (unsigned)round % SLOTS));
		if (state == ONLINE)
			urcu_qsbr_thread_offline();
		int status;
		waitpid(child, &status, 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: status %x", round, status);
		if (state == ONLINE)
			urcu_qsbr_thread_online();
	}
	if (state != UNREGISTERED)
		urcu_qsbr_unregister_thread();
	atomic_store(&stop, true);
	for (int i = 0; i < running; i++)
		pthread_join(threads[i], NULL);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		qslab_free(slots[slot]);
	qslab_rcu_barrier();
	account_balances(&before, atomic_load(&retired));
}

Test(fork_rcu, unregistered, .disabled = NO_THREADS_IN_CHILD) { forks(UNREGISTERED, false); }
Test(fork_rcu, offline, .disabled = NO_THREADS_IN_CHILD) { forks(OFFLINE, false); }
Test(fork_rcu, online, .disabled = NO_THREADS_IN_CHILD) { forks(ONLINE, false); }
Test(fork_rcu, unregistered_under_load, .disabled = NO_THREADS_IN_CHILD) { forks(UNREGISTERED, true); }
Test(fork_rcu, offline_under_load, .disabled = NO_THREADS_IN_CHILD) { forks(OFFLINE, true); }
Test(fork_rcu, online_under_load, .disabled = NO_THREADS_IN_CHILD) { forks(ONLINE, true); }

static pid_t fork_to_reclaim(void)
{
	pid_t child = fork();

	if (child == 0) {
		alarm(10);
		qslab_free_rcu_mightsleep(qslab_malloc(40));
		qslab_rcu_barrier();
		_exit(0);
	}
	return child;
}

/* The process's first reader registers while another thread forks: the child waits for nobody it has not. */
static void *registers(void *nothing)
{
	urcu_qsbr_register_thread();
	atomic_store(&stop, true);
	urcu_qsbr_unregister_thread();
	return nothing;
}

static int forks_at_once(int round)
{
	pthread_t thread;
	alarm(20);
	qslab_free_rcu_mightsleep(qslab_malloc(40)); /* the worker is there */
	if (pthread_create(&thread, NULL, registers, NULL))
		return 1;
	for (int i = 0; i < round * 100 && !atomic_load(&stop); i++)
		continue;
	pid_t child = fork_to_reclaim();
	int status;
	waitpid(child, &status, 0);
	pthread_join(thread, NULL);
	return child < 0 ? 2 : status ? 3 : 0;
}

Test(fork_rcu, at_the_first_registration, .disabled = NO_THREADS_IN_CHILD)
{
	for (int round = 0; round < 300; round++) {
		pid_t child = fork();
		if (child == 0)
			_exit(forks_at_once(round));
		int status;
		cr_assert(child > 0 && waitpid(child, &status, 0) == child);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: status %x", round, status);
	}
}

/* No reader has ever registered, and grace periods follow one another: the child finds no lock of liburcu's taken. */
static void *waits(void *nothing)
{
	while (!atomic_load(&stop))
		qslab_rcu_wait(qslab_rcu_start());
	return nothing;
}

Test(fork_rcu, before_any_registration, .disabled = NO_THREADS_IN_CHILD)
{
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, waits, NULL);
	for (int round = 0; round < 1000; round++) {
		pid_t child = fork_to_reclaim();
		int status;
		cr_assert(child > 0 && waitpid(child, &status, 0) == child);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: status %x", round, status);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

/* A handler interrupts a wait, and forks: both go on waiting, each for its own readers, and nobody is taken for a waiter after. */
static atomic_int child_of_wait;
static struct reader in_the_way;

static void fork_inside_wait(int number)
{
	(void)number;
	atomic_store(&child_of_wait, fork());
}

/* The child's status. */
static void *interrupts_wait(void *waiter)
{
	int status = -1;

	AWAIT(atomic_load(&grace.waiters));
	pause_ms(20);
	pthread_kill(*(pthread_t *)waiter, SIGUSR1);
	AWAIT(atomic_load(&child_of_wait));
	waitpid(atomic_load(&child_of_wait), &status, 0);
	reader_stop(&in_the_way); /* the parent's wait goes on until now */
	return (void *)(intptr_t)status;
}

Test(fork_rcu, inside_a_wait, .disabled = NO_THREADS_IN_CHILD)
{
	pthread_t self = pthread_self(), thread;
	void *status;

	alarm(60);
	signal(SIGUSR1, fork_inside_wait);
	reader_start(&in_the_way);
	qslab_rcu_cookie cookie = qslab_rcu_start();
	cr_assert(pthread_create(&thread, NULL, interrupts_wait, &self) == 0);
	qslab_rcu_wait(cookie);
	unsigned waiters = atomic_load(&grace.waiters);
	if (atomic_load(&child_of_wait) == 0)
		_exit(qslab_rcu_poll(cookie) ? (int)waiters : 9);
	pthread_join(thread, &status);
	cr_assert(!waiters && !status, "%u waiters, the child's status %p", waiters, status);
}

/* A signal at the worst time, after our prepare, whose handler forks again: it runs when fork's handlers are through. */
static atomic_int forked, inside;

static void fork_again(int number)
{
	(void)number;
	cr_assert(!atomic_load(&inside), "a handler between prepare and the end of fork");
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	atomic_fetch_add(&forked, 1);
}

static atomic_bool armed;
static void signal_inside(void)
{
	if (!atomic_exchange(&armed, false))
		return;
	atomic_store(&inside, 1);
	raise(SIGUSR1);
	atomic_store(&inside, 0);
}

/* The locks of reclaim/ are held then: malloc does without its deferrer, and what is retired is chained. */
enum { TYPED = 3000, TYPED_AT_ONCE = TYPED / 3 };
static atomic_bool allocates;
static struct qslab_cache *typed_cache; /* its slabs are buried as they empty */
static void *typed[TYPED];
static int typed_left;
static void allocate_inside(void)
{
	struct rcu_ptr *objects[300];

	if (!atomic_load(&allocates))
		return;
	for (int i = 0; i < TYPED_AT_ONCE && typed_left; i++)
		qslab_cache_free(typed_cache, typed[--typed_left]);
	for (int i = 0; i < 300; i++)
		objects[i] = qslab_malloc(64);
	for (int i = 0; i < 300; i++)
		qslab_free_rcu_link(objects[i], objects[i]);
}

static void prepare_early(void)
{
	signal_inside();
	allocate_inside();
}

/* Before every constructor: fork calls these while the library's own prepare is in force. */
static void register_early(void) { pthread_atfork(prepare_early, allocate_inside, allocate_inside); }
__attribute__((section(".preinit_array"), used)) static void (*const early)(void) = register_early;

Test(fork_rcu, from_a_signal_inside_fork, .disabled = NO_FORK)
{
	alarm(60);
	signal(SIGUSR1, fork_again);
	for (int round = 1; round <= 20; round++) {
		qslab_free_rcu_mightsleep(qslab_malloc(64));
		atomic_store(&armed, true);
		pid_t child = fork();
		cr_assert_geq(child, 0);
		if (child == 0) {
			qslab_free_rcu_mightsleep(qslab_malloc(64));
			qslab_rcu_barrier();
			_exit(atomic_load(&forked) == round - 1 ? 0 : 1); /* the pending signal is the parent's */
		}
		int status;
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0);
		cr_assert_eq(atomic_load(&forked), round);
		cr_assert(!atomic_load(&armed));
		sigset_t now;
		pthread_sigmask(SIG_SETMASK, NULL, &now);
		cr_assert(!sigismember(&now, SIGUSR2));
	}
	qslab_rcu_barrier();
}

Test(fork_rcu, other_handlers_allocate, .disabled = NO_FORK)
{
	alarm(60);
	typed_cache = qslab_cache_create("typed", 200, 0, QSLAB_CACHE_TYPESAFE_BY_RCU, NULL);
	for (int round = 0; round < 4; round++) {
		for (typed_left = 0; typed_left < TYPED; typed_left++)
			typed[typed_left] = qslab_cache_alloc(typed_cache);
		for (int i = 0; round && i < 5000; i++) /* in the first round this thread has no deferrer yet */
			qslab_free_rcu_mightsleep(qslab_malloc(64));
		atomic_store(&allocates, true);
		pid_t child = fork();
		atomic_store(&allocates, false);
		cr_assert_geq(child, 0);
		if (child == 0) {
			alarm(20);
			qslab_rcu_barrier();
			_exit(0);
		}
		int status;
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0);
		while (typed_left)
			qslab_cache_free(typed_cache, typed[--typed_left]);
	}
	qslab_rcu_barrier();
	cr_assert_eq(qslab_cache_destroy(typed_cache), 0);
}

/* ---- a handler that forks while the code it interrupted waits for a lock that another thread has --------------------- */

static pid_t forked_child; /* 0 in the child */
static volatile sig_atomic_t handled;

static void fork_here(int number)
{
	if (handled)
		return; /* the last one is not waited for yet */
	forked_child = fork();
	if (forked_child == 0)
		alarm(20);
	handled = 1;
}

static void *looks_at_all(void *unused)
{
	while (!atomic_load(&stop))
		stats(); /* holds every deferrer's lock in turn */
	return NULL;
}

static void *interrupts(void *thread)
{
	while (!atomic_load(&stop)) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		pause_ms(2);
	}
	return NULL;
}

/*
 * Of a class whose arrays have room for two: every other call takes the slow path, and the lock. Not inside malloc: there
 * the reclaimer may be waiting for this thread's heap with a lock in its hands that fork needs (reclaim/fork.c).
 */
static void retire_some(void)
{
	void *objects[40];
	sigset_t blocked, old;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, &old);
	for (int i = 0; i < 40; i++)
		objects[i] = qslab_malloc((size_t)200 << 10);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	for (int i = 0; i < 40; i++)
		qslab_free_rcu_mightsleep(objects[i]);
}

Test(fork_rcu, from_a_handler_in_a_slow_path, .disabled = NO_FORK)
{
	pthread_t self = pthread_self(), lookers[2], interrupter;

	signal(SIGUSR1, fork_here);
	retire_some();
	for (int i = 0; i < 2; i++)
		pthread_create(&lookers[i], NULL, looks_at_all, NULL);
	pthread_create(&interrupter, NULL, interrupts, &self);
	for (int round = 0; round < SCALE(400);) {
		retire_some();
		if (!handled)
			continue;
		if (forked_child == 0) {
			retire_some();
			_exit(0);
		}
		int status;
		while (waitpid(forked_child, &status, 0) < 0)
			continue;
		cr_assert_eq(status, 0, "round %d: status %x", round, status);
		round++;
		handled = 0;
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(lookers[i], NULL);
	pthread_join(interrupter, NULL);
}
