/* The control group that the process is in, as far as it limits memory: what the kernel says in files. */
#ifndef QSLAB_ALLOC_CGROUP_H
#define QSLAB_ALLOC_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgroup {
	const char *root; /* goes before each path: "", but for tests */
	bool v1;
	char place[1024]; /* in the hierarchy that is mounted at /sys/fs/cgroup, of v1 at /sys/fs/cgroup/memory */
};

/*
 * False if there is none. Allocates nothing, as all of these, keeps no errno, and needs 8 KiB of stack; some three system
 * calls for each file.
 */
bool cgroup_find(struct cgroup *group, const char *root);

/* Bytes; UINT64_MAX: none. The least of its own and those above it (v2: memory.max and memory.high). */
uint64_t cgroup_limit(const struct cgroup *group);

/* Bytes that the kernel cannot drop, of all processes of the group. */
uint64_t cgroup_anonymous(const struct cgroup *group);

/* The beginning of a file, as much as there is room for, and a NUL; "" if it cannot be read. */
void cgroup_read(const struct cgroup *group, const char *name, char *text, size_t room);
void cgroup_read_path(const char *root, const char *path, char *text, size_t room);

#endif
