/*
 * Nanoseconds per object of single calls and of bulk calls, `batch` at a time: allocation and free apart, each between
 * two readings of the clock, and together. Over libqslab.so.
 *
 * The same objects go round: up to a batch of 64 all of them fit the magazine; 256 do not, and slabs serve and take the
 * rest. "shuffled": objects of eight slabs in random order, freed and allocated again.
 */
#include "ticks.h"

#include <qslab/cache.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    BATCH_MOST = 256,
    LEAST = 64,      /* objects between two readings */
    TURNS = 256,     /* in a round */
    ROUNDS = 400,    /* short ones: on a busy machine some are not disturbed */
    SLABS = 8,
    SLAB = 64 << 10,
};

struct work {
    size_t size, batch, count; /* count: a multiple of batch */
    struct qslab_cache *cache;
    void *objects[BATCH_MOST];
};

static void take_each(struct work *work)
{
    for (size_t i = 0; i < work->count; i++)
        if (!(work->objects[i] = qslab_malloc(work->size)))
            die("no memory");
}

static void take_bulk(struct work *work)
{
    for (size_t i = 0; i < work->count; i += work->batch)
        if (qslab_malloc_bulk(work->size, work->batch, work->objects + i) != work->batch)
            die("no memory");
}

static void drop_each(struct work *work)
{
    for (size_t i = 0; i < work->count; i++)
        qslab_free(work->objects[i]);
}

static void drop_bulk(struct work *work)
{
    for (size_t i = 0; i < work->count; i += work->batch)
        qslab_free_bulk(work->batch, work->objects + i);
}

static void cache_take_each(struct work *work)
{
    for (size_t i = 0; i < work->count; i++)
        if (!(work->objects[i] = qslab_cache_alloc(work->cache)))
            die("no memory");
}

static void cache_take_bulk(struct work *work)
{
    for (size_t i = 0; i < work->count; i += work->batch)
        if (qslab_cache_alloc_bulk(work->cache, work->batch, work->objects + i) != work->batch)
            die("no memory");
}

static void cache_drop_each(struct work *work)
{
    for (size_t i = 0; i < work->count; i++)
        qslab_cache_free(work->cache, work->objects[i]);
}

static void cache_drop_bulk(struct work *work)
{
    for (size_t i = 0; i < work->count; i += work->batch)
        qslab_cache_free_bulk(work->cache, work->batch, work->objects + i);
}

enum { TAKE, DROP, BOTH, MEASURES };

/* What the clock and the calls of these functions take. */
static void nothing(struct work *work)
{
    __asm__ volatile("" : : "r"(work) : "memory");
}

static const struct way {
    void (*take)(struct work *work), (*drop)(struct work *work);
} plain[] = {{take_each, drop_each}, {take_bulk, drop_bulk}, {nothing, nothing}},
  cached[] = {{cache_take_each, cache_drop_each}, {cache_take_bulk, cache_drop_bulk}, {nothing, nothing}};

enum { EACH, BULK, NOTHING, WAYS };

/* Ticks of a turn; from and to the state in which the objects are taken. */
static void round_of(const struct way *way, struct work *work, double *ticks)
{
    uint64_t parts[MEASURES] = {0}, begin, middle;

    for (unsigned turn = 0; turn < TURNS; turn++) {
        begin = ticks_now();
        way->drop(work);
        middle = ticks_now();
        way->take(work);
        parts[TAKE] += ticks_now() - middle;
        parts[DROP] += middle - begin;
    }
    begin = ticks_now();
    for (unsigned turn = 0; turn < TURNS; turn++) {
        way->drop(work);
        way->take(work);
    }
    parts[BOTH] = ticks_now() - begin;
    for (unsigned m = 0; m < MEASURES; m++)
        ticks[m] = (double)parts[m] / TURNS;
}

/* Ticks per object, the best of the rounds, the ways in turn. */
static void measure(struct work *work, double best[WAYS][MEASURES])
{
    for (unsigned round = 0; round < ROUNDS * WAYS; round++) {
        double ticks[MEASURES], *least = best[round % WAYS];
        round_of(&(work->cache ? cached : plain)[round % WAYS], work, ticks);
        for (unsigned m = 0; m < MEASURES; m++) {
            double each = ticks[m] / (double)work->count;
            least[m] = round < WAYS || each < least[m] ? each : least[m];
        }
    }
    for (unsigned m = 0; m < MEASURES; m++) {
        best[EACH][m] -= best[NOTHING][m];
        best[BULK][m] -= best[NOTHING][m];
    }
}

/* The objects to begin with: the first that come, or some from each of several slabs, in random order. */
static void take_shuffled(struct work *work)
{
    size_t many = SLABS * (SLAB / work->size), kept = 0;
    void **all = map_array(many * sizeof *all);
    struct rng rng = rng_seeded(1);

    if (qslab_malloc_bulk(work->size, many, all) != many)
        die("no memory");
    for (size_t i = 0; i < many; i++) {
        uint32_t other = rng_range(&rng, (uint32_t)i, (uint32_t)many - 1);
        void *object = all[other];
        all[other] = all[i];
        all[i] = object;
    }
    while (kept < work->count) {
        work->objects[kept] = all[kept];
        kept++;
    }
    qslab_free_bulk(many - kept, all + kept);
}

static void report(const char *what, struct work work, double ticks_in_ns)
{
    double best[WAYS][MEASURES];

    work.count = work.batch < LEAST ? LEAST : work.batch;
    if (work.cache)
        cache_take_bulk(&work);
    else if (*what)
        take_shuffled(&work);
    else
        take_bulk(&work);
    measure(&work, best);
    qslab_free_bulk(work.count, work.objects);
    printf("%6zu %6zu", work.size, work.batch);
    for (unsigned m = 0; m < MEASURES; m++)
        printf("  %6.2f %6.2f %5.2f", best[EACH][m] / ticks_in_ns, best[BULK][m] / ticks_in_ns,
               best[BULK][m] / best[EACH][m]);
    printf("  %s\n", what);
}

static void report_cache(const char *what, unsigned flags, double ticks_in_ns)
{
    static const size_t batches[] = {4, 16, 64, 256};
    struct qslab_cache *cache = qslab_cache_create(what, 64, 0, flags, NULL);

    if (!cache)
        die("no cache");
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
        report(what, (struct work){.size = 64, .batch = batches[b], .cache = cache}, ticks_in_ns);
    qslab_cache_destroy(cache);
}

int main(void)
{
    static const size_t sizes[] = {16, 64, 256}, batches[] = {4, 16, 64, 256};
    uint64_t since_ticks = ticks_now(), since_ns = now_ns();

    while (now_ns() - since_ns < 50000000)
        ;
    double ticks_in_ns = ticks_per_ns(since_ticks, since_ns);
    printf("%-13s  %-20s  %-20s  %s\n%6s %6s", "ns an object", "allocation", "free", "together", "size", "batch");
    for (unsigned m = 0; m < MEASURES; m++)
        printf("  %6s %6s %5s", "single", "bulk", "ratio");
    putchar('\n');
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
            report("", (struct work){.size = sizes[s], .batch = batches[b]}, ticks_in_ns);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        report("shuffled", (struct work){.size = sizes[s], .batch = 64}, ticks_in_ns);
    report_cache("cache, merged", 0, ticks_in_ns);
    report_cache("cache, own slabs", QSLAB_CACHE_ISOLATE, ticks_in_ns);
    return 0;
}
