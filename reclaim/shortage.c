#define _GNU_SOURCE
#include "shortage.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	STALLED = 10, /* percent of the last 10 seconds that some task waited for memory */
	NEAR = 16,    /* so small a part of the limit is left */
	TEXT = 4096,
};

/* Where a control group's files are: its place in the hierarchy follows the hierarchy's own. */
struct group {
	const char *root, *hierarchy;
	char place[TEXT];
};

/* The beginning of a file; "" if there is none. */
static void read_text(const char *path, char text[TEXT])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, TEXT - 1);

	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = '\0';
}

static void read_file(const struct group *group, const char *name, char text[TEXT])
{
	char path[2 * TEXT];

	snprintf(path, sizeof path, "%s%s%s/%s", group->root, group->hierarchy, group->place, name);
	read_text(path, text);
}

static bool is_stalled(const char *text)
{
	const char *average = strstr(text, "avg10="); /* the first line's: some */
	return average && strtoul(average + 6, NULL, 10) >= STALLED;
}

/* "max", or nothing at all, is no limit. */
static uint64_t limit_in(const struct group *group, const char *name)
{
	char text[TEXT];

	read_file(group, name, text);
	return isdigit((unsigned char)text[0]) ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* Of lines "name number"; 0 if there is none. */
static uint64_t field(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = text; (at = strstr(at, name)); at++)
		if ((at == text || at[-1] == '\n') && at[length] == ' ')
			return strtoull(at + length + 1, NULL, 10);
	return 0;
}

static bool is_near(uint64_t used, uint64_t limit)
{
	return used > limit - limit / NEAR;
}

/* The process's place in the hierarchy of that controller; "": v2's. None: false. */
static bool find_place(struct group *group, const char *controller)
{
	char text[TEXT], path[TEXT], *rest;

	snprintf(path, sizeof path, "%s/proc/self/cgroup", group->root);
	read_text(path, text);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *controllers = strchr(line, ':'), *place = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!place)
			continue;
		*place++ = '\0';
		if (*controller ? strstr(controllers, controller) != NULL : controllers[1] == '\0') {
			snprintf(group->place, sizeof group->place, "%s", strcmp(place, "/") ? place : "");
			return true;
		}
	}
	return false;
}

static bool looms_in_v2(const char *root, const char *hierarchy)
{
	struct group group = {.root = root, .hierarchy = hierarchy};
	char text[TEXT];

	if (!find_place(&group, ""))
		return false;
	read_file(&group, "memory.pressure", text);
	if (is_stalled(text))
		return true;
	uint64_t high = limit_in(&group, "memory.high"), most = limit_in(&group, "memory.max");
	read_file(&group, "memory.stat", text);
	return is_near(field(text, "anon"), high < most ? high : most);
}

static bool looms_in_v1(const char *root)
{
	struct group group = {.root = root, .hierarchy = "/sys/fs/cgroup/memory"};
	char text[TEXT];

	if (!find_place(&group, "memory"))
		return false;
	read_file(&group, "memory.stat", text);
	if (!text[0]) { /* a container sees its own group as the root, and is told its place on the host */
		group.place[0] = '\0';
		read_file(&group, "memory.stat", text);
	}
	uint64_t limit = field(text, "hierarchical_memory_limit");
	return limit && is_near(field(text, "total_rss"), limit);
}

bool shortage_looms(const char *root)
{
	struct group system = {.root = root, .hierarchy = "/proc/pressure"};
	char text[TEXT];

	read_file(&system, "memory", text);
	return is_stalled(text) || looms_in_v2(root, "/sys/fs/cgroup") || looms_in_v2(root, "/sys/fs/cgroup/unified") ||
	       looms_in_v1(root);
}
