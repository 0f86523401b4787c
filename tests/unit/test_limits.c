/* SPDX-License-Identifier: BSD-2-Clause */
/* What a machine and its cgroups allow, as trees of files; and what a budget means. */
#include <unistd.h>

#include "base/limits.h"
#include "core/budget.h"
#include "core/server.h"
#include "unit/tree_fixture.h"

#define MIB (1ull << 20)

#define V1_MOUNT \
	"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
#define V2_MOUNT "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_NONE  "9223372036854771712\n"

/* ---- cgroups --------------------------------------------------------------------------------- */

static void without_cgroups_there_is_no_limit(void **state)
{
	(void)state;
	assert_int_equal(xy_limits_cgroup(root), XY_LIMIT_NONE);
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", "23 1 8:1 / / rw - ext4 /dev/root rw\n");
	assert_int_equal(xy_limits_cgroup(root), XY_LIMIT_NONE);
}

static void v1_takes_the_smallest_on_the_way_up(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/a/b\n0::/\n");
	put("/proc/self/mountinfo",
	    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" V1_MOUNT);
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", V1_NONE);
	put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "268435456\n");
	put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", V1_NONE);
	assert_int_equal(xy_limits_cgroup(root), 256 * MIB);
	put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "67108864\n");
	assert_int_equal(xy_limits_cgroup(root), 64 * MIB);
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "33554432\n");
	assert_int_equal(xy_limits_cgroup(root), 32 * MIB);
}

static void v1_without_any_limit_has_none(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "4:memory:/a\n");
	put("/proc/self/mountinfo", V1_MOUNT);
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", V1_NONE);
	put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", V1_NONE);
	assert_int_equal(xy_limits_cgroup(root), XY_LIMIT_NONE);
}

static void v2_takes_the_smallest_on_the_way_up(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "0::/system.slice/xylem.service\n");
	put("/proc/self/mountinfo", V2_MOUNT);
	put("/sys/fs/cgroup/system.slice/xylem.service/memory.max", "max\n");
	put("/sys/fs/cgroup/system.slice/memory.max", "134217728\n");
	assert_int_equal(xy_limits_cgroup(root), 128 * MIB);
	put("/sys/fs/cgroup/system.slice/xylem.service/memory.max", "4194304\n");
	assert_int_equal(xy_limits_cgroup(root), 4 * MIB);
	put("/sys/fs/cgroup/system.slice/xylem.service/memory.max", "max\n");
	put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
	assert_int_equal(xy_limits_cgroup(root), XY_LIMIT_NONE);
}

static void side_by_side_both_hierarchies_count(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "4:memory:/old\n1:name=systemd:/\n0::/new\n");
	put("/proc/self/mountinfo",
	    V1_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/memory/old/memory.limit_in_bytes", "67108864\n");
	assert_int_equal(xy_limits_cgroup(root), 64 * MIB);
	put("/sys/fs/cgroup/unified/new/memory.max", "33554432\n");
	assert_int_equal(xy_limits_cgroup(root), 32 * MIB);
}

/* A container sees its own directory as the top of the mount. */
static void a_mount_that_shows_a_part_is_followed_from_there(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "4:memory:/docker/1234/inner\n");
	put("/proc/self/mountinfo",
	    "35 31 0:32 /docker/1234 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
	put("/sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "67108864\n");
	assert_int_equal(xy_limits_cgroup(root), 64 * MIB);
	/* Of the like name only: not followed, but what the mount shows still holds. */
	put("/proc/self/cgroup", "4:memory:/docker/12345\n");
	assert_int_equal(xy_limits_cgroup(root), 128 * MIB);
	put("/proc/self/cgroup", "4:memory:/../other\n");
	put("/proc/self/mountinfo", V1_MOUNT);
	assert_int_equal(xy_limits_cgroup(root), 128 * MIB);
}

static void a_mount_point_may_have_blanks_in_its_name(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", "41 31 0:38 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n");
	put("/my cgroups/memory.max", "8388608\n");
	assert_int_equal(xy_limits_cgroup(root), 8 * MIB);
}

static void lines_that_make_no_sense_are_passed_over(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "\nx\n4:memory\nx:y:z\n0::/a\n");
	put("/proc/self/mountinfo", "\n - \n1 2 3 - cgroup2\n1 2 - cgroup2 x rw\n" V2_MOUNT);
	put("/sys/fs/cgroup/a/memory.max", "8388608");
	assert_int_equal(xy_limits_cgroup(root), 8 * MIB);
	put("/sys/fs/cgroup/a/memory.max", "");
	assert_int_equal(xy_limits_cgroup(root), XY_LIMIT_NONE);
}

