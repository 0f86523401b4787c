/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cgroups: names of pods and containers against regular expressions; what /proc would say of a
 * cgroup and of a mount is what is read from it; whatever /proc says and whatever is asked for,
 * what is chosen lies below the mount, is the pod or the container, or is refused with a sentence;
 * a limit is one that a file says.
 *
 * Input: lines. What is asked for; a name and a text to compare it with; a controller; a limit;
 * what the link of the cgroup namespace says; mounts, up to an empty line; the rest is
 * /proc/self/cgroup and that of process 77.
 */
#include <fcntl.h>
#include <ftw.h>
#include <regex.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

#include "base/cgroups.h"
#include "base/limits.h"
#include "kernel/internal.h"
#include "kernel/pod.h"

#define UID   "0d3f1c9e-8a2b-4c5d-9e6f-112233445566"
#define SLICE "kubepods-burstable-pod0d3f1c9e_8a2b_4c5d_9e6f_112233445566.slice"
#define HASH  "3f2a9b0c4d5e6f708192a3b4c5d6e7f8"
#define ID    "4be1a6c0d2f34567890abcdef0123456789abcdef0123456789abcdef0123456"
#define TWIN  "4be1a6c0d2f34000000abcdef0123456789abcdef0123456789abcdef0123456"

#define HEX(digits) "[0-9a-f]{" #digits "}"
#define UID_DASHED  HEX(8) "[-_]" HEX(4) "[-_]" HEX(4) "[-_]" HEX(4) "[-_]" HEX(12)
#define UID_ANY     "(" UID_DASHED "|" HEX(32) ")"

static char root[] = "/tmp/xylem-fuzz-XXXXXX";

static bool matches(const char *expression, const char *text, regmatch_t *match, size_t count)
{
	static struct {
		const char *expression;
		regex_t regex;
	} known[8];
	size_t k = 0;

	while (known[k].expression != NULL && known[k].expression != expression)
		k++;
	if (known[k].expression == NULL) {
		fuzz_check(regcomp(&known[k].regex, expression, REG_EXTENDED) == 0);
		known[k].expression = expression;
	}
	return regexec(&known[k].regex, text, count, match, 0) == 0;
}

/* ---- a tree of files ------------------------------------------------------------------------- */

