/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/limits.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cgroups.h"

#define TCP_SHARE 16 /* of RAM that the kernel gives to TCP by itself */
#define V1_NO_MORE                                                                    \
	(1ull << 62) /* v1 has a number for "no limit": about as much as a long holds \
		      */

/* A hierarchy that can limit memory. */
struct hierarchy {
	const char *controller;
	const char *file;
};

static const struct hierarchy hierarchies[] = {
	{.controller = "memory", .file = "memory.limit_in_bytes"},
	{.controller = "", .file = "memory.max"},
};

static FILE *file_open(const char *root, const char *directory, const char *name)
{
	FILE *file = NULL;
	char *path;

	if (asprintf(&path, "%s%s/%s", root, directory, name) < 0)
		return NULL;
	file = fopen(path, "re");
	free(path);
	return file;
}

uint64_t xy_limits_tcp(const char *root)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	FILE *file = file_open(root, "/proc/sys/net/ipv4", "tcp_mem");
	unsigned long long pages;
	bool known = false;

	if (file) {
		known = fscanf(file, "%*s %llu", &pages) == 1;
		fclose(file);
	}
	return page * (known ? pages : (uint64_t)sysconf(_SC_PHYS_PAGES) / TCP_SHARE);
}

static uint64_t limit_read(const char *root, const char *directory, const char *name)
{
	FILE *file = file_open(root, directory, name);
	unsigned long long value;
	bool known = false;

	if (file) {
		known = fscanf(file, "%llu", &value) == 1; /* v2 says "max" for none */
		fclose(file);
	}
	return known && value < V1_NO_MORE ? value : XY_LIMIT_NONE;
}

/* From the process's directory up to the top of the mount. `top` is what the mount shows of the
 * hierarchy; a path that does not lie below it cannot be followed, then its top counts. */
static uint64_t limit_upwards(const char *root, const struct hierarchy *hierarchy,
			      const char *mount, const char *top, const char *path)
{
	const char *below = strstr(path, "/..") ? NULL : xy_cgroups_below(path, top);
	uint64_t limit = XY_LIMIT_NONE;
	char directory[2 * PATH_MAX];
	size_t end;

	snprintf(directory, sizeof(directory), "%s%s", mount, below ? below : "");
	for (;;) {
		limit = xy_min(limit, limit_read(root, directory, hierarchy->file));
		end = strlen(directory);
		while (end > strlen(mount) && directory[end - 1] != '/')
			end--;
		if (end <= strlen(mount))
			return limit;
		directory[end - 1] = '\0';
	}
}

static uint64_t limit_of(const char *root, const struct hierarchy *hierarchy)
{
	struct xy_cgroups_mounts mounts;
	uint64_t limit = XY_LIMIT_NONE;
	char path[PATH_MAX];

	if (xy_cgroups_path(root, 0, hierarchy->controller, path))
		return limit;
	xy_cgroups_mounts_open(&mounts, root, hierarchy->controller);
	while (xy_cgroups_mounts_next(&mounts))
		limit = xy_min(limit,
			       limit_upwards(root, hierarchy, mounts.path, mounts.top, path));
	xy_cgroups_mounts_close(&mounts);
	return limit;
}

uint64_t xy_limits_cgroup(const char *root)
{
	uint64_t limit = XY_LIMIT_NONE;

	for (size_t h = 0; h < XY_ARRAY_SIZE(hierarchies); h++)
		limit = xy_min(limit, limit_of(root, &hierarchies[h]));
	return limit;
}
