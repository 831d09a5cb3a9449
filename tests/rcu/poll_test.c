/* Grace periods by polling (rcu/poll.h), one step at a time: no thread moves but when it is told to, and no worker runs but in the last test. */
#include "tests/alloc/check.h"

#include "rcu/flavor.h"
#include "rcu/grace.h"
#include "rcu/poll.h"
#include "rcu/registry.h"

#include <dlfcn.h>
#include <sched.h>

/* A thread that does what it is told, and nothing else. */
struct puppet {
	pthread_t thread;
	void (*_Atomic order)(void);
};

static void nothing(void) {}

static void *obey(void *argument)
{
	struct puppet *puppet = argument;

	for (void (*order)(void) = NULL; order != nothing;) {
		order = atomic_load(&puppet->order);
		if (!order) {
			sched_yield();
			continue;
		}
		order();
		atomic_store(&puppet->order, NULL);
	}
	return NULL;
}

static void begin_order(struct puppet *puppet, void (*order)(void))
{
	atomic_store(&puppet->order, order);
}

static void await_order(struct puppet *puppet)
{
	while (atomic_load(&puppet->order))
		sched_yield();
}

static void tell(struct puppet *puppet, void (*order)(void))
{
	begin_order(puppet, order);
	await_order(puppet);
}

static void start(struct puppet *puppet)
{
	cr_assert(flavor_get()); /* as the first demand does */
	*puppet = (struct puppet){0};
	cr_assert_eq(pthread_create(&puppet->thread, NULL, obey, puppet), 0);
}

static void end(struct puppet *puppet)
{
	tell(puppet, nothing);
	pthread_join(puppet->thread, NULL);
}

static void start_reader(struct puppet *puppet)
{
	start(puppet);
	tell(puppet, urcu_qsbr_register_thread);
}

static void end_reader(struct puppet *puppet)
{
	tell(puppet, urcu_qsbr_unregister_thread);
	end(puppet);
}

/* liburcu's own, past us. */
static void past(const char *name)
{
	void *library = dlopen("liburcu-qsbr.so.8", RTLD_NOW);
	void (*function)(void) = (void (*)(void))dlsym(library, name);
	cr_assert(function);
	function();
}

static void registers_unseen(void) { past("urcu_qsbr_register_thread"); }
static void leaves_unseen(void) { past("urcu_qsbr_unregister_thread"); }
static void synchronizes_unseen(void) { past("urcu_qsbr_synchronize_rcu"); }

static unsigned long counter(void)
{
	return atomic_load(global_counter());
}

/* As the worker enters: by one of liburcu's own, for which no reader may be online. */
static void enter(void)
{
	unsigned long left = poll_leave();
	cr_assert(!poll_is_on());
	urcu_qsbr_synchronize_rcu();
	poll_enter(left);
}

Test(poll, waits_for_each_reader)
{
	struct puppet first, second;

	start(&first);
	start(&second);
	tell(&first, urcu_qsbr_register_thread);
	cr_assert(poll_is_fresh());
	poll_start();
	cr_assert(poll_is_on());
	for (int i = 0; i < 1000; i++) {
		if (i == 500)
			tell(&second, urcu_qsbr_register_thread);
		unsigned long before = counter();
		cr_assert(poll_begin());
		cr_assert_gt(counter(), before);
		cr_assert(!poll_passed(), "nobody was quiescent");
		if (i >= 500) {
			tell(i % 2 ? &first : &second, urcu_qsbr_quiescent_state);
			cr_assert(!poll_passed(), "one was not");
			tell(i % 2 ? &second : &first, urcu_qsbr_quiescent_state);
		} else {
			tell(&first, urcu_qsbr_quiescent_state);
		}
		cr_assert(poll_passed());
		cr_assert(poll_passed(), "over, then not over");
	}
	cr_assert(!poll_is_fresh());
	tell(&first, urcu_qsbr_unregister_thread);
	tell(&second, urcu_qsbr_unregister_thread);
	cr_assert(poll_begin() && poll_passed(), "nobody is there to wait for");
	end(&first);
	end(&second);
}

Test(poll, who_is_offline_or_leaves_has_passed)
{
	struct puppet away, goes, leaves, returns;
	struct puppet *all[] = {&away, &goes, &leaves, &returns};

	for (int i = 0; i < 4; i++) {
		start_reader(all[i]);
	}
	poll_start();
	tell(&away, urcu_qsbr_thread_offline);
	cr_assert(poll_begin());
	tell(&goes, urcu_qsbr_thread_offline);
	cr_assert(!poll_passed());
	tell(&leaves, urcu_qsbr_unregister_thread);
	cr_assert(!poll_passed());
	tell(&away, urcu_qsbr_thread_online); /* after it began: it need not wait for this one */
	cr_assert(!poll_passed());
	tell(&returns, urcu_qsbr_thread_offline);
	tell(&returns, urcu_qsbr_thread_online);
	cr_assert(poll_passed(), "it was offline in between");
	cr_assert(poll_begin());
	cr_assert(!poll_passed());
	tell(&returns, urcu_qsbr_quiescent_state);
	cr_assert(!poll_passed());
	tell(&away, urcu_qsbr_quiescent_state);
	cr_assert(poll_passed());
	tell(&leaves, urcu_qsbr_register_thread);
	for (int i = 0; i < 4; i++) {
		end_reader(all[i]);
	}
}

