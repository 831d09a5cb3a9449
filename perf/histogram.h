/* Times sorted into buckets 6 % wide, from which percentiles come. No unit of its own: nanoseconds or ticks. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 64 * 16 };  /* sixteen for each power of two; exact below 16 */

struct histogram {
    uint64_t count, longest;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

static inline void histogram_add(struct histogram *histogram, uint64_t time)
{
    unsigned top = time < 16 ? 0 : 63 - (unsigned)__builtin_clzll(time);
    histogram->buckets[time < 16 ? time : (top - 3) * 16 + (time >> (top - 4) & 15)]++;
    histogram->count++;
    if (time > histogram->longest)
        histogram->longest = time;
}

void histogram_join(struct histogram *to, const struct histogram *from);
double histogram_at(const struct histogram *histogram, double share); /* the end of the bucket of that share */

/* The mean of the fastest 99 %: finer than the clock's steps, which percentiles are not. */
double histogram_mean99(const struct histogram *histogram);

/* {"p50": …, "max": …}, each less `less`, divided by `unit`; {} without samples. */
void histogram_print(const struct histogram *histogram, double less, double unit);

#endif
