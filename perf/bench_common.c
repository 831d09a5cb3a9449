#include "bench_common.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static size_t mapped_bytes;  /* by map_array */

_Noreturn void die(const char *what)
{
    dprintf(STDERR_FILENO, "%s: %s\n", program_invocation_short_name, what);
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

size_t mapped_kib(void) { return mapped_bytes / 1024; }

unsigned cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count > 16 ? 16 : (unsigned)count;
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* VmHWM, not ru_maxrss: that one survives exec and would show the parent's peak. */
long peak_rss_kib(void)
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

/* No FILE: it would allocate. */
long rss_now_kib(void)
{
    char text[128] = "";
    long total, resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY);
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) > 0)
            sscanf(text, "%ld %ld", &total, &resident);
        close(fd);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

const char *malloc_object(void)
{
    Dl_info info;
    void *function = dlsym(RTLD_DEFAULT, "malloc");
    if (!function || !dladdr(function, &info) || !info.dli_fname)
        return "unknown";
    const char *slash = strrchr(info.dli_fname, '/');
    return slash ? slash + 1 : info.dli_fname;
}
