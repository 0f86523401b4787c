/* SPDX-License-Identifier: BSD-2-Clause */
/* Which cgroup is chosen, from trees of files that look like the machines of the world. */
#include <errno.h>
#include <unistd.h>

#include "kernel/internal.h"
#include "kernel/pod.h"
#include "unit/tree_fixture.h"

#define UID       "0d3f1c9e-8a2b-4c5d-9e6f-112233445566"
#define UID_SLICE "0d3f1c9e_8a2b_4c5d_9e6f_112233445566"
#define UID_OTHER "ffffffff-8a2b-4c5d-9e6f-112233445566"
#define HASH      "3f2a9b0c4d5e6f708192a3b4c5d6e7f8" /* a static pod's */
#define ID        "4be1a6c0d2f34567890abcdef0123456789abcdef0123456789abcdef0123456"
#define ID_TWIN   "4be1a6c0d2f34000000abcdef0123456789abcdef0123456789abcdef0123456"
#define ID_APP    "99e1a6c0d2f34567890abcdef0123456789abcdef0123456789abcdef0123456"

#define V2_MOUNT     "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
#define HYBRID_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
#define INITIAL      "cgroup:[4026531835]"
#define PRIVATE      "cgroup:[4026532999]"

static char path[PATH_MAX], why[512];

/* ---- trees ----------------------------------------------------------------------------------- */

static void cgroup_namespace_is(const char *target)
{
	make_directory("/proc/self/ns");
	assert_int_equal(symlink(target, whole("/proc/self/ns/cgroup")), 0);
}

#define chosen(wanted, expected, reason)                                                     \
	do {                                                                                 \
		assert_int_equal(xy_cgroup_choose(root, wanted, path, why, sizeof(why)), 0); \
		assert_string_equal(path + strlen(root), expected);                          \
		assert_string_equal(why, reason);                                            \
	} while (0)

#define refused(wanted, error, reason)                                                           \
	do {                                                                                     \
		assert_int_equal(xy_cgroup_choose(root, wanted, path, why, sizeof(why)), error); \
		assert_non_null(strstr(why, reason));                                            \
	} while (0)

/* A node with systemd's driver, seen from the node itself. */
#define SYSTEMD_POD \
	"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_SLICE ".slice"
#define CGROUPFS_POD "/kubepods/burstable/pod" UID

static void node_with_systemd(void)
{
	put("/proc/self/mountinfo", "23 1 8:1 / / rw - ext4 /dev/root rw\n" V2_MOUNT);
	put("/proc/self/cgroup", "0::/system.slice/xylem.service\n");
	cgroup_namespace_is(INITIAL);
	make_directory("/sys/fs/cgroup/system.slice/xylem.service");
	make_directory("/sys/fs/cgroup" SYSTEMD_POD "/cri-containerd-" ID ".scope");
	make_directory("/sys/fs/cgroup" SYSTEMD_POD "/cri-containerd-" ID_APP ".scope");
	make_directory("/sys/fs/cgroup/kubepods.slice/kubepods-pod" HASH ".slice");
}

