/* The counts of count.h: spread over lines by thread, so that counting changes little of what is counted. */
#include "count.h"
#include "base.h"
#include "report.h"

#include <stdio.h>
#include <unistd.h>

#define SHARDS 64

static struct shard {
	_Alignas(CACHE_LINE) unsigned long counts[COUNTS];
} shards[SHARDS];
static unsigned threads;
static _Thread_local unsigned mine; /* the shard's index, plus 1 */

void count_add(enum count what)
{
	if (!mine)
		mine = __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED) % SHARDS + 1;
	__atomic_fetch_add(&shards[mine - 1].counts[what], 1, __ATOMIC_RELAXED);
}

__attribute__((destructor)) static void count_print(void)
{
	unsigned long sums[COUNTS] = {0};
	char text[200];

	for (unsigned s = 0; s < SHARDS; s++)
		for (unsigned c = 0; c < COUNTS; c++)
			sums[c] += __atomic_load_n(&shards[s].counts[c], __ATOMIC_RELAXED);
	int length = snprintf(text, sizeof text, "qslab: counts: lock %lu lock_wait %lu atomic %lu fence %lu\n",
	                      sums[COUNT_lock], sums[COUNT_lock_wait], sums[COUNT_atomic], sums[COUNT_fence]);
	report_write(STDERR_FILENO, text, (size_t)length);
}
