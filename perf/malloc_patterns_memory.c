/* How much stays resident. Times mean nothing here: after the work each pattern does nothing for a while, and
 * what is then resident is the result, beside the peak. */
#include "malloc_bench.h"

#include <stdbool.h>
#include <time.h>

static void sleep_s(double seconds)
{
    nanosleep(&(struct timespec){ (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) }, NULL);
}

/* What is live now, in bytes asked for. */
static void note_peak(struct run *run, uint64_t live)
{
    if ((long)(live / 1024) > run->peak_live_kib)
        run->peak_live_kib = (long)(live / 1024);
}

static void sample(struct run *run, uint64_t live)
{
    if (!run->samples)
        run->samples = map_array(SAMPLES_MOST * sizeof *run->samples);
    note_peak(run, live);
    if (run->sample_count < SAMPLES_MOST)
        run->samples[run->sample_count++] = (struct sample){
            (double)(now_ns() - run->started_ns) / 1e9, (long)(live / 1024), rss_now_kib() - (long)mapped_kib(),
        };
}

static void idle(struct run *run, uint64_t live)
{
    clock_stop(run);
    sleep_s(run->idle_s);
    run->idle_live_kib = (long)(live / 1024);
    run->idle_rss_kib = rss_now_kib();
}

static void shuffle(struct object *objects, uint64_t count, struct rng *rng)
{
    for (uint64_t i = count; i > 1; i--) {
        uint64_t other = rng_next(rng) % i;
        struct object object = objects[i - 1];
        objects[i - 1] = objects[other];
        objects[other] = object;
    }
}

/* Objects of low..high bytes until they are `bytes`; how many. Every page of them is written. */
static uint64_t fill(struct run *run, struct object *objects, uint64_t bytes, uint32_t low, uint32_t high,
                     struct rng *rng)
{
    uint64_t count = 0;
    for (uint64_t live = 0; live < bytes; count++) {
        object_make_random(&objects[count], rng, low, high);
        for (uint32_t at = 4096; at + 1 < objects[count].size; at += 4096)
            objects[count].start[at] = 1;
        live += objects[count].size;
        run->operations++;
    }
    return count;
}

/* ---- spike-idle: a service of 32 MiB that needed 512 MiB once, and of that keeps one object in 2000 ---- */

static void run_spike(struct run *run, const struct pattern *pattern)
{
    uint64_t base = scaled(run, 32 << 20), spike = scaled(run, 480 << 20), live;
    struct object *objects = map_array(((base + spike) / 900 + 4096) * sizeof *objects); /* their mean is 1008 */
    struct rng rng = rng_seeded(30);

    (void)pattern;
    clock_start(run);
    uint64_t stay = fill(run, objects, base, 16, 2000, &rng);
    uint64_t count = fill(run, objects + stay, spike, 16, 2000, &rng);
    note_peak(run, base + spike);
    shuffle(objects + stay, count, &rng);
    live = base;
    for (uint64_t i = 0; i < count; i++)
        if (i % 2000 == 0)
            live += objects[stay + i].size;
        else
            run->checksum += object_drop(&objects[stay + i]);
    idle(run, live);
    run->checksum += drop_all(objects, stay + count);
}

/* ---- phases: all objects of one size, then of another ---- */

static void run_phases(struct run *run, const struct pattern *pattern)
{
    static const uint32_t sizes[] = { 64, 192, 1024, 48, 20000 };
    uint64_t bytes = scaled(run, 128 << 20);
    struct object *objects = map_array((bytes / 48 + 2) * sizeof *objects);
    struct rng rng = rng_seeded(31);

    (void)pattern;
    clock_start(run);
    note_peak(run, bytes);
    for (unsigned phase = 0; phase < sizeof sizes / sizeof *sizes; phase++) {
        uint64_t count = fill(run, objects, bytes, sizes[phase], sizes[phase], &rng);
        shuffle(objects, count, &rng);
        run->checksum += drop_all(objects, count);
    }
    idle(run, 0);
}

/* ---- robson: never more than M live, sizes double, one object stays of each page (in the spirit of
 * J. M. Robson, 1974; an allocator that merges neighbours of all sizes escapes this one) ---- */

enum { ROBSON_LEAST = 16, ROBSON_MOST = 2048, TABLE_BITS = 19 };

/* True if no other object was kept in this one's page of 4 KiB. */
static bool first_of_page(uintptr_t *table, const void *start)
{
    uintptr_t page = (uintptr_t)start >> 12;
    for (uint64_t at = page * 0x9e3779b97f4a7c15u >> (64 - TABLE_BITS);; at = (at + 1) & ((1 << TABLE_BITS) - 1)) {
        if (table[at] == page)
            return false;
        if (!table[at]) {
            table[at] = page;
            return true;
        }
    }
}

