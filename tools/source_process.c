/* A live process: process_vm_readv, /proc/PID/maps, smaps, smaps_rollup and pagemap. */
#define _GNU_SOURCE
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PIECES_AT_ONCE 1000 /* of UIO_MAXIOV, 1024 */
#define STACKS_MOST 4096
#define GUARD_MOST ((uint64_t)64 << 10)

struct process {
	struct source source;
	int pagemap;
	uint64_t stacks[STACKS_MOST]; /* stack pointers of threads that sleep */
	size_t stack_count;
};

static FILE *open_file(int pid, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	return fopen(path, "re");
}

/* ---- bytes ------------------------------------------------------------------------------------------ */

/* One call; returns the number of whole pieces read, or -1. */
static ssize_t read_some(int pid, struct piece *pieces, size_t count)
{
	static struct iovec here[PIECES_AT_ONCE], there[PIECES_AT_ONCE];
	ssize_t done = 0;

	for (size_t i = 0; i < count; i++) {
		here[i] = (struct iovec){pieces[i].to, pieces[i].size};
		there[i] = (struct iovec){(void *)pieces[i].at, pieces[i].size};
	}
	ssize_t got = process_vm_readv(pid, here, count, there, count, 0);
	if (got < 0)
		return errno == EFAULT ? 0 : -1;
	for (; (size_t)done < count && (size_t)got >= pieces[done].size; done++) {
		got -= (ssize_t)pieces[done].size;
		pieces[done].got = true;
	}
	return done;
}

static bool process_read(struct source *source, struct piece *pieces, size_t count)
{
	while (count) {
		size_t now = count < PIECES_AT_ONCE ? count : PIECES_AT_ONCE;
		ssize_t done = read_some(source->pid, pieces, now);
		if (done < 0) {
			source->error = errno;
			return false;
		}
		if ((size_t)done < now)
			done++; /* over the one that cannot be read */
		pieces += done;
		count -= (size_t)done;
	}
	return true;
}

/* ---- which pages are resident ----------------------------------------------------------------------- */

/* Linux 6.7's PAGEMAP_SCAN, which tells pages from the shared page of zeros. */
struct page_region {
	uint64_t start, end, categories;
};
struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_CALL _IOWR('f', 16, struct pm_scan)
#define IS_PRESENT ((uint64_t)1 << 3)
#define IS_ZERO ((uint64_t)1 << 5)

static bool scan(int fd, uint64_t start, size_t pages, uint8_t *flags)
{
	struct page_region regions[512];
	uint64_t end = start + pages * SOURCE_PAGE;

	for (uint64_t at = start; at < end;) {
		struct pm_scan ask = {
			.size = sizeof ask,
			.start = at,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = sizeof regions / sizeof *regions,
			.category_inverted = IS_ZERO,
			.category_mask = IS_PRESENT | IS_ZERO,
			.return_mask = IS_PRESENT,
		};
		int got = ioctl(fd, SCAN_CALL, &ask);
		if (got < 0)
			return false;
		for (int i = 0; i < got; i++)
			memset(flags + (regions[i].start - start) / SOURCE_PAGE, 1,
			       (regions[i].end - regions[i].start) / SOURCE_PAGE);
		if (ask.walk_end <= at)
			break;
		at = ask.walk_end;
	}
	return true;
}

static void process_resident(struct source *source, uint64_t start, size_t pages, uint8_t *flags)
{
	struct process *process = (struct process *)source;
	uint64_t entries[512];

	if (process->pagemap < 0 || scan(process->pagemap, start, pages, flags))
		return;
	for (size_t page = 0; page < pages;) {
		size_t now = pages - page < 512 ? pages - page : 512;
		ssize_t got = pread(process->pagemap, entries, now * 8, (off_t)((start / SOURCE_PAGE + page) * 8));
		if (got <= 0)
			return;
		for (size_t i = 0; i < (size_t)got / 8; i++)
			flags[page + i] = entries[i] >> 63;
		page += (size_t)got / 8;
	}
}

/* ---- mappings ----------------------------------------------------------------------------------------- */

static void parse_field(const char *line, struct mapping *mapping)
{
	static const struct {
		const char *name;
		size_t offset;
	} fields[] = {
		{"Rss:", offsetof(struct mapping, rss)},
		{"Anonymous:", offsetof(struct mapping, anonymous)},
		{"Swap:", offsetof(struct mapping, swap)},
		{"LazyFree:", offsetof(struct mapping, lazy_free)},
		{"AnonHugePages:", offsetof(struct mapping, huge)},
	};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (!strncmp(line, fields[i].name, strlen(fields[i].name)))
			*(uint64_t *)((char *)mapping + fields[i].offset) =
				strtoull(line + strlen(fields[i].name), NULL, 10) << 10;
}

