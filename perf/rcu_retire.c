/* The retire methods. Each does what its documentation asks of a user, and no more.
 *
 * All but plain and ck_epoch run QSBR readers, and report a quiescent state every run.quiescent operations.
 * ck_epoch's sections last as many operations, and it polls as often. */
#include "rcu_bench.h"

#include <ck_epoch.h>
#include <dlfcn.h>
#include <qslab/rcu.h>
#include <sched.h>
#include <stdlib.h>

/* ---- counting what callbacks free -------------------------------------------------------------------- */

struct counter freed_by[FREERS_MOST];
static _Atomic unsigned freers;
static _Thread_local struct counter *freed_here;

static void free_counted(void *object)
{
    if (!freed_here) {
        unsigned index = atomic_fetch_add_explicit(&freers, 1, memory_order_relaxed);
        if (index >= FREERS_MOST)
            die("too many threads run callbacks");
        freed_here = &freed_by[index];
    }
    free(object);
    counter_bump(freed_here);
}

/* ---- QSBR readers ------------------------------------------------------------------------------------ */

static bool prepare_nothing(unsigned threads)
{
    (void)threads;
    return true;
}

static void qsbr_enter(unsigned index)
{
    (void)index;
    rcu_register_thread();
}

static void qsbr_leave(void) { rcu_unregister_thread(); }
static void qsbr_quiescent(void) { rcu_quiescent_state(); }

static void retire_never(void *object) { (void)object; }
static void drain_nothing(void) { }

/* ---- call_rcu ------------------------------------------------------------------------------------------ */

static void head_free(struct rcu_head *head) { free_counted(head); }
static void head_probe(struct rcu_head *head) { probe_end((struct probe *)head); }

static void call_retire(void *object) { call_rcu(object, head_free); }
static void call_probe(struct probe *probe) { call_rcu(&probe->link.head, head_probe); }

/* One helper thread a core, instead of one for all. */
static bool call_prepare_each_core(unsigned threads)
{
    (void)threads;
    return create_all_cpu_call_rcu_data(0) == 0;
}

/* ---- defer_rcu ------------------------------------------------------------------------------------------
 *
 * A thread whose queue of 4096 is full waits for a grace period inside defer_rcu, behind a mutex that another
 * waiter holds until this thread, a QSBR reader, is quiescent: two threads would wait for each other for
 * ever. So each goes offline and empties its queue by itself just before it is full: the same work. */

enum { DEFER_SLOTS = 4096 - 16, DEFER_PROBE_SLOTS = 4 };
static _Thread_local unsigned defer_used;

static void defer_room(unsigned slots)
{
    defer_used += slots;
    if (defer_used < DEFER_SLOTS)
        return;
    rcu_thread_offline();
    rcu_defer_barrier_thread();
    rcu_thread_online();
    defer_used = slots;
}

static void defer_enter(unsigned index)
{
    if (rcu_defer_register_thread() != 0)
        die("rcu_defer_register_thread failed");
    qsbr_enter(index);
}

static void defer_leave(void)
{
    qsbr_leave();
    rcu_defer_barrier_thread();
}

static void pointer_probe(void *probe) { probe_end(probe); }

static void defer_retire(void *object)
{
    defer_room(1);
    defer_rcu(free_counted, object);
}

static void defer_probe(struct probe *probe)
{
    defer_room(DEFER_PROBE_SLOTS);
    defer_rcu(pointer_probe, probe);
}

/* ---- Concurrency Kit's epochs -------------------------------------------------------------------------- */

static ck_epoch_t epoch;
static ck_epoch_record_t records[THREADS_MOST];
static _Thread_local ck_epoch_record_t *record;

static bool epoch_prepare(unsigned threads)
{
    (void)threads;
    ck_epoch_init(&epoch);
    return true;
}

static void epoch_enter(unsigned index)
{
    record = &records[index];
    ck_epoch_register(&epoch, record, NULL);
    ck_epoch_begin(record, NULL);
}

static void epoch_yield(ck_epoch_t *global, ck_epoch_record_t *waited_for, void *context)
{
    (void)global, (void)waited_for, (void)context;
    sched_yield();
}

static void epoch_leave(void)
{
    ck_epoch_end(record, NULL);
    ck_epoch_barrier_wait(record, epoch_yield, NULL);
    ck_epoch_unregister(record);
}

static void epoch_quiescent(void)
{
    ck_epoch_end(record, NULL);
    ck_epoch_poll(record);
    ck_epoch_begin(record, NULL);
}

static void entry_free(ck_epoch_entry_t *entry) { free_counted(entry); }
static void entry_probe(ck_epoch_entry_t *entry) { probe_end((struct probe *)entry); }

static void epoch_retire(void *object) { ck_epoch_call(record, object, entry_free); }
static void epoch_probe(struct probe *probe)
{
    ck_epoch_call(record, (ck_epoch_entry_t *)probe->link.room, entry_probe);
}

/* ---- ours: looked up, for the program runs without the library too ---------------------------------------- */

