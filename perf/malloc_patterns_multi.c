/* The patterns of several threads. An operation is counted once, whichever threads take part, and the
 * time is wall time: ns per operation falls as threads help. */
#include "malloc_bench.h"

#include <pthread.h>
#include <stdatomic.h>

/* One thread's part. Written by its thread until it is joined, then by main. */
struct worker {
    pthread_t thread;
    unsigned index;
    uint64_t count;         /* how much to do */
    uint64_t checksum;
    struct object *slots;
    void *shared;
};

static void start(struct worker *worker, void *(*body)(void *))
{
    if (pthread_create(&worker->thread, NULL, body, worker) != 0)
        die("pthread_create failed");
}

static void join(struct run *run, struct worker *worker)
{
    if (pthread_join(worker->thread, NULL) != 0)
        die("pthread_join failed");
    run->checksum += worker->checksum;
}

/* Two at least: a pattern of several threads on one core still has to be one. */
static unsigned thread_count(const struct run *run)
{
    if (run->threads)
        return run->threads;
    return cores() < 2 ? 2 : cores();
}

/* `count` is each worker's; the slots are empty. */
static struct worker *make_workers(unsigned workers, uint64_t count, uint32_t slots, void *shared)
{
    struct worker *all = map_array(workers * sizeof *all);
    for (unsigned i = 0; i < workers; i++) {
        all[i].index = i;
        all[i].count = count;
        all[i].shared = shared;
        if (slots)
            all[i].slots = map_array(slots * sizeof *all[i].slots);
    }
    return all;
}

static void run_workers(struct run *run, struct worker *all, unsigned workers, void *(*body)(void *))
{
    clock_start(run);
    for (unsigned i = 0; i < workers; i++)
        start(&all[i], body);
    for (unsigned i = 0; i < workers; i++)
        join(run, &all[i]);
    clock_stop(run);
}

/* ---- threads-ring: no thread meets another's memory ---- */

enum { RING_SLOTS = 1000 };

static void *ring_body(void *argument)
{
    struct worker *self = argument;
    struct rng rng = rng_seeded(100 + self->index);
    self->checksum = ring_turn(self->slots, RING_SLOTS, self->count, &rng, 16, 1024)
                   + drop_all(self->slots, RING_SLOTS);
    return NULL;
}

static void run_threads_ring(struct run *run, const struct pattern *pattern)
{
    unsigned workers = thread_count(run);
    uint64_t count = scaled(run, 20000000);

    (void)pattern;
    run_workers(run, make_workers(workers, count, RING_SLOTS, NULL), workers, ring_body);
    run->operations = count * workers;
}

/* ---- producer-consumer: one thread allocates, the other frees ---- */

enum { BATCH = 64, QUEUE = 64 };

struct batch { struct object objects[BATCH]; };

/* Batches sent..received-1 are the consumer's, the others the producer's. */
struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_full, not_empty;
    uint64_t sent, received;    /* under lock */
    uint32_t low, high;         /* sizes; constant */
    struct batch batches[QUEUE];
};

static void *producer_body(void *argument)
{
    struct worker *self = argument;
    struct queue *queue = self->shared;
    struct rng rng = rng_seeded(200);

    for (uint64_t i = 0; i < self->count; i++) {
        pthread_mutex_lock(&queue->lock);
        while (queue->sent - queue->received == QUEUE)
            pthread_cond_wait(&queue->not_full, &queue->lock);
        pthread_mutex_unlock(&queue->lock);

        struct batch *batch = &queue->batches[i % QUEUE];
        for (unsigned k = 0; k < BATCH; k++)
            object_make_random(&batch->objects[k], &rng, queue->low, queue->high);

        pthread_mutex_lock(&queue->lock);
        queue->sent++;
        pthread_cond_signal(&queue->not_empty);
        pthread_mutex_unlock(&queue->lock);
    }
    return NULL;
}

static void *consumer_body(void *argument)
{
    struct worker *self = argument;
    struct queue *queue = self->shared;

    for (uint64_t i = 0; i < self->count; i++) {
        pthread_mutex_lock(&queue->lock);
        while (queue->sent == queue->received)
            pthread_cond_wait(&queue->not_empty, &queue->lock);
        pthread_mutex_unlock(&queue->lock);

        self->checksum += drop_all(queue->batches[i % QUEUE].objects, BATCH);

        pthread_mutex_lock(&queue->lock);
        queue->received++;
        pthread_cond_signal(&queue->not_full);
        pthread_mutex_unlock(&queue->lock);
    }
    return NULL;
}

/* One pair, or as many as --threads has room for. */
static void run_producer_consumer(struct run *run, const struct pattern *pattern)
{
    unsigned pairs = run->threads < 4 ? 1 : run->threads / 2;
    struct queue *queues = map_array(pairs * sizeof *queues);
    uint64_t count = scaled(run, 80000);
    struct worker *all = make_workers(2 * pairs, count, 0, NULL);

    for (unsigned i = 0; i < pairs; i++) {
        struct queue *queue = all[2 * i].shared = all[2 * i + 1].shared = &queues[i];
        pthread_mutex_init(&queue->lock, NULL);
        pthread_cond_init(&queue->not_full, NULL);
        pthread_cond_init(&queue->not_empty, NULL);
        queue->low = pattern->size ? pattern->size : 16;
        queue->high = pattern->size ? pattern->size : 1024;
    }
    clock_start(run);
    for (unsigned i = 0; i < 2 * pairs; i++)
        start(&all[i], i % 2 ? consumer_body : producer_body);
    for (unsigned i = 0; i < 2 * pairs; i++)
        join(run, &all[i]);
    clock_stop(run);
    run->operations = count * BATCH * pairs;
}

