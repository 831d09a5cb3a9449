/* The patterns of one thread. */
#include "malloc_bench.h"

static void run_pair(struct run *run, const struct pattern *pattern)
{
    /* glibc serves up to 1024 B from its thread cache, about three times faster than above. */
    uint64_t count = scaled(run, pattern->size <= 1024 ? 50000000 : 20000000);
    struct object object;
    uint64_t sum = 0;

    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        object_make(&object, pattern->size, (uint8_t)i);
        sum += object_drop(&object);
    }
    clock_stop(run);
    run->operations = count;
    run->checksum = sum;
}

static void run_ring(struct run *run, const struct pattern *pattern)
{
    enum { SLOTS = 1000 };
    struct object *slots = map_array(SLOTS * sizeof *slots);
    struct rng rng = rng_seeded(1);
    uint64_t count = scaled(run, 25000000);

    (void)pattern;
    ring_turn(slots, SLOTS, SLOTS, &rng, 16, 1024);
    clock_start(run);
    run->checksum = ring_turn(slots, SLOTS, count, &rng, 16, 1024);
    clock_stop(run);
    run->checksum += drop_all(slots, SLOTS);
    run->operations = count;
}

static void run_random_live(struct run *run, const struct pattern *pattern)
{
    enum { SLOTS = 100000 };
    struct object *slots = map_array(SLOTS * sizeof *slots);
    struct rng rng = rng_seeded(2);
    uint64_t count = scaled(run, 5000000);

    (void)pattern;
    ring_turn(slots, SLOTS, SLOTS, &rng, 16, 1024);
    clock_start(run);
    run->checksum = random_turn(slots, SLOTS, count, &rng, 16, 1024);
    clock_stop(run);
    run->checksum += drop_all(slots, SLOTS);
    run->operations = count;
}

/* 16 B to 64 KiB: each doubling of the size is half as likely as the one before. */
static uint32_t power_law_size(struct rng *rng)
{
    uint64_t random = rng_next(rng);
    unsigned doublings = (unsigned)__builtin_ctzll(random | 1u << 11);
    uint32_t low = 16u << doublings;
    return in_range(random, low, 2 * low);
}

static void run_random_live_big_span(struct run *run, const struct pattern *pattern)
{
    enum { SLOTS = 10000 };
    struct object *slots = map_array(SLOTS * sizeof *slots);
    struct rng rng = rng_seeded(3);
    uint64_t count = scaled(run, 15000000);
    uint64_t sum = 0;

    (void)pattern;
    for (uint32_t i = 0; i < SLOTS; i++)
        object_make(&slots[i], power_law_size(&rng), (uint8_t)i);
    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        struct object *slot = &slots[rng_range(&rng, 0, SLOTS - 1)];
        sum += object_drop(slot);
        object_make(slot, power_law_size(&rng), (uint8_t)i);
    }
    clock_stop(run);
    run->checksum = sum + drop_all(slots, SLOTS);
    run->operations = count;
}

/* Pointers only: a million of struct object would add 16 MB to the 64 MB measured. */
static void run_batch(struct run *run, const struct pattern *pattern)
{
    enum { OBJECTS = 1000000 };
    unsigned char **objects = map_array(OBJECTS * sizeof *objects);
    uint64_t rounds = scaled(run, 16);

    clock_start(run);
    for (uint64_t round = 0; round < rounds; round++) {
        struct object object;
        for (uint32_t i = 0; i < OBJECTS; i++) {
            object_make(&object, pattern->size, (uint8_t)(i + round));
            objects[i] = object.start;
        }
        for (uint32_t i = 0; i < OBJECTS; i++) {
            object = (struct object){ objects[i], pattern->size, (uint8_t)(i + round) };
            run->checksum += object_drop(&object);
        }
    }
    clock_stop(run);
    run->operations = rounds * OBJECTS;
}

static void run_batch_mixed(struct run *run, const struct pattern *pattern)
{
    enum { OBJECTS = 200000 };
    struct object *objects = map_array(OBJECTS * sizeof *objects);
    uint32_t *order = map_array(OBJECTS * sizeof *order);
    struct rng rng = rng_seeded(4);
    uint64_t rounds = scaled(run, 16);

    (void)pattern;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        uint32_t other = rng_range(&rng, 0, i);
        order[i] = order[other];
        order[other] = i;
    }
    clock_start(run);
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < OBJECTS; i++)
            object_make_random(&objects[i], &rng, 16, 512);
        for (uint32_t i = 0; i < OBJECTS; i++)
            run->checksum += object_drop(&objects[order[i]]);
    }
    clock_stop(run);
    run->operations = rounds * OBJECTS;
}

