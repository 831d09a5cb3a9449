/* The patterns: what a worker does in one step of some operations. */
#include "rcu_bench.h"

#include <stdlib.h>

void *payload_make(uint64_t size)
{
    char *object = malloc(size + run.method->room);
    if (!object)
        die("out of memory");
    return object + run.method->room;
}

/* ---- pair: an object is made, written and retired; nobody reads it ------------------------------------ */

static void pair(struct worker *worker, uint32_t low, uint32_t high)
{
    uint64_t random = rng_next(&worker->rng);
    uint32_t size = in_range(random, low, high);
    volatile unsigned char *payload = payload_make(size);
    payload[0] = (unsigned char)random;
    payload[size - 1] = (unsigned char)~random;
    worker->checksum += size * 256 + payload[0];
    payload_retire(worker, (void *)payload);
}

static void pair_step(struct worker *worker, uint64_t operations)
{
    for (uint64_t i = 0; i < operations; i++)
        pair(worker, run.pattern->low, run.pattern->high);
}

/* ---- kfree: rcuscale's kfree_rcu test ---------------------------------------------------------------------
 *
 * Its object is mult times (8 bytes and a struct rcu_head); here the payload is that without the head, and
 * each method adds what it needs. Its memory footprint is a running mean of the available memory, sampled at
 * four loops, against the first sample; here of the RSS. */

enum { KFREE_UNIT = 24, KFREE_HEAD = 16 };
int64_t footprint_kib;

static void kfree_loop_begins(uint64_t loop)
{
    static _Thread_local int64_t begin, during;
    uint64_t quarter = run.loops / 4 ? run.loops / 4 : 1;

    if (loop == 0)
        begin = during = rss_now_kib();
    else if (loop % quarter == 0)
        during = (during + rss_now_kib()) / 2;
    __atomic_store_n(&footprint_kib, during - begin, __ATOMIC_RELAXED);
}

static void kfree_step(struct worker *worker, uint64_t operations)
{
    uint32_t size = (uint32_t)(run.mult * KFREE_UNIT - KFREE_HEAD);
    for (uint64_t i = 0; i < operations; i++) {
        if ((worker->done + i) % run.alloc_num == 0)
            kfree_loop_begins((worker->done + i) / run.alloc_num);
        pair(worker, size, size);
    }
}

/* ---- structures --------------------------------------------------------------------------------------- */

static unsigned updaters(void)
{
    if (!run.pattern->roles)
        return run.threads;
    return run.threads / 2 ? run.threads / 2 : 1;
}

static void update(struct worker *worker, const struct structure *structure, uint64_t random)
{
    unsigned owners = updaters();
    uint64_t key = (uint64_t)in_range(random, 0, (uint32_t)(structure->keys / owners) - 1) * owners
                 + worker->index;
    uint64_t value = rng_next(&worker->rng) | 1;
    struct node *retired[RETIRED_MOST];
    unsigned count = 0;

    if (!run.expected[key]) {
        structure->insert(key, value);
    } else if (value & 2) {
        count = structure->replace(key, value, retired);
    } else {
        count = structure->remove(key, retired);
        value = 0;
    }
    run.expected[key] = value;
    for (unsigned i = 0; i < count; i++)
        payload_retire(worker, retired[i]);
}

static void structure_step(struct worker *worker, uint64_t operations)
{
    const struct structure *structure = run.pattern->structure;
    unsigned updates = !run.pattern->roles ? run.pattern->updates : worker->reader ? 0 : 100;

    for (uint64_t i = 0; i < operations; i++) {
        uint64_t random = rng_next(&worker->rng);
        if (updates && (random & 0xffff) % 100 < updates) {
            update(worker, structure, random);
        } else {
            structure->read(in_range(random, 0, (uint32_t)structure->keys - 1));
            worker->reads++;
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------------------ */

#define STRUCTURE(label, which, count, percent) \
    { label "-" #percent, #percent " % updates", count, sizeof(struct node), sizeof(struct node), &which, \
      percent, false, structure_step, NULL, NULL }
#define STRUCTURES(label, which, count) \
    STRUCTURE(label, which, count, 0), STRUCTURE(label, which, count, 10), \
    STRUCTURE(label, which, count, 50), STRUCTURE(label, which, count, 100), \
    { label "-beside", "update, beside readers", count / 2, sizeof(struct node), sizeof(struct node), \
      &which, 100, true, structure_step, NULL, NULL }

const struct pattern patterns[] = {
    { "pair-64", "malloc + retire", 16000000, 64, 64, NULL, 100, false, pair_step, NULL, NULL },
    { "pair-random", "malloc + retire", 2000000, 16, 1024, NULL, 100, false, pair_step, NULL, NULL },
    STRUCTURES("hash", hash_table, 2000000),
    STRUCTURES("list", sorted_list, 500000),
    STRUCTURES("tree", ordered_tree, 1000000),
    { "kfree", "malloc + retire", 0, 0, 0, NULL, 100, false, kfree_step, NULL, NULL },
    { 0 },
};