/* ---- TCP, and the default -------------------------------------------------------------------- */

static void tcp_memory_is_the_second_of_three_counts_of_pages(void **state)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	(void)state;
	assert_int_equal(xy_limits_tcp(root), (uint64_t)sysconf(_SC_PHYS_PAGES) / 16 * page);
	put("/proc/sys/net/ipv4/tcp_mem", "1000\t2000\t4000\n");
	assert_int_equal(xy_limits_tcp(root), 2000 * page);
}

static void the_default_is_the_smaller_of_tcp_and_cgroup(void **state)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	(void)state;
	put("/proc/sys/net/ipv4/tcp_mem", "1 65536 3\n");
	assert_int_equal(xy_budget_default(root), 65536 / 4 * page);
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", V2_MOUNT);
	put("/sys/fs/cgroup/memory.max", "1099511627776\n");
	assert_int_equal(xy_budget_default(root), 65536 / 4 * page);
	put("/sys/fs/cgroup/memory.max", "67108864\n");
	assert_int_equal(xy_budget_default(root), 32 * MIB);
	put("/sys/fs/cgroup/memory.max", "1000000\n");
	assert_int_equal(xy_budget_default(root), XY_BUDGET_MIN);
}

static void window_and_socket_buffers_follow_the_budget_within_bounds(void **state)
{
	static const struct {
		uint64_t budget, window;
		uint32_t socket_buffer, pool_cached;
	} table[] = {
		{4 * MIB, 256 << 10, 32 << 10, 2},  {8 * MIB, 512 << 10, 64 << 10, 4},
		{12 * MIB, 768 << 10, 96 << 10, 6}, {16 * MIB, 1 << 20, 128 << 10, 8},
		{64 * MIB, 1 << 20, 256 << 10, 32}, {2048 * MIB, 1 << 20, 256 << 10, 64},
	};
	struct xy_budget budget = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		xy_budget_plan(&budget, table[i].budget, 2);
		assert_int_equal(budget.bytes, table[i].budget);
		assert_int_equal(budget.window, table[i].window);
		assert_int_equal(budget.socket_buffer, table[i].socket_buffer);
		assert_int_equal(budget.pool_cached, table[i].pool_cached);
	}
	xy_budget_plan(&budget, 4 * MIB, 64);
	assert_int_equal(budget.pool_cached, 1);
}

#define tree_test(function) cmocka_unit_test_setup_teardown(function, tree_make, tree_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		tree_test(without_cgroups_there_is_no_limit),
		tree_test(v1_takes_the_smallest_on_the_way_up),
		tree_test(v1_without_any_limit_has_none),
		tree_test(v2_takes_the_smallest_on_the_way_up),
		tree_test(side_by_side_both_hierarchies_count),
		tree_test(a_mount_that_shows_a_part_is_followed_from_there),
		tree_test(a_mount_point_may_have_blanks_in_its_name),
		tree_test(lines_that_make_no_sense_are_passed_over),
		tree_test(tcp_memory_is_the_second_of_three_counts_of_pages),
		tree_test(the_default_is_the_smaller_of_tcp_and_cgroup),
		cmocka_unit_test(window_and_socket_buffers_follow_the_budget_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
