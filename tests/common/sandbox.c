/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/sandbox.h"

#include <errno.h>
#include <mntent.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char mount_point[256], directory[320];
static pid_t owner;

static bool cgroup_mount_find(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	const struct mntent *entry;

	if (mounts == NULL)
		return false;
	while ((entry = getmntent(mounts)) != NULL)
		if (strcmp(entry->mnt_type, "cgroup2") == 0)
			snprintf(mount_point, sizeof(mount_point), "%s", entry->mnt_dir);
	endmntent(mounts);
	return mount_point[0] != '\0';
}

bool sandbox_cgroup_put(const char *where, const char *name, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", where, name);
	file = fopen(path, "we");
	if (file == NULL)
		return false;
	fputs(text, file);
	return fclose(file) == 0;
}

static bool cgroup_move_here(const char *where)
{
	return sandbox_cgroup_put(where, "cgroup.procs", "0");
}

static void cgroup_leave(void)
{
	/* A forked child that exits by itself must not take the directory from its parent. */
	if (getpid() != owner)
		return;
	cgroup_move_here(mount_point);
	rmdir(directory);
}

static const char *cgroup_enter(void)
{
	if (!cgroup_mount_find())
		return "no cgroup v2 mount";
	snprintf(directory, sizeof(directory), "%s/xylem-test-%d", mount_point, getpid());
	if (mkdir(directory, 0755) < 0 && errno != EEXIST) {
		directory[0] = '\0';
		return "no right to make a cgroup";
	}
	owner = getpid();
	if (!cgroup_move_here(directory)) {
		rmdir(directory);
		directory[0] = '\0';
		return "no right to enter a cgroup";
	}
	atexit(cgroup_leave);
	return NULL;
}

static const char *network_enter(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd, r;

	if (unshare(CLONE_NEWNET) < 0)
		return "no right to make a network namespace";
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return "no socket in the new network namespace";
	r = ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
	return r < 0 ? "the loopback device does not come up" : NULL;
}

const char *sandbox_enter(void)
{
	static const char *problem;
	static bool entered;

	if (!entered) {
		entered = true;
		problem = network_enter();
		if (problem == NULL)
			problem = cgroup_enter();
	}
	return problem;
}

const char *sandbox_cgroup(void)
{
	return directory[0] != '\0' ? directory : NULL;
}

#define MEMORY "/sys/fs/cgroup/memory"

static char tight[128];

/* A socket stays in the cgroup that it was made in, also when that directory has gone. */
bool sandbox_tight_enter(const char *bytes)
{
	snprintf(tight, sizeof(tight), MEMORY "/xylem-test-%d", getpid());
	if (mkdir(tight, 0755) == 0 &&
	    sandbox_cgroup_put(tight, "memory.kmem.tcp.limit_in_bytes", bytes) &&
	    sandbox_cgroup_put(tight, "cgroup.procs", "0"))
		return true;
	rmdir(tight);
	return false;
}

bool sandbox_tight_leave(void)
{
	return sandbox_cgroup_put(MEMORY, "cgroup.procs", "0") && rmdir(tight) == 0;
}
