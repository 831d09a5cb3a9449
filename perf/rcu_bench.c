/* rcu_bench PATTERN METHOD [--threads N] [--scale F] [--quiescent N] [--probe N] [--live N]
 *           [--loops N] [--alloc-num N] [--mult N] | --list
 *
 * Runs one pattern once with one retire method, over whatever malloc the process has (LD_PRELOAD), and prints
 * one line of JSON. README.md says what each pattern is; perf/bench runs them all and compares. Exit status:
 * 1 failed, 2 wrong usage, 3 the method does not fit the pattern, 4 the preloaded library lacks the method. */
#include "rcu_bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NOT_FOR_THIS = 3, NOT_HERE = 4 };
#define LEAK_MOST ((uint64_t)1536 << 20)  /* bytes asked for: with rounding, 2 GiB at most */

struct run run = { .threads = 1, .quiescent = 64, .scale = 1, .live = 10000, .alloc_num = 8000, .loops = 200, .mult = 1 };

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- a run ------------------------------------------------------------------------------------------------- */

static uint64_t elements, element_sum, expected_sum;

static void visit(const struct node *node)
{
    if (run.expected[node->key] != node->value)
        die("an element is not what was put there last");
    elements++;
    element_sum += mix(node->key, node->value);
}

/* Two thirds of the keys, in random order: the tree is no list. */
static void fill(const struct structure *structure)
{
    struct rng rng = rng_seeded(1);
    uint64_t keys = structure->keys, *order = map_array(keys * sizeof *order);

    run.expected = map_array(keys * sizeof *run.expected);
    structure->make(keys);
    for (uint64_t i = 0; i < keys; i++) {
        uint64_t other = rng_range(&rng, 0, (uint32_t)i);
        order[i] = order[other];
        order[other] = i;
    }
    for (uint64_t i = 0; i < keys; i++)
        if (order[i] % 3 != 0) {
            run.expected[order[i]] = rng_next(&rng) | 1;
            structure->insert(order[i], run.expected[order[i]]);
        }
}

static uint64_t check_and_unmake(const struct structure *structure)
{
    uint64_t expected = 0;
    for (uint64_t key = 0; key < structure->keys; key++)
        if (run.expected[key]) {
            expected++;
            expected_sum += mix(key, run.expected[key]);
        }
    structure->unmake(visit);
    if (elements != expected || element_sum != expected_sum)
        die("elements are missing");
    return element_sum;
}

static uint32_t mean_size(void)
{
    uint32_t payload = run.pattern->operations ? (run.pattern->low + run.pattern->high) / 2
                                               : (uint32_t)run.mult * 24 - 16;
    return payload + run.method->room;
}

static void print_latency(void)
{
    static struct histogram all;
    for (unsigned i = 0; i < run.threads; i++)
        histogram_join(&all, &workers[i].probe.histogram);
    printf("\"latency_samples\": %" PRIu64 ", \"latency_us\": ", all.count);
    histogram_print(&all, 0, 1e3);
    printf(", ");
}

