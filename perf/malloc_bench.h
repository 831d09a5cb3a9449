/* What the malloc patterns share: objects that check themselves, and the stopwatch. */
#ifndef MALLOC_BENCH_H
#define MALLOC_BENCH_H

#include "bench_common.h"

#include <stdlib.h>

/* What was resident at a point of a memory pattern's work. */
struct sample {
    double seconds;
    long live_kib, rss_kib; /* live: bytes asked for */
};

enum { SAMPLES_MOST = 1000, THREADS_MOST = 256 };

/* One run of one pattern. Written by the pattern, on the main thread only. */
struct run {
    double scale;           /* multiplies the amount of work */
    unsigned threads;       /* of the patterns of several; 0: one a core */
    double idle_s;          /* how long memory patterns do nothing at the end */
    uint64_t operations;    /* what the elapsed time is divided by */
    uint64_t checksum;      /* depends on the work alone: equal for every allocator */
    uint64_t started_ns, stopped_ns;
    /* memory patterns only */
    long peak_live_kib, idle_live_kib, idle_rss_kib;
    struct sample *samples; /* NULL, or SAMPLES_MOST */
    unsigned sample_count;
};

struct pattern {
    const char *name;
    const char *operation;  /* what one operation is */
    void (*run)(struct run *, const struct pattern *);
    uint32_t size;          /* a parameter: object size, where one function serves many patterns */
};

/* Each ends with an entry without a name. */
extern const struct pattern single_patterns[], multi_patterns[], life_patterns[], memory_patterns[];

void clock_start(struct run *);
void clock_stop(struct run *);

static inline uint64_t scaled(const struct run *run, uint64_t count)
{
    return scaled_by(run->scale, count);
}

/* A live object and what must be found in it: first byte tag, last byte its complement. */
struct object {
    unsigned char *start;
    uint32_t size;  /* at least 2 */
    uint8_t tag;
};

/* Volatile, or the compiler would answer the check itself from the store before it. */
static inline void object_write(const struct object *object)
{
    volatile unsigned char *start = object->start;
    if (!object->start)
        die("out of memory");
    start[0] = object->tag;
    start[object->size - 1] = 255 - object->tag;
}

static inline void object_check(const struct object *object)
{
    volatile const unsigned char *start = object->start;
    if (start[0] != object->tag || start[object->size - 1] != 255 - object->tag)
        die("an object lost its contents");
}

static inline void object_make(struct object *object, uint32_t size, uint8_t tag)
{
    *object = (struct object){ malloc(size), size, tag };
    object_write(object);
}

static inline void object_make_random(struct object *object, struct rng *rng,
                                      uint32_t low, uint32_t high)
{
    uint64_t random = rng_next(rng);
    object_make(object, in_range(random, low, high), (uint8_t)random);
}

/* Returns the object's share of the checksum; an empty slot has none. */
static inline uint64_t object_drop(struct object *object)
{
    if (!object->start)
        return 0;
    object_check(object);
    free(object->start);
    object->start = NULL;
    return (uint64_t)object->size * 256 + object->tag;
}

static inline uint64_t drop_all(struct object *objects, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += object_drop(&objects[i]);
    return sum;
}

/* `count` times: the next slot of a ring gives up its object and gets one of a random size. */
static inline uint64_t ring_turn(struct object *slots, uint32_t slot_count, uint64_t count,
                                 struct rng *rng, uint32_t low, uint32_t high)
{
    uint64_t sum = 0;
    uint32_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum += object_drop(&slots[at]);
        object_make_random(&slots[at], rng, low, high);
        if (++at == slot_count)
            at = 0;
    }
    return sum;
}

/* The same with a random slot each time. */
static inline uint64_t random_turn(struct object *slots, uint32_t slot_count, uint64_t count,
                                   struct rng *rng, uint32_t low, uint32_t high)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct object *slot = &slots[rng_range(rng, 0, slot_count - 1)];
        sum += object_drop(slot);
        object_make_random(slot, rng, low, high);
    }
    return sum;
}

#endif
