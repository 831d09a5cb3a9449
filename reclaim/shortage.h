/* Whether memory is short: what the kernel says of the system, and of the control group that the process is in. */
#ifndef QSLAB_RECLAIM_SHORTAGE_H
#define QSLAB_RECLAIM_SHORTAGE_H

#include <stdbool.h>

/*
 * True if tasks wait for memory (/proc/pressure/memory; the group's memory.pressure), or if the group's anonymous memory
 * is within a 16th of its limit (cgroup v2: its memory.high and memory.max; v1: hierarchical_memory_limit). The group is
 * looked for under /sys/fs/cgroup. What cannot be read says nothing.
 *
 * `root` goes before each path: "", but for tests. Some twenty system calls; allocates nothing; keeps no errno.
 */
bool shortage_looms(const char *root);

#endif
