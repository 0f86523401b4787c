/* SPDX-License-Identifier: BSD-2-Clause */
/* What serve says when it is given what cannot work, and with which status. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/command.h"
#include "common/sandbox.h"

#define NOBODY 65534

/* ---- what it runs in ------------------------------------------------------------------------- */

/* A leak check needs rights that are taken away here. */
static void no_leak_check(void)
{
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

static void as_nobody(void)
{
	no_leak_check();
	if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY)))
		_exit(126);
}

static void without_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	no_leak_check();
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	if (syscall(SYS_capset, &header, none) != 0)
		_exit(126);
}

static void descriptors_at_most(rlim_t most)
{
	const struct rlimit limit = {most, most};

	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		_exit(126);
}

static void with_64_descriptors(void)
{
	descriptors_at_most(64);
}

static void with_200_descriptors(void)
{
	descriptors_at_most(200);
}

static int unix_bind(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* ---- serve: the kernel path ------------------------------------------------------------------ */

static void test_a_cgroup_that_is_none_is_named(void **state)
{
	const char *file = file_with("file", "x", 1);
	const char *paths[] = {in_directory("missing"), file, directory_path()};
	const char *words[] = {"No such file", "Not a directory", "no cgroup v2 directory"};

	(void)state;
	for (size_t i = 0; i < LENGTH(paths); i++) {
		RUN("serve", "--listen", ANY_PORT, "--cgroup", paths[i]);
		ended(USAGE);
		SAYS("option=--cgroup", paths[i], words[i]);
		RUN("serve", "--listen", ANY_PORT, "--cgroup", paths[i], "--kernel-path", "on");
		ended(USAGE);
		SAYS("option=--cgroup", paths[i], words[i]);
	}
}

static void test_a_pod_container_or_process_that_is_none_is_named(void **state)
{
	static const char *const cases[][2] = {
		{"pod:nginx", "'nginx' is not the UID of a pod"},
		{"pod:00000000-0000-4000-8000-000000000000", "no cgroup v2 of pod 00000000-0000"},
		{"container:4be1", "'4be1' is not the id of a container (12 to 64 hexadecimal"},
		{"container:000000000000", "no cgroup v2 of container 000000000000"},
		{"pid:self", "'self' is not the number of a process"},
		{"pid:2147483647", "there is no process 2147483647"},
	};

	(void)state;
	if (sandbox_cgroup() == NULL)
		skip(); /* no cgroup v2 to look in */
	for (size_t i = 0; i < LENGTH(cases); i++) {
		RUN("serve", "--listen", ANY_PORT, "--cgroup", cases[i][0]);
		ended(USAGE);
		SAYS("option=--cgroup", cases[i][0], cases[i][1]);
	}
}

static void test_without_the_right_to_load_programs_on_refuses_and_auto_works(void **state)
{
	static void (*const prepare[])(void) = {as_nobody, without_capabilities};

	(void)state;
	for (size_t i = 0; i < LENGTH(prepare); i++) {
		run(prepare[i], STRINGS("serve", "--listen", ANY_PORT, "--kernel-path", "on"));
		ended(NO_KERNEL);
		SAYS("option=--kernel-path", "xylem doctor");
		if (sandbox_cgroup() != NULL)
			SAYS("CAP_BPF", "CAP_NET_ADMIN");
		works(start(prepare[i], STRINGS("serve", "--listen", ANY_PORT)));
		SAYS("event=kernel-path active=no why=");
	}
}

static void test_without_a_tcp_listener_there_is_no_kernel_path(void **state)
{
	char address[160];

	(void)state;
	snprintf(address, sizeof(address), "unix:%s", in_directory("only.sock"));
	RUN("serve", "--listen", address, "--kernel-path", "on");
	ended(NO_KERNEL);
	SAYS("--kernel-path", "no TCP listener");
	works(start(NULL, STRINGS("serve", "--listen", address)));
	SAYS("active=no", "no TCP listener");
}

/* ---- serve: addresses ------------------------------------------------------------------------ */

static void test_a_port_in_use_is_named(void **state)
{
	char address[32];
	int fd = port_take(address);

	(void)state;
	SERVE("--listen", address);
	ended(USAGE);
	SAYS("option=--listen", address, "Address already in use");
	close(fd);
}

static void test_a_unix_path_in_use_is_named_and_left_alone(void **state)
{
	const char *path = in_directory("used.sock");
	char address[160];
	int fd = unix_bind(path);

	(void)state;
	assert_int_equal(listen(fd, 1), 0);
	snprintf(address, sizeof(address), "unix:%s", path);
	SERVE("--listen", address);
	ended(USAGE);
	SAYS("option=--listen", path, "Address already in use");
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	unlink(path);
}

static void test_a_stale_unix_socket_is_replaced(void **state)
{
	const char *path = in_directory("stale.sock");
	struct running running;
	char address[160];

	(void)state;
	close(unix_bind(path));
	snprintf(address, sizeof(address), "unix:%s", path);
	running = start(NULL, STRINGS("serve", "--kernel-path", "off", "--listen", address));
	await(running, "event=started");
	RUN("pub", "--server", address, "a.b", "c");
	ended(OK);
	works(running);
	/* Its own is not left behind. */
	assert_int_equal(access(path, F_OK), -1);
}

static void test_a_unix_path_that_is_no_socket_is_named_and_left_alone(void **state)
{
	const char *path = file_with("precious", "content", 1);
	char address[160];
	struct stat status;

	(void)state;
	snprintf(address, sizeof(address), "unix:%s", path);
	SERVE("--listen", address);
	ended(USAGE);
	SAYS("option=--listen", path, "is no socket");
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, strlen("content"));
}

