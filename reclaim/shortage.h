/* Whether memory is short: what the kernel says of the system, and of the control group that the process is in. */
#ifndef QSLAB_RECLAIM_SHORTAGE_H
#define QSLAB_RECLAIM_SHORTAGE_H

#include <stdbool.h>

/*
 * True if tasks wait for memory (/proc/pressure/memory; the group's memory.pressure), or if the group's anonymous memory
 * is within a 16th of its limit. What cannot be read says nothing. As cgroup.h; `root` as there.
 */
bool shortage_looms(const char *root);

#endif
