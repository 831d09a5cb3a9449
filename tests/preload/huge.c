/* QSLAB_THP=1 asks for huge pages for all objects' memory, also where it was moved or given back; 0 for none of it. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define OBJECTS 20000
#define BUFFERS 8

static char *objects[OBJECTS], *buffers[BUFFERS];

/* Objects of slabs, and buffers that grow until they move, shrink, and come again in pages that were given back. */
static void work(void)
{
	for (unsigned turn = 0; turn < 3; turn++) {
		for (size_t i = 0; i < OBJECTS; i++)
			objects[i] = memset(malloc(100 + i % 3000), 1, 100 + i % 3000);
		for (size_t size = MIB; size < 24 * MIB; size = size * 3 / 2)
			for (size_t i = 0; i < BUFFERS; i++)
				memset(buffers[i] = realloc(buffers[i], size + i * 40960), 2, size);
		for (size_t i = 0; i < BUFFERS; i++) {
			buffers[i] = realloc(buffers[i], 3 * MIB);
			free(i % 2 ? buffers[i] : NULL);
			buffers[i] = i % 2 ? NULL : buffers[i];
		}
		for (size_t i = 0; i < OBJECTS; i++)
			free(i % 10 ? objects[i] : NULL);
		malloc_trim(0);
	}
}

/* In the same GiB as one of the objects that are left. */
static bool is_object(uintptr_t address)
{
	for (size_t i = 0; i < OBJECTS; i += 10)
		if ((uintptr_t)objects[i] >> 30 == address >> 30)
			return true;
	return false;
}

/* Of the mappings with objects: how many, and how many of them ask. */
static void count_mappings(unsigned *all, unsigned *asking)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[400];
	uintptr_t start, end;
	bool mine = false;

	*all = *asking = 0;
	while (smaps && fgets(line, sizeof line, smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			mine = is_object(start) || is_object(end - 1);
			*all += mine;
		} else if (mine && !strncmp(line, "VmFlags:", 8)) {
			*asking += strstr(line, " hg") != NULL;
		}
	}
	if (smaps)
		fclose(smaps);
}

static int child(void)
{
	unsigned all, asking;

	work();
	count_mappings(&all, &asking);
	printf("%u %u\n", all, asking);
	return 0;
}

/* Runs this program again with the option so; false if it failed. */
static bool with(const char *option, unsigned *all, unsigned *asking)
{
	int ends[2], status;
	char printed[100] = "";

	if (pipe(ends))
		return false;
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		setenv("QSLAB_THP", option, 1);
		execl("/proc/self/exe", "huge", "child", (char *)NULL);
		_exit(1);
	}
	close(ends[1]);
	ssize_t length = read(ends[0], printed, sizeof printed - 1);
	close(ends[0]);
	return waitpid(pid, &status, 0) == pid && !status && length > 0 && sscanf(printed, "%u %u", all, asking) == 2;
}

int main(int count, char **arguments)
{
	unsigned plain, plain_asking, huge, huge_asking;

	(void)arguments;
	if (count > 1)
		return child();
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK)) {
		fprintf(stderr, "this kernel has no transparent huge pages\n");
		return 77;
	}
	if (!with("0", &plain, &plain_asking) || !with("1", &huge, &huge_asking))
		return 1;
	printf("mappings: %u of %u ask without the option, %u of %u with it\n", plain_asking, plain, huge_asking, huge);
	return !plain || plain_asking || !huge || huge_asking != huge;
}
