/* A library that the program is linked with: its constructor comes before the allocator's. */
#include <pthread.h>
#include <stdlib.h>

int early_calls;

static void child(void)
{
	void *objects[300];

	for (size_t i = 0; i < 300; i++)
		free(malloc(i * 977 % 300000 + 1));
	for (size_t i = 0; i < 300; i++)
		objects[i] = malloc(i * 40);
	for (size_t i = 0; i < 300; i++)
		free(objects[i]);
	early_calls++;
}

__attribute__((constructor)) static void start(void)
{
	pthread_atfork(NULL, NULL, child);
}
