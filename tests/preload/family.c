/* POSIX's and glibc's words on every member of the family. Passes on plain glibc too. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures;

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
			failures++; \
		} \
	} while (0)
#define ENOMEM_FROM(call) \
	do { \
		errno = 0; \
		CHECK((call) == NULL && errno == ENOMEM); \
	} while (0)

int main(void)
{
	volatile size_t huge = (size_t)PTRDIFF_MAX + 1, most = SIZE_MAX;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p, *kept = malloc(10);

	ENOMEM_FROM(malloc(huge));
	ENOMEM_FROM(malloc(most));
	ENOMEM_FROM(calloc(most, 2));
	ENOMEM_FROM(calloc(huge, 1));
	ENOMEM_FROM(realloc(kept, huge));
	ENOMEM_FROM(reallocarray(kept, huge, 2));
	ENOMEM_FROM(memalign(64, huge));
	ENOMEM_FROM(aligned_alloc(64, most));
	ENOMEM_FROM(valloc(huge));
	ENOMEM_FROM(pvalloc(most));

	p = (void *)1;
	errno = 99;
	CHECK(posix_memalign(&p, 3, 8) == EINVAL && p == (void *)1 && errno == 99);
	CHECK(posix_memalign(&p, 2, 8) == EINVAL);
	CHECK(posix_memalign(&p, 0, 8) == EINVAL);
	CHECK(posix_memalign(&p, 64, huge) == ENOMEM && p == (void *)1);
	errno = 0;
	CHECK(memalign(huge + 1, 8) == NULL && errno == EINVAL);

	for (size_t alignment = 8; alignment <= (size_t)1 << 22; alignment *= 2) {
		CHECK(posix_memalign(&p, alignment, 100) == 0 && (uintptr_t)p % alignment == 0);
		free(p);
		p = memalign(alignment - 3, 50); /* glibc rounds up */
		CHECK(p && (uintptr_t)p % (alignment / 2) == 0);
		free(p);
	}
	CHECK((p = valloc(1)) && (uintptr_t)p % page == 0);
	free(p);
	CHECK((p = pvalloc(1)) && (uintptr_t)p % page == 0 && malloc_usable_size(p) >= page);
	memset(p, 1, page);
	free(p);
	CHECK((p = malloc(0)) != NULL);
	CHECK(realloc(p, 0) == NULL);
	CHECK((p = realloc(NULL, 7)) != NULL);
	free(p);
	free(NULL);
	CHECK(malloc_usable_size(NULL) == 0);

	struct mallinfo2 before = mallinfo2();
	void *many[1000];
	for (int i = 0; i < 1000; i++)
		many[i] = malloc(1000);
	struct mallinfo2 after = mallinfo2();
	CHECK(after.uordblks >= before.uordblks + 1000 * 1000);
	for (int i = 0; i < 1000; i++)
		free(many[i]);
	CHECK(mallinfo2().uordblks < before.uordblks + 100 * 1000);

	char *text = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&text, &length);
	CHECK(malloc_info(0, stream) == 0);
	fclose(stream);
	CHECK(text && strstr(text, "<malloc version=") == text && strstr(text, "</malloc>"));
	free(text);
	errno = 0;
	CHECK(malloc_info(1, stdout) != 0);
	int trimmed = malloc_trim(0);
	CHECK(trimmed == 0 || trimmed == 1);
	free(kept);
	return failures != 0;
}
