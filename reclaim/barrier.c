/*
 * The barrier, in four steps (README.md, claim 6). One at a time: each widens
 * the notes to what it must wait for, and no other may move their cookies meanwhile.
 *
 *   1  note every pending array's entries; wait for the notes' cookies
 *   2  free the noted; an array that was sealed meanwhile is in a queue now: take the highest cookie of all queues
 *   3  wait for it; free every sealed array up to it
 *   4  the chain, twice: what ripens, and what came in behind it
 */
#define _GNU_SOURCE
#include "barrier.h"
#include "chain.h"
#include "deferrer.h"
#include "pressure.h"
#include "rcu/flavor.h"
#include "rcu/grace.h"

#include <pthread.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

static void wait_for(uint64_t cookie)
{
	grace_wait(cookie, "qslab_rcu_barrier");
}

void barrier_wait(const char *call, unsigned class)
{
	bool online = flavor_wait_begin(call); /* before the mutex: its holder waits for readers */
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_mutex_lock(&one);
	wait_for(deferrers_note(class));
	uint64_t sealed = deferrers_settle(class);
	wait_for(sealed);
	deferrers_free(class);
	for (int i = BROKEN(barrier); i < 2; i++) {
		wait_for(chain_advance());
		chain_advance();
	}
	pthread_mutex_unlock(&one);
	pthread_setcancelstate(state, NULL);
	flavor_wait_end(online);
	pressure_tell();
}

void barrier_after_fork(void)
{
	pthread_mutex_init(&one, NULL);
}
