/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/limits.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define TCP_SHARE 16 /* of RAM that the kernel gives to TCP by itself */
#define V1_NO_MORE                                                                    \
	(1ull << 62) /* v1 has a number for "no limit": about as much as a long holds \
		      */

/* A hierarchy that can limit memory. */
struct hierarchy {
	const char *type; /* of its mount */
	const char
		*controller; /* that a v1 mount and its line in /proc/self/cgroup name; v2: none */
	const char *file;
};

static const struct hierarchy hierarchies[] = {
	{.type = "cgroup", .controller = "memory", .file = "memory.limit_in_bytes"},
	{.type = "cgroup2", .controller = "", .file = "memory.max"},
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

/* Whether a list with commas has this item; "" is in an empty list only. */
static bool list_has(const char *list, const char *item)
{
	size_t length = strlen(item);

	for (;; list += strcspn(list, ",") + 1) {
		if (strcspn(list, ",") == length && !memcmp(list, item, length))
			return true;
		if (!list[strcspn(list, ",")])
			return false;
	}
}

/* The process's directory in a hierarchy: "number:controllers:path". */
static bool own_path(const char *root, const struct hierarchy *hierarchy, char path[PATH_MAX])
{
	FILE *file = file_open(root, "/proc/self", "cgroup");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (file && !found && getline(&line, &size, file) > 0) {
		char *controllers = strchr(line, ':'), *at;

		if (!controllers || !(at = strchr(++controllers, ':')))
			continue;
		*at++ = '\0';
		at[strcspn(at, "\n")] = '\0';
		found = list_has(controllers, hierarchy->controller) && strlen(at) < PATH_MAX;
		if (found)
			strcpy(path, at);
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* mountinfo writes blanks and the like as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '\\' && strspn(text + 1, "01234567") >= 3) {
			*to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
				       (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
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
	size_t length = strcmp(top, "/") ? strlen(top) : 0, end;
	uint64_t limit = XY_LIMIT_NONE;
	char directory[2 * PATH_MAX];
	const char *below = "";

	if (!strncmp(path, top, length) && (path[length] == '/' || !path[length]) &&
	    !strstr(path, "/.."))
		below = path + length;
	snprintf(directory, sizeof(directory), "%s%s", mount, below);
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

/* "id parent device top mount options … - type source options". */
static bool mount_parse(char *line, const struct hierarchy *hierarchy, char **ret_top,
			char **ret_mount)
{
	char *rest = strstr(line, " - "), *save = NULL, *field = NULL, *type, *options;

	if (!rest)
		return false;
	*rest = '\0';
	type = strtok_r(rest + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " \n", &save);
	if (!type || strcmp(type, hierarchy->type) ||
	    (*hierarchy->controller && (!options || !list_has(options, hierarchy->controller))))
		return false;
	field = strtok_r(line, " ", &save);
	for (int f = 1; field && f < 4; f++)
		field = strtok_r(NULL, " ", &save);
	*ret_top = field;
	*ret_mount = strtok_r(NULL, " ", &save);
	if (!*ret_top || !*ret_mount)
		return false;
	unescape(*ret_top);
	unescape(*ret_mount);
	return true;
}

static uint64_t limit_of(const char *root, const struct hierarchy *hierarchy)
{
	uint64_t limit = XY_LIMIT_NONE;
	char path[PATH_MAX], *line = NULL, *top, *mount;
	size_t size = 0;
	FILE *file;

	if (!own_path(root, hierarchy, path))
		return limit;
	file = file_open(root, "/proc/self", "mountinfo");
	while (file && getline(&line, &size, file) > 0)
		if (mount_parse(line, hierarchy, &top, &mount))
			limit = xy_min(limit, limit_upwards(root, hierarchy, mount, top, path));
	free(line);
	if (file)
		fclose(file);
	return limit;
}

uint64_t xy_limits_cgroup(const char *root)
{
	uint64_t limit = XY_LIMIT_NONE;

	for (size_t h = 0; h < XY_ARRAY_SIZE(hierarchies); h++)
		limit = xy_min(limit, limit_of(root, &hierarchies[h]));
	return limit;
}
