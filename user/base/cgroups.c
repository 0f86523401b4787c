/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/cgroups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static FILE *proc_open(const char *root, pid_t pid, const char *name)
{
	FILE *file = NULL;
	char *path;
	int length;

	length = pid ? asprintf(&path, "%s/proc/%d/%s", root, (int)pid, name)
		     : asprintf(&path, "%s/proc/self/%s", root, name);
	if (length < 0)
		return NULL;
	file = fopen(path, "re");
	free(path);
	return file;
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

/* Lines are "number:controllers:path". */
int xy_cgroups_path(const char *root, pid_t pid, const char *controller, char ret_path[PATH_MAX])
{
	FILE *file = proc_open(root, pid, "cgroup");
	int error = -ENOENT;
	char *line = NULL;
	size_t size = 0;

	while (file && error && getline(&line, &size, file) > 0) {
		char *controllers = strchr(line, ':'), *at;

		if (!controllers || !(at = strchr(++controllers, ':')))
			continue;
		*at++ = '\0';
		at[strcspn(at, "\n")] = '\0';
		if (!list_has(controllers, controller) || *at != '/' || strlen(at) >= PATH_MAX)
			continue;
		strcpy(ret_path, at);
		error = 0;
	}
	free(line);
	if (file)
		fclose(file);
	return error;
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

/* "id parent device top path options … - type source options". */
static bool mount_parse(struct xy_cgroups_mounts *mounts)
{
	char *rest = strstr(mounts->line, " - "), *save = NULL, *field, *type, *options, *path;

	if (!rest)
		return false;
	*rest = '\0';
	type = strtok_r(rest + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " \n", &save);
	if (!type || strcmp(type, *mounts->controller ? "cgroup" : "cgroup2") ||
	    (*mounts->controller && (!options || !list_has(options, mounts->controller))))
		return false;
	field = strtok_r(mounts->line, " ", &save);
	for (int f = 1; field && f < 4; f++)
		field = strtok_r(NULL, " ", &save);
	path = strtok_r(NULL, " ", &save);
	if (!field || *field != '/' || !path || *path != '/')
		return false;
	unescape(field);
	unescape(path);
	mounts->top = field;
	mounts->path = path;
	return true;
}

void xy_cgroups_mounts_open(struct xy_cgroups_mounts *mounts, const char *root,
			    const char *controller)
{
	*mounts = (struct xy_cgroups_mounts){.controller = controller,
					     .file = proc_open(root, 0, "mountinfo")};
}

bool xy_cgroups_mounts_next(struct xy_cgroups_mounts *mounts)
{
	while (mounts->file && getline(&mounts->line, &mounts->size, mounts->file) > 0)
		if (mount_parse(mounts))
			return true;
	return false;
}

void xy_cgroups_mounts_close(struct xy_cgroups_mounts *mounts)
{
	free(mounts->line);
	if (mounts->file)
		fclose(mounts->file);
}

const char *xy_cgroups_below(const char *path, const char *top)
{
	size_t length = strcmp(top, "/") ? strlen(top) : 0;

	if (strncmp(path, top, length) || (path[length] && path[length] != '/'))
		return NULL;
	return strcmp(path + length, "/") ? path + length : "";
}
