/* qslab_free_rcu_nolock from a handler, at the highest rate a timer gives, inside everything. */
#define _GNU_SOURCE
#include "retire.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { THREADS = 2, ROUNDS = 1000, ROUND = 1000, POOL = 64 };

struct shot {
	uint64_t before;
	struct rcu_ptr rcu;
	char after[];
};

/* What a thread's handler may retire; the thread refills it. */
static _Thread_local struct shot *_Atomic pool[POOL];
static _Thread_local bool armed;
static atomic_ulong fired, shots;

static void on_signal(int number)
{
	static _Thread_local unsigned next;
	int saved = errno;
	atomic_fetch_add_explicit(&fired, 1, memory_order_relaxed);
	if (!armed)
		return;
	for (int i = 0; i < 4; i++) {
		struct shot *shot = atomic_exchange(&pool[next++ % POOL], NULL);
		if (!shot)
			break;
		errno = 99;
		if (i % 2)
			qslab_free_rcu_nolock(shot, rcu);
		else
			qslab_free_rcu_nolock_link(shot, &shot->rcu);
		if (errno != 99)
			_exit(99);
		atomic_fetch_add_explicit(&shots, 1, memory_order_relaxed);
	}
	errno = saved;
}

static void set_timer(timer_t timer, long nanoseconds)
{
	struct itimerspec every = {{0, nanoseconds}, {0, nanoseconds}};
	timer_settime(timer, 0, &every, NULL);
}

static timer_t new_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
	timer_t timer;
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	cr_assert(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	return timer;
}

static struct shot *shot(uint64_t *random)
{
	uint64_t r = next_random(random);
	return qslab_malloc(sizeof(struct shot) + (r % 512 ? r % 300 : 300000));
}

/* As often as lets the thread get on: from 100 kHz down, on a machine that has other things to do. */
static long adapt(timer_t timer, long interval, double round_took)
{
	long next = round_took > 0.05 ? interval * 2 : round_took < 0.01 ? interval / 2 : interval;
	next = next < 10000 ? 10000 : next > 10000000 ? 10000000 : next;
	if (next != interval)
		set_timer(timer, next);
	return next;
}

static uint64_t by_thread(uint64_t *random, bool registered)
{
	timer_t timer = new_timer();
	long interval = SANITIZED ? 50000 : 10000;
	uint64_t retired = 0;
	void *slots[64] = {0}, *many[16];

	set_timer(timer, interval);
	for (int round = 0; round < SCALE(ROUNDS); round++) {
		double start = seconds();
		for (int i = 0; i < ROUND; i++) {
			if (!atomic_load_explicit(&pool[i % POOL], memory_order_relaxed))
				atomic_store(&pool[i % POOL], shot(random));
			uint64_t r = next_random(random);
			void **slot = &slots[r % 64];
			struct shot *old = *slot;
			*slot = shot(random);
			if (!old || (r >> 8) % 2)
				qslab_free(old);
			else
				calls[(r >> 16) % CALLS].retire(old, &old->rcu), retired++;
		}
		for (int i = 0; i < 16; i++)
			many[i] = shot(random);
		cr_assert_eq(qslab_free_rcu_bulk(16, many), 16);
		retired += 16;
		interval = adapt(timer, interval, seconds() - start);
		if (registered)
			urcu_qsbr_quiescent_state();
		if (round % 100 == 0)
			qslab_rcu_barrier();
		if (round % 100 == 50)
			qslab_trim();
	}
	timer_delete(timer);
	for (int i = 0; i < 64; i++)
		qslab_free(slots[i]);
	return retired;
}

static void *work(void *number)
{
	uint64_t random = (uintptr_t)number * 31 + 7;
	bool registered = (uintptr_t)number % 2;
	if (registered)
		urcu_qsbr_register_thread();
	armed = true;
	uintptr_t retired = by_thread(&random, registered);
	armed = false;
	if (registered)
		urcu_qsbr_unregister_thread();
	for (int i = 0; i < POOL; i++)
		qslab_free(atomic_exchange(&pool[i], NULL));
	return (void *)retired;
}

static void handle(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGUSR2, &action, NULL);
}

Test(signals, nolock_inside_everything, .timeout = 900)
{
	pthread_t threads[THREADS];
	uint64_t retired = 0;

	handle();
	struct account before = account_open();
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < THREADS; i++) {
		void *some;
		pthread_join(threads[i], &some);
		retired += (uintptr_t)some;
	}
	qslab_rcu_barrier();
	account_balances(&before, retired + atomic_load(&shots));
	cr_assert_gt(atomic_load(&fired), SANITIZED ? 100 : 1000);
	cr_assert_gt(atomic_load(&shots), SANITIZED ? 100 : 1000);
	fprintf(stderr, "%lu signals, %lu objects retired by them, %lu by calls\n", atomic_load(&fired), atomic_load(&shots),
	       (unsigned long)retired);
}

/* Nobody but the handler ever calls: its objects come back all the same, also when it is the first call of all. */
Test(signals, only_the_handler_retires)
{
	uint64_t random = 3;
	handle();
	qslab_free(qslab_malloc(1));
	size_t live_before = live();
	for (int i = 0; i < POOL; i++)
		atomic_store(&pool[i], shot(&random));
	armed = true;
	while (atomic_load(&shots) < POOL)
		raise(SIGUSR2);
	cr_assert(drains_by_itself());
	struct qslab_rcu_stats now = stats();
	cr_assert_eq(now.retired, POOL);
	cr_assert_eq(now.reclaimed, POOL);
	qslab_rcu_barrier();
	cr_assert_eq(live(), live_before);
}

/* The handler of a thread that holds back a grace period sees its objects unchanged after retiring them. */
Test(signals, content_stays)
{
	enum { COUNT = 500 };
	static struct shot *objects[COUNT];
	uint64_t random = 9;

	handle();
	struct account before = account_open();
	urcu_qsbr_register_thread();
	armed = true;
	for (int i = 0; i < COUNT; i++) {
		struct shot *mine = objects[i] = qslab_malloc(sizeof *mine + 100);
		fill(mine, sizeof *mine + 100, (size_t)i);
		atomic_store(&pool[0], mine);
		while (atomic_load(&pool[0]))
			raise(SIGUSR2);
		qslab_free(memset(qslab_malloc(sizeof *mine + 100), 0xdd, sizeof *mine + 100));
	}
	for (int i = 0; i < 1500; i += 50) {
		pause_ms(50);
		qslab_free(shot(&random));
	}
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(changed(objects[i], sizeof(struct shot) + 100, (size_t)i, offsetof(struct shot, rcu)), SIZE_MAX);
	urcu_qsbr_unregister_thread();
	qslab_rcu_barrier();
	account_balances(&before, COUNT);
}