static void read_rollup(int pid, struct mappings *mappings)
{
	char line[256];
	struct mapping sum = {0};
	FILE *file = open_file(pid, "smaps_rollup");

	if (!file)
		return;
	while (fgets(line, sizeof line, file))
		parse_field(line, &sum);
	fclose(file);
	mappings->rss = sum.rss;
	mappings->lazy_free = sum.lazy_free;
	mappings->huge = sum.huge;
	mappings->swap = sum.swap;
}

static void read_command(struct source *source)
{
	FILE *file = open_file(source->pid, "comm");

	if (!file)
		return;
	if (fgets(source->command, sizeof source->command, file))
		source->command[strcspn(source->command, "\n")] = '\0';
	fclose(file);
}

static uint64_t process_rss(struct source *source)
{
	struct mappings mappings = {.rss = 0};

	read_rollup(source->pid, &mappings);
	return mappings.rss;
}

/* Where sleeping threads' stacks are. */
static void read_stacks(struct process *process)
{
	char path[300], text[256];
	struct dirent *entry;

	process->stack_count = 0;
	snprintf(path, sizeof path, "/proc/%d/task", process->source.pid);
	DIR *tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)) && process->stack_count < STACKS_MOST) {
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/syscall", process->source.pid, entry->d_name);
		FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (!file)
			continue;
		/* "number six-arguments stack-pointer program-counter" */
		char *last = fgets(text, sizeof text, file) ? strrchr(text, ' ') : NULL;
		fclose(file);
		if (!last)
			continue;
		*last = '\0';
		char *stack = strrchr(text, ' ');
		if (stack)
			process->stacks[process->stack_count++] = strtoull(stack + 1, NULL, 16);
	}
	if (tasks)
		closedir(tasks);
}

/* A stack pointer lies in it; or, of a running thread, it follows a guard. */
static bool process_is_stack(struct source *source, const struct mapping *mapping, const struct mapping *before)
{
	struct process *process = (struct process *)source;

	if (!strcmp(mapping->name, "[stack]"))
		return true;
	for (size_t i = 0; i < process->stack_count; i++)
		if (process->stacks[i] >= mapping->start && process->stacks[i] < mapping->end)
			return true;
	return mapping->readable && mapping->writable && before && before->end == mapping->start &&
	       !before->readable && !before->writable && !*before->name && before->end - before->start <= GUARD_MOST;
}

static bool process_map(struct source *source, bool detail, struct mappings *mappings)
{
	FILE *file = open_file(source->pid, detail ? "smaps" : "maps");
	struct mapping *current = NULL;
	struct timespec now;
	size_t room = 0;
	char *line = NULL;

	if (!file)
		return false;
	if (detail)
		read_stacks((struct process *)source);
	while (getline(&line, &room, file) > 0) {
		unsigned long start, end, offset;
		char access[8];
		int at = 0;
		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %n", &start, &end, access, &offset, &at) >= 4 && at) {
			current = mappings_add(mappings, start, end, line + at);
			current->readable = access[0] == 'r';
			current->writable = access[1] == 'w';
			current->executable = access[2] == 'x';
			current->shared = access[3] == 's';
			current->offset = offset;
		} else if (current) {
			parse_field(line, current);
		}
	}
	free(line);
	fclose(file);
	read_command(source);
	if (detail)
		read_rollup(source->pid, mappings);
	clock_gettime(CLOCK_MONOTONIC, &now);
	source->now = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	return true;
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static void process_close(struct source *source)
{
	struct process *process = (struct process *)source;

	if (process->pagemap >= 0)
		close(process->pagemap);
	free(process);
}

static const struct source_calls calls = {process_read, process_map, process_rss, process_resident, process_is_stack,
                                          process_close};

/* 'Z' and the like; 0: no such process. */
static char state_of(int pid)
{
	char text[512] = "";
	FILE *file = open_file(pid, "stat");

	if (!file)
		return 0;
	size_t length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	char *end = length ? strrchr(text, ')') : NULL;
	return end && end[1] ? end[2] : 0;
}

struct source *source_process(int pid, struct failure *failure)
{
	char path[64];
	char state = state_of(pid);

	if (!state) {
		fail(failure, "process %d: no such process", pid);
		return NULL;
	}
	if (state == 'Z' || state == 'X') {
		fail(failure, "process %d: has ended", pid);
		return NULL;
	}
	FILE *maps = open_file(pid, "maps");
	if (!maps) {
		fail(failure, errno == EACCES || errno == EPERM ?
		     "process %d: no permission to read its memory (be its user, or root)" :
		     "process %d: no such process", pid);
		return NULL;
	}
	fclose(maps);
	struct process *process = need(calloc(1, sizeof *process));
	process->source = (struct source){.calls = &calls, .pid = pid, .live = true};
	snprintf(process->source.name, sizeof process->source.name, "process %d", pid);
	snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
	process->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	return &process->source;
}