/* One size a burst; freed in order, in reverse, or every other one first. Few enough to stay in the cache. */
static void run_bursts(struct run *run, const struct pattern *pattern)
{
    enum { MOST = 4096 };
    struct object *objects = map_array(MOST * sizeof *objects);
    uint64_t bursts = scaled(run, 25000);

    (void)pattern;
    clock_start(run);
    for (uint64_t burst = 0; burst < bursts; burst++) {
        uint32_t size = 8 + (uint32_t)(burst * 24 % 1000), count = MOST * 64 / (size + 64);
        for (uint32_t i = 0; i < count; i++)
            object_make(&objects[i], size, (uint8_t)(burst + i));
        for (uint32_t i = 0; i < count; i++) {
            uint32_t half = (count + 1) / 2, other = i < half ? 2 * i : 2 * (i - half) + 1;
            uint32_t next = burst % 3 == 0 ? i : burst % 3 == 1 ? count - 1 - i : other;
            run->checksum += object_drop(&objects[next]);
        }
        run->operations += count;
    }
    clock_stop(run);
}

struct node { struct node *left, *right; };

static struct node *tree_make(unsigned depth)
{
    struct node *node = malloc(sizeof *node);

    if (!node)
        die("out of memory");
    node->left = depth ? tree_make(depth - 1) : NULL;
    node->right = depth ? tree_make(depth - 1) : NULL;
    return node;
}

/* How many nodes there were. */
static uint64_t tree_drop(struct node *node)
{
    if (!node)
        return 0;
    uint64_t count = 1 + tree_drop(node->left) + tree_drop(node->right);
    free(node);
    return count;
}

/* Each depth makes as many nodes in all. */
static void run_trees(struct run *run, const struct pattern *pattern)
{
    enum { LEAST = 4, MOST = 18 };
    uint64_t rounds = scaled(run, 6);

    (void)pattern;
    clock_start(run);
    for (uint64_t round = 0; round < rounds; round++)
        for (unsigned depth = LEAST; depth <= MOST; depth += 2)
            for (unsigned i = 0; i < 1u << (MOST - depth); i++)
                run->operations += tree_drop(tree_make(depth));
    clock_stop(run);
    run->checksum = run->operations;
}

/* Grows or shrinks, and checks that what both sizes have is still there, then marks the new end. */
static void object_resize(struct object *object, uint32_t size)
{
    if (size < object->size) {
        object->size = size;
        object_write(object);
    }
    object->start = realloc(object->start, size);
    if (!object->start)
        die("out of memory");
    object_check(object);
    object->size = size;
    object_write(object);
}

/* Steps of a page, each page written: an allocator that copies, copies memory that is there. */
static void run_realloc_grow(struct run *run, const struct pattern *pattern)
{
    enum { STEP = 4096, STEPS = 4096 };
    uint64_t rounds = scaled(run, 50);

    (void)pattern;
    clock_start(run);
    for (uint64_t round = 0; round < rounds; round++) {
        struct object object;
        object_make(&object, STEP, (uint8_t)round);
        for (uint32_t step = 2; step <= STEPS; step++)
            object_resize(&object, step * STEP);
        run->checksum += object_drop(&object);
    }
    clock_stop(run);
    run->operations = rounds * STEPS;
}

static void run_realloc_vectors(struct run *run, const struct pattern *pattern)
{
    enum { VECTORS = 1000, SMALLEST = 16, LARGEST = 16384 };
    struct object *vectors = map_array(VECTORS * sizeof *vectors);
    struct rng rng = rng_seeded(5);
    uint64_t count = scaled(run, 4000000);

    (void)pattern;
    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        struct object *vector = &vectors[rng_range(&rng, 0, VECTORS - 1)];
        if (!vector->start)
            object_make(vector, SMALLEST, (uint8_t)i);
        else if (vector->size < LARGEST)
            object_resize(vector, vector->size * 2);
        else
            run->checksum += object_drop(vector);
    }
    clock_stop(run);
    run->checksum += drop_all(vectors, VECTORS);
    run->operations = count;
}

/* One byte in every `step` from `at` on, but not the last. */
static void object_touch(const struct object *object, uint32_t at, uint32_t step)
{
    volatile unsigned char *start = object->start;
    for (; at < object->size - 1; at += step)
        start[at] = object->tag;
}

/* In each page, and each in another line of the caches. */
static void object_touch_lines(const struct object *object, uint32_t from)
{
    object_touch(object, from + 64, 4096 + 64);
}

static void run_realloc_swing(struct run *run, const struct pattern *pattern)
{
    enum { BUFFERS = 16, SMALLEST = 64 << 10, LARGEST = 4 << 20 };
    struct object *buffers = map_array(BUFFERS * sizeof *buffers);
    struct rng rng = rng_seeded(9);
    uint64_t count = scaled(run, 40000);

    (void)pattern;
    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        struct object *buffer = &buffers[rng_range(&rng, 0, BUFFERS - 1)];
        if (!buffer->start) {
            object_make_random(buffer, &rng, SMALLEST, LARGEST);
            object_touch_lines(buffer, 0);
        } else if (rng_next(&rng) % 8) {
            uint32_t old = buffer->size;
            object_resize(buffer, rng_range(&rng, SMALLEST, LARGEST));
            object_touch_lines(buffer, old);
        } else {
            run->checksum += object_drop(buffer);
        }
    }
    clock_stop(run);
    run->checksum += drop_all(buffers, BUFFERS);
    run->operations = count;
}

