/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which cgroup to attach to: what the user names (a directory, a process, a pod, a container), or
 * the pod that this process runs in, or else all that is mounted.
 *
 * A container sees its own cgroup as the root of everything, unless it is given a mount of the
 * host's hierarchy. So all is looked for in the widest mount there is (the view), and the root of
 * the own cgroup namespace is found in it by its inode: names above it are told to nobody.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cgroups.h"
#include "kernel/internal.h"
#include "kernel/pod.h"

#define DEPTH_MAX 16 /* of directories looked into */

/* ---- the view -------------------------------------------------------------------------------- */

struct view {
	char path[PATH_MAX]; /* of the mount */
	char top[PATH_MAX];  /* the cgroup that it shows */
	char base[PATH_MAX]; /* directory of the namespace's root in it; "" = not below it */
};

/* How far above the namespace's root a cgroup lies: 0 for that itself, -1 for any other place. */
static int levels_above(const char *top)
{
	int levels = 0;

	if (!strcmp(top, "/"))
		return 0;
	for (; !strncmp(top, "/..", 3); top += 3)
		levels++;
	return *top ? -1 : levels;
}

/* The inode of the namespace's root, from a mount that shows just that. */
static int base_inode(const char *root, struct stat *ret_status)
{
	struct xy_cgroups_mounts mounts;
	char path[2 * PATH_MAX];
	int error = -ENOENT;

	xy_cgroups_mounts_open(&mounts, root, "");
	while (error && xy_cgroups_mounts_next(&mounts)) {
		snprintf(path, sizeof(path), "%s%s", root, mounts.path);
		if (!strcmp(mounts.top, "/") && stat(path, ret_status) == 0)
			error = 0;
	}
	xy_cgroups_mounts_close(&mounts);
	return error;
}

/* Looks at the directories below `path` (PATH_MAX bytes, restored afterwards), parents first in
 * each branch, until `found` returns true. */
struct walk {
	bool (*found)(struct walk *walk, const char *path, const char *name, int depth);
	int depth_max;
	struct stat wanted;     /* base_found() */
	const char *uid, *id;   /* pod_found(), container_found() */
	char match[PATH_MAX];   /* what was found … */
	char another[PATH_MAX]; /* … and what else would have been */
};

static bool walk_below(struct walk *walk, char *path, int depth)
{
	size_t length = strlen(path), name_length;
	DIR *directory = opendir(path);
	const struct dirent *entry;
	bool done = false;

	while (directory && !done && (entry = readdir(directory))) {
		name_length = strlen(entry->d_name);
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
		    length + name_length + 2 > PATH_MAX)
			continue;
		path[length] = '/';
		memcpy(path + length + 1, entry->d_name, name_length + 1);
		done = walk->found(walk, path, entry->d_name, depth) ||
		       (depth < walk->depth_max && walk_below(walk, path, depth + 1));
		path[length] = '\0';
	}
	if (directory)
		closedir(directory);
	return done;
}

static bool base_found(struct walk *walk, const char *path, const char *name, int depth)
{
	struct stat status;

	(void)name;
	if (depth != walk->depth_max || stat(path, &status) ||
	    status.st_ino != walk->wanted.st_ino || status.st_dev != walk->wanted.st_dev)
		return false;
	strcpy(walk->match, path);
	return true;
}

static void base_find(struct view *view, const char *root)
{
	struct walk walk = {.found = base_found, .depth_max = levels_above(view->top)};

	if (walk.depth_max == 0)
		strcpy(view->base, view->path);
	else if (walk.depth_max > 0 && !base_inode(root, &walk.wanted) &&
		 walk_below(&walk, view->path, 1))
		strcpy(view->base, walk.match);
}

static int view_find(struct view *view, const char *root)
{
	struct xy_cgroups_mounts mounts;
	char path[PATH_MAX];
	int widest = -2;

	*view = (struct view){0};
	xy_cgroups_mounts_open(&mounts, root, "");
	while (xy_cgroups_mounts_next(&mounts)) {
		int levels = levels_above(mounts.top);

		if (levels <= widest || strlen(mounts.top) >= PATH_MAX ||
		    strlen(root) + strlen(mounts.path) >= PATH_MAX)
			continue;
		strcpy(stpcpy(path, root), mounts.path);
		/* Another mount may lie over it. */
		if (access(path, F_OK))
			continue;
		widest = levels;
		strcpy(view->top, mounts.top);
		strcpy(view->path, path);
	}
	xy_cgroups_mounts_close(&mounts);
	if (widest == -2)
		return -ENOENT;
	base_find(view, root);
	return 0;
}