static int gone(const char *path, const struct stat *status, int flag, struct FTW *ftw)
{
	(void)status;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void tree_remove(void)
{
	nftw(root, gone, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *whole(const char *name)
{
	static char path[PATH_MAX + sizeof(root)];

	snprintf(path, sizeof(path), "%s%s", root, name);
	return path;
}

static void tree_make(void)
{
	/* Parents first. */
	static const char *const directories[] = {
		"/proc",
		"/proc/self",
		"/proc/self/ns",
		"/proc/77",
		"/proc/sys",
		"/proc/sys/net",
		"/proc/sys/net/ipv4",
		"/sys",
		"/sys/fs",
		"/sys/fs/cgroup",
		"/sys/fs/cgroup/memory",
		"/sys/fs/cgroup/system.slice",
		"/sys/fs/cgroup/kubepods.slice",
		"/sys/fs/cgroup/kubepods.slice/" SLICE,
		"/sys/fs/cgroup/kubepods.slice/" SLICE "/cri-containerd-" ID ".scope",
		"/sys/fs/cgroup/kubepods.slice/" SLICE "/crio-conmon-" ID ".scope",
		"/sys/fs/cgroup/kubepods.slice/" SLICE "/" TWIN,
		"/sys/fs/cgroup/kubepods.slice/kubepods-pod" HASH ".slice",
		"/host",
		"/host/pod" UID,
		"/host/pod" UID "/" ID,
	};
	static bool made;

	if (made)
		return;
	made = true;
	fuzz_check(mkdtemp(root) != NULL);
	atexit(tree_remove);
	for (size_t d = 0; d < sizeof(directories) / sizeof(*directories); d++)
		fuzz_check(mkdir(whole(directories[d]), 0755) == 0);
}

static void put(const char *name, const void *text, size_t size)
{
	int fd = open(whole(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	fuzz_check(fd >= 0 && write(fd, text, size) == (ssize_t)size);
	close(fd);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void check_pod(const char *name, const char *other)
{
	regmatch_t match[4];
	char uid[XY_POD_UID_SIZE], *exact = fuzz_copy(name, strlen(name));
	bool pod = xy_pod_of(exact, strlen(name), uid);

	free(exact);
	fuzz_check(pod == matches("^(|.*-)pod" UID_ANY "(\\.slice)?$", name, match, 4));
	if (pod) {
		fuzz_check(strlen(uid) == (size_t)(match[2].rm_eo - match[2].rm_so));
		fuzz_check(xy_pod_uid_valid(uid) && strchr(uid, '_') == NULL);
		for (size_t i = 0; uid[i] != '\0'; i++)
			fuzz_check(uid[i] == name[match[2].rm_so + (regoff_t)i] || uid[i] == '-');
	}
	fuzz_check(xy_pod_uid_valid(other) == matches("^" UID_ANY "$", other, NULL, 0));
	fuzz_check(xy_pod_uid_equal(name, other) == xy_pod_uid_equal(other, name));
	fuzz_check(xy_pod_uid_equal(name, name));
}

static void check_container(const char *name, const char *text)
{
	const char *id = xy_container_id(text), *digits;
	regmatch_t match[3];
	bool expected;

	fuzz_check(id != NULL || !matches("^[0-9a-f]{12,64}$", text, NULL, 0));
	if (id == NULL)
		return;
	fuzz_check(id >= text && matches("^[0-9a-f]{12,64}$", id, NULL, 0));
	fuzz_check(id == text || (id >= text + 3 && memcmp(id - 3, "://", 3) == 0));
	expected = matches("^(|.*-)(" HEX(64) ")(\\.scope)?$", name, match, 3);
	if (expected) {
		digits = name + match[2].rm_so;
		expected = strncmp(digits, id, strlen(id)) == 0 &&
			   (digits == name || strstr(name, "-conmon-") == NULL);
	}
	fuzz_check(xy_container_is(name, id) == expected);
}

/* ---- what /proc says ------------------------------------------------------------------------- */

/* As the kernel writes it into mountinfo. */
static size_t escape(const char *text, char *to)
{
	size_t length = 0;

	for (; *text != '\0'; text++)
		if (strchr(" \t\n\\", *text) != NULL)
			length += (size_t)sprintf(to + length, "\\%03o", (unsigned)*text);
		else
			to[length++] = *text;
	to[length] = '\0';
	return length;
}

/* A mount, read from the line that the kernel would write. */
static void check_mount(const char *top, const char *path)
{
	char line[4 * 2 * 512 + 256], *at = line;
	struct xy_cgroups_mounts mounts;

	if (*top != '/' || *path != '/' || strlen(top) > 512 || strlen(path) > 512)
		return;
	at += sprintf(at, "23 1 8:1 / / rw - ext4 /dev/root rw\n41 31 0:38 ");
	at += escape(top, at);
	*at++ = ' ';
	at += escape(path, at);
	at += sprintf(at, " rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
	put("/proc/self/mountinfo", line, (size_t)(at - line));
	xy_cgroups_mounts_open(&mounts, root, "");
	fuzz_check(xy_cgroups_mounts_next(&mounts));
	fuzz_check(strcmp(mounts.top, top) == 0 && strcmp(mounts.path, path) == 0);
	fuzz_check(!xy_cgroups_mounts_next(&mounts));
	xy_cgroups_mounts_close(&mounts);
}

/* A cgroup, read from the line that the kernel would write. */
static void check_path(const char *path)
{
	char line[PATH_MAX + 64], found[PATH_MAX];
	size_t length = (size_t)snprintf(line, sizeof(line), "4:cpu,memory:/other\n0::%s\n", path);

	if (*path != '/' || length >= PATH_MAX)
		return;
	put("/proc/77/cgroup", line, length);
	fuzz_check(xy_cgroups_path(root, 77, "", found) == 0 && strcmp(found, path) == 0);
	fuzz_check(xy_cgroups_path(root, 77, "memory", found) == 0 && !strcmp(found, "/other"));
	fuzz_check(xy_cgroups_path(root, 77, "mem", found) < 0);
	fuzz_check(xy_cgroups_path(root, 78, "", found) < 0);
}

static void check_below(const char *path, const char *top)
{
	const char *below = xy_cgroups_below(path, top);
	size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);

	if (below == NULL) {
		fuzz_check(strcmp(path, top) != 0);
		return;
	}
	fuzz_check(strncmp(path, top, length) == 0);
	fuzz_check(*below == '\0' || (*below == '/' && below == path + length));
}

static void check_limits(const char *text)
{
	unsigned long long said = strtoull(text, NULL, 10);
	uint64_t limit = xy_limits_cgroup(root), tcp = xy_limits_tcp(root);

	fuzz_check(limit == XY_LIMIT_NONE || limit == said);
	fuzz_check(tcp == 2 * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* ---- choosing -------------------------------------------------------------------------------- */

static const char *last_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* The kernel tells paths without such steps; with them this would look all over the machine. */
static bool leaves_the_tree(void)
{
	struct xy_cgroups_mounts mounts;
	bool leaves = false;

	xy_cgroups_mounts_open(&mounts, root, "");
	while (xy_cgroups_mounts_next(&mounts))
		leaves = leaves || strstr(mounts.path, "..") != NULL;
	xy_cgroups_mounts_close(&mounts);
	return leaves;
}

/* What one of the mounts shows. */
static bool is_mounted(const char *path)
{
	struct xy_cgroups_mounts mounts;
	bool found = false;

	xy_cgroups_mounts_open(&mounts, root, "");
	while (xy_cgroups_mounts_next(&mounts)) {
		size_t length = strlen(mounts.path);

		found = found || (strncmp(path + strlen(root), mounts.path, length) == 0 &&
				  strchr("/", path[strlen(root) + length]) != NULL);
	}
	xy_cgroups_mounts_close(&mounts);
	return found;
}

static void check_chosen(const char *wanted, const char *path)
{
	char uid[XY_POD_UID_SIZE];
	struct stat status;

	fuzz_check(strncmp(path, root, strlen(root)) == 0 && is_mounted(path));
	if (wanted == NULL || strncmp(wanted, "pid:", 4) == 0)
		return;
	fuzz_check(stat(path, &status) == 0);
	if (strncmp(wanted, "pod:", 4) == 0)
		fuzz_check(xy_pod_of(last_of(path), strlen(last_of(path)), uid) &&
			   xy_pod_uid_equal(uid, wanted + 4));
	if (strncmp(wanted, "container:", 10) == 0)
		fuzz_check(strstr(path, xy_container_id(wanted + 10)) != NULL &&
			   strstr(path, "conmon") == NULL);
}

static void check_choice(const char *wanted)
{
	static const char *const searched[] = {"pid:", "pod:", "container:", "all"};
	char path[PATH_MAX], why[512] = "";
	bool search = wanted == NULL;
	int error = xy_cgroup_choose(root, wanted, path, why, sizeof(why));

	for (size_t s = 0; s < sizeof(searched) / sizeof(*searched) && !search; s++)
		search = s < 3 ? strncmp(wanted, searched[s], strlen(searched[s])) == 0
			       : strcmp(wanted, searched[s]) == 0;
	fuzz_check(why[0] != '\0');
	if (error == 0 && search)
		check_chosen(wanted, path);
	if (!search)
		fuzz_check(error == 0 ? strcmp(path, wanted) == 0 : strlen(wanted) >= PATH_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size}, mounts, line;
	char *wanted = fuzz_text(fuzz_take_line(&input)), *name = fuzz_text(fuzz_take_line(&input)),
	     *text = fuzz_text(fuzz_take_line(&input)),
	     *controller = fuzz_text(fuzz_take_line(&input)),
	     *limit = fuzz_text(fuzz_take_line(&input)), *link = fuzz_text(fuzz_take_line(&input));
	char path[PATH_MAX];

	tree_make();
	if (strlen(name) <= NAME_MAX) {
		check_pod(name, text);
		check_container(name, text);
	}
	check_mount(name, text);
	check_path(name);
	check_below(name, text);

	for (mounts = input, mounts.size = 0; input.size > 0;) {
		line = fuzz_take_line(&input);
		if (line.size == 0)
			break;
		mounts.size = (size_t)(input.data - mounts.data);
	}
	put("/proc/self/mountinfo", mounts.data, mounts.size);
	put("/proc/self/cgroup", input.data, input.size);
	put("/proc/77/cgroup", input.data, input.size);
	put("/proc/sys/net/ipv4/tcp_mem", "1\t2\t3\n", 6);
	put("/sys/fs/cgroup/memory.max", limit, strlen(limit));
	put("/sys/fs/cgroup/kubepods.slice/memory.max", limit, strlen(limit));
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", limit, strlen(limit));
	unlink(whole("/proc/self/ns/cgroup"));
	if (symlink(link, whole("/proc/self/ns/cgroup")) != 0)
		fuzz_check(*link == '\0' || strlen(link) >= PATH_MAX);

	if (xy_cgroups_path(root, 0, controller, path) == 0)
		fuzz_check(memmem(input.data, input.size, path, strlen(path)) != NULL);
	if (!leaves_the_tree()) {
		check_limits(limit);
		check_choice(wanted);
		check_choice(NULL);
	}
	free(wanted);
	free(name);
	free(text);
	free(controller);
	free(limit);
	free(link);
	return 0;
}
