/*
 * A small process on qslab that writes a core file of itself: all that is writable, but for zeroes in large mappings.
 *
 *     fuzz_core FILE
 */
#define _GNU_SOURCE
#include <elf.h>
#include <pthread.h>
#include <qslab/cache.h>
#include <qslab/rcu.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, LARGE = 4 << 20, RUNS = 2000 };

static Elf64_Phdr runs[RUNS];
static Elf64_Half run_count;

static void *some_work(void *cache)
{
	void *objects[300];

	for (int i = 0; i < 300; i++)
		objects[i] = qslab_malloc((size_t)16 << i % 9);
	for (int i = 0; i < 300; i += 3)
		qslab_free(objects[i]);
	for (int i = 1; i < 300; i += 6) {
		if (qslab_free_rcu_try(objects[i]))
			exit(1);
	}
	for (int i = 2; i < 300; i += 30)
		qslab_free_rcu_link(objects[i], objects[i]);
	for (int i = 0; i < 40; i++)
		qslab_free(qslab_cache_alloc(cache));
	qslab_cache_alloc(cache);
	for (int i = 1; i < 8; i++)
		memset(qslab_malloc((size_t)i * 100000), 1, 100);
	qslab_free(qslab_malloc(1000000));
	return NULL;
}

static bool is_zero(const char *page)
{
	for (int i = 0; i < PAGE; i++)
		if (page[i])
			return false;
	return true;
}

/*
 * A mapping. What is published is looked for at the starts of what a core file has: runs do not go on into the next one. Pages
 * of zeroes are left out of large ones alone: the library's own data, which has some, has to be there.
 */
static void take(uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end && run_count < RUNS; at += PAGE) {
		Elf64_Phdr *last = run_count && runs[run_count - 1].p_vaddr >= start ? &runs[run_count - 1] : NULL;
		if (end - start > LARGE && is_zero((const char *)at))
			continue;
		if (last && last->p_vaddr + last->p_memsz == at)
			last->p_filesz = last->p_memsz += PAGE;
		else
			runs[run_count++] = (Elf64_Phdr){PT_LOAD, PF_R | PF_W, 0, at, 0, PAGE, PAGE, PAGE};
	}
}

int main(int argc, char **argv)
{
	struct qslab_cache *cache = qslab_cache_create("fuzzed", 100, 0, QSLAB_CACHE_RCU, NULL);
	FILE *maps, *core = argc == 2 ? fopen(argv[1], "wb") : NULL;
	char line[512], mode[8];
	unsigned long start, end, offset = 128 << 10;
	pthread_t thread;

	if (!core || pthread_create(&thread, NULL, some_work, cache))
		return 1;
	pthread_join(thread, NULL);
	some_work(cache);
	maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[0] == 'r' && mode[1] == 'w' && !strstr(line, "[stack"))
			take(start, end);
	Elf64_Ehdr header = {.e_type = ET_CORE, .e_phoff = sizeof header, .e_phentsize = sizeof *runs, .e_phnum = run_count,
	                     .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64}};
	for (int i = 0; i < run_count; i++) {
		runs[i].p_offset = offset;
		offset += runs[i].p_filesz;
	}
	fwrite(&header, sizeof header, 1, core);
	fwrite(runs, sizeof *runs, run_count, core);
	for (int i = 0; i < run_count; i++) {
		fseek(core, (long)runs[i].p_offset, SEEK_SET);
		fwrite((void *)runs[i].p_vaddr, runs[i].p_filesz, 1, core);
	}
	return run_count == RUNS || fclose(core) != 0;
}
