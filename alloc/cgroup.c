#define _GNU_SOURCE
#include "cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PATH = 1400,
	STAT = 2048, /* so much of memory.stat holds what is wanted */
};
#define NO_LIMIT ((uint64_t)1 << 62) /* v1's is the last whole page below 2^63 */

static void read_file(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, room - 1);

	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = '\0';
}

void cgroup_read_path(const char *root, const char *path, char *text, size_t room)
{
	char whole[1024];

	snprintf(whole, sizeof whole, "%s%s", root, path);
	read_file(whole, text, room);
}

static void path_of(const struct cgroup *group, const char *name, char path[PATH])
{
	snprintf(path, PATH, "%s/sys/fs/cgroup%s%s/%s", group->root, group->v1 ? "/memory" : "", group->place, name);
}

void cgroup_read(const struct cgroup *group, const char *name, char *text, size_t room)
{
	char path[PATH];

	path_of(group, name, path);
	read_file(path, text, room);
}

/* Of lines "number:controllers:place" that of the memory controller, else v2's, which names no controller. */
bool cgroup_find(struct cgroup *group, const char *root)
{
	char text[4096], path[PATH], *rest;
	bool found = false;

	group->root = root;
	group->v1 = false;
	cgroup_read_path(root, "/proc/self/cgroup", text, sizeof text);
	for (char *line = strtok_r(text, "\n", &rest); line && !group->v1; line = strtok_r(NULL, "\n", &rest)) {
		char *controllers = strchr(line, ':'), *place = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!place)
			continue;
		*place++ = '\0';
		group->v1 = strstr(controllers, "memory") != NULL;
		if (!group->v1 && controllers[1] != '\0')
			continue;
		found = true;
		snprintf(group->place, sizeof group->place, "%s", strcmp(place, "/") ? place : "");
	}
	if (found && group->v1) {
		path_of(group, "memory.stat", path);
		if (access(path, R_OK)) /* a container sees its own group as the root, and is told its place on the host */
			group->place[0] = '\0';
	}
	return found;
}

/* Of lines "name number"; UINT64_MAX if there is none. */
static uint64_t field(const struct cgroup *group, const char *name)
{
	size_t length = strlen(name);
	char text[STAT];

	cgroup_read(group, "memory.stat", text, sizeof text);
	for (const char *at = text; (at = strstr(at, name)); at++)
		if ((at == text || at[-1] == '\n') && at[length] == ' ')
			return strtoull(at + length + 1, NULL, 10);
	return UINT64_MAX;
}

/* "max", or nothing at all, is no limit. */
static uint64_t limit_in(const struct cgroup *group, const char *name)
{
	char text[32];

	cgroup_read(group, name, text, sizeof text);
	return text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

uint64_t cgroup_limit(const struct cgroup *group)
{
	struct cgroup above = *group;
	uint64_t least = UINT64_MAX;

	if (group->v1) {
		least = field(group, "hierarchical_memory_limit");
		return least < NO_LIMIT ? least : UINT64_MAX;
	}
	for (char *end; ; *end = '\0') {
		uint64_t most = limit_in(&above, "memory.max"), high = limit_in(&above, "memory.high");
		least = most < least ? most : least;
		least = high < least ? high : least;
		end = strrchr(above.place, '/');
		if (!end)
			return least;
	}
}

uint64_t cgroup_anonymous(const struct cgroup *group)
{
	uint64_t bytes = field(group, group->v1 ? "total_rss" : "anon");
	return bytes == UINT64_MAX ? 0 : bytes;
}
