/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "kernel/ward.h"

#define NAME    "xylem-doctor-"
#define STALE_S 60

static int file_write(const char *directory, const char *name, const char *text)
{
	char path[2 * PATH_MAX];
	ssize_t written;
	int fd, error = 0;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	written = write(fd, text, strlen(text));
	if (written < 0)
		error = -errno;
	close(fd);
	return error;
}

/* By a random name: another doctor may look at the same directory from another PID namespace. */
static int directory_make(const char *below, char ret_path[PATH_MAX])
{
	uint64_t id = 0;
	int error = xy_random_id(&id);

	if (error)
		return error;
	if (snprintf(ret_path, PATH_MAX, "%s/" NAME "%016" PRIx64, below, id) >= PATH_MAX)
		error = -ENAMETOOLONG;
	else if (mkdir(ret_path, 0755))
		error = -errno;
	if (error)
		ret_path[0] = '\0';
	return error;
}

/* What one that was killed has left. Of a living one the cgroup is in use, or young. */
static void directories_sweep(const char *below)
{
	DIR *directory = opendir(below);
	struct dirent *entry;
	struct stat status;

	if (!directory)
		return;
	while ((entry = readdir(directory)))
		if (!strncmp(entry->d_name, NAME, strlen(NAME)) &&
		    !fstatat(dirfd(directory), entry->d_name, &status, 0) &&
		    time(NULL) - status.st_ctime > STALE_S)
			unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
	closedir(directory);
}

void xy_place_make(struct xy_place *place, const char *below)
{
	int error;

	if (!below)
		return;
	directories_sweep(below);
	error = directory_make(below, place->cgroup);
	if (error)
		xy_why(place->no_cgroup, sizeof(place->no_cgroup),
		       "no cgroup can be made in %s: %s", below, strerror(-error));
}

static int loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		error = -errno;
	close(fd);
	return error;
}

int xy_place_network(void)
{
	return unshare(CLONE_NEWNET) ? -errno : loopback_up();
}

void xy_place_enter(struct xy_place *place)
{
	int error = place->cgroup[0] ? file_write(place->cgroup, "cgroup.procs", "0") : 0;

	if (error) {
		xy_why(place->no_cgroup, sizeof(place->no_cgroup),
		       "no process can move into %s: %s", place->cgroup, strerror(-error));
	}
	error = xy_place_network();
	if (error)
		xy_why(place->no_network, sizeof(place->no_network),
		       "no network namespace can be made: %s", strerror(-error));
	/* A bpffs that has to be mounted for a try stays with it. */
	if (unshare(CLONE_NEWNS) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

/* Where the memory controller of cgroup v1 is mounted. */
static int memory_find(char ret_path[PATH_MAX])
{
	char line[2 * PATH_MAX];
	struct mntent entry;
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	int error = -ENOENT;

	if (!mounts)
		return -errno;
	while (error && getmntent_r(mounts, &entry, line, sizeof(line)))
		if (!strcmp(entry.mnt_type, "cgroup") && hasmntopt(&entry, "memory") &&
		    strlen(entry.mnt_dir) < PATH_MAX) {
			strcpy(ret_path, entry.mnt_dir);
			error = 0;
		}
	endmntent(mounts);
	return error;
}

int xy_place_memory(struct xy_place *place, uint64_t limit)
{
	char root[PATH_MAX], text[24];
	int error = memory_find(root);

	if (error)
		return error;
	snprintf(text, sizeof(text), "%" PRIu64, limit);
	error = directory_make(root, place->memory);
	if (!error)
		error = file_write(place->memory, "memory.kmem.tcp.limit_in_bytes", text);
	if (!error)
		error = file_write(place->memory, "cgroup.procs", "0");
	return error;
}

void xy_place_remove(const struct xy_place *place)
{
	if (place->memory[0])
		rmdir(place->memory);
	if (place->cgroup[0])
		rmdir(place->cgroup);
}
