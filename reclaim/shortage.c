#include "shortage.h"
#include "alloc/cgroup.h"

#include <stdlib.h>
#include <string.h>

enum {
	STALLED = 10, /* percent of the last 10 seconds that some task waited for memory */
	NEAR = 16,    /* so small a part of the limit is left */
	PRESSURE = 256,
};

static bool is_stalled(const char *pressure)
{
	const char *average = strstr(pressure, "avg10="); /* the first line's: some */
	return average && strtoul(average + 6, NULL, 10) >= STALLED;
}

static bool looms_in(const struct cgroup *group)
{
	char pressure[PRESSURE];

	cgroup_read(group, "memory.pressure", pressure, sizeof pressure);
	if (is_stalled(pressure))
		return true;
	uint64_t limit = cgroup_limit(group);
	return limit != UINT64_MAX && cgroup_anonymous(group) > limit - limit / NEAR;
}

bool shortage_looms(const char *root)
{
	char pressure[PRESSURE];
	struct cgroup group;

	cgroup_read_path(root, "/proc/pressure/memory", pressure, sizeof pressure);
	return is_stalled(pressure) || (cgroup_find(&group, root) && looms_in(&group));
}
