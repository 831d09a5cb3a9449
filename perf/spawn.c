/* spawn LIBRARY RESULT COMMAND...: runs a command, preloading LIBRARY unless that is empty, and writes to the file
 * RESULT what the kernel says it took: {"wall_s", "cpu_s", "peak_rss_kib", "status"}. Peak RSS is that of the
 * largest process among it and those it waited for. A small process in between, for a child starts with its
 * parent's peak as its own. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: spawn LIBRARY RESULT COMMAND...\n");
        return 2;
    }
    double started = now();
    pid_t pid = fork();
    if (pid == 0) {
        if (*argv[1] ? setenv("LD_PRELOAD", argv[1], 1) : unsetenv("LD_PRELOAD"))
            _exit(127);
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) {
        perror("spawn");
        return 1;
    }
    double wall = now() - started;
    FILE *result = fopen(argv[2], "w");
    if (!result) {
        perror(argv[2]);
        return 1;
    }
    fprintf(result, "{\"wall_s\": %.6f, \"cpu_s\": %.6f, \"peak_rss_kib\": %ld, \"status\": %d}\n", wall,
            seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime), usage.ru_maxrss, status);
    return fclose(result) == 0 ? 0 : 1;
}
