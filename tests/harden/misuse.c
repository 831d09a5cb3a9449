/*
 * The classic misuses of malloc, one each run: misuse CASE commits the error once and then judges what came of it.
 * Knows no allocator; run it over any. Ends
 *
 *     by SIGABRT, SIGSEGV or SIGBUS   caught
 *     with "harmless", status 0       all objects, new ones too, were seen to be whole, and nobody else's
 *     with "missed: WHY", status 0    harm was seen (objects.h)
 *     with "n/a", status 0            the allocator has no such call
 *     otherwise                       broken; by SIGALRM: it hung
 *
 * What it reads or writes outside of objects is what the case is about. Where an attacker would choose his victim's
 * neighbours, or wait until an address is handed out again, so does the case.
 */
#define _GNU_SOURCE
#include "misuse.h"
#include "objects.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct misuse *const tables[] = {content_cases, free_cases, forgery_cases};
unsigned char attacker[AREA] __attribute__((aligned(4096))) = "not bss";

static int run(const struct misuse *misuse)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	alarm(20);
	misuse->commit(misuse->size, misuse->argument);
	exercise(misuse->size);
	drop_all();
	exercise(misuse->size);
	drop_all();
	dprintf(STDOUT_FILENO, "%s\n", harm ? harm : "harmless");
	return 0;
}

/* The file that malloc comes from. */
static int print_malloc(void)
{
	Dl_info info;
	if (!dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info))
		return 1;
	dprintf(STDOUT_FILENO, "%s\n", strrchr(info.dli_fname, '/') + 1);
	return 0;
}

int main(int count, char **arguments)
{
	const char *argument = count == 2 ? arguments[1] : "";
	bool list = !strcmp(argument, "--list");
	if (!strcmp(argument, "--malloc"))
		return print_malloc();
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct misuse *misuse = tables[i]; misuse->name; misuse++) {
			if (list)
				dprintf(STDOUT_FILENO, "%s\n", misuse->name);
			else if (!strcmp(argument, misuse->name))
				return run(misuse);
		}
	if (list)
		return 0;
	dprintf(STDERR_FILENO, "usage: misuse CASE | --list | --malloc\n");
	return 2;
}
