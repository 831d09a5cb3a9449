/* malloc_bench PATTERN [--scale F] | --list
 *
 * Runs one pattern once against whatever malloc the process has (LD_PRELOAD) and prints one line of
 * JSON. README.md says what each pattern is; perf/bench runs them all and compares. */
#include "malloc_bench.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static size_t mapped_bytes;  /* by map_array; main thread only */

_Noreturn void die(const char *what)
{
    dprintf(STDERR_FILENO, "malloc_bench: %s\n", what);
    _exit(1);
}

void *map_array(size_t bytes)
{
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (start == MAP_FAILED)
        die("mmap failed");
    mapped_bytes += bytes;
    return start;
}

unsigned cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count > 16 ? 16 : (unsigned)count;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void clock_start(struct run *run) { run->started_ns = now_ns(); }
void clock_stop(struct run *run) { run->stopped_ns = now_ns(); }

/* VmHWM, not ru_maxrss: that one survives exec and would show the parent's peak. */
static long peak_rss_kib(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib;
}

/* The file name, without its folder, of the object that malloc resolves to. */
static const char *malloc_object(void)
{
    Dl_info info;
    void *function = dlsym(RTLD_DEFAULT, "malloc");
    if (!function || !dladdr(function, &info) || !info.dli_fname)
        return "unknown";
    const char *slash = strrchr(info.dli_fname, '/');
    return slash ? slash + 1 : info.dli_fname;
}

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
           mapped_bytes / 1024, (unsigned long long)run.checksum, malloc_object());
    return 0;
}
