#define _GNU_SOURCE
#include "misuse.h"
#include "debug.h"
#include "kept.h"
#include "large.h"
#include "object.h"
#include "region.h"
#include "report.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define die(...) (report_line(__VA_ARGS__), misuse_end(pointer))

void misuse_end(const void *pointer)
{
	debug_explain(pointer);
	abort();
}

/* The line of /proc/self/maps that holds address, its path part; "" if unnamed, NULL if unmapped. */
static const char *mapping_of(uintptr_t address, char *line, size_t size)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	const char *found = NULL;
	char byte[1024];
	ssize_t got;

	while (fd >= 0 && !found && (got = read(fd, byte, sizeof byte)) > 0) {
		for (ssize_t i = 0; i < got && !found; i++) {
			if (byte[i] != '\n') {
				if (length + 1 < size)
					line[length++] = byte[i];
				continue;
			}
			unsigned long start, end;
			int path = 0;
			line[length] = '\0';
			length = 0;
			if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &path) >= 2 &&
			    address >= start && address < end)
				found = line + path;
		}
	}
	if (fd >= 0)
		close(fd);
	return found;
}

static _Noreturn void foreign(const char *call, const void *pointer)
{
	char line[512];
	const char *name = mapping_of((uintptr_t)pointer, line, sizeof line);
	const char *what = "unmapped memory", *detail = "";

	if (name && strncmp(name, "[heap", 5) == 0) {
		what = "the brk heap, probably from the C library's malloc";
	} else if (name && strncmp(name, "[stack", 6) == 0) {
		what = "the main thread's stack";
	} else if (name && *name) {
		what = "static data of ";
		detail = name;
	} else if (name) {
		what = "an anonymous mapping: another allocator's memory, a thread's stack or mmap's";
	}
	die("qslab: %s(%p): not a qslab object: it lies in %s%s", call, pointer, what, detail);
}

void misuse_double_free(const char *call, const void *pointer, size_t size)
{
	die("qslab: %s(%p): double free of a %zu-byte object", call, pointer, size);
}

void misuse_ended(const char *call, const void *pointer, size_t size, const char *what)
{
	die("qslab: %s(%p): %s %zu-byte object", call, pointer, what, size);
}

void misuse_cache(const char *call, const void *pointer, const char *what)
{
	die("qslab: %s(%p): %s", call, pointer, what);
}

void misuse_link(const char *call, const void *pointer, size_t offset, size_t size)
{
	die("qslab: %s(%p): its link at %p is outside the %zu-byte object", call, pointer,
	    (void *)((uintptr_t)pointer + offset), size);
}

void misuse_pointer(const char *call, const void *pointer)
{
	struct object object;

	if (!region_has(pointer))
		foreign(call, pointer);
	struct large *kept = kept_find(pointer);
	if (kept && large_start(kept) == pointer)
		misuse_ended(call, pointer, large_usable(kept), "double free, or use after free, of a");
	if (!object_find(pointer, &object))
		die("qslab: %s(%p): not a qslab object: nothing live is there; a double free, or never allocated",
		    call, pointer);
	die("qslab: %s(%p): interior pointer: %zu bytes into the %zu-byte object at %p", call, pointer,
	    (size_t)((uintptr_t)pointer - (uintptr_t)object.start), object.size, object.start);
}

void misuse_print_change(const char *what, const void *object, size_t size, unsigned char value)
{
	const unsigned char *bytes = object;
	size_t first = 0, last = size - 1;
	char hex[16 * 3 + 1] = "";

	while (first < last && bytes[first] == value)
		first++;
	while (last > first && bytes[last] == value)
		last--;
	for (size_t i = 0; i < 16 && first + i <= last; i++)
		snprintf(hex + 3 * i, 4, " %02x", bytes[first + i]);
	report_line("qslab: write after %s: %zu-byte object %p changed at bytes %zu..%zu, now%s%s", what, size, object, first,
	            last, hex, last - first > 15 ? " ..." : "");
}