/* The directory of a cgroup as /proc names it. -ENOENT: the view does not show it. */
static int view_directory(const struct view *view, const char *cgroup, char ret_path[PATH_MAX])
{
	const char *below = cgroup;
	char path[PATH_MAX];
	size_t least = strlen(view->path);

	if (view->base[0]) {
		strcpy(path, view->base);
		for (; !strncmp(below, "/..", 3); below += 3) {
			if (strlen(path) <= least)
				return -ENOENT;
			*strrchr(path, '/') = '\0';
		}
		if (!strcmp(below, "/"))
			below = "";
	} else {
		strcpy(path, view->path);
		below = xy_cgroups_below(cgroup, view->top);
		if (!below)
			return -ENOENT;
	}
	if (strlen(path) + strlen(below) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(stpcpy(ret_path, path), below);
	return 0;
}

/* ---- by name --------------------------------------------------------------------------------- */

static bool pod_found(struct walk *walk, const char *path, const char *name, int depth)
{
	char uid[XY_POD_UID_SIZE];

	(void)depth;
	if (!xy_pod_of(name, strlen(name), uid) || !xy_pod_uid_equal(uid, walk->uid))
		return false;
	strcpy(walk->match, path);
	return true;
}

/* Goes on after the first: a short id may be that of two. */
static bool container_found(struct walk *walk, const char *path, const char *name, int depth)
{
	(void)depth;
	if (!xy_container_is(name, walk->id))
		return false;
	strcpy(walk->match[0] ? walk->another : walk->match, path);
	return walk->another[0];
}

static int pod_choose(struct view *view, const char *uid, char ret_path[PATH_MAX], char *why,
		      size_t why_size)
{
	struct walk walk = {.found = pod_found, .depth_max = DEPTH_MAX, .uid = uid};

	if (!xy_pod_uid_valid(uid)) {
		xy_why(why, why_size, "'%s' is not the UID of a pod (its metadata.uid)", uid);
		return -EINVAL;
	}
	if (!walk_below(&walk, view->path, 1)) {
		xy_why(why, why_size,
		       "no cgroup v2 of pod %s below %s; in a container, mount the host's "
		       "/sys/fs/cgroup; without cgroup v2 of their own, take the pod's parent",
		       uid, view->path);
		return -ENOENT;
	}
	xy_why(why, why_size, "pod %s", uid);
	strcpy(ret_path, walk.match);
	return 0;
}

static int container_choose(struct view *view, const char *text, char ret_path[PATH_MAX], char *why,
			    size_t why_size)
{
	struct walk walk = {.found = container_found, .depth_max = DEPTH_MAX};

	walk.id = xy_container_id(text);
	if (!walk.id) {
		xy_why(why, why_size,
		       "'%s' is not the id of a container (12 to 64 hexadecimal digits)", text);
		return -EINVAL;
	}
	walk_below(&walk, view->path, 1);
	if (walk.another[0]) {
		xy_why(why, why_size, "'%s' begins the ids of several containers: %s and %s",
		       walk.id, walk.match, walk.another);
		return -EINVAL;
	}
	if (!walk.match[0]) {
		xy_why(why, why_size,
		       "no cgroup v2 of container %s below %s; in a container, mount the host's "
		       "/sys/fs/cgroup",
		       walk.id, view->path);
		return -ENOENT;
	}
	xy_why(why, why_size, "container %s", walk.id);
	strcpy(ret_path, walk.match);
	return 0;
}

/* ---- by process ------------------------------------------------------------------------------ */

static int process_choose(const struct view *view, const char *root, const char *number,
			  char ret_path[PATH_MAX], char *why, size_t why_size)
{
	char cgroup[PATH_MAX];
	long pid;
	char *end;
	int error;

	errno = 0;
	pid = strtol(number, &end, 10);
	if (*number < '0' || *number > '9' || *end || errno || pid < 1 || pid > INT_MAX) {
		xy_why(why, why_size, "'%s' is not the number of a process", number);
		return -EINVAL;
	}
	error = xy_cgroups_path(root, (pid_t)pid, "", cgroup);
	if (error) {
		xy_why(why, why_size, "there is no process %ld, or it is in no cgroup v2", pid);
		return error;
	}
	error = view_directory(view, cgroup, ret_path);
	if (error) {
		xy_why(why, why_size,
		       "cgroup %s, of process %ld, is not below %s; in a container, mount the "
		       "host's /sys/fs/cgroup",
		       cgroup, pid, view->path);
		return error;
	}
	xy_why(why, why_size, "process %ld", pid);
	return 0;
}

/* ---- by default ------------------------------------------------------------------------------ */

/* Of the directories from `path` up to the view's top the first that is a pod's; cuts path there.
 */
static bool pod_above(const struct view *view, char *path, char ret_uid[XY_POD_UID_SIZE])
{
	size_t least = strlen(view->path);
	char *slash;

	for (; strlen(path) > least; *slash = '\0') {
		slash = strrchr(path, '/');
		if (xy_pod_of(slash + 1, strlen(slash + 1), ret_uid))
			return true;
	}
	return false;
}

/* Where v1 is in use, its hierarchies may know the pod when v2 does not. */
static bool pod_of_v1(const char *root, char ret_uid[XY_POD_UID_SIZE])
{
	static const char *const controllers[] = {"memory", "cpu", "pids", "name=systemd"};
	char path[PATH_MAX], *slash;

	for (size_t c = 0; c < XY_ARRAY_SIZE(controllers); c++) {
		if (xy_cgroups_path(root, 0, controllers[c], path))
			continue;
		while ((slash = strrchr(path, '/'))) {
			if (xy_pod_of(slash + 1, strlen(slash + 1), ret_uid))
				return true;
			*slash = '\0';
		}
	}
	return false;
}

/* The initial cgroup namespace has a number that the kernel fixes. */
static bool in_cgroup_namespace(const char *root)
{
	char path[PATH_MAX], target[64];
	ssize_t length;

	snprintf(path, sizeof(path), "%s/proc/self/ns/cgroup", root);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return false;
	target[length] = '\0';
	return strcmp(target, "cgroup:[4026531835]") != 0;
}

static void default_choose(struct view *view, const char *root, char ret_path[PATH_MAX], char *why,
			   size_t why_size)
{
	char cgroup[PATH_MAX], uid[XY_POD_UID_SIZE];
	struct walk walk = {.found = pod_found, .depth_max = DEPTH_MAX, .uid = uid};

	if (!xy_cgroups_path(root, 0, "", cgroup) && !view_directory(view, cgroup, ret_path) &&
	    pod_above(view, ret_path, uid)) {
		xy_why(why, why_size, "pod %s, which this runs in", uid);
		return;
	}
	strcpy(ret_path, view->path);
	if (pod_of_v1(root, uid)) {
		if (walk_below(&walk, view->path, 1)) {
			strcpy(ret_path, walk.match);
			xy_why(why, why_size, "pod %s, which this runs in", uid);
		} else {
			xy_why(why, why_size,
			       "all of the mount: pod %s, which this runs in, has no cgroup v2",
			       uid);
		}
	} else if (in_cgroup_namespace(root) && levels_above(view->top) <= 0) {
		xy_why(why, why_size,
		       "this container alone: no mount shows more; for its pod, mount the host's "
		       "/sys/fs/cgroup");
	} else {
		xy_why(why, why_size, "all of the mount: this runs in no pod");
	}
}

/* ---- all ways -------------------------------------------------------------------------------- */

static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) ? NULL : text + length;
}

