/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What /proc says of cgroups. Any thread; reads files.
 *
 * A hierarchy is named by the controller that it has: "memory", "name=systemd" … of v1, "" is v2's.
 * `root` stands in front of every path that is read: "" for the machine, a tree of files in tests.
 * Paths of cgroups begin at the root of this process's cgroup namespace: "/.." lies above it. All
 * paths that are told begin with "/"; a line with any other is none.
 */
#ifndef XY_BASE_CGROUPS_H
#define XY_BASE_CGROUPS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* The cgroup of a process; 0 = of this one. -ENOENT: no such process, or it is in none. */
int xy_cgroups_path(const char *root, pid_t pid, const char *controller, char ret_path[PATH_MAX]);

/* Where a hierarchy is mounted. Set controller, ask until there is no more, close. */
struct xy_cgroups_mounts {
	const char *controller;
	const char *top;  /* the cgroup that the mount shows */
	const char *path; /* where; both until the next one is asked for */
	FILE *file;
	char *line;
	size_t size;
};

void xy_cgroups_mounts_open(struct xy_cgroups_mounts *mounts, const char *root,
			    const char *controller);
bool xy_cgroups_mounts_next(struct xy_cgroups_mounts *mounts);
void xy_cgroups_mounts_close(struct xy_cgroups_mounts *mounts);

/* The part of `path` below `top`, which begins with "/" or is empty; NULL: it does not lie there.
 */
const char *xy_cgroups_below(const char *path, const char *top);

#endif