/* One that liburcu knows and we do not, registered before, between and after those that we know: nothing begins beside it. */
Test(poll, nothing_begins_beside_a_reader_unseen)
{
	for (int when = 0; when < 3; when++) {
		struct puppet seen[2], unseen;

		start(&unseen);
		for (int i = 0; i < 3; i++) {
			if (i == when)
				tell(&unseen, registers_unseen);
			if (i == 2)
				continue;
			start_reader(&seen[i]);
		}
		tell(&unseen, urcu_qsbr_thread_offline); /* even then: it may come back unseen */
		if (when == 0)
			poll_start(); /* later ones find a counter that was used */
		for (int i = 0; i < 2; i++)
			tell(&seen[i], urcu_qsbr_thread_offline);
		for (int again = 0; again < 3; again++) {
			for (int i = 0; poll_is_on(); i++) {
				cr_assert(!poll_begin(), "when %d", when);
				cr_assert(i < 100, "polling does not end");
			}
			enter();
			cr_assert(poll_is_on(), "the worker may always try");
		}
		tell(&unseen, leaves_unseen);
		enter();
		cr_assert(poll_begin() && poll_passed(), "it is gone");
		for (int i = 0; i < 2; i++) {
			end_reader(&seen[i]);
		}
		end(&unseen);
	}
}

/* One that is registering, or about to leave, is in liburcu's list alone for a moment. */
Test(poll, goes_on_after_a_reader_that_was_half_there)
{
	struct puppet seen, unseen;

	start_reader(&seen);
	start(&unseen);
	poll_leave();
	tell(&seen, urcu_qsbr_thread_offline);
	enter();
	for (int i = 0; i < 100; i++) {
		tell(&unseen, registers_unseen);
		cr_assert(!poll_begin());
		cr_assert(!poll_begin());
		tell(&unseen, leaves_unseen);
		cr_assert(poll_begin() && poll_passed());
	}
	end_reader(&seen);
	end(&unseen);
}

/* It moves readers out of its list: one unseen that it has moved is not there to be found. */
Test(poll, nothing_begins_beside_one_of_liburcus_own)
{
	struct puppet seen, unseen, other;

	start_reader(&seen);
	start(&unseen);
	start(&other);
	poll_start();
	for (int i = 0; i < 20; i++) {
		tell(&unseen, registers_unseen);
		unsigned long before = counter();
		begin_order(&other, i % 2 ? synchronizes_unseen : urcu_qsbr_synchronize_rcu);
		while (counter() == before)
			sched_yield();
		tell(&unseen, urcu_qsbr_quiescent_state);
		for (int k = 0; k < 100; k++) {
			cr_assert(!poll_begin(), "it goes on, and waits for the one we know");
			sched_yield();
		}
		cr_assert(!poll_is_on());
		tell(&unseen, urcu_qsbr_thread_offline);
		tell(&seen, urcu_qsbr_thread_offline);
		await_order(&other);
		cr_assert(!poll_begin(), "nobody entered since");
		tell(&unseen, leaves_unseen);
		enter();
		cr_assert(poll_begin() && poll_passed());
		tell(&seen, urcu_qsbr_thread_online);
	}
	end_reader(&seen);
	end(&unseen);
	end(&other);
}

/* Two of liburcu's own while the worker was at it: which of them was its, and is the other over? */
Test(poll, enters_by_exactly_one_step)
{
	struct puppet seen;

	start_reader(&seen);
	tell(&seen, urcu_qsbr_thread_offline);
	enter();
	cr_assert(poll_is_on());
	unsigned long left = poll_leave();
	poll_enter(left);
	cr_assert(!poll_is_on(), "none was run");
	left = poll_leave();
	urcu_qsbr_synchronize_rcu();
	urcu_qsbr_synchronize_rcu();
	poll_enter(left);
	cr_assert(!poll_is_on());
	enter();
	cr_assert(poll_is_on());
	end_reader(&seen);
}

/* That there was a reader all the while is enough, whoever else comes and goes. */
Test(poll, enters_though_readers_come_and_go)
{
	struct puppet stays, goes, comes;

	start_reader(&stays);
	start(&goes);
	start(&comes);
	tell(&stays, urcu_qsbr_thread_offline);
	tell(&goes, urcu_qsbr_register_thread);
	tell(&goes, urcu_qsbr_thread_offline);
	unsigned long left = poll_leave();
	tell(&goes, urcu_qsbr_unregister_thread);
	urcu_qsbr_synchronize_rcu();
	tell(&comes, urcu_qsbr_register_thread);
	poll_enter(left);
	cr_assert(poll_is_on());
	cr_assert(poll_begin() && !poll_passed());
	tell(&comes, urcu_qsbr_quiescent_state);
	cr_assert(poll_passed());
	left = poll_leave();
	tell(&stays, urcu_qsbr_unregister_thread);
	tell(&comes, urcu_qsbr_thread_offline);
	urcu_qsbr_synchronize_rcu();
	tell(&stays, urcu_qsbr_register_thread);
	poll_enter(left);
	cr_assert(poll_is_on(), "it came before the worker left, and is still there");
	left = poll_leave();
	tell(&comes, urcu_qsbr_unregister_thread);
	tell(&stays, urcu_qsbr_thread_offline);
	urcu_qsbr_synchronize_rcu();
	tell(&stays, urcu_qsbr_unregister_thread);
	tell(&comes, urcu_qsbr_register_thread);
	poll_enter(left);
	cr_assert(!poll_is_on(), "both may have been away at the same time");
	tell(&comes, urcu_qsbr_unregister_thread);
	end(&stays);
	end(&goes);
	end(&comes);
}

