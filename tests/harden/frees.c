/* Objects freed again, and what was never one, or not of that size. */
#define _GNU_SOURCE
#include "misuse.h"
#include "objects.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- freed again ---- */

static void free_twice(size_t size, size_t between)
{
	unsigned char *p = take_and_free(size);
	while (between-- > 0)
		free(forget(objects[object_count - 1].start));
	free(p);
}

/* Others' frees filled what keeps an allocator's latest ones. */
static void free_twice_late(size_t size, size_t before)
{
	unsigned char *p = take_one(size);
	while (before-- > 0)
		free(forget(objects[1].start));
	free(forget(p));
	free(forget(objects[1].start));
	free(p);
}

/* Its neighbour and more are free, so that a merging allocator may have merged it; then one of them is used again. */
static void free_twice_merged(size_t size, size_t before)
{
	unsigned char *low, *high;
	take_neighbours(size, &low, &high);
	forget(low);
	forget(high);
	while (before-- > 0)
		free(forget(objects[1].start));
	free(low);
	free(high);
	free(forget(objects[1].start));
	take(size);
	free(high);
}

static void free_twice_wiped(size_t size, size_t unused)
{
	unsigned char *p = take_and_free(size);
	memset(p, 0, size);
	free(p);
}

/* The second free ends what its new owner has, if there is one by then. */
static void free_twice_reused(size_t size, size_t unused)
{
	unsigned char *p = take_and_free(size);
	wait_for_owner(p, size);
	free(p);
}

static void *free_and_end(void *p)
{
	free(p);
	return NULL;
}

static pthread_t in_thread(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, body, argument))
		end(1, "no thread");
	return thread;
}

static void free_twice_threads(size_t size, size_t unused)
{
	unsigned char *p = take_one(size);
	pthread_join(in_thread(free_and_end, forget(p)), NULL);
	free(p);
}

static pthread_barrier_t turn;

/* One of two that take turns. */
static void *free_and_stay(void *p)
{
	size_t size = *(size_t *)p;
	free(p);
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
	for (size_t i = 0; i < plenty(size); i++)
		take(size);
	pthread_barrier_wait(&turn);
	pause();
	return NULL;
}

static void free_twice_both_stay(size_t size, size_t unused)
{
	unsigned char *p = take_one(size);
	pthread_barrier_init(&turn, NULL, 2);
	forget(p);
	*(size_t *)p = size;
	in_thread(free_and_stay, p);
	pthread_barrier_wait(&turn);
	free(p);
	for (size_t i = 0; i < plenty(size); i++)
		take(size);
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
}

static void free_moved(size_t size, size_t larger)
{
	unsigned char *p = take_one(size);
	adopt(realloc(forget(p), larger), larger);
	free(p);
}

static void realloc_freed(size_t size, size_t again)
{
	unsigned char *p = take_and_free(size);
	adopt(realloc(p, again), again);
}

/* ---- the wrong address, the wrong size ---- */

static void free_interior(size_t size, size_t offset)
{
	free(take_one(size) + offset);
}

static void free_stack(size_t unused, size_t size)
{
	unsigned char local[AREA] = {0};
	add(local, size, 0, true);
	free(local + 64);
}

static void free_static(size_t unused, size_t size)
{
	free((unsigned char *)mine(attacker, size) + 64);
}

static void free_mapped(size_t unused, size_t size)
{
	unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	free((unsigned char *)mine(p, size) + 64);
}

static void free_brk(size_t unused, size_t size)
{
	free((unsigned char *)mine(sbrk((intptr_t)size), size) + 64);
}

static void free_never(size_t unused, size_t size)
{
	unsigned char *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	add(p, size, 0, true);
	free(p + 64);
}

static void free_with_size(const char *call, size_t size, size_t wrong)
{
	void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, call);
	if (!sized)
		end(0, "n/a");
	sized(forget(take_one(size)), wrong);
}

static void free_sized_wrong(size_t size, size_t wrong) { free_with_size("free_sized", size, wrong); }

static void delete_sized_wrong(size_t size, size_t wrong)
{
	dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL); /* for a malloc that leaves new and delete to it */
	void *(*new)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
	void (*delete)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "_ZdlPvm");
	if (!new || !delete)
		end(0, "n/a");
	take_group(size);
	unsigned char *p = adopt(new(size), size);
	take_group(size);
	delete(forget(p), wrong);
}

const struct misuse free_cases[] = {
	{"double-free", free_twice, 64, 0},
	{"double-free-1-between", free_twice, 64, 1},
	{"double-free-20-between", free_twice, 64, 20},
	{"double-free-20-before", free_twice_late, 64, 20},
	{"double-free-merged", free_twice_merged, 256, 10},
	{"double-free-wiped", free_twice_wiped, 64, 0},
	{"double-free-reused", free_twice_reused, 64, 0},
	{"double-free-threads", free_twice_threads, 64, 0},
	{"double-free-both-stay", free_twice_both_stay, 64, 0},
	{"double-free-5000", free_twice, 5000, 0},
	{"double-free-1M", free_twice, LARGE, 0},
	{"double-free-realloc-moved", free_moved, 64, 5000},
	{"realloc-freed", realloc_freed, 64, 64},
	{"realloc-freed-larger", realloc_freed, 64, 5000},
	{"free-interior-by-16", free_interior, 64, 16},
	{"free-interior-by-1", free_interior, 64, 1},
	{"free-interior-1M", free_interior, LARGE, 4096},
	{"free-stack", free_stack, 64, AREA},
	{"free-static", free_static, 64, AREA},
	{"free-mmap", free_mapped, 64, 65536},
	{"free-brk", free_brk, 64, 65536},
	{"free-never-allocated", free_never, 64, 65536},
	{"delete-sized-larger", delete_sized_wrong, 64, 4000},
	{"delete-sized-smaller", delete_sized_wrong, 4000, 64},
	{"free-sized-larger", free_sized_wrong, 64, 4000},
	{"free-sized-smaller", free_sized_wrong, 4000, 64},
	{0},
};
