/* malloc_bench PATTERN [--scale F] [--threads N] [--idle SECONDS] [--thp advised] | --list
 *
 * Runs one pattern once against whatever malloc the process has (LD_PRELOAD) and prints one line of
 * JSON. README.md says what each pattern is; perf/bench runs them all and compares. */
#include "malloc_bench.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#ifndef PR_THP_DISABLE_EXCEPT_ADVISED
#define PR_THP_DISABLE_EXCEPT_ADVISED (1 << 1)  /* Linux 6.18 */
#endif

enum { NOT_HERE = 4 };  /* exit status: the kernel cannot do it */

void clock_start(struct run *run) { run->started_ns = now_ns(); }
void clock_stop(struct run *run) { run->stopped_ns = now_ns(); }

static void list(const struct pattern *pattern, const char *class)
{
    for (; pattern->name; pattern++)
        printf("%s\t%s\t%s\n", pattern->name, class, pattern->operation);
}

static const struct {
    const char *name;
    const struct pattern *patterns;
} classes[] = {
    { "single", single_patterns },
    { "multi", multi_patterns },
    { "life", life_patterns },
    { "memory", memory_patterns },
};
enum { CLASSES = sizeof classes / sizeof *classes };

static const struct pattern *find(const char *name, const char **class)
{
    for (unsigned c = 0; c < CLASSES; c++)
        for (const struct pattern *pattern = classes[c].patterns; pattern->name; pattern++)
            if (strcmp(pattern->name, name) == 0) {
                *class = classes[c].name;
                return pattern;
            }
    return NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: malloc_bench PATTERN [--scale F] [--threads N] [--idle SECONDS] [--thp advised]\n"
                    "       malloc_bench --list\n");
    return 2;
}

/* An option and its number; false if it is none. */
static bool option(struct run *run, const char *name, const char *text)
{
    char *end;
    double number = strtod(text, &end);

    if (*end || end == text)
        return false;
    if (strcmp(name, "--scale") == 0)
        return (run->scale = number) > 0 && number <= 1000;
    if (strcmp(name, "--threads") == 0)
        return (run->threads = number >= 1 && number <= THREADS_MOST ? (unsigned)number : 0) != 0;
    if (strcmp(name, "--idle") == 0)
        return (run->idle_s = number) >= 0 && number <= 60;
    return false;
}

static void print_memory(const struct run *run)
{
    printf("\"peak_live_kib\": %ld, \"idle_live_kib\": %ld, \"idle_rss_kib\": %ld, \"samples\": [", run->peak_live_kib,
           run->idle_live_kib, run->idle_rss_kib);
    for (unsigned i = 0; i < run->sample_count; i++)
        printf("%s[%.3f, %ld, %ld]", i ? ", " : "", run->samples[i].seconds, run->samples[i].live_kib,
               run->samples[i].rss_kib);
    printf("], ");
}

int main(int argc, char **argv)
{
    struct run run = { .scale = 1, .idle_s = 5 };

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (unsigned c = 0; c < CLASSES; c++)
            list(classes[c].patterns, classes[c].name);
        return 0;
    }
    const char *class;
    const struct pattern *pattern = argc >= 2 ? find(argv[1], &class) : NULL;
    if (!pattern || argc % 2)
        return usage();
    for (int i = 2; i < argc; i += 2) {
        if (strcmp(argv[i], "--thp") == 0 && strcmp(argv[i + 1], "advised") == 0) {
            if (prctl(PR_SET_THP_DISABLE, 1, PR_THP_DISABLE_EXCEPT_ADVISED, 0, 0) != 0)
                return NOT_HERE;
        } else if (!option(&run, argv[i], argv[i + 1])) {
            return usage();
        }
    }

    pattern->run(&run, pattern);
    uint64_t elapsed = run.stopped_ns - run.started_ns;
    printf("{\"pattern\": \"%s\", \"class\": \"%s\", \"ns_per_op\": %.3f, \"operations\": %llu, "
           "\"seconds\": %.3f, \"peak_rss_kib\": %ld, \"bench_kib\": %zu, ",
           pattern->name, class, (double)elapsed / (double)run.operations,
           (unsigned long long)run.operations, (double)elapsed / 1e9, peak_rss_kib(), mapped_kib());
    if (run.idle_rss_kib)
        print_memory(&run);
    printf("\"checksum\": \"%016llx\", \"malloc_object\": \"%s\"}\n", (unsigned long long)run.checksum,
           malloc_object());
    return 0;
}
