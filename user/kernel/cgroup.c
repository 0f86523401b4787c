/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kernel/internal.h"

/* Where cgroup v2 is mounted. On hosts that also use v1 it is not at /sys/fs/cgroup. */
static int cgroup_find(char *ret_path)
{
	char line[2 * PATH_MAX];
	struct mntent entry;
	FILE *mounts;
	int error = -ENOENT;

	mounts = setmntent("/proc/self/mounts", "re");
	if (!mounts)
		return -errno;
	while (error && getmntent_r(mounts, &entry, line, sizeof(line)))
		if (strcmp(entry.mnt_type, "cgroup2") == 0 && strlen(entry.mnt_dir) < PATH_MAX) {
			strcpy(ret_path, entry.mnt_dir);
			error = 0;
		}
	endmntent(mounts);
	return error;
}

int xy_cgroup_open(const char *path, int *ret_fd, char *ret_path, char *why, size_t why_size)
{
	char found[PATH_MAX];
	struct statfs fs;
	int fd, error;

	if (!path) {
		error = cgroup_find(found);
		if (error) {
			xy_why(why, why_size,
			       "no cgroup v2 is mounted; mount one: "
			       "mount -t cgroup2 none /sys/fs/cgroup");
			return error;
		}
		path = found;
	}
	if (strlen(path) >= PATH_MAX) {
		xy_why(why, why_size, "the path of the cgroup is too long");
		return -ENAMETOOLONG;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		error = -errno;
		xy_why(why, why_size, "cgroup %s: %s", path, strerror(-error));
		return error;
	}
	if (fstatfs(fd, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC) {
		xy_why(why, why_size, "%s is no cgroup v2 directory", path);
		close(fd);
		return -EINVAL;
	}
	strcpy(ret_path, path);
	*ret_fd = fd;
	return 0;
}
