/* What the RCU bench's files share: the retire methods, the worker threads, and the structures. The only
 * file outside rcu/ that includes liburcu's headers. */
#ifndef RCU_BENCH_H
#define RCU_BENCH_H

#define URCU_API_MAP
#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu/urcu-qsbr.h>

#include "bench_common.h"
#include "histogram.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { THREADS_MOST = 64, RETIRED_MOST = 2 };

/* ---- counting ---------------------------------------------------------------------------------- */

/* Written by one thread, read by the sampler. */
struct counter {
    _Alignas(128) _Atomic uint64_t count;
};

static inline void counter_bump(struct counter *counter)
{
    uint64_t count = atomic_load_explicit(&counter->count, memory_order_relaxed);
    atomic_store_explicit(&counter->count, count + 1, memory_order_relaxed);
}

static inline uint64_t counter_read(const struct counter *counter)
{
    return atomic_load_explicit(&counter->count, memory_order_relaxed);
}

/* Objects freed by a method's callbacks: one counter for each thread that runs some. */
extern struct counter freed_by[];
enum { FREERS_MOST = 2 * THREADS_MOST };

/* ---- latency of grace periods: one probe a thread at a time --------------------------------------------------------- */

/* idle -> waiting (its thread) -> idle (whoever ends the wait). The histogram belongs to whom the state
 * names: waiting, the one who ends it; idle, its thread. */
struct probe {
    union {
        struct rcu_head head;           /* call_rcu's */
        uint64_t room[4];               /* ck_epoch's entry; our cookie */
    } link;                             /* first: callbacks get its address */
    _Atomic bool waiting;
    uint64_t since_ns;
    struct histogram histogram;         /* nanoseconds */
};

void probe_end(struct probe *probe);    /* now; from any thread */

/* ---- retire methods -------------------------------------------------------------------------------- */

/* How an object that readers may still see is got rid of. Calls get the object's start, where its head is. */
struct method {
    const char *name;
    uint32_t room;                      /* bytes of each object, at its start, that the method needs */
    bool ours;                          /* needs libqslab-malloc.so preloaded */
    bool leaks;
    bool at_once;                       /* frees without waiting: no reader may be there */
    bool (*prepare)(unsigned threads);  /* main, before all; false: it cannot run here */
    void (*enter)(unsigned index);      /* a worker becomes a reader */
    void (*leave)(void);                /* and is none again; may wait */
    void (*retire)(void *object);       /* the caller holds no lock and no borrowed pointer */
    void (*quiescent)(void);            /* a worker, every `quiescent` operations */
    void (*probe)(struct probe *);      /* starts a wait that ends with probe_end; NULL: has none */
    void (*probe_poll)(struct probe *); /* ends it if it can; NULL: a callback does */
    void (*drain)(void);                /* main, when all have left: returns when all is freed */
    void (*end)(void);                  /* a worker, after the clock has stopped; NULL: nothing to do */
};

extern const struct method methods[];   /* ends with an entry without a name */

/* Of ours alone; 0 without it. */
struct own_stats {
    uint64_t waiting, waiting_bytes, peak_bytes, grace_periods;
};
struct own_stats own_stats(void);

/* ---- a run ----------------------------------------------------------------------------------------- */

struct worker;

struct pattern {
    const char *name;
    const char *operation;              /* what one operation is */
    uint64_t operations;                /* of all threads together at scale 1; 0: loops * alloc_num a thread */
    uint32_t low, high;                 /* payload sizes */
    const struct structure *structure;  /* NULL: nobody reads the objects */
    unsigned updates;                   /* percent */
    bool roles;                         /* half of the threads, at least one, only read; the rest only update */
    void (*step)(struct worker *, uint64_t operations);
    /* Of the timed patterns, else NULL: main, before the workers start, and after all is freed. */
    void (*prepare)(void);
    void (*report)(void);               /* prints "name": value, pairs; frees what is left */
};

/* Both end with an entry without a name. */
extern const struct pattern patterns[], timed_patterns[];

/* Constant while workers run. */
struct run {
    const struct pattern *pattern;
    const struct method *method;
    unsigned threads, quiescent;
    double scale;
    uint64_t live;                      /* objects of the timed patterns */
    uint64_t loops, alloc_num, mult;    /* rcuscale's; mult 0: the pattern's size */
    uint64_t retired_most;              /* a worker that leaks stops there */
    uint64_t *expected;                 /* by key: the value, 0 for none; written by the key's owner alone */
    _Atomic unsigned updaters;          /* still at work: the readers of a pattern with roles wait for none */
};

extern struct run run;

struct worker {
    _Alignas(128) pthread_t thread;
    unsigned index;
    bool reader;                        /* only reads, until the updaters have ended */
    uint64_t count;                     /* operations to do */
    uint64_t done, checksum;
    uint64_t reads;
    uint64_t started_ns, stopped_ns;
    uint64_t probed_at;                 /* how many were retired when the last probe started */
    struct rng rng;
    struct counter retired;
    struct probe probe;
};

extern struct worker workers[THREADS_MOST];
extern uint64_t probe_every;            /* retires of a thread between two probes; 0: no probes */

/* Retired objects not yet freed, as sampled while workers run. The sampler's until workers_join. */
extern struct waiting {
    uint64_t samples, sum, peak;        /* objects */
    uint64_t peak_bytes;                /* of ours alone */
} waiting;

uint64_t retired_now(void);
uint64_t freed_now(void);               /* by callbacks */

void workers_start(unsigned updaters, uint64_t count);
void workers_go(void);
void workers_left(void);                /* returns when none is a reader any more */
void workers_join(void);

/* ---- objects --------------------------------------------------------------------------------------- */

void *payload_make(uint64_t size);      /* the head, if any, lies before it */

static inline void payload_retire(struct worker *worker, void *payload)
{
    run.method->retire((char *)payload - run.method->room);
    counter_bump(&worker->retired);
}

/* ---- structures ------------------------------------------------------------------------------------ */

/* All three structures' node: 48 bytes of payload. Constant once published, but for the links. */
struct node {
    uint64_t key, value;
    uint64_t check;                     /* mix(key, value) */
    struct node *link[2];
    uint64_t check_too;                 /* ~check */
};

static inline uint64_t mix(uint64_t key, uint64_t value)
{
    uint64_t x = (key + 1) * 0x9e3779b97f4a7c15u ^ value;
    x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 29;
}

/* A key is updated by one thread only, which knows whether it is there. Updates put what is to be retired
 * into retired[] and return how many that is; the caller retires them after the locks are released. */
struct structure {
    uint64_t keys;                      /* 0..keys-1; two thirds are there at any time */
    void (*make)(uint64_t keys);
    bool (*read)(uint64_t key);         /* lock-free; dies if the node is not whole */
    void (*insert)(uint64_t key, uint64_t value);
    unsigned (*replace)(uint64_t key, uint64_t value, struct node *retired[RETIRED_MOST]);
    unsigned (*remove)(uint64_t key, struct node *retired[RETIRED_MOST]);
    /* No other thread runs: calls visit for each element, then frees it. Dies if they are out of order. */
    void (*unmake)(void (*visit)(const struct node *));
};

extern const struct structure hash_table, sorted_list, ordered_tree;

/* For the memory footprint, as rcuscale's: written by the worker that ends last. */
extern int64_t footprint_kib;

#endif
