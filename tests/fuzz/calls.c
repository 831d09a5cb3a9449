/*
 * Bytes to calls of the whole API from several threads, checked against a model. By default the threads take turns, so
 * that the same bytes make the same calls in the same order; with a bit of the first byte each runs its part of them
 * freely. Modes of the library (the hardened one and others) are the environment's, for the whole process.
 */
#define _GNU_SOURCE
#include "script.h"

#include <pthread.h>
#include <semaphore.h>
#include <urcu/urcu-qsbr.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FREE_RUN = 1, TRIM_AT_END = 2, HEADER = 1, SIZE_MOST = 4096 };
enum { SOFT = 32 << 20, HARD = 256 << 20 };

static call *const calls[64] = {
	do_malloc, do_malloc, do_malloc, do_calloc, do_realloc, do_realloc, do_reallocarray, do_aligned, do_free, do_free,
	do_free, do_malloc_bulk, do_free_bulk, do_probe, do_strangers, do_good_size, do_trim, do_report, do_create, do_create,
	do_destroy, do_cache_alloc, do_cache_alloc, do_cache_zalloc, do_cache_free, do_cache_free_rcu, do_cache_alloc_bulk,
	do_cache_free_bulk, do_shrink, do_cache_barrier, do_cache_stats, do_cache_walk, do_fail_next, do_online, do_online,
	do_offline, do_quiescent, do_quiescent, do_link, do_link, do_head, do_try, do_mightsleep, do_bulk, do_nolock, do_cookie,
	do_cookie, do_poll, do_wait, do_free_poll, do_barrier, do_queue, do_queue, do_limits, do_rcu_stats, do_walk,
	/* again: the rest of the numbers */
	do_malloc, do_free, do_cache_alloc, do_cache_free, do_link, do_quiescent, do_malloc, do_free,
};

static struct script shared;              /* whoever has the turn moves on in it */

static struct worker {
	pthread_t thread;
	unsigned number;
	struct script own;                /* if all run free */
	sem_t turn;
} workers[THREADS];
static sem_t done, answered;              /* the script's end; an errand's */
static bool ending;                       /* written before a turn is given */
static bool errand;                       /* the turn is only for going offline, and comes back */

/* ---- turns ---------------------------------------------------------------------------------------------------- */

static void take_turn(sem_t *turn)
{
	while (sem_wait(turn))
		REQUIRE(errno == EINTR);
}

void before_wait(struct script *script)
{
	for (unsigned t = 0; t < THREADS && script->alone; t++) {
		if (t == script->thread || !is_online[t])
			continue;
		errand = true;
		sem_post(&workers[t].turn);
		take_turn(&answered);
		errand = false;
	}
	if (script->thread < THREADS && is_online[script->thread])
		model_offline(script->thread);
}

void after_wait(struct script *script)
{
	if (script->thread < THREADS && is_online[script->thread])
		model_online(script->thread);
}

static void one_call(struct script *script)
{
	calls[next_byte(script) & 63](script);
}

/* Until the next call is another's. True: there is one. */
static bool run_turn(unsigned number)
{
	while (shared.at < shared.end) {
		if (*shared.at >> 6 != number)
			return true;
		shared.thread = number;
		one_call(&shared);
	}
	return false;
}

static void take_turns(struct worker *worker)
{
	for (;;) {
		take_turn(&worker->turn);
		if (ending)
			return;
		if (errand) {
			go_offline(worker->number);
			sem_post(&answered);
		} else if (run_turn(worker->number)) {
			sem_post(&workers[*shared.at >> 6].turn);
		} else {
			sem_post(&done);
		}
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	bool reads = is_reader[worker->number];

	if (reads) {
		urcu_qsbr_register_thread();
		urcu_qsbr_thread_offline();
	}
	if (shared.alone)
		take_turns(worker);
	else
		while (worker->own.at < worker->own.end)
			one_call(&worker->own);
	if (reads) {
		go_offline(worker->number);
		urcu_qsbr_unregister_thread();
	}
	return NULL;
}

/* ---- a run ---------------------------------------------------------------------------------------------------- */

static void start(const uint8_t *data, size_t size)
{
	sem_init(&done, 0, 0);
	sem_init(&answered, 0, 0);
	ending = false;
	for (unsigned t = 0; t < THREADS; t++) {
		struct worker *worker = &workers[t];
		worker->number = t;
		worker->own = (struct script){data + size * t / THREADS, data + size * (t + 1) / THREADS, t, false};
		sem_init(&worker->turn, 0, 0);
	}
	for (unsigned t = 0; t < THREADS; t++)
		REQUIRE(!pthread_create(&workers[t].thread, NULL, work, &workers[t]));
}

static void end(void)
{
	if (shared.alone && shared.at < shared.end) {
		sem_post(&workers[*shared.at >> 6].turn);
		take_turn(&done);
	}
	ending = true;
	for (unsigned t = 0; t < THREADS; t++) {
		sem_post(&workers[t].turn);
		pthread_join(workers[t].thread, NULL);
		sem_destroy(&workers[t].turn);
	}
	sem_destroy(&done);
	sem_destroy(&answered);
}

/* For threads that run free, caches are made before they start. */
static void make_caches(void)
{
	uint8_t bytes[5];

	for (unsigned i = 0; i < CACHES; i++) {
		struct script script = {bytes, bytes + sizeof bytes, THREADS, true};
		memcpy(bytes, (uint8_t[]){(uint8_t)i, (uint8_t)(1u << i % 5 | (i > 5) << 6), 0, 0, (uint8_t)(40 * i + 8)}, 5);
		do_create(&script);
	}
}

static void require_nothing(void)
{
	struct qslab_memory memory;
	struct qslab_rcu_stats stats;

	model_reclaimed();
	model_walk(NULL, true);
	qslab_rcu_stats(&stats);
	REQUIRE(stats.waiting == 0 && stats.retired == stats.reclaimed);
	qslab_memory(&memory);
	REQUIRE(model_modes & DEBUGGED || (memory.live == 0 && memory.live_large == 0));
}

static void learn_modes(void)
{
	const char *options = getenv("QSLAB_OPTIONS");

	if (getenv("QSLAB_RCU_DEBUG"))
		model_modes |= DEBUGGED;
	if (getenv("QSLAB_HARDEN") || (options && strstr(options, "harden")))
		model_modes |= HARDENED;
	if (getenv("QSLAB_PROFILE"))
		model_modes |= PROFILED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool known;
	struct thing *thing;

	if (!known)
		learn_modes();
	known = true;
	if (size <= HEADER || size > SIZE_MOST)
		return 0;
	for (unsigned t = 0; t < THREADS; t++)
		is_reader[t] = data[0] >> (4 + t) & 1;
	model_begin();
	qslab_rcu_set_limits(SOFT, HARD, NULL);
	shared = (struct script){data + HEADER, data + size, 0, !(data[0] & FREE_RUN)};
	if (!shared.alone)
		make_caches();
	start(data + HEADER, size - HEADER);
	end();
	while ((thing = model_take(0)))
		discard(thing);
	caches_end(&(struct script){data, data, THREADS, true});
	qslab_rcu_barrier();
	if (data[0] & TRIM_AT_END)
		qslab_trim();
	require_nothing();
	return 0;
}