/* ---- bleed: every thread allocates, and frees what some thread allocated ---- */

enum { POOL = 64, BLEED_BATCH = 128 };

/* A batch belongs to the pool or to the one thread that took it out. */
struct bleed_batch { struct object objects[BLEED_BATCH]; };

static void *bleed_body(void *argument)
{
    struct worker *self = argument;
    struct bleed_batch *_Atomic *pool = self->shared;
    struct bleed_batch *mine = (struct bleed_batch *)self->slots;
    struct rng rng = rng_seeded(300 + self->index);

    for (uint64_t i = 0; i < self->count; i++) {
        for (unsigned k = 0; k < BLEED_BATCH; k++)
            object_make_random(&mine->objects[k], &rng, 16, 512);
        /* acq_rel: pairs with itself in the thread that puts this batch in, or takes it out. */
        mine = atomic_exchange_explicit(&pool[rng_range(&rng, 0, POOL - 1)], mine,
                                        memory_order_acq_rel);
        self->checksum += drop_all(mine->objects, BLEED_BATCH);
    }
    return NULL;
}

static void run_bleed(struct run *run, const struct pattern *pattern)
{
    unsigned workers = thread_count(run);
    uint64_t count = scaled(run, 60000);
    struct bleed_batch *_Atomic *pool = map_array(POOL * sizeof *pool);
    struct bleed_batch *batches = map_array(POOL * sizeof *batches);

    (void)pattern;
    for (unsigned i = 0; i < POOL; i++)
        atomic_store_explicit(&pool[i], &batches[i], memory_order_relaxed);
    run_workers(run, make_workers(workers, count, BLEED_BATCH, pool), workers, bleed_body);
    for (unsigned i = 0; i < POOL; i++) {
        struct bleed_batch *left = atomic_load_explicit(&pool[i], memory_order_relaxed);
        run->checksum += drop_all(left->objects, BLEED_BATCH);
    }
    run->operations = count * workers * BLEED_BATCH;
}

/* ---- server (larson): a thread serves for a while, and its successor inherits its objects ---- */

enum { SERVER_SLOTS = 2000, SERVER_TERM = 20000 };

static void *server_term(void *argument)
{
    struct worker *self = argument;
    struct rng rng = rng_seeded(1000 * self->index + self->count);
    self->checksum += random_turn(self->slots, SERVER_SLOTS, SERVER_TERM, &rng, 16, 1024);
    return NULL;
}

static void *server_line(void *argument)
{
    struct worker *self = argument;
    struct worker server = { .index = self->index, .slots = self->slots };

    for (uint64_t term = 0; term < self->count; term++) {
        server.count = term;
        start(&server, server_term);
        pthread_join(server.thread, NULL);
    }
    self->checksum = server.checksum + drop_all(self->slots, SERVER_SLOTS);
    return NULL;
}

static void run_server(struct run *run, const struct pattern *pattern)
{
    unsigned workers = thread_count(run);
    uint64_t terms = scaled(run, 500);

    (void)pattern;
    run_workers(run, make_workers(workers, terms, SERVER_SLOTS, NULL), workers, server_line);
    run->operations = terms * SERVER_TERM * workers;
}

/* ---- thread-churn: threads that live for a thousand objects ---- */

enum { CHURN_OBJECTS = 1000 };

static void *churn_body(void *argument)
{
    struct worker *self = argument;
    struct rng rng = rng_seeded(10000 + self->count);
    for (unsigned i = 0; i < CHURN_OBJECTS; i++)
        object_make_random(&self->slots[i], &rng, 16, 1024);
    self->checksum = drop_all(self->slots, CHURN_OBJECTS);
    return NULL;
}

static void run_thread_churn(struct run *run, const struct pattern *pattern)
{
    unsigned workers = thread_count(run);
    uint64_t threads = scaled(run, 5000);
    struct worker *all = make_workers(workers, 0, CHURN_OBJECTS, NULL);

    (void)pattern;
    if (threads < workers)
        threads = workers;
    clock_start(run);
    for (uint64_t i = 0; i < threads; i++) {
        struct worker *worker = &all[i % workers];
        if (i >= workers)
            join(run, worker);
        worker->count = i;
        start(worker, churn_body);
    }
    for (unsigned i = 0; i < workers; i++)
        join(run, &all[i]);
    clock_stop(run);
    run->operations = threads * CHURN_OBJECTS;
}

const struct pattern multi_patterns[] = {
    { "threads-ring", "free + malloc", run_threads_ring, 0 },
    { "producer-consumer-64", "malloc here, free there", run_producer_consumer, 64 },
    { "producer-consumer-random", "malloc here, free there", run_producer_consumer, 0 },
    { "bleed", "malloc here, free anywhere", run_bleed, 0 },
    { "server", "free + malloc", run_server, 0 },
    { "thread-churn", "malloc + free", run_thread_churn, 0 },
    { 0 },
};
