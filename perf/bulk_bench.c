/* Nanoseconds per object (malloc + free) of single calls and of bulk calls, `batch` at a time. Over libqslab.so. */
#include <qslab/qslab.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH_MOST = 256, OBJECTS = 1 << 22, ROUNDS = 15 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void single(size_t size, size_t batch, void **objects)
{
    for (size_t i = 0; i < batch; i++)
        objects[i] = qslab_malloc(size);
    for (size_t i = 0; i < batch; i++)
        qslab_free(objects[i]);
}

static void bulk(size_t size, size_t batch, void **objects)
{
    if (qslab_malloc_bulk(size, batch, objects) != batch)
        abort();
    qslab_free_bulk(batch, objects);
}

/* The best of many rounds. */
static double measure(void (*body)(size_t, size_t, void **), size_t size, size_t batch)
{
    void *objects[BATCH_MOST];
    double best = 1e9;

    for (int round = 0; round < ROUNDS; round++) {
        double begin = now();
        for (size_t done = 0; done < OBJECTS; done += batch)
            body(size, batch, objects);
        double each = (now() - begin) / OBJECTS;
        best = each < best ? each : best;
    }
    return best;
}

int main(void)
{
    static const size_t sizes[] = {16, 64, 256}, batches[] = {4, 16, 64, 256};

    printf("%6s %6s %10s %10s %8s\n", "size", "batch", "single ns", "bulk ns", "bulk/1");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            double one = measure(single, sizes[s], batches[b]), many = measure(bulk, sizes[s], batches[b]);
            printf("%6zu %6zu %10.2f %10.2f %8.2f\n", sizes[s], batches[b], one, many, many / one);
        }
    }
    return 0;
}
