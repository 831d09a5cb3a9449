/* The timed patterns: each malloc, free, retire and quiescent state by itself. README.md, "Latency" and "Growth".
 *
 * Both keep objects in slots, replace them, and give half back by free, half by the method. latency takes
 * random slots one at a time and fills histograms; growth takes 64 and adds up what 64 calls took. */
#include "rcu_bench.h"
#include "ticks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum operation { MALLOC, FREE, RETIRE, QUIESCENT, OPERATIONS };
static const char *const operation_names[] = { "malloc", "free", "retire", "quiescent" };

enum { POOL = 1024, STRIDE = 1000003, FREED_AT_END_MOST = 2000000 };

/* A worker's; main's before it starts and after it is joined. */
static struct timed {
    _Alignas(128) void **slots;     /* payloads; NULL: empty */
    uint64_t at, turn;              /* growth: the next slot, how many turns were */
    double ticks[OPERATIONS];       /* growth */
    uint64_t calls[OPERATIONS];     /* growth */
    struct histogram *histograms;   /* latency: by operation */
} timed[THREADS_MOST];

static void *_Atomic *pool;         /* latency: how objects come to other threads */
static struct ticks_cost cost;
static uint64_t since_ticks, since_ns;
static double fill_ns;
static long full_rss_kib;
static struct method method;        /* the run's, its quiescent states timed */
static void (*quiescent)(void);
static _Thread_local struct timed *here;

struct ticks_cost ticks_cost(void)
{
    struct histogram *empty = map_array(sizeof *empty);
    uint64_t step = UINT64_MAX, last = ticks_now();
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = ticks_now();
        histogram_add(empty, now - last);
        if (now != last && now - last < step)
            step = now - last;
        last = now;
    }
    return (struct ticks_cost){ histogram_mean99(empty), step };
}

static void *make(uint64_t size)
{
    unsigned char *payload = payload_make(size);
    payload[0] = (unsigned char)size;
    return payload;
}

static void give_back(void *payload)
{
    if (payload)
        free((char *)payload - run.method->room);
}

static void record(struct timed *self, enum operation operation, uint64_t before)
{
    histogram_add(&self->histograms[operation], ticks_now() - before);
}

static void record_sum(struct timed *self, enum operation operation, uint64_t before, uint64_t calls)
{
    double ticks = (double)(ticks_now() - before);
    self->ticks[operation] += ticks > cost.overhead ? ticks - cost.overhead : 0;
    self->calls[operation] += calls;
}

/* ---- latency: one thread's 10,000 objects, some of them passed on ---------------------------------------- */

/* Most 16-1024 B, one in 128 up to 32 KiB, one in 4096 up to 512 KiB. */
static uint32_t mixed_size(uint64_t random)
{
    unsigned chance = (unsigned)random & 4095;
    if (chance == 0)
        return in_range(random, 64 << 10, 512 << 10);
    return chance < 32 ? in_range(random, 1 << 10, 32 << 10) : in_range(random, 16, 1024);
}

static void latency_step(struct worker *worker, uint64_t operations)
{
    struct timed *self = here = &timed[worker->index];

    for (uint64_t i = 0; i < operations; i++) {
        void **slot = &self->slots[rng_range(&worker->rng, 0, (uint32_t)run.live - 1)];
        uint64_t random = rng_next(&worker->rng);
        uint32_t size = mixed_size(random);

        /* acq_rel: pairs with itself in the thread that puts this object in, or takes it out. */
        if ((random >> 12 & 7) == 0)
            *slot = atomic_exchange_explicit(&pool[random >> 15 & (POOL - 1)], *slot, memory_order_acq_rel);
        if (*slot) {
            bool retires = random >> 30 & 1;
            uint64_t before = ticks_now();
            if (retires)
                payload_retire(worker, *slot);
            else
                give_back(*slot);
            record(self, retires ? RETIRE : FREE, before);
        }
        uint64_t before = ticks_now();
        void *payload = payload_make(size);
        record(self, MALLOC, before);
        *(volatile unsigned char *)payload = (unsigned char)random;
        *slot = payload;
        worker->checksum += size;
    }
}

static void latency_quiescent(void)
{
    uint64_t before = ticks_now();
    quiescent();
    record(here, QUIESCENT, before);
}

static void begin(void (*timed_quiescent)(void))
{
    cost = ticks_cost();
    method = *run.method;
    quiescent = method.quiescent;
    method.quiescent = timed_quiescent;
    run.method = &method;
    since_ns = now_ns();
    since_ticks = ticks_now();
}

static void latency_prepare(void)
{
    pool = map_array(POOL * sizeof *pool);
    for (unsigned w = 0; w < run.threads; w++) {
        timed[w].slots = map_array(run.live * sizeof *timed[w].slots);
        timed[w].histograms = map_array(OPERATIONS * sizeof *timed[w].histograms);
    }
    begin(latency_quiescent);
}

