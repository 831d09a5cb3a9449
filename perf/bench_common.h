/* What every bench here shares: a fixed-seed generator, memory that does not come from the allocator
 * being measured, the clock, and what the process can say about itself. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stddef.h>
#include <stdint.h>

_Noreturn void die(const char *what);
void *map_array(size_t bytes);      /* zeroed, already backed by memory, never from malloc; main thread only */
size_t mapped_kib(void);            /* what map_array gave out */
unsigned cores(void);               /* that this process may run on, at most 16 */
uint64_t now_ns(void);
long peak_rss_kib(void);
long rss_now_kib(void);
const char *malloc_object(void);    /* the file, without its folder, that malloc comes from */

/* xorshift64. Seeds are fixed, so the work is identical for each allocator. */
struct rng { uint64_t state; };

static inline struct rng rng_seeded(uint64_t seed)
{
    return (struct rng){ 0x9e3779b97f4a7c15u * (seed + 1) };
}

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t x = rng->state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return rng->state = x;
}

/* low..high inclusive, from the upper half of a random number. */
static inline uint32_t in_range(uint64_t random, uint32_t low, uint32_t high)
{
    return low + (uint32_t)(((random >> 32) * (high - low + 1)) >> 32);
}

static inline uint32_t rng_range(struct rng *rng, uint32_t low, uint32_t high)
{
    return in_range(rng_next(rng), low, high);
}

/* At least one. */
static inline uint64_t scaled_by(double scale, uint64_t count)
{
    uint64_t n = (uint64_t)((double)count * scale);
    return n ? n : 1;
}

#endif