/* As on a machine that has just started. */
static void with_empty_run(void)
{
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", "/run", "tmpfs", 0, NULL) != 0)
		_exit(126);
}

static void test_a_unix_path_below_the_runtime_directory_works_at_the_first_start(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	for (size_t path = 0; path < 2; path++) {
		struct running running =
			start(with_empty_run,
			      STRINGS("serve", "--kernel-path", path ? "auto" : "off", "--listen",
				      ANY_PORT, "--listen", "unix:/run/xylem/local.sock"));

		await(running, "event=started");
		SAYS("unix:/run/xylem/local.sock");
		works(running);
	}
}

static void test_addresses_that_are_none_are_named(void **state)
{
	static const char *const bad[] = {
		"nonsense",        "127.0.0.1",        "127.0.0.1:",
		"127.0.0.1:x",     "127.0.0.1:-1",     ":7400",
		"127.0.0.1:1x",    "::1:7400",         "[::1]",
		"[::1:7400",       "127.0.0.1:99999",  "127.0.0.1:65536",
		"[zz]:7400",       "[127.0.0.1]:7400", "unix:",
		"192.0.2.77:7400", /* not of this machine */
	};
	char path[256] = "unix:";

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		SERVE("--listen", bad[i]);
		ended(USAGE);
		/* The part that is wrong, at least. */
		SAYS("--listen", bad[i][0] == '[' && bad[i][1] != ':' ? "IPv6" : bad[i]);
	}
	memset(path + 5, 'x', 120);
	SERVE("--listen", path);
	ended(USAGE);
	SAYS("--listen", "107");
	SERVE("--listen", ANY_PORT, "--listen", "nonsense");
	ended(USAGE);
	SAYS("--listen", "nonsense");
}

/* ---- serve: the rest ------------------------------------------------------------------------- */

static void test_too_few_descriptors_are_told_with_the_remedy(void **state)
{
	(void)state;
	run(with_64_descriptors, STRINGS("serve", "--kernel-path", "off", "--listen", ANY_PORT));
	ended(USAGE);
	SAYS("descriptor limit", "limit=64", "ulimit -n");
	run(with_200_descriptors, STRINGS("serve", "--kernel-path", "off", "--listen", ANY_PORT,
					  "--max-connections", "137"));
	ended(USAGE);
	SAYS("descriptor limit", "limit=200", "needed=201", "--max-connections");
	works(start(with_200_descriptors, STRINGS("serve", "--kernel-path", "off", "--listen",
						  ANY_PORT, "--max-connections", "136")));
	SAYS("connections=136");
}

