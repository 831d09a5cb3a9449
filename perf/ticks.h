/* The finest clock at hand, for single operations: the time-stamp counter, else clock_gettime. */
#ifndef TICKS_H
#define TICKS_H

#include "bench_common.h"

#if defined(__x86_64__)
#define TICKS_CLOCK "rdtscp"

/* What comes before has ended; what comes after has not begun. */
static inline uint64_t ticks_now(void)
{
    unsigned cpu;
    uint64_t ticks = __builtin_ia32_rdtscp(&cpu);
    __asm__ volatile("lfence" ::: "memory");
    return ticks;
}
#else
#define TICKS_CLOCK "clock_gettime"

static inline uint64_t ticks_now(void) { return now_ns(); }
#endif

/* Ticks that timing nothing takes: the mean of the fastest 99 %; and the least difference of two readings but 0. */
struct ticks_cost { double overhead; uint64_t step; } ticks_cost(void);

/* How many make a nanosecond, since a pair of readings taken earlier. */
static inline double ticks_per_ns(uint64_t since_ticks, uint64_t since_ns)
{
    return (double)(ticks_now() - since_ticks) / (double)(now_ns() - since_ns);
}

#endif
