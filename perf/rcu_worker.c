/* The worker threads, their latency probes, and the sampler that watches how much waits. */
#include "rcu_bench.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLE_NS = 1000000 };

uint64_t probe_every = 1024;
struct worker workers[THREADS_MOST];
static pthread_barrier_t all_ready, all_left;

/* ---- latency ----------------------------------------------------------------------------------------- */

void probe_end(struct probe *probe)
{
    histogram_add(&probe->histogram, now_ns() - probe->since_ns);
    /* Pairs with the load in between(). */
    atomic_store_explicit(&probe->waiting, false, memory_order_release);
}

static void between(struct worker *worker)
{
    const struct method *method = run.method;
    struct probe *probe = &worker->probe;

    method->quiescent();
    if (!method->probe || !probe_every)
        return;
    if (atomic_load_explicit(&probe->waiting, memory_order_acquire)) {
        if (method->probe_poll)
            method->probe_poll(probe);
    } else if (counter_read(&worker->retired) - worker->probed_at >= probe_every) {
        worker->probed_at = counter_read(&worker->retired);
        probe->since_ns = now_ns();
        atomic_store_explicit(&probe->waiting, true, memory_order_relaxed);
        method->probe(probe);
    }
}

/* ---- the sampler: how much waits ------------------------------------------------------------------------ */

struct waiting waiting;
static _Atomic bool sampling;
static pthread_t sampling_thread;

uint64_t retired_now(void)
{
    uint64_t retired = 0;
    for (unsigned i = 0; i < run.threads; i++)
        retired += counter_read(&workers[i].retired);
    return retired;
}

uint64_t freed_now(void)
{
    uint64_t freed = 0;
    for (unsigned i = 0; i < FREERS_MOST; i++)
        freed += counter_read(&freed_by[i]);
    return freed;
}

static void *sampler(void *unused)
{
    (void)unused;
    while (atomic_load_explicit(&sampling, memory_order_relaxed)) {
        uint64_t freed = freed_now();  /* first: a free that is seen has its retire seen */
        uint64_t retired = retired_now();
        uint64_t objects = retired > freed ? retired - freed : 0;
        if (run.method->ours) {
            struct own_stats own = own_stats();
            objects = own.waiting;
            if (own.waiting_bytes > waiting.peak_bytes)
                waiting.peak_bytes = own.waiting_bytes;
        }
        waiting.samples++;
        waiting.sum += objects;
        if (objects > waiting.peak)
            waiting.peak = objects;
        nanosleep(&(struct timespec){ .tv_nsec = SAMPLE_NS }, NULL);
    }
    return NULL;
}

/* ---- workers --------------------------------------------------------------------------------------------- */

static void pin(unsigned index)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    unsigned skip = index % (unsigned)CPU_COUNT(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && skip-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
}

static bool goes_on(const struct worker *worker)
{
    if (worker->reader)
        return atomic_load_explicit(&run.updaters, memory_order_relaxed) != 0;
    return worker->done < worker->count && counter_read(&worker->retired) < run.retired_most;
}

static void *work(void *argument)
{
    struct worker *worker = argument;

    if (!run.pattern->operations)
        pin(worker->index);
    run.method->enter(worker->index);
    pthread_barrier_wait(&all_ready);
    worker->started_ns = now_ns();
    while (goes_on(worker)) {
        uint64_t left = worker->count - worker->done;
        uint64_t step = !worker->reader && left < run.quiescent ? left : run.quiescent;
        run.pattern->step(worker, step);
        worker->done += step;
        between(worker);
    }
    worker->stopped_ns = now_ns();
    if (!worker->reader)
        atomic_fetch_sub_explicit(&run.updaters, 1, memory_order_relaxed);
    run.method->leave();
    pthread_barrier_wait(&all_left);
    if (run.method->end)
        run.method->end();
    return NULL;
}

/* The first `updaters` are no readers. Returns when all wait for workers_go. */
void workers_start(unsigned updaters, uint64_t count)
{
    pthread_barrier_init(&all_ready, NULL, run.threads + 1);
    pthread_barrier_init(&all_left, NULL, run.threads + 1);
    atomic_store(&run.updaters, updaters);
    atomic_store(&sampling, true);
    for (unsigned i = 0; i < run.threads; i++) {
        workers[i].index = i;
        workers[i].reader = i >= updaters;
        workers[i].count = workers[i].reader ? 0 : count;
        workers[i].rng = rng_seeded(100 + i);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            die("pthread_create failed");
    }
    if (pthread_create(&sampling_thread, NULL, sampler, NULL) != 0)
        die("pthread_create failed");
}

void workers_go(void) { pthread_barrier_wait(&all_ready); }

void workers_left(void)
{
    pthread_barrier_wait(&all_left);
    atomic_store(&sampling, false);
}

void workers_join(void)
{
    for (unsigned i = 0; i < run.threads; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_join(sampling_thread, NULL);
}