/* Without a reader liburcu makes no step for the worker. The model found this one (rcu/model/poll.pml, STEP). */
Test(poll, enters_by_its_own_step)
{
	struct puppet seen, unseen;

	start_reader(&seen);
	start(&unseen);
	tell(&seen, urcu_qsbr_thread_offline);
	enter();
	for (int i = 0; i < 20; i++) {
		if (i % 2)
			tell(&seen, urcu_qsbr_unregister_thread);
		unsigned long before = counter(), left = poll_leave();
		if (i % 2 == 0)
			tell(&seen, urcu_qsbr_unregister_thread);
		urcu_qsbr_synchronize_rcu();
		cr_assert_eq(counter(), before, "nobody was there to wait for");
		tell(&unseen, registers_unseen);
		tell(&unseen, urcu_qsbr_thread_offline);
		synchronizes_unseen();
		cr_assert_eq(counter(), before + URCU_QSBR_GP_CTR);
		tell(&seen, urcu_qsbr_register_thread);
		tell(&seen, urcu_qsbr_thread_offline);
		poll_enter(left);
		cr_assert(!poll_is_on(), "the step was another's");
		tell(&unseen, leaves_unseen);
	}
	end_reader(&seen);
	end(&unseen);
}

/* liburcu had read its counter before we published ours, and writes one step on. */
Test(poll, overwritten)
{
	struct puppet seen;

	start_reader(&seen);
	poll_start();
	for (int i = 0; i < 100; i++) {
		unsigned long read = counter();
		cr_assert(poll_begin());
		unsigned long published = counter();
		bool copied = i % 2;
		if (copied)
			tell(&seen, urcu_qsbr_quiescent_state);
		atomic_store(global_counter(), read + URCU_QSBR_GP_CTR);
		cr_assert_eq(poll_passed(), copied);
		tell(&seen, urcu_qsbr_quiescent_state);
		cr_assert(poll_passed());
		cr_assert(!poll_begin(), "not ours");
		tell(&seen, urcu_qsbr_thread_offline);
		enter();
		tell(&seen, urcu_qsbr_thread_online);
		cr_assert(poll_begin());
		cr_assert_gt(counter(), published, "one that it was before");
		cr_assert(!poll_passed());
		tell(&seen, urcu_qsbr_quiescent_state);
		cr_assert(poll_passed());
	}
	end_reader(&seen);
}

Test(poll, many_readers_are_the_workers)
{
	static struct puppet puppets[POLL_READERS + 1];

	for (int i = 0; i < POLL_READERS; i++) {
		start_reader(&puppets[i]);
	}
	poll_start();
	cr_assert(poll_begin());
	for (int i = POLL_READERS - 1; i >= 0; i--) {
		cr_assert(!poll_passed());
		tell(&puppets[i], urcu_qsbr_thread_offline);
	}
	cr_assert(poll_passed());
	start_reader(&puppets[POLL_READERS]);
	cr_assert(!poll_begin());
	tell(&puppets[POLL_READERS], urcu_qsbr_unregister_thread);
	enter();
	cr_assert(poll_begin() && poll_passed());
	for (int i = 0; i <= POLL_READERS; i++) {
		if (i < POLL_READERS)
			end_reader(&puppets[i]);
	}
}

/* Who polls has to stop while the worker runs one, and may then ask for haste: once it is over, that would only stop them again. */
Test(poll, urgent_while_the_worker_runs_is_not_after)
{
	struct puppet seen;

	start_reader(&seen);
	tell(&seen, urcu_qsbr_thread_offline);
	enter();
	tell(&seen, urcu_qsbr_thread_online);
	poll_leave(); /* the worker is asked, and enters again */
	unsigned long before = counter();
	grace_demand(grace_cookie(), true);
	while (counter() == before)
		sched_yield();
	uint64_t cookie = grace_cookie();
	grace_demand(cookie, true);
	cr_assert(atomic_load(&grace.urgent), "it waits for the reader");
	tell(&seen, urcu_qsbr_thread_offline);
	while (!poll_is_on() || !atomic_load(&grace.asleep))
		sched_yield();
	cr_assert(!atomic_load(&grace.urgent));
	while (!grace_poll(cookie))
		sched_yield();
	end_reader(&seen);
}