static void print_clock(double unit)
{
    printf("\"clock\": \"%s\", \"clock_overhead_ns\": %.1f, \"clock_step_ns\": %.1f, ", TICKS_CLOCK,
           cost.overhead / unit, (double)cost.step / unit);
}

static void latency_report(void)
{
    double unit = ticks_per_ns(since_ticks, since_ns);

    print_clock(unit);
    printf("\"operation_ns\": {");
    for (unsigned o = 0; o < OPERATIONS; o++) {
        for (unsigned w = 1; w < run.threads; w++)
            histogram_join(&timed[0].histograms[o], &timed[w].histograms[o]);
        printf("%s\"%s\": ", o ? ", " : "", operation_names[o]);
        histogram_print(&timed[0].histograms[o], cost.overhead, unit);
    }
    printf("}, \"timed\": %" PRIu64 ", ", timed[0].histograms[MALLOC].count);
    for (unsigned w = 0; w < run.threads; w++)
        for (uint64_t i = 0; i < run.live; i++)
            give_back(timed[w].slots[i]);
    for (unsigned i = 0; i < POOL; i++)
        give_back(atomic_load_explicit(&pool[i], memory_order_relaxed));
}

/* ---- growth: what the calls cost beside N live objects ------------------------------------------------------ */

/* Steps of a prime that is no factor of the powers of ten: 64 different slots, far apart. */
static uint64_t next_slot(struct timed *self)
{
    uint64_t at = self->at;
    self->at = (at + STRIDE) % run.live;
    return at;
}

static void growth_step(struct worker *worker, uint64_t operations)
{
    struct timed *self = here = &timed[worker->index];
    uint64_t first = self->at, before = ticks_now();

    if (self->turn & 1) {
        for (uint64_t i = 0; i < operations; i++)
            payload_retire(worker, self->slots[next_slot(self)]);
        record_sum(self, RETIRE, before, operations);
    } else {
        for (uint64_t i = 0; i < operations; i++)
            give_back(self->slots[next_slot(self)]);
        record_sum(self, FREE, before, operations);
    }
    self->at = first;
    before = ticks_now();
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t at = next_slot(self);
        self->slots[at] = make(in_range(rng_next(&worker->rng), run.pattern->low, run.pattern->high));
    }
    record_sum(self, MALLOC, before, operations);
    self->turn++;
    worker->checksum += operations;
}

/* Whatever a method does there is a part of what its retires cost. */
static void growth_quiescent(void)
{
    uint64_t before = ticks_now();
    quiescent();
    record_sum(here, QUIESCENT, before, 1);
}

static void growth_prepare(void)
{
    struct rng rng = rng_seeded(7);
    if (run.threads != 1)
        die("growth has one thread");
    timed[0].slots = map_array(run.live * sizeof *timed[0].slots);
    uint64_t started = now_ns();
    for (uint64_t i = 0; i < run.live; i++)
        timed[0].slots[i] = make(in_range(rng_next(&rng), run.pattern->low, run.pattern->high));
    fill_ns = (double)(now_ns() - started) / (double)run.live;
    full_rss_kib = rss_now_kib();
    begin(growth_quiescent);
}

static void growth_report(void)
{
    struct timed *self = &timed[0];
    double unit = ticks_per_ns(since_ticks, since_ns);

    print_clock(unit);
    for (unsigned o = 0; o < OPERATIONS; o++)
        printf("\"%s_ns\": %.3f, ", operation_names[o],
               self->calls[o] ? self->ticks[o] / unit / (double)self->calls[o] : 0);
    printf("\"retire_whole_ns\": %.3f, ", self->calls[RETIRE]
           ? (self->ticks[RETIRE] + self->ticks[QUIESCENT]) / unit / (double)self->calls[RETIRE] : 0);

    uint64_t most = run.live < FREED_AT_END_MOST ? run.live : FREED_AT_END_MOST, started = now_ns();
    for (uint64_t i = 0; i < most; i++)
        give_back(self->slots[next_slot(self)]);
    printf("\"live\": %" PRIu64 ", \"fill_ns\": %.3f, \"drain_ns\": %.3f, \"full_rss_kib\": %ld, ", run.live, fill_ns,
           (double)(now_ns() - started) / (double)most, full_rss_kib);
}

const struct pattern timed_patterns[] = {
    { "latency", "free or retire + malloc", 4000000, 16, 1024, NULL, 100, false, latency_step,
      latency_prepare, latency_report },
    { "growth", "free or retire + malloc", 2000000, 16, 64, NULL, 100, false, growth_step,
      growth_prepare, growth_report },
    { 0 },
};