static __typeof__(&qslab_free_rcu_link) own_free_link;
static __typeof__(&qslab_free_rcu_try) own_try;
static __typeof__(&qslab_free_rcu_mightsleep) own_mightsleep;
static __typeof__(&qslab_rcu_start) own_start;
static __typeof__(&qslab_rcu_poll) own_poll;
static __typeof__(&qslab_rcu_barrier) own_barrier;
static __typeof__(&qslab_rcu_stats) own_read_stats;

static bool own_prepare(unsigned threads)
{
    (void)threads;
    own_free_link = (__typeof__(own_free_link))dlsym(RTLD_DEFAULT, "qslab_free_rcu_link");
    own_try = (__typeof__(own_try))dlsym(RTLD_DEFAULT, "qslab_free_rcu_try");
    own_mightsleep = (__typeof__(own_mightsleep))dlsym(RTLD_DEFAULT, "qslab_free_rcu_mightsleep");
    own_start = (__typeof__(own_start))dlsym(RTLD_DEFAULT, "qslab_rcu_start");
    own_poll = (__typeof__(own_poll))dlsym(RTLD_DEFAULT, "qslab_rcu_poll");
    own_barrier = (__typeof__(own_barrier))dlsym(RTLD_DEFAULT, "qslab_rcu_barrier");
    own_read_stats = (__typeof__(own_read_stats))dlsym(RTLD_DEFAULT, "qslab_rcu_stats");
    return own_free_link && own_try && own_mightsleep && own_start && own_poll && own_barrier &&
           own_read_stats;
}

struct own_stats own_stats(void)
{
    struct qslab_rcu_stats stats;
    if (!own_read_stats)
        return (struct own_stats){ 0 };
    own_read_stats(&stats);
    return (struct own_stats){ stats.waiting, stats.waiting_bytes, stats.peak_bytes, stats.completed };
}

/* As qslab_free_rcu with a field at the object's start. */
static void own_retire_link(void *object) { own_free_link(object, object); }

static void own_retire_try(void *object)
{
    if (own_try(object) != 0)
        own_mightsleep(object);
}

static void own_probe(struct probe *probe) { probe->link.room[0] = own_start(); }

static void own_probe_poll(struct probe *probe)
{
    if (own_poll(probe->link.room[0]))
        probe_end(probe);
}

static void own_drain(void) { own_barrier(); }

/* ---- the table ------------------------------------------------------------------------------------------ */

_Static_assert(sizeof(struct rcu_head) == 16 && sizeof(ck_epoch_entry_t) == 16, "heads");
_Static_assert(offsetof(struct probe, link) == 0, "callbacks turn the link's address into the probe's");

const struct method methods[] = {
    { .name = "free_rcu", .room = sizeof(struct rcu_ptr), .ours = true, .prepare = own_prepare,
      .enter = qsbr_enter, .leave = qsbr_leave, .retire = own_retire_link, .quiescent = qsbr_quiescent,
      .probe = own_probe, .probe_poll = own_probe_poll, .drain = own_drain },
    { .name = "free_rcu_try", .ours = true, .prepare = own_prepare,
      .enter = qsbr_enter, .leave = qsbr_leave, .retire = own_retire_try, .quiescent = qsbr_quiescent,
      .probe = own_probe, .probe_poll = own_probe_poll, .drain = own_drain },
    { .name = "call_rcu", .room = sizeof(struct rcu_head), .prepare = prepare_nothing,
      .enter = qsbr_enter, .leave = qsbr_leave, .retire = call_retire, .quiescent = qsbr_quiescent,
      .probe = call_probe, .drain = rcu_barrier },
    { .name = "call_rcu_percpu", .room = sizeof(struct rcu_head), .prepare = call_prepare_each_core,
      .enter = qsbr_enter, .leave = qsbr_leave, .retire = call_retire, .quiescent = qsbr_quiescent,
      .probe = call_probe, .drain = rcu_barrier },
    { .name = "defer_rcu", .prepare = prepare_nothing,
      .enter = defer_enter, .leave = defer_leave, .retire = defer_retire, .quiescent = qsbr_quiescent,
      .probe = defer_probe, .drain = drain_nothing,
      .end = rcu_defer_unregister_thread /* the last one waits for the helper's 100 ms sleep */ },
    { .name = "ck_epoch", .room = sizeof(ck_epoch_entry_t), .prepare = epoch_prepare,
      .enter = epoch_enter, .leave = epoch_leave, .retire = epoch_retire, .quiescent = epoch_quiescent,
      .probe = epoch_probe, .drain = drain_nothing },
    { .name = "leak", .leaks = true, .prepare = prepare_nothing,
      .enter = qsbr_enter, .leave = qsbr_leave, .retire = retire_never, .quiescent = qsbr_quiescent,
      .drain = drain_nothing },
    { .name = "plain", .at_once = true, .prepare = prepare_nothing,
      .enter = qsbr_enter, .leave = qsbr_leave, .retire = free, .quiescent = qsbr_quiescent,
      .drain = drain_nothing },
    { 0 },
};