/* The checksum is that of sizes alone: which objects stay depends on where they lie. */
static void run_robson(struct run *run, const struct pattern *pattern)
{
    uint64_t most = scaled(run, 64 << 20), live = 0, kept = 0;
    struct object *objects = map_array((most / ROBSON_LEAST + 1) * sizeof *objects);
    struct object *staying = map_array((most / 512 + 1) * sizeof *staying);
    uintptr_t *table = map_array(sizeof *table << TABLE_BITS);

    (void)pattern;
    clock_start(run);
    for (uint32_t size = ROBSON_LEAST; size <= ROBSON_MOST; size *= 2) {
        uint64_t count = 0;
        for (; live + size <= most; live += size, count++)
            object_make(&objects[count], size, (uint8_t)count);
        run->operations += count;
        note_peak(run, live);
        for (uint64_t i = 0; i < count; i++) {
            if (kept < most / 512 && first_of_page(table, objects[i].start)) {
                staying[kept++] = objects[i];
            } else {
                object_drop(&objects[i]);
                live -= size;
            }
        }
    }
    idle(run, live);
    run->checksum = most;
    drop_all(staying, kept);
}

/* ---- server-days: sessions come and go, a cache turns over; the load swings, and the nights are still ---- */

enum { DAYS = 3, SAMPLES_A_DAY = 64, SESSION_OBJECTS = 20, REQUEST_OBJECTS = 30 };
#define NIGHT_S (run->idle_s / 5)

struct server {
    struct object *cache;           /* replaced at random: long lives of all ages */
    uint64_t cache_slots;
    struct object *sessions;        /* SESSION_OBJECTS each, a ring */
    uint64_t session_slots, oldest, next;
    uint64_t live;
};

static void let_go(struct run *run, struct server *server, struct object *object)
{
    server->live -= object->start ? object->size : 0;
    run->checksum += object_drop(object);
}

static void put(struct server *server, struct object *object, struct rng *rng, uint32_t low, uint32_t high)
{
    object_make_random(object, rng, low, high);
    server->live += object->size;
}

static void end_session(struct run *run, struct server *server)
{
    struct object *session = &server->sessions[server->oldest++ % server->session_slots * SESSION_OBJECTS];
    for (unsigned i = 0; i < SESSION_OBJECTS; i++)
        let_go(run, server, &session[i]);
}

/* A session begins, as many end as the load has fallen; a request is served; the cache turns. */
static void serve(struct run *run, struct server *server, struct rng *rng, uint64_t wanted)
{
    struct object request[REQUEST_OBJECTS] = { 0 };
    struct object *session = &server->sessions[server->next++ % server->session_slots * SESSION_OBJECTS];

    for (unsigned i = 0; i < REQUEST_OBJECTS; i++)
        put(server, &request[i], rng, 16, i ? 600 : 60000);
    for (unsigned i = 0; i < SESSION_OBJECTS; i++)
        put(server, &session[i], rng, 16, 1200);
    for (unsigned i = 0; i < 4; i++) {
        struct object *entry = &server->cache[rng_range(rng, 0, (uint32_t)server->cache_slots - 1)];
        let_go(run, server, entry);
        put(server, entry, rng, 100, 4000);
    }
    for (unsigned i = 0; i < REQUEST_OBJECTS; i++)
        let_go(run, server, &request[i]);
    for (unsigned i = 0; i < 2 && server->next - server->oldest > wanted; i++)
        end_session(run, server);
    run->operations += REQUEST_OBJECTS + SESSION_OBJECTS + 4;
}

static void run_days(struct run *run, const struct pattern *pattern)
{
    struct server server = { .cache_slots = scaled(run, 16000), .session_slots = scaled(run, 12000) + 8 };
    struct rng rng = rng_seeded(33);

    (void)pattern;
    server.cache = map_array(server.cache_slots * sizeof *server.cache);
    server.sessions = map_array(server.session_slots * SESSION_OBJECTS * sizeof *server.sessions);
    clock_start(run);
    for (unsigned day = 0; day < DAYS; day++) {
        for (unsigned hour = 0; hour < SAMPLES_A_DAY; hour++) {
            unsigned from_noon = hour < SAMPLES_A_DAY / 2 ? SAMPLES_A_DAY / 2 - hour : hour - SAMPLES_A_DAY / 2;
            uint64_t wanted = (server.session_slots - 4) * (SAMPLES_A_DAY / 2 - from_noon) / (SAMPLES_A_DAY / 2);
            for (uint64_t i = 0; i < server.session_slots / 12 + 1; i++)
                serve(run, &server, &rng, wanted);
            sample(run, server.live);
        }
        while (server.oldest != server.next)
            end_session(run, &server);
        sample(run, server.live);
        sleep_s(NIGHT_S);
        sample(run, server.live);
    }
    idle(run, server.live);
    run->checksum += drop_all(server.cache, server.cache_slots);
}

const struct pattern memory_patterns[] = {
    { "spike-idle", "malloc", run_spike, 0 },
    { "phases", "malloc", run_phases, 0 },
    { "robson", "malloc", run_robson, 0 },
    { "server-days", "malloc", run_days, 0 },
    { 0 },
};
