#include "histogram.h"

#include <stdio.h>

void histogram_join(struct histogram *to, const struct histogram *from)
{
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
        to->buckets[b] += from->buckets[b];
    to->count += from->count;
    if (from->longest > to->longest)
        to->longest = from->longest;
}

/* The last time that still belongs to it. */
static uint64_t bucket_last(unsigned bucket)
{
    return bucket < 16 ? bucket : ((uint64_t)(17 + bucket % 16) << (bucket / 16 - 1)) - 1;
}

double histogram_at(const struct histogram *histogram, double share)
{
    uint64_t seen = 0, last = 0;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        seen += histogram->buckets[b];
        if (seen && (double)seen >= share * (double)histogram->count) {
            last = bucket_last(b);
            break;
        }
    }
    return (double)(last < histogram->longest ? last : histogram->longest);
}

double histogram_mean99(const struct histogram *histogram)
{
    double most = 0.99 * (double)histogram->count, seen = 0, sum = 0;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS && seen < most; b++) {
        double first = b ? (double)bucket_last(b - 1) + 1 : 0, count = histogram->buckets[b];
        count = count < most - seen ? count : most - seen;
        sum += count * (first + (double)bucket_last(b)) / 2;
        seen += count;
    }
    return seen > 0 ? sum / seen : 0;
}

static void print_one(const char *name, double time, double less, double unit)
{
    printf("\"%s\": %.3f", name, time > less ? (time - less) / unit : 0);
}

void histogram_print(const struct histogram *histogram, double less, double unit)
{
    static const struct { const char *name; double share; } wanted[] = {
        { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 }, { "p9999", 0.9999 },
    };
    printf("{");
    if (histogram->count) {
        for (unsigned w = 0; w < sizeof wanted / sizeof *wanted; w++) {
            print_one(wanted[w].name, histogram_at(histogram, wanted[w].share), less, unit);
            printf(", ");
        }
        print_one("mean99", histogram_mean99(histogram), less, unit);
        printf(", ");
        print_one("max", (double)histogram->longest, less, unit);
    }
    printf("}");
}
