/* What begins and ends: threads, and children of a process with a large heap. */
#include "malloc_bench.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- thread-life: create, one object, end, join ---- */

static void *live_briefly(void *object)
{
    object_make(object, 64, 1);
    object_drop(object);
    return NULL;
}

static void run_thread_life(struct run *run, const struct pattern *pattern)
{
    struct object object = { 0 };
    uint64_t count = scaled(run, 20000);

    (void)pattern;
    clock_start(run);
    for (uint64_t i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live_briefly, &object) != 0 || pthread_join(thread, NULL) != 0)
            die("a thread did not start or end");
    }
    clock_stop(run);
    run->operations = run->checksum = count;
}

/* ---- fork-N: fork, a child that allocates and ends, wait; beside a heap of N MiB ---- */

enum { FORKS = 20, CHILD_OBJECTS = 100 };

static _Noreturn void child(void)
{
    struct object objects[CHILD_OBJECTS];
    struct rng rng = rng_seeded(21);
    for (unsigned i = 0; i < CHILD_OBJECTS; i++)
        object_make_random(&objects[i], &rng, 16, 1024);
    drop_all(objects, CHILD_OBJECTS);
    _exit(0);
}

static void run_fork(struct run *run, const struct pattern *pattern)
{
    struct rng rng = rng_seeded(20);
    uint64_t heap = scaled(run, (uint64_t)pattern->size << 20), held = 0;

    while (held < heap) {  /* they stay until the end */
        struct object object;
        object_make_random(&object, &rng, 16, 4096);
        held += object.size;
        for (uint32_t at = 4096; at < object.size; at += 4096)
            object.start[at] = 1;
    }
    clock_start(run);
    for (unsigned i = 0; i < FORKS; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0)
            child();
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            die("a child failed");
    }
    clock_stop(run);
    run->operations = FORKS;
    run->checksum = held;
}

const struct pattern life_patterns[] = {
    { "thread-life", "create, malloc, free, end, join", run_thread_life, 0 },
    { "fork-1g", "fork, child ends, wait", run_fork, 1024 },
    { "fork-10g", "fork, child ends, wait", run_fork, 10240 },
    { 0 },
};
