#define _GNU_SOURCE
#include "cgroup.h"

#include <fcntl.h>
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

/* Parts, up to a NULL. Every process comes by here, and few of them need printf, or a page of it, for anything. */
static void join(char path[PATH], const char *const *parts)
{
	char *end = path;

	for (; *parts; parts++)
		for (const char *from = *parts; *from && end < path + PATH - 1; from++)
			*end++ = *from;
	*end = '\0';
}

void cgroup_read_path(const char *root, const char *path, char *text, size_t room)
{
	char whole[PATH];

	join(whole, (const char *const[]){root, path, NULL});
	read_file(whole, text, room);
}

static void path_of(const struct cgroup *group, const char *name, char path[PATH])
{
	join(path, (const char *const[]){group->root, "/sys/fs/cgroup", group->v1 ? "/memory" : "", group->place, "/", name,
	                                 NULL});
}

void cgroup_read(const struct cgroup *group, const char *name, char *text, size_t room)
{
	char path[PATH];

	path_of(group, name, path);
	read_file(path, text, room);
}

/* The line after the one that begins there; NULL: it was the last. */
static char *next_line(char *line)
{
	char *end = strchr(line, '\n');
	return end ? end + 1 : NULL;
}

/* Decimal; UINT64_MAX if there is none. No more than a number of the kernel's. */
static uint64_t number_of(const char *text)
{
	uint64_t number = 0;

	if (*text < '0' || *text > '9')
		return UINT64_MAX;
	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (uint64_t)(*text - '0');
	return number;
}

/* Does the word begin anywhere in [from, to)? */
static bool has_word(const char *from, const char *to, const char *word)
{
	size_t length = strlen(word);

	while (from < to && strncmp(from, word, length))
		from++;
	return from < to;
}

/* Of lines "number:controllers:place" that of the memory controller, else v2's, which names no controller. */
bool cgroup_find(struct cgroup *group, const char *root)
{
	char text[4096], path[PATH];
	bool found = false;

	group->root = root;
	group->v1 = false;
	cgroup_read_path(root, "/proc/self/cgroup", text, sizeof text);
	for (char *line = text, *next; line && !group->v1; line = next) {
		next = next_line(line);
		if (next)
			next[-1] = '\0';
		char *controllers = strchr(line, ':'), *place = controllers ? strchr(++controllers, ':') : NULL;
		if (!place)
			continue;
		group->v1 = has_word(controllers, place, "memory");
		if (!group->v1 && place > controllers)
			continue;
		found = true;
		size_t length = strcmp(++place, "/") ? strnlen(place, sizeof group->place - 1) : 0;
		memcpy(group->place, place, length);
		group->place[length] = '\0';
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
	for (char *line = text; line; line = next_line(line))
		if (!strncmp(line, name, length) && line[length] == ' ')
			return number_of(line + length + 1);
	return UINT64_MAX;
}

/* "max", or nothing at all, is no limit. */
static uint64_t limit_in(const struct cgroup *group, const char *name)
{
	char text[32];

	cgroup_read(group, name, text, sizeof text);
	return number_of(text);
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
