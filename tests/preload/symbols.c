/* Every function of glibc's malloc.h, and of the family elsewhere, comes from our library: all or nothing. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void check(const char *name)
{
	Dl_info info;
	void *function = dlsym(RTLD_DEFAULT, name);
	if (function && dladdr(function, &info) && strstr(info.dli_fname, "libqslab-malloc.so"))
		return;
	fprintf(stderr, "%s comes from %s\n", name, function ? info.dli_fname : "nowhere");
	failures++;
}

/* Names declared "extern TYPE NAME (" in the header; hooks, which are variables, have no such line. */
static int check_header(void)
{
	char line[512];
	int found = 0;
	FILE *header = fopen("/usr/include/malloc.h", "r");
	if (!header)
		return 0;
	while (fgets(line, sizeof line, header)) {
		char *open = strncmp(line, "extern ", 7) ? NULL : strstr(line, " (");
		if (!open)
			continue;
		*open = '\0';
		char *name = open;
		while (name > line && (isalnum((unsigned char)name[-1]) || name[-1] == '_'))
			name--;
		if (*name && strcmp(name, "__attribute__")) {
			check(name);
			found++;
		}
	}
	fclose(header);
	return found;
}

int main(void)
{
	static const char *const others[] = {
		"aligned_alloc", "posix_memalign", "cfree", "__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_free",
		"__libc_memalign", "__libc_valloc", "__libc_pvalloc", "free_sized", "free_aligned_sized", "malloc_usable_size",
		"_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t",
		"_ZnamSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t",
		"_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZdaPvm", "_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t",
		"_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t", "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
		"_ZdlPvSt11align_val_tRKSt9nothrow_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t",
		"qslab_malloc", "qslab_free", "qslab_object_start",
	};
	int found = check_header();
	if (found < 12) {
		fprintf(stderr, "only %d functions found in malloc.h\n", found);
		failures++;
	}
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		check(others[i]);
	return failures != 0;
}
