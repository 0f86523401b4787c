/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data maps as files, for bpftool. Programs and sockmaps are never pinned: they must go when
 * the proxy dies.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kernel/internal.h"
#include "xylem.skel.h"

#define BPFFS_DEFAULT "/sys/fs/bpf"

static int bpffs_mount(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs))
		return -errno;
	if (fs.f_type == BPF_FS_MAGIC)
		return 0;
	if (mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=0700"))
		return -errno;
	return 0;
}

/* Unlinks whatever a dead instance has left. */
static void directory_empty(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	if (!directory)
		return;
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
}

/* bpffs refuses names with a dot in them. */
static bool instance_is_name(const char *instance)
{
	return instance[0] && !strpbrk(instance, "./");
}

static int directory_make(struct xy_pins *pins, const char *bpffs, const char *instance)
{
	size_t size = sizeof(pins->directory);

	if ((size_t)snprintf(pins->directory, size, "%s/xylem/%s", bpffs, instance) >= size)
		return -ENAMETOOLONG;
	*strrchr(pins->directory, '/') = '\0';
	if (mkdir(pins->directory, 0700) && errno != EEXIST)
		return -errno;
	pins->directory[strlen(pins->directory)] = '/';
	if (mkdir(pins->directory, 0700) && errno != EEXIST)
		return -errno;
	return 0;
}

static int map_pin(const struct xy_pins *pins, const struct bpf_map *map)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", pins->directory, bpf_map__name(map)) >=
	    sizeof(path))
		return -ENAMETOOLONG;
	return bpf_obj_pin(bpf_map__fd(map), path);
}

void xy_pins_make(struct xy_pins *pins, const char *bpffs, const char *instance,
		  const struct xylem_bpf *bpf)
{
	const struct bpf_map *maps[] = {bpf->maps.sessions, bpf->maps.flows, bpf->maps.control,
					bpf->maps.pressure};
	int error = 0;

	*pins = (struct xy_pins){0};
	if (!bpffs)
		bpffs = BPFFS_DEFAULT;
	if (!instance_is_name(instance)) {
		xy_why(pins->why, sizeof(pins->why), "\"%s\" cannot be a directory in a bpffs",
		       instance);
		return;
	}
	error = bpffs_mount(bpffs);
	if (error) {
		xy_why(pins->why, sizeof(pins->why), "no bpffs at %s: %s", bpffs, strerror(-error));
		return;
	}
	error = directory_make(pins, bpffs, instance);
	if (!error)
		directory_empty(pins->directory);
	for (size_t i = 0; !error && i < sizeof(maps) / sizeof(maps[0]); i++)
		error = map_pin(pins, maps[i]);
	if (error) {
		xy_why(pins->why, sizeof(pins->why), "cannot pin to %s: %s", pins->directory,
		       strerror(-error));
		xy_pins_remove(pins);
	}
}

void xy_pins_remove(struct xy_pins *pins)
{
	if (!pins->directory[0])
		return;
	directory_empty(pins->directory);
	rmdir(pins->directory);
	/* Fails while other instances are there. */
	*strrchr(pins->directory, '/') = '\0';
	rmdir(pins->directory);
	pins->directory[0] = '\0';
}