/* A container with a cgroup namespace of its own: the host's hierarchy is at /host, if at all. */
static void container(const char *pod, const char *name, bool host)
{
	char directory[PATH_MAX], mounts[1024], ups[64] = "";

	snprintf(directory, sizeof(directory), "/host%s/%s", pod, name);
	make_directory(directory);
	make_directory("/sys/fs");
	assert_int_equal(symlink(whole(directory), whole("/sys/fs/cgroup")), 0);
	for (const char *at = directory + 5; (at = strchr(at, '/')) != NULL; at++)
		strcat(ups, "/..");
	snprintf(mounts, sizeof(mounts), V2_MOUNT "%s%s%s", host ? "77 31 0:38 " : "",
		 host ? ups : "", host ? " /host rw,relatime - cgroup2 cgroup2 rw\n" : "");
	put("/proc/self/mountinfo", mounts);
	put("/proc/self/cgroup", "0::/\n");
	cgroup_namespace_is(PRIVATE);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void pods_are_known_by_the_names_of_their_directories(void **state)
{
	static const struct {
		const char *name, *uid;
	} cases[] = {
		{"pod" UID, UID},
		{"pod" HASH, HASH},
		{"kubepods-pod" UID_SLICE ".slice", UID},
		{"kubepods-burstable-pod" UID_SLICE ".slice", UID},
		{"kubelet-kubepods-besteffort-pod" UID_SLICE ".slice", UID},
		{"kubepods-pod" HASH ".slice", HASH},
		{"kubepods-burstable.slice", NULL},
		{"tripod" UID, NULL},
		{"pod" UID "x", NULL},
		{"pod0d3f1c9e-8a2b-4c5d-9e6f-11223344556", NULL},
		{"pod0d3f1c9e-8a2b-4c5d-9e6f-11223344556G", NULL},
		{"pod0d3f1c9e+8a2b-4c5d-9e6f-112233445566", NULL},
		{"pod", NULL},
		{UID, NULL},
		{".slice", NULL},
		{"", NULL},
	};
	char uid[XY_POD_UID_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool is = xy_pod_of(cases[i].name, strlen(cases[i].name), uid);

		if (is != (cases[i].uid != NULL))
			fail_msg("%s", cases[i].name);
		if (is)
			assert_string_equal(uid, cases[i].uid);
	}
}

static void containers_are_known_by_the_names_of_their_directories(void **state)
{
	(void)state;
	assert_true(xy_container_is(ID, ID));
	assert_true(xy_container_is("cri-containerd-" ID ".scope", "4be1a6c0d2f34567"));
	assert_true(xy_container_is("crio-" ID ".scope", ID));
	assert_true(xy_container_is("crio-" ID, ID));
	assert_true(xy_container_is("docker-" ID ".scope", ID));
	assert_false(xy_container_is("crio-conmon-" ID ".scope", ID));
	assert_false(xy_container_is("cri-containerd-" ID ".scope", ID_APP));
	assert_false(xy_container_is("x" ID, ID));
	assert_false(xy_container_is(".scope", ID));
	assert_string_equal(xy_container_id("containerd://" ID), ID);
	assert_null(xy_container_id("4be1a6c0d2f"));
	assert_null(xy_container_id("4be1a6c0d2fG"));
	assert_null(xy_container_id(ID "0"));
}

/* ---- choices --------------------------------------------------------------------------------- */

static void a_directory_is_taken_as_it_is(void **state)
{
	(void)state;
	assert_int_equal(xy_cgroup_choose(root, "/some/where", path, why, sizeof(why)), 0);
	assert_string_equal(path, "/some/where");
}

static void without_a_mount_there_is_none(void **state)
{
	(void)state;
	refused(NULL, -ENOENT, "no cgroup v2 is mounted");
	put("/proc/self/mountinfo",
	    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
	refused(NULL, -ENOENT, "no cgroup v2 is mounted");
	refused("pod:" UID, -ENOENT, "no cgroup v2 is mounted");
}

static void what_is_no_path_is_not_taken_for_one(void **state)
{
	(void)state;
	node_with_systemd();
	put("/proc/7/cgroup", "0::kubepods.slice\n");
	refused("pid:7", -ENOENT, "there is no process 7, or it is in no cgroup v2");
	put("/proc/self/mountinfo", "41 31 0:38 x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
				    "42 31 0:38 / sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	refused("all", -ENOENT, "no cgroup v2 is mounted");
}

static void outside_of_pods_it_is_all_of_the_mount(void **state)
{
	(void)state;
	node_with_systemd();
	chosen(NULL, "/sys/fs/cgroup", "all of the mount: this runs in no pod");
}

static void a_pod_is_found_by_its_uid(void **state)
{
	(void)state;
	node_with_systemd();
	make_directory("/sys/fs/cgroup" CGROUPFS_POD);
	chosen("pod:" HASH, "/sys/fs/cgroup/kubepods.slice/kubepods-pod" HASH ".slice",
	       "pod " HASH);
	refused("pod:" UID_OTHER, -ENOENT, "no cgroup v2 of pod " UID_OTHER " below ");
	refused("pod:nginx-7d4", -EINVAL, "'nginx-7d4' is not the UID of a pod");
	refused("pod:", -EINVAL, "'' is not the UID of a pod");
}

static void both_drivers_pods_are_found(void **state)
{
	(void)state;
	/* The first lies below the second, and nobody can see it. */
	put("/proc/self/mountinfo", HYBRID_MOUNT V2_MOUNT);
	make_directory("/sys/fs/cgroup" SYSTEMD_POD);
	chosen("pod:" UID, "/sys/fs/cgroup" SYSTEMD_POD, "pod " UID);
	chosen("pod:" UID_SLICE, "/sys/fs/cgroup" SYSTEMD_POD, "pod " UID_SLICE);
	assert_int_equal(rmdir(whole("/sys/fs/cgroup" SYSTEMD_POD)), 0);
	make_directory("/sys/fs/cgroup" CGROUPFS_POD);
	chosen("pod:" UID, "/sys/fs/cgroup" CGROUPFS_POD, "pod " UID);
}

static void a_container_is_found_by_its_id_or_the_beginning_of_it(void **state)
{
	(void)state;
	node_with_systemd();
	chosen("container:" ID, "/sys/fs/cgroup" SYSTEMD_POD "/cri-containerd-" ID ".scope",
	       "container " ID);
	chosen("container:containerd://" ID_APP,
	       "/sys/fs/cgroup" SYSTEMD_POD "/cri-containerd-" ID_APP ".scope",
	       "container " ID_APP);
	chosen("container:4be1a6c0d2f34",
	       "/sys/fs/cgroup" SYSTEMD_POD "/cri-containerd-" ID ".scope",
	       "container 4be1a6c0d2f34");
	refused("container:deadbeefdeadbeef", -ENOENT,
		"no cgroup v2 of container deadbeefdeadbeef");
	refused("container:4be1", -EINVAL, "'4be1' is not the id of a container (12 to 64");
	make_directory("/sys/fs/cgroup/kubepods/" ID_TWIN);
	refused("container:4be1a6c0d2f34", -EINVAL, "begins the ids of several containers: ");
	chosen("container:" ID_TWIN, "/sys/fs/cgroup/kubepods/" ID_TWIN, "container " ID_TWIN);
}

static void a_process_is_looked_up(void **state)
{
	(void)state;
	node_with_systemd();
	put("/proc/4711/cgroup", "0::" SYSTEMD_POD "/cri-containerd-" ID ".scope\n");
	put("/proc/4712/cgroup", "4:memory:/x\n0::/\n");
	put("/proc/4713/cgroup", "4:memory:/x\n");
	chosen("pid:4711", "/sys/fs/cgroup" SYSTEMD_POD "/cri-containerd-" ID ".scope",
	       "process 4711");
	chosen("pid:4712", "/sys/fs/cgroup", "process 4712");
	refused("pid:4713", -ENOENT, "there is no process 4713, or it is in no cgroup v2");
	refused("pid:99", -ENOENT, "there is no process 99");
	refused("pid:", -EINVAL, "'' is not the number of a process");
	refused("pid:self", -EINVAL, "'self' is not the number of a process");
	refused("pid:-1", -EINVAL, "is not the number of a process");
	refused("pid:0", -EINVAL, "is not the number of a process");
	refused("pid:99999999999", -EINVAL, "is not the number of a process");
}

static void of_a_part_of_the_hierarchy_only_that_part_is_seen(void **state)
{
	(void)state;
	make_directory("/sys/fs/cgroup");
	put("/proc/self/mountinfo", "41 31 0:38 /a/b /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("/proc/5/cgroup", "0::/a/b/c\n");
	put("/proc/6/cgroup", "0::/a/bc\n");
	chosen("pid:5", "/sys/fs/cgroup/c", "process 5");
	refused("pid:6", -ENOENT, "cgroup /a/bc, of process 6, is not below ");
}

/* ---- from within a pod ----------------------------------------------------------------------- */

static void with_the_hosts_namespace_the_own_pod_is_above(void **state)
{
	(void)state;
	node_with_systemd();
	put("/proc/self/cgroup", "0::" SYSTEMD_POD "/cri-containerd-" ID ".scope\n");
	chosen(NULL, "/sys/fs/cgroup" SYSTEMD_POD, "pod " UID ", which this runs in");
	put("/proc/self/cgroup", "0::" CGROUPFS_POD "/" ID "/init\n");
	chosen(NULL, "/sys/fs/cgroup" CGROUPFS_POD, "pod " UID ", which this runs in");
}

static void of_pods_in_pods_the_inner_one_is_the_own(void **state)
{
	(void)state;
	node_with_systemd();
	put("/proc/self/cgroup",
	    "0::/kubepods/pod" UID_OTHER "/" ID_APP "/kubelet" CGROUPFS_POD "/" ID "\n");
	chosen(NULL, "/sys/fs/cgroup/kubepods/pod" UID_OTHER "/" ID_APP "/kubelet" CGROUPFS_POD,
	       "pod " UID ", which this runs in");
}

static void with_its_own_namespace_a_container_sees_itself_alone(void **state)
{
	(void)state;
	container(SYSTEMD_POD, "cri-containerd-" ID ".scope", false);
	chosen(NULL, "/sys/fs/cgroup",
	       "this container alone: no mount shows more; for its pod, mount the host's "
	       "/sys/fs/cgroup");
	refused("pod:" UID, -ENOENT, "in a container, mount the host's /sys/fs/cgroup");
}

#define OTHER_POD                                                        \
	"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" \
	"podffffffff_8a2b_4c5d_9e6f_112233445566.slice"

static void through_the_hosts_mount_the_own_pod_is_found(void **state)
{
	char directory[512], sibling[] = "0123456789abcdef";

	(void)state;
	container(SYSTEMD_POD, "cri-containerd-" ID ".scope", true);
	/* As deep as the own one, and not it; some of them come before it. */
	make_directory("/host" OTHER_POD "/cri-containerd-" ID_APP ".scope");
	for (char *digit = sibling; *digit; digit++) {
		snprintf(directory, sizeof(directory), "/host" SYSTEMD_POD "-%c/x", *digit);
		make_directory(directory);
	}
	chosen(NULL, "/host" SYSTEMD_POD, "pod " UID ", which this runs in");
	chosen("all", "/host", "all of the mount");
	chosen("pod:" UID_OTHER, "/host" OTHER_POD, "pod " UID_OTHER);
}

static void the_same_with_the_other_driver(void **state)
{
	(void)state;
	container(CGROUPFS_POD, ID, true);
	chosen(NULL, "/host" CGROUPFS_POD, "pod " UID ", which this runs in");
}

static void processes_beside_the_namespace_are_found_through_the_hosts_mount(void **state)
{
	(void)state;
	container(CGROUPFS_POD, ID, true);
	put("/proc/7/cgroup", "0::/../" ID_APP "\n");
	put("/proc/8/cgroup", "0::/inner\n");
	put("/proc/9/cgroup", "0::/../../../../..\n");
	chosen("pid:7", "/host" CGROUPFS_POD "/" ID_APP, "process 7");
	chosen("pid:8", "/host" CGROUPFS_POD "/" ID "/inner", "process 8");
	refused("pid:9", -ENOENT, "of process 9, is not below ");
}

/* ---- with v1 --------------------------------------------------------------------------------- */

static void hybrid(const char *v2)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "5:cpu,cpuacct:" SYSTEMD_POD "/cri-containerd-" ID ".scope\n4:memory:/\n0::%s\n",
		 v2);
	put("/proc/self/cgroup", text);
	put("/proc/self/mountinfo",
	    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" HYBRID_MOUNT);
	make_directory("/sys/fs/cgroup/unified");
	cgroup_namespace_is(INITIAL);
}

static void hybrid_takes_the_v2_directory_of_the_own_pod(void **state)
{
	(void)state;
	hybrid(SYSTEMD_POD "/cri-containerd-" ID ".scope");
	make_directory("/sys/fs/cgroup/unified" SYSTEMD_POD);
	chosen(NULL, "/sys/fs/cgroup/unified" SYSTEMD_POD, "pod " UID ", which this runs in");
}

static void hybrid_knows_the_own_pod_from_v1(void **state)
{
	(void)state;
	hybrid("/");
	put("/proc/self/cgroup", "4:memory:" CGROUPFS_POD "/" ID "\n0::/\n");
	chosen(NULL, "/sys/fs/cgroup/unified",
	       "all of the mount: pod " UID ", which this runs in, has no cgroup v2");
	make_directory("/sys/fs/cgroup/unified" CGROUPFS_POD);
	chosen(NULL, "/sys/fs/cgroup/unified" CGROUPFS_POD, "pod " UID ", which this runs in");
}

int main(void)
{
#define tree_test(function) cmocka_unit_test_setup_teardown(function, tree_make, tree_remove)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pods_are_known_by_the_names_of_their_directories),
		cmocka_unit_test(containers_are_known_by_the_names_of_their_directories),
		tree_test(a_directory_is_taken_as_it_is),
		tree_test(without_a_mount_there_is_none),
		tree_test(what_is_no_path_is_not_taken_for_one),
		tree_test(outside_of_pods_it_is_all_of_the_mount),
		tree_test(a_pod_is_found_by_its_uid),
		tree_test(both_drivers_pods_are_found),
		tree_test(a_container_is_found_by_its_id_or_the_beginning_of_it),
		tree_test(a_process_is_looked_up),
		tree_test(of_a_part_of_the_hierarchy_only_that_part_is_seen),
		tree_test(with_the_hosts_namespace_the_own_pod_is_above),
		tree_test(of_pods_in_pods_the_inner_one_is_the_own),
		tree_test(with_its_own_namespace_a_container_sees_itself_alone),
		tree_test(through_the_hosts_mount_the_own_pod_is_found),
		tree_test(the_same_with_the_other_driver),
		tree_test(processes_beside_the_namespace_are_found_through_the_hosts_mount),
		tree_test(hybrid_takes_the_v2_directory_of_the_own_pod),
		tree_test(hybrid_knows_the_own_pod_from_v1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
