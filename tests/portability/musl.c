/* Over the preload library, with musl: who serves the family, what it promises, threads that free each other's, fork. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			_exit(1); \
		} \
	} while (0)
#define THREADS 4
#define TURNS 200000
#define SHARED 512

static unsigned char *_Atomic shared[SHARED]; /* the first byte: of what tag all is */

static void *trade(void *argument)
{
	uint64_t random = (uintptr_t)argument * 2 + 1;

	for (unsigned i = 0; i < TURNS; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		size_t size = 1 + (random >> 33) % (i % 64 ? 600 : 300000);
		unsigned char *mine = malloc(size);
		CHECK(mine);
		mine[0] = mine[size - 1] = (unsigned char)i;
		unsigned char *other = __atomic_exchange_n((unsigned char **)&shared[random >> 20 & (SHARED - 1)], mine, __ATOMIC_ACQ_REL);
		free(other);
	}
	return NULL;
}

static void check_family(void)
{
	const char *names[] = {"malloc", "free", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign", "valloc",
	                       "malloc_usable_size"};
	Dl_info info;
	void *aligned;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		CHECK(dladdr(dlsym(RTLD_DEFAULT, names[i]), &info) && strstr(info.dli_fname, "libqslab-malloc.so"));
	for (size_t size = 1; size < 3000000; size = size * 3 + 1) {
		unsigned char *p = malloc(size);
		CHECK(p && malloc_usable_size(p) >= size);
		memset(p, 5, size);
		CHECK((p = realloc(p, size * 2)) && p[0] == 5 && p[size - 1] == 5);
		free(p);
		CHECK((p = calloc(size, 1)) && !p[0] && !memcmp(p, p + 1, size - 1));
		free(p);
		CHECK(!posix_memalign(&aligned, 4096, size) && (uintptr_t)aligned % 4096 == 0);
		free(aligned);
	}
}

int main(void)
{
	pthread_t threads[THREADS];
	int status;

	check_family();
	for (size_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, trade, (void *)i));
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(30);
			check_family();
			_exit(0);
		}
		CHECK(child > 0 && waitpid(child, &status, 0) == child && !status);
	}
	for (size_t i = 0; i < THREADS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	return 0;
}