int xy_cgroup_choose(const char *root, const char *wanted, char ret_path[PATH_MAX], char *why,
		     size_t why_size)
{
	const char *pid = wanted ? after(wanted, "pid:") : NULL;
	const char *pod = wanted ? after(wanted, "pod:") : NULL;
	const char *container = wanted ? after(wanted, "container:") : NULL;
	bool all = wanted && !strcmp(wanted, "all");
	struct view view;
	int error;

	if (wanted && !all && !pid && !pod && !container) {
		if (strlen(wanted) >= PATH_MAX) {
			xy_why(why, why_size, "the path of the cgroup is too long");
			return -ENAMETOOLONG;
		}
		strcpy(ret_path, wanted);
		xy_why(why, why_size, "the directory that was named");
		return 0;
	}
	error = view_find(&view, root);
	if (error) {
		xy_why(why, why_size,
		       "no cgroup v2 is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup");
		return error;
	}
	if (all) {
		strcpy(ret_path, view.path);
		xy_why(why, why_size, "all of the mount");
		return 0;
	}
	if (pid)
		return process_choose(&view, root, pid, ret_path, why, why_size);
	if (pod)
		return pod_choose(&view, pod, ret_path, why, why_size);
	if (container)
		return container_choose(&view, container, ret_path, why, why_size);
	default_choose(&view, root, ret_path, why, why_size);
	return 0;
}

int xy_cgroup_open(const char *wanted, int *ret_fd, char *ret_path, char *why, size_t why_size)
{
	char path[PATH_MAX], reason[256];
	struct statfs fs;
	int fd, error;

	error = xy_cgroup_choose("", wanted, path, reason, sizeof(reason));
	if (error) {
		xy_why(why, why_size, "%s", reason);
		return error;
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