static void test_an_instance_name_is_taken_once(void **state)
{
	const char *name = strrchr(directory_path(), '/') + 1;
	struct running first = LISTENING("--kernel-path", "off", "--instance", name);

	(void)state;
	await(first, "event=started");
	SERVE("--listen", ANY_PORT, "--instance", name);
	ended(USAGE);
	SAYS("option=--instance", name, "a live proxy has this name", "another name");
	/* The first one goes on, and its name is free again when it has ended. */
	RUN("status", "--instance", name, "--ready");
	ended(OK);
	works(first);
	works(LISTENING("--kernel-path", "off", "--instance", name));
	/* A crash leaves its socket and its lock; both are taken over. */
	first = LISTENING("--kernel-path", "off", "--instance", name);
	await(first, "event=started");
	kill(first.pid, SIGKILL);
	finish(first);
	works(LISTENING("--kernel-path", "off", "--instance", name));
}

static void test_instance_names_that_are_none_are_named(void **state)
{
	static const char *const bad[] = {"a/b", "..", ".hidden", "with space", "../etc", "é"};
	char name[66] = "";

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		SERVE("--listen", ANY_PORT, "--instance", bad[i]);
		ended(USAGE);
		SAYS("--instance", bad[i], "letters");
	}
	SERVE("--listen", ANY_PORT, "--instance", "");
	ended(USAGE);
	SAYS("--instance", "empty");
	memset(name, 'n', 65);
	SERVE("--listen", ANY_PORT, "--instance", name);
	ended(USAGE);
	SAYS("--instance", name);
	name[64] = '\0';
	works(LISTENING("--kernel-path", "off", "--instance", name));
}

static void test_an_admin_path_that_cannot_be_is_named(void **state)
{
	const char *file = file_with("admin-file", "x", 1), *none = in_directory("none/a.sock");

	(void)state;
	SERVE("--listen", ANY_PORT, "--admin", file);
	ended(USAGE);
	SAYS("option=--admin", file);
	SERVE("--listen", ANY_PORT, "--admin", none);
	ended(USAGE);
	SAYS("option=--admin", none);
}

static void test_values_out_of_range_are_named(void **state)
{
	static const struct {
		const char *option, *value;
	} bad[] = {
		{"--loops", "0"},
		{"--loops", "65"},
		{"--loops", "two"},
		{"--loops", "-1"},
		{"--stuck-after", "9ms"},
		{"--stuck-after", "11s"},
		{"--stuck-after", "soon"},
		{"--lanes", "0"},
		{"--lanes", "1000001"},
		{"--flows", "0"},
		{"--flows", "many"},
		{"--max-connections", "0"},
		{"--kernel-path", "maybe"},
		{"--kernel-path", ""},
		{"--kernel-path", "on|off"},
		{"--log-level", "loud"},
		{"--max-connections", "1x"},
		{"--memory-budget", "3.9M"},
		{"--memory-budget", "16MB"},
		{"--memory-budget", ""},
		{"--memory-budget", "-8M"},
		{"--memory-budget", "much"},
		{"--memory-budget", "9999999G"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		RUN("serve", "--listen", ANY_PORT, bad[i].option, bad[i].value);
		ended(USAGE);
		SAYS(bad[i].option, bad[i].value, "Try 'xylem serve --help'");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_cgroup_that_is_none_is_named),
		cmocka_unit_test(test_a_pod_container_or_process_that_is_none_is_named),
		cmocka_unit_test(test_without_the_right_to_load_programs_on_refuses_and_auto_works),
		cmocka_unit_test(test_without_a_tcp_listener_there_is_no_kernel_path),
		cmocka_unit_test(test_a_port_in_use_is_named),
		cmocka_unit_test(test_a_unix_path_in_use_is_named_and_left_alone),
		cmocka_unit_test(test_a_stale_unix_socket_is_replaced),
		cmocka_unit_test(test_a_unix_path_that_is_no_socket_is_named_and_left_alone),
		cmocka_unit_test(
			test_a_unix_path_below_the_runtime_directory_works_at_the_first_start),
		cmocka_unit_test(test_addresses_that_are_none_are_named),
		cmocka_unit_test(test_too_few_descriptors_are_told_with_the_remedy),
		cmocka_unit_test(test_an_instance_name_is_taken_once),
		cmocka_unit_test(test_instance_names_that_are_none_are_named),
		cmocka_unit_test(test_an_admin_path_that_cannot_be_is_named),
		cmocka_unit_test(test_values_out_of_range_are_named),
	};

	return cmocka_run_group_tests(tests, directory_setup, directory_teardown);
}
