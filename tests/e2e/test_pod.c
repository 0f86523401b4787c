/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attached to a pod: its clients have lanes, others work without.
 *
 * The pod is a tree of cgroups with the names that the kubelet would give them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/sandbox.h"
#include "common/status.h"

static char uid[64], id[80], besteffort[512], pod[512], container[512];

static void make(char *path, const char *below, const char *format, const char *argument)
{
	int length = snprintf(path, 512, "%s/", below);

	snprintf(path + length, 512 - (size_t)length, format, argument);
	assert_int_equal(mkdir(path, 0755), 0);
}

static int pod_make(void **state)
{
	static const char hex[] = "0123456789abcdef";
	char slice[64];
	uint64_t random;

	(void)state;
	if (sandbox_enter() != NULL)
		return 0;
	assert_int_equal(xy_random_id(&random), 0);
	snprintf(uid, sizeof(uid), "%08x-0000-4000-8000-%012llx", getpid(),
		 (unsigned long long)random & 0xffffffffffff);
	snprintf(slice, sizeof(slice), "%s", uid);
	for (char *at = slice; (at = strchr(at, '-')) != NULL;)
		*at = '_';
	for (size_t i = 0; i < 64; i++)
		id[i] = hex[(random >> (i % 16 * 4)) & 15];
	make(besteffort, sandbox_cgroup(), "kubepods-besteffort%s", ".slice");
	make(pod, besteffort, "kubepods-besteffort-pod%s.slice", slice);
	make(container, pod, "cri-containerd-%s.scope", id);
	return 0;
}

static void move(const char *directory)
{
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "0", 1), 1);
	close(fd);
}

static int pod_remove(void **state)
{
	(void)state;
	if (sandbox_cgroup() == NULL)
		return 0;
	move(sandbox_cgroup());
	return rmdir(container) | rmdir(pod) | rmdir(besteffort);
}

/* Whether a client that connects now gets a lane. */
static bool gets_lane(const struct proxy *proxy)
{
	struct raw *raw = raw_connect(proxy);
	bool lane;

	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	lane = raw->lane;
	raw_leave(raw);
	return lane;
}

static struct proxy *attached_to(const char *form, const char *argument)
{
	static char text[128];
	static const char *arguments[] = {"--cgroup", text, NULL};
	struct proxy *proxy;

	snprintf(text, sizeof(text), "%s:%s", form, argument);
	proxy = proxy_start(KERNEL_PATH_ON, arguments);
	if (proxy == NULL)
		skip();
	return proxy;
}

static void says_cgroup(const struct proxy *proxy, const char *directory, const char *why)
{
	json_t *status = status_take(proxy), *path = json_object_get(status, "kernel_path");
	char line[1024];

	assert_string_equal(json_string_value(json_object_get(path, "cgroup")), directory);
	assert_string_equal(json_string_value(json_object_get(path, "cgroup_why")), why);
	json_decref(status);
	snprintf(line, sizeof(line), "event=kernel-path active=yes cgroup=%s why=\"%s\"", directory,
		 why);
	assert_int_equal(proxy_logged(proxy, line), 1);
}

static void test_a_pods_processes_get_lanes_and_no_others(void **state)
{
	struct proxy *proxy = attached_to("pod", uid);
	char why[128];

	(void)state;
	snprintf(why, sizeof(why), "pod %s", uid);
	says_cgroup(proxy, pod, why);
	assert_false(gets_lane(proxy));
	move(container);
	assert_true(gets_lane(proxy));
	move(sandbox_cgroup());
	assert_false(gets_lane(proxy));
	proxy_stop(proxy);
}

static void test_a_containers_processes_get_lanes_and_not_their_pods(void **state)
{
	struct proxy *proxy = attached_to("container", id);
	char why[128];

	(void)state;
	snprintf(why, sizeof(why), "container %s", id);
	says_cgroup(proxy, container, why);
	move(pod);
	assert_false(gets_lane(proxy));
	move(container);
	assert_true(gets_lane(proxy));
	move(sandbox_cgroup());
	proxy_stop(proxy);
}

static void test_those_beside_a_process_get_lanes(void **state)
{
	struct proxy *proxy;
	char number[16];

	(void)state;
	if (sandbox_cgroup() == NULL)
		skip();
	move(pod);
	snprintf(number, sizeof(number), "%d", getpid());
	proxy = attached_to("pid", number);
	assert_true(gets_lane(proxy));
	move(sandbox_cgroup());
	assert_false(gets_lane(proxy));
	proxy_stop(proxy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pods_processes_get_lanes_and_no_others),
		cmocka_unit_test(test_a_containers_processes_get_lanes_and_not_their_pods),
		cmocka_unit_test(test_those_beside_a_process_get_lanes),
	};

	return cmocka_run_group_tests(tests, pod_make, pod_remove);
}