static int measure(void)
{
    const struct pattern *pattern = run.pattern;
    const struct method *method = run.method;
    uint64_t count = pattern->operations ? scaled_by(run.scale, pattern->operations / run.threads)
                                         : scaled_by(run.scale, run.loops) * run.alloc_num;
    unsigned updaters = pattern->roles && run.threads > 1 ? run.threads / 2 : run.threads;

    if (pattern->roles) {
        if (run.threads < 2)
            return NOT_FOR_THIS;
        count = scaled_by(run.scale, pattern->operations / updaters);
    }
    if (method->at_once && pattern->structure && run.threads > 1 && (pattern->updates < 100 || pattern->roles))
        return NOT_FOR_THIS;
    if (!method->prepare(run.threads))
        return NOT_HERE;
    if (!pattern->operations)
        run.loops = scaled_by(run.scale, run.loops);
    run.retired_most = method->leaks ? LEAK_MOST / run.threads / mean_size() : UINT64_MAX;
    if (pattern->structure)
        fill(pattern->structure);
    if (pattern->prepare)
        pattern->prepare();
    workers_start(updaters, count);
    uint64_t cpu_before = cpu_ns(), periods_before = own_stats().grace_periods;
    workers_go();

    uint64_t started = UINT64_MAX, stopped = 0, done = 0, reads = 0, checksum = 0;

    workers_left();
    method->drain();
    uint64_t drained = now_ns(), cpu = cpu_ns() - cpu_before;
    workers_join();
    long rss = peak_rss_kib();
    for (unsigned i = 0; i < run.threads; i++) {
        if (workers[i].started_ns < started)
            started = workers[i].started_ns;
        if (workers[i].stopped_ns > stopped)
            stopped = workers[i].stopped_ns;
        if (!workers[i].reader) {
            done += workers[i].done;
            checksum += workers[i].checksum;
        }
        reads += workers[i].reads;
    }
    struct own_stats own = own_stats();
    if (!method->leaks && !method->at_once
        && (method->ours ? own.waiting != 0 : retired_now() != freed_now()))
        die("retired objects were not freed");
    bool capped = done < count * updaters;
    if (pattern->structure)
        checksum += check_and_unmake(pattern->structure);

    double seconds = (double)(stopped - started) / 1e9;
    double mean = waiting.samples ? (double)waiting.sum / (double)waiting.samples : 0;
    bool waits = !method->leaks && !method->at_once;
    uint64_t peak_bytes = waits ? waiting.peak * mean_size() : 0;
    if (method->ours)
        peak_bytes = own.peak_bytes > waiting.peak_bytes ? own.peak_bytes : waiting.peak_bytes;
    printf("{\"pattern\": \"%s\", \"method\": \"%s\", \"threads\": %u, \"operations\": %" PRIu64 ", "
           "\"ns_per_op\": %.3f, \"drained_ns_per_op\": %.3f, \"seconds\": %.4f, \"cpu_seconds\": %.4f, "
           "\"cpu_ns_per_op\": %.3f, \"reads\": %" PRIu64 ", \"reads_per_second\": %.0f, "
           "\"retired\": %" PRIu64 ", ",
           pattern->name, method->name, run.threads, done, seconds * 1e9 / (double)done,
           (double)(drained - started) / (double)done, seconds, (double)cpu / 1e9,
           (double)cpu / (double)(done + (pattern->roles ? reads : 0)), reads, (double)reads / seconds,
           retired_now());
    printf("\"peak_rss_kib\": %ld, \"bench_kib\": %zu, \"peak_waiting_objects\": %" PRIu64 ", "
           "\"peak_waiting_bytes\": %" PRIu64 ", \"mean_wait_us\": %.2f, ",
           rss, mapped_kib(), waits ? waiting.peak : 0, peak_bytes,
           waits && retired_now() ? mean * seconds / (double)retired_now() * 1e6 : 0);
    print_latency();
    if (method->ours)
        printf("\"grace_periods\": %" PRIu64 ", ", own.grace_periods - periods_before);
    if (pattern->report)
        pattern->report();
    if (!pattern->operations)
        printf("\"footprint_kib\": %" PRId64 ", ", footprint_kib);
    printf("\"elements\": %" PRIu64 ", \"capped\": %s, \"checksum\": \"%016" PRIx64 "\", "
           "\"malloc_object\": \"%s\"}\n",
           elements, capped ? "true" : "false", checksum, malloc_object());
    return 0;
}

/* ---- the command line ------------------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr, "usage: rcu_bench PATTERN METHOD [--threads N] [--scale F] [--quiescent N] [--probe N]\n"
                    "                 [--live N] [--loops N] [--alloc-num N] [--mult N]\n"
                    "       rcu_bench --list\n");
    return 2;
}

static int list(void)
{
    for (const struct pattern *pattern = patterns; pattern->name; pattern++)
        printf("pattern\t%s\t%s\n", pattern->name, pattern->operation);
    for (const struct pattern *pattern = timed_patterns; pattern->name; pattern++)
        printf("timed\t%s\t%s\n", pattern->name, pattern->operation);
    for (const struct method *method = methods; method->name; method++)
        printf("method\t%s\t%s\n", method->name, method->ours ? "ours" : method->leaks || method->at_once
                                                 ? "floor" : "peer");
    return 0;
}

static const struct pattern *find_pattern(const struct pattern *pattern, const char *name)
{
    while (pattern->name && strcmp(pattern->name, name) != 0)
        pattern++;
    return pattern;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list();
    if (argc < 3)
        return usage();
    run.pattern = find_pattern(patterns, argv[1]);
    if (!run.pattern->name)
        run.pattern = find_pattern(timed_patterns, argv[1]);
    for (run.method = methods; run.method->name; run.method++)
        if (strcmp(run.method->name, argv[2]) == 0)
            break;
    if (!run.pattern->name || !run.method->name)
        return usage();
    for (int i = 3; i < argc; i += 2) {
        char *end;
        double number = i + 1 < argc ? strtod(argv[i + 1], &end) : -1;
        uint64_t whole = number >= 1 && number < 1e9 ? (uint64_t)number : 0;
        bool bad = !(number >= 0) || *end;
        if (strcmp(argv[i], "--scale") == 0)
            bad |= !((run.scale = number) > 0 && number <= 1000);
        else if (strcmp(argv[i], "--threads") == 0)
            bad |= !(run.threads = whole <= THREADS_MOST ? (unsigned)whole : 0);
        else if (strcmp(argv[i], "--quiescent") == 0)
            bad |= !(run.quiescent = (unsigned)whole);
        else if (strcmp(argv[i], "--probe") == 0)
            probe_every = whole;
        else if (strcmp(argv[i], "--live") == 0)
            bad |= !(run.live = whole);
        else if (strcmp(argv[i], "--loops") == 0)
            bad |= !(run.loops = whole);
        else if (strcmp(argv[i], "--alloc-num") == 0)
            bad |= !(run.alloc_num = whole);
        else if (strcmp(argv[i], "--mult") == 0)
            bad |= !(run.mult = whole);
        else
            bad = true;
        if (bad)
            return usage();
    }
    return measure();
}
