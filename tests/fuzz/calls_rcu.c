/* Deferred free, readers, cookies. */
#define _GNU_SOURCE
#include "script.h"

#include <urcu/urcu-qsbr.h>

/* ---- readers -------------------------------------------------------------------------------------------------- */

bool is_reader[THREADS], is_online[THREADS];

void go_offline(unsigned thread)
{
	if (!is_online[thread])
		return;
	model_offline(thread);
	urcu_qsbr_thread_offline();
	is_online[thread] = false;
}

void do_online(struct script *script)
{
	if (!is_reader[script->thread] || is_online[script->thread])
		return;
	urcu_qsbr_thread_online();
	is_online[script->thread] = true;
	model_online(script->thread);
}

void do_offline(struct script *script)
{
	go_offline(script->thread);
}

void do_quiescent(struct script *script)
{
	if (!is_online[script->thread])
		return;
	model_offline(script->thread);
	urcu_qsbr_quiescent_state();
	model_online(script->thread);
}

/* ---- one object, by its link or without ------------------------------------------------------------------------- */

struct linked {
	struct rcu_ptr rcu;
};

/* An object with room for a link, and where that is. */
static struct thing *take_linked(struct script *script, struct linked **link)
{
	struct thing *thing = model_take(next_byte(script));
	size_t at = next_size(script);

	if (!thing)
		return NULL;
	if (thing->asked < thing->head + sizeof(struct rcu_ptr)) {
		model_put(thing);
		return NULL;
	}
	size_t room = thing->asked - thing->head - sizeof(struct rcu_ptr);
	at = thing->head + at % (room + 1) / 8 * 8;
	*link = (struct linked *)(thing->start + at);
	return thing;
}

static void *retire(struct thing *thing, const struct linked *link)
{
	return model_retire(thing, link ? (size_t)((const unsigned char *)link - thing->start) : SIZE_MAX, NO_COOKIE);
}

void do_link(struct script *script)
{
	struct linked *link;
	struct thing *thing = take_linked(script, &link);

	if (!thing)
		return;
	void *object = retire(thing, link);
	KEPT(qslab_free_rcu_link(object, QSLAB_RCU_LINK(&link->rcu)));
}

void do_head(struct script *script)
{
	struct linked *link;
	struct thing *thing = take_linked(script, &link);

	if (!thing)
		return;
	retire(thing, link);
	KEPT(qslab_free_rcu_head(&link->rcu));
}

void do_nolock(struct script *script)
{
	struct linked *link;
	struct thing *thing = take_linked(script, &link);

	if (!thing)
		return;
	void *object = retire(thing, link);
	KEPT(qslab_free_rcu_nolock_link(object, QSLAB_RCU_LINK(&link->rcu)));
}

void do_try(struct script *script)
{
	struct thing *thing = model_take(next_byte(script));
	int result;

	KEPT(result = qslab_free_rcu_try(NULL));
	REQUIRE(result == 0);
	if (!thing)
		return;
	void *object = retire(thing, NULL);
	KEPT(result = qslab_free_rcu_try(object));
	REQUIRE(result == 0);
}

void do_mightsleep(struct script *script)
{
	struct thing *thing = model_take(next_byte(script));

	if (!thing)
		return;
	before_wait(script);
	void *object = retire(thing, NULL);
	KEPT(qslab_free_rcu_mightsleep(object));
	after_wait(script);
}

void do_bulk(struct script *script)
{
	struct thing *things[BULK_MOST];
	void *objects[2 * BULK_MOST];
	size_t taken = take_several(script, things), count = 0, got;

	for (size_t i = 0; i < taken; i++) {
		if (things[i]->seed % 3 == 0)
			objects[count++] = NULL;
		objects[count++] = retire(things[i], NULL);
	}
	KEPT(got = qslab_free_rcu_bulk(count, objects));
	REQUIRE(got == count);
}

void do_queue(struct script *script)
{
	struct qslab_free_q queue;
	unsigned b = next_byte(script);

	qslab_free_q_init(&queue);
	for (unsigned i = 0; i < b % 16; i++) {
		struct linked *link;
		struct thing *thing = take_linked(script, &link);
		if (!thing)
			continue;
		if (b & 16 || (thing->pool && thing->pool->flags & QSLAB_CACHE_RCU))
			retire(thing, link);
		else
			model_drop(thing);
		qslab_free_q_add(&queue, link, rcu);
	}
	if (b & 16)
		KEPT(qslab_free_q_flush_rcu(&queue));
	else
		KEPT(qslab_free_q_flush(&queue));
	REQUIRE(!queue.first && !queue.last);
}

/* ---- cookies -------------------------------------------------------------------------------------------------- */

/* Threads that run free have two each. */
static unsigned next_cookie(struct script *script)
{
	unsigned b = next_byte(script);
	return script->alone ? b % COOKIES : script->thread * 2 + b % 2;
}

void do_cookie(struct script *script)
{
	unsigned index = next_cookie(script);
	qslab_rcu_cookie cookie;

	model_cookie_begin(index);
	if (index & 1)
		KEPT(cookie = qslab_rcu_get());
	else
		KEPT(cookie = qslab_rcu_start());
	model_cookie_end(index, cookie);
}

void do_poll(struct script *script)
{
	unsigned index = next_cookie(script);
	qslab_rcu_cookie cookie = model_cookie(index);
	bool over;

	if (!cookie)
		return;
	KEPT(over = qslab_rcu_poll(cookie));
	if (over)
		model_cookie_over(index);
}

void do_wait(struct script *script)
{
	unsigned index = next_cookie(script);
	qslab_rcu_cookie cookie = model_cookie(index);

	if (!cookie)
		return;
	before_wait(script);
	KEPT(qslab_rcu_wait(cookie));
	after_wait(script);
	REQUIRE(qslab_rcu_poll(cookie));
	model_cookie_over(index);
}

void do_free_poll(struct script *script)
{
	struct thing *thing = model_take(next_byte(script));
	unsigned index = next_cookie(script);
	qslab_rcu_cookie cookie = model_cookie(index);
	int result;

	if (!thing)
		return;
	if (!cookie) {
		model_put(thing);
		return;
	}
	bool always_later = thing->pool && thing->pool->flags & QSLAB_CACHE_RCU;
	void *object = model_retire(thing, SIZE_MAX, always_later ? NO_COOKIE : (int)index);
	KEPT(result = qslab_free_rcu_poll(cookie, object));
	REQUIRE(result == 0);
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

void do_barrier(struct script *script)
{
	struct qslab_rcu_stats stats;

	before_wait(script);
	KEPT(qslab_rcu_barrier());
	after_wait(script);
	if (!script->alone)
		return;
	model_reclaimed();
	KEPT(qslab_rcu_stats(&stats));
	REQUIRE(stats.waiting == 0 && stats.waiting_bytes == 0);
}

void do_limits(struct script *script)
{
	size_t soft = (size_t)1 << next_byte(script) % 30, hard = (size_t)1 << next_byte(script) % 30;
	KEPT(qslab_rcu_set_limits(soft, hard, NULL));
}

void do_rcu_stats(struct script *script)
{
	struct qslab_rcu_stats stats;

	KEPT(qslab_rcu_stats(&stats));
	REQUIRE(stats.retired == stats.reclaimed + stats.waiting);
	REQUIRE(stats.completed <= stats.started && stats.started <= stats.completed + 1);
	REQUIRE(!script->alone || stats.waiting <= model_deferred(NULL));
}

void do_walk(struct script *script)
{
	model_walk(NULL, script->alone);
}
