/* distance: how many ns a cache line takes from one core to another: from the first core that the process may run on to
 * the one that is farthest from it. One number on stdout; 0 if there is one core. Of each pair the least of several
 * rounds counts, so that other work on these cores does not. */
#include "bench_common.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>

enum { ROUNDS = 5, TRANSFERS = 2000 };
static const uint64_t PATIENCE_NS = 5000000; /* for a round: somebody else may have the other core */

/* Even: the first core's to change; odd: the other's; UINT_MAX: the end. Alone in its lines. */
static union { alignas(128) _Atomic unsigned value; char lines[128]; } passed;

static void run_on(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *answer(void *core)
{
    unsigned value;

    run_on((int)(intptr_t)core);
    while ((value = atomic_load(&passed.value)) != UINT_MAX)
        if (value % 2)
            atomic_compare_exchange_strong(&passed.value, &value, value + 1); /* fails at the end */
    return NULL;
}

/* ns of one way; 0: not one came back in time. */
static double one_way(void)
{
    uint64_t started = now_ns();
    unsigned sent = 0;

    while (sent < TRANSFERS && now_ns() - started < PATIENCE_NS)
        for (unsigned looks = 0; looks < 100; looks++) {
            unsigned value = atomic_load(&passed.value);
            if (value % 2 == 0) {
                atomic_store(&passed.value, value + 1);
                sent++;
            }
        }
    return sent > 1 ? (double)(now_ns() - started) / sent / 2 : 0;
}

static double distance_to(int core)
{
    pthread_t other;
    double least = 0;

    atomic_store(&passed.value, 0);
    if (pthread_create(&other, NULL, answer, (void *)(intptr_t)core))
        return 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double took = one_way();
        if (took && (!least || took < least))
            least = took;
    }
    atomic_store(&passed.value, UINT_MAX);
    pthread_join(other, NULL);
    return least;
}

int main(void)
{
    cpu_set_t set;
    int first = -1;
    double farthest = 0;

    if (sched_getaffinity(0, sizeof set, &set))
        die("sched_getaffinity failed");
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &set))
            continue;
        if (first < 0) {
            run_on(first = core);
            continue;
        }
        double far = distance_to(core);
        farthest = far > farthest ? far : farthest;
    }
    printf("%.1f\n", farthest);
    return 0;
}
