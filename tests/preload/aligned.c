/* Memory aligned beyond a page is used again, as any: a pair of posix_memalign and free does not fault in new pages. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PAIRS 4000
#define LIVE 32

static long faults(void)
{
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	return used.ru_minflt;
}

static int pairs(size_t alignment, size_t size)
{
	char *live[LIVE] = {0};
	long before = 0;

	for (int i = 0; i < PAIRS; i++) {
		char **at = &live[i % LIVE];
		if (i == PAIRS / 2)
			before = faults();
		free(*at);
		if (posix_memalign((void **)at, alignment, size) || (size_t)*at % alignment)
			return 1;
		memset(*at, i, 4096);
	}
	long more = faults() - before;
	for (int i = 0; i < LIVE; i++)
		free(live[i]);
	if (more < PAIRS / 20)
		return 0;
	fprintf(stderr, "%ld faults in %d pairs of %zu bytes at %zu\n", more, PAIRS / 2, size, alignment);
	return 1;
}

int main(void)
{
	int failures = pairs(8192, 8192) + pairs(16384, 16384) + pairs(65536, 65536) + pairs(65536, 4096);
	return failures != 0;
}
