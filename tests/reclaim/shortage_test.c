/* Memory is short by what the kernel's files say: here, by such files in a folder of ours. */
#define _GNU_SOURCE
#include "../alloc/check.h"
#include "reclaim/shortage.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/qslab-shortage-XXXXXX";

static void put(const char *folder, const char *name, const char *text)
{
	char path[600];

	snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
	for (char *slash = path + strlen(root); (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		cr_assert(mkdir(path, 0777) == 0 || errno == EEXIST, "%s: %m", path);
		*slash = '/';
	}
	FILE *file = fopen(path, "w");
	cr_assert_not_null(file, "%s: %m", path);
	cr_assert(fputs(text, file) >= 0 && fclose(file) == 0);
}

static int take_away(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status, (void)kind, (void)place;
	return remove(path);
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(root));
}

static void end(void)
{
	nftw(root, take_away, 8, FTW_DEPTH | FTW_PHYS);
}

#define CALM "some avg10=9.99 avg60=50.00 avg300=50.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0\n"
#define STALLS "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"

Test(shortage, nothing_is_known)
{
	begin();
	cr_assert_not(shortage_looms(root));
	put("/proc/self", "cgroup", "");
	cr_assert_not(shortage_looms(root));
	put("/proc/self", "cgroup", "12:memory\nnonsense\n0::\n::\n");
	cr_assert_not(shortage_looms(root));
	end();
}

Test(shortage, of_the_system)
{
	begin();
	put("/proc/pressure", "memory", CALM);
	cr_assert_not(shortage_looms(root));
	put("/proc/pressure", "memory", STALLS);
	cr_assert(shortage_looms(root));
	put("/proc/pressure", "memory", "some avg10=");
	cr_assert_not(shortage_looms(root));
	end();
}

static void in_v2(const char *cgroup, const char *folder)
{
	put("/proc/self", "cgroup", cgroup);
	put(folder, "memory.pressure", CALM);
	put(folder, "memory.high", "max\n");
	put(folder, "memory.max", "max\n");
	put(folder, "memory.stat", "xanon 999999999\nanon 150000\nfile 999999999\n");
	cr_assert_not(shortage_looms(root), "%s: no limit", folder);
	put(folder, "memory.max", "160000\n");
	cr_assert_not(shortage_looms(root), "%s: a 16th is left", folder);
	put(folder, "memory.stat", "anon 150001\nfile 0\n");
	cr_assert(shortage_looms(root), "%s: memory.max", folder);
	put(folder, "memory.high", "200000\n");
	cr_assert(shortage_looms(root), "%s: the lower limit counts", folder);
	put(folder, "memory.max", "max\n");
	cr_assert_not(shortage_looms(root), "%s: memory.high is far", folder);
	put(folder, "memory.high", "150002\n");
	cr_assert(shortage_looms(root), "%s: memory.high", folder);
	put(folder, "memory.high", "max\n");
	put(folder, "memory.pressure", STALLS);
	cr_assert(shortage_looms(root), "%s: memory.pressure", folder);
	put("/proc/self", "cgroup", "0::/elsewhere\n");
	cr_assert_not(shortage_looms(root), "%s: another group's", folder);
}

Test(shortage, of_a_group)
{
	begin();
	in_v2("0::/\n", "/sys/fs/cgroup");
	in_v2("0::/a.slice/b.service\n", "/sys/fs/cgroup/a.slice/b.service");
	end();
}

static void in_v1(const char *cgroup, const char *folder)
{
	put("/proc/self", "cgroup", cgroup);
	put(folder, "memory.stat", "rss 999999\nhierarchical_memory_limit 9223372036854771712\ntotal_cache 999999\ntotal_rss 150001\n");
	cr_assert_not(shortage_looms(root), "%s: no limit", folder);
	put(folder, "memory.stat", "rss 999999\nhierarchical_memory_limit 160000\ntotal_cache 999999\ntotal_rss 150001\n");
	cr_assert(shortage_looms(root), "%s: the limit", folder);
	put(folder, "memory.stat", "rss 999999\nhierarchical_memory_limit 160000\ntotal_cache 999999\ntotal_rss 150000\n");
	cr_assert_not(shortage_looms(root), "%s: a 16th is left", folder);
	put(folder, "memory.stat", "rss 999999\ntotal_rss 150000\n");
	cr_assert_not(shortage_looms(root), "%s: nothing is said of a limit", folder);
}

/* The least of all those above. */
Test(shortage, of_a_group_above)
{
	begin();
	put("/proc/self", "cgroup", "0::/a/b/c\n");
	put("/sys/fs/cgroup/a/b/c", "memory.stat", "anon 150001\n");
	put("/sys/fs/cgroup/a/b/c", "memory.max", "200000\n");
	cr_assert_not(shortage_looms(root));
	put("/sys/fs/cgroup/a", "memory.high", "160000\n");
	cr_assert(shortage_looms(root));
	put("/sys/fs/cgroup/a", "memory.high", "max\n");
	cr_assert_not(shortage_looms(root));
	put("/sys/fs/cgroup", "memory.max", "160000\n");
	cr_assert(shortage_looms(root));
	end();
}

Test(shortage, of_an_old_group)
{
	begin();
	in_v1("4:cpu,memory:/a/b\n0::/\n", "/sys/fs/cgroup/memory/a/b");
	end();
}

Test(shortage, of_a_container_of_old_groups)
{
	begin();
	in_v1("4:memory:/docker/0123\n", "/sys/fs/cgroup/memory");
	end();
}