static void run_realloc_trim(struct run *run, const struct pattern *pattern)
{
    enum { KEPT = 100, ROOM = 4 << 20, SMALLEST = 4 << 10, LARGEST = 1 << 20 };
    struct object *kept = map_array(KEPT * sizeof *kept);
    struct rng rng = rng_seeded(10);
    uint64_t count = scaled(run, 10000);

    (void)pattern;
    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        struct object *slot = &kept[rng_range(&rng, 0, KEPT - 1)];
        uint32_t size = rng_range(&rng, SMALLEST, LARGEST);
        if (slot->start)
            run->checksum += object_drop(slot);
        object_make(slot, ROOM, (uint8_t)i);
        object_touch_lines(slot, 0);
        object_resize(slot, size);
    }
    clock_stop(run);
    run->checksum += drop_all(kept, KEPT);
    run->operations = count;
}

static void large_make(struct object *object, struct rng *rng)
{
    object_make_random(object, rng, 5u << 20, 25u << 20);
    object_touch(object, 4096, 4096);
}

static void page_run_make(struct object *object, struct rng *rng)
{
    object_make_random(object, rng, 256u << 10, 2u << 20);
}

/* So many live blocks, a random one replaced each time. */
static void replace_random(struct run *run, struct rng rng, uint32_t live, uint64_t count,
                           void (*make)(struct object *object, struct rng *rng))
{
    struct object *slots = map_array(live * sizeof *slots);

    for (uint32_t i = 0; i < live; i++)
        make(&slots[i], &rng);
    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        struct object *slot = &slots[rng_range(&rng, 0, live - 1)];
        run->checksum += object_drop(slot);
        make(slot, &rng);
    }
    clock_stop(run);
    run->checksum += drop_all(slots, live);
    run->operations = count;
}

static void run_large(struct run *run, const struct pattern *pattern)
{
    (void)pattern;
    replace_random(run, rng_seeded(6), 20, scaled(run, 600), large_make);
}

static void run_random_live_large(struct run *run, const struct pattern *pattern)
{
    (void)pattern;
    replace_random(run, rng_seeded(10), 32, scaled(run, 800000), page_run_make);
}

/* The middle byte is made dirty too, so that a block used again shows whether it was cleared. */
static void object_make_zeroed(struct object *object, struct rng *rng)
{
    uint64_t random = rng_next(rng);
    uint32_t size = (random & 0xff00) ? in_range(random, 16, 8192) : 256 << 10;
    volatile unsigned char *start = calloc(1, size);

    if (!start)
        die("out of memory");
    if (start[0] | start[size / 2] | start[size - 1])
        die("calloc returned memory that is not zero");
    start[size / 2] = 1;
    *object = (struct object){ (unsigned char *)start, size, (uint8_t)random };
    object_write(object);
}

static void run_calloc(struct run *run, const struct pattern *pattern)
{
    enum { SLOTS = 1000 };
    struct object *slots = map_array(SLOTS * sizeof *slots);
    struct rng rng = rng_seeded(7);
    uint64_t count = scaled(run, 1500000);

    (void)pattern;
    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        struct object *slot = &slots[rng_range(&rng, 0, SLOTS - 1)];
        run->checksum += object_drop(slot);
        object_make_zeroed(slot, &rng);
    }
    clock_stop(run);
    run->checksum += drop_all(slots, SLOTS);
    run->operations = count;
}

#define PAIR(n) { "pair-" #n, "malloc + free", run_pair, n }

const struct pattern single_patterns[] = {
    PAIR(16), PAIR(32), PAIR(64), PAIR(128), PAIR(256), PAIR(512), PAIR(1024), PAIR(4096),
    PAIR(16384), PAIR(65536),
    { "ring", "free + malloc", run_ring, 0 },
    { "random-live", "free + malloc", run_random_live, 0 },
    { "random-live-big-span", "free + malloc", run_random_live_big_span, 0 },
    { "random-live-large", "free + malloc", run_random_live_large, 0 },
    { "batch", "malloc + free", run_batch, 64 },
    { "batch-mixed", "malloc + free", run_batch_mixed, 0 },
    { "bursts", "malloc + free", run_bursts, 0 },
    { "trees", "malloc + free", run_trees, 0 },
    { "realloc-grow", "realloc", run_realloc_grow, 0 },
    { "realloc-vectors", "malloc, realloc or free", run_realloc_vectors, 0 },
    { "realloc-swing", "malloc, realloc or free", run_realloc_swing, 0 },
    { "realloc-trim", "free + malloc + realloc", run_realloc_trim, 0 },
    { "large", "free + malloc", run_large, 0 },
    { "calloc", "free + calloc", run_calloc, 0 },
    { 0 },
};
