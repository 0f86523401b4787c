/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory budget in a container: what its cgroup allows decides. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/sandbox.h"
#include "common/status.h"

#define LIMIT (32ull << 20)

/* A memory cgroup of this test below the one that it is in, of whichever version has the
 * controller; "" = none can be made. */
static void memory_cgroup_make(char *ret_path, size_t size, char *ret_own, size_t own_size)
{
	char line[512], own[256] = "", mounted[64] = "/sys/fs/cgroup/memory", limit[32];
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool old = access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) == 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, old ? "%*d:memory:%255s" : "0::%255s", own) == 1)
			break;
	fclose(file);
	if (!old)
		snprintf(mounted, sizeof(mounted), "/sys/fs/cgroup");
	snprintf(ret_own, own_size, "%s%s", mounted, own);
	snprintf(ret_path, size, "%s/xylem-budget-%d", mounted, getpid());
	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)LIMIT);
	if (!old)
		sandbox_cgroup_put(mounted, "cgroup.subtree_control", "+memory");
	if (mkdir(ret_path, 0755) != 0 ||
	    !sandbox_cgroup_put(ret_path, old ? "memory.limit_in_bytes" : "memory.max", limit)) {
		rmdir(ret_path);
		*ret_path = '\0';
	}
}

static void test_the_default_is_half_of_the_cgroups_limit(void **state)
{
	char directory[512], own[512];
	struct proxy *proxy;

	(void)state;
	sandbox_enter(); /* first: it may be of the same hierarchy */
	memory_cgroup_make(directory, sizeof(directory), own, sizeof(own));
	if (*directory == '\0') {
		print_message("no memory cgroup can be made here\n");
		skip();
	}
	assert_true(sandbox_cgroup_put(directory, "cgroup.procs", "0"));
	proxy = proxy_start(KERNEL_PATH_OFF, NULL);
	assert_true(sandbox_cgroup_put(own, "cgroup.procs", "0"));
	assert_int_equal(status_memory(proxy, "budget"), LIMIT / 2);
	assert_int_equal(status_memory(proxy, "window"), 1 << 20);
	proxy_stop(proxy);
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_default_is_half_of_the_cgroups_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
