/* malloc_bench PATTERN [--scale F] | --list
 *
 * Runs one pattern once against whatever malloc the process has (LD_PRELOAD) and prints one line of
 * JSON. README.md says what each pattern is; perf/bench runs them all and compares. */
#include "malloc_bench.h"

#include <stdio.h>
#include <string.h>

void clock_start(struct run *run) { run->started_ns = now_ns(); }
void clock_stop(struct run *run) { run->stopped_ns = now_ns(); }

static void list(const struct pattern *pattern, const char *class)
{
    for (; pattern->name; pattern++)
        printf("%s\t%s\t%s\n", pattern->name, class, pattern->operation);
}

static const struct pattern *find(const struct pattern *pattern, const char *name)
{
    for (; pattern->name; pattern++)
        if (strcmp(pattern->name, name) == 0)
            return pattern;
    return NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: malloc_bench PATTERN [--scale F]\n       malloc_bench --list\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct run run = { .scale = 1 };

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list(single_patterns, "single");
        list(multi_patterns, "multi");
        return 0;
    }
    if (argc == 4 && strcmp(argv[2], "--scale") == 0) {
        char *end;
        run.scale = strtod(argv[3], &end);
        if (*end || !(run.scale > 0) || run.scale > 1000)
            return usage();
    } else if (argc != 2) {
        return usage();
    }
    const char *class = "single";
    const struct pattern *pattern = find(single_patterns, argv[1]);
    if (!pattern) {
        class = "multi";
        pattern = find(multi_patterns, argv[1]);
    }
    if (!pattern)
        return usage();

    pattern->run(&run, pattern);
    uint64_t elapsed = run.stopped_ns - run.started_ns;
    printf("{\"pattern\": \"%s\", \"class\": \"%s\", \"ns_per_op\": %.3f, \"operations\": %llu, "
           "\"seconds\": %.3f, \"peak_rss_kib\": %ld, \"bench_kib\": %zu, "
           "\"checksum\": \"%016llx\", \"malloc_object\": \"%s\"}\n",
           pattern->name, class, (double)elapsed / (double)run.operations,
           (unsigned long long)run.operations, (double)elapsed / 1e9, peak_rss_kib(),
           mapped_kib(), (unsigned long long)run.checksum, malloc_object());
    return 0;
}
