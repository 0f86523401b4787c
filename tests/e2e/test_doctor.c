/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem doctor, and what serve makes of it at its start: all is well here; then one thing after the
 * other is taken away, by a real cause where there is one, else by a library that plays a broken
 * kernel (tests/preload/kernel.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mntent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "common/command.h"
#include "common/footprint.h"
#include "common/sandbox.h"

#define NOBODY       65534
#define CAPABILITIES 64
#define BIT(c)       (1ull << (c))
#define ALL          (~0ull)

/* Without its own network namespace: what a sidecar has. */
#define SIDECAR (BIT(CAP_BPF) | BIT(CAP_PERFMON) | BIT(CAP_NET_ADMIN))

/* ---- running it ------------------------------------------------------------------------------ */

static json_t *report;

static json_t *probe_of(const char *name)
{
	json_t *probe;
	size_t i;

	json_array_foreach(json_object_get(report, "probes"), i, probe)
	{
		if (strcmp(json_string_value(json_object_get(probe, "name")), name) == 0)
			return probe;
	}
	fail_msg("there is no probe %s", name);
	return NULL;
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	assert_non_null(text);
	return text;
}

/* The doctor, below the cgroup of this test. */
static void examine(void (*prepare)(void), const char *option)
{
	run(prepare, STRINGS("doctor", "--json", "--cgroup", sandbox_cgroup(), option));
	json_decref(report);
	report = json_loads(outcome.out, 0, NULL);
	if (report == NULL || outcome.err[0] != '\0') {
		show();
		fail_msg("that is no JSON, or not all");
	}
	assert_int_equal(json_integer_value(json_object_get(report, "status")), outcome.status);
}

/* That this probe says so, and in its reason or remedy, that. */
static void found(const char *name, const char *verdict, const char *words)
{
	const json_t *probe = probe_of(name);

	if (strcmp(text_of(probe, "verdict"), verdict) != 0 ||
	    (strstr(text_of(probe, "reason"), words) == NULL &&
	     strstr(text_of(probe, "remedy"), words) == NULL)) {
		show();
		fail_msg("%s is not %s: %s", name, verdict, words);
	}
	/* What is not well has a remedy. */
	assert_int_equal(*text_of(probe, "remedy") == '\0', strcmp(verdict, "ok") == 0);
}

static void lanes(const char *word, int status)
{
	assert_string_equal(text_of(report, "lanes"), word);
	ended(status);
}

/* ---- what is taken away ---------------------------------------------------------------------- */

static void prepared(bool done)
{
	if (!done)
		_exit(126);
}

/* A leak check needs rights that are taken away here. */
static void keep_capabilities(unsigned long long kept)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	prepared(syscall(SYS_capget, &header, data) == 0);
	for (int capability = 0; capability < CAPABILITIES; capability++)
		if (!(kept >> capability & 1))
			prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	for (int half = 0; half < 2; half++) {
		data[half].permitted &= (unsigned)(kept >> (32 * half));
		data[half].effective = data[half].permitted;
	}
	prepared(syscall(SYS_capset, &header, data) == 0);
}

static void as_nobody(void)
{
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	prepared(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

static void without_bpf(void)
{
	keep_capabilities(BIT(CAP_NET_ADMIN) | BIT(CAP_PERFMON));
}

static void without_net_admin(void)
{
	keep_capabilities(BIT(CAP_BPF) | BIT(CAP_PERFMON));
}

static void without_perfmon(void)
{
	keep_capabilities(BIT(CAP_NET_ADMIN) | BIT(CAP_BPF));
}

static void as_sidecar(void)
{
	keep_capabilities(SIDECAR);
}

/* This system call, if its first argument is this one (-1: any): refused, or the end. */
static void filter(long number, int argument, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)argument, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JA, argument == -1 ? 0 : 1, 0, 0),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = LENGTH(code), .filter = code};

	prepared(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		 prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void bpf_refused(void)
{
	filter(SYS_bpf, -1, SECCOMP_RET_ERRNO | EPERM);
}

static void bpf_deadly(void)
{
	filter(SYS_bpf, -1, SECCOMP_RET_KILL_PROCESS);
}

static void membarrier_refused(void)
{
	filter(SYS_membarrier, -1, SECCOMP_RET_ERRNO | EPERM);
}

static void ipv6_refused(void)
{
	filter(SYS_socket, AF_INET6, SECCOMP_RET_ERRNO | EAFNOSUPPORT);
}

/* Every mount of this type, in a mount namespace of its own. */
static void unmount(const char *type)
{
	char points[16][256];
	unsigned count = 0;
	const struct mntent *entry;
	FILE *mounts;

	prepared(unshare(CLONE_NEWNS) == 0 &&
		 mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	mounts = setmntent("/proc/self/mounts", "r");
	prepared(mounts != NULL);
	while ((entry = getmntent(mounts)) != NULL && count < LENGTH(points))
		if (strcmp(entry->mnt_type, type) == 0)
			snprintf(points[count++], sizeof(points[0]), "%s", entry->mnt_dir);
	endmntent(mounts);
	while (count-- > 0)
		umount2(points[count], MNT_DETACH);
}

static void without_cgroup2(void)
{
	unmount("cgroup2");
}

static void without_memory_cgroup(void)
{
	unmount("cgroup");
}

static void without_bpffs(void)
{
	unmount("bpf");
	filter(SYS_mount, -1, SECCOMP_RET_ERRNO | EPERM);
}

static void with_cgroups_read_only(void)
{
	prepared(unshare(CLONE_NEWNS) == 0 &&
		 mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		 mount(sandbox_cgroup(), sandbox_cgroup(), NULL, MS_BIND, NULL) == 0 &&
		 mount(NULL, sandbox_cgroup(), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
}

static void as_sidecar_with_cgroups_read_only(void)
{
	with_cgroups_read_only();
	as_sidecar();
}

static void lock_at_most(rlim_t bytes)
{
	const struct rlimit limit = {bytes, bytes};

	prepared(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	keep_capabilities(ALL & ~BIT(CAP_SYS_RESOURCE));
}

static void with_some_memlock(void)
{
	lock_at_most(3 << 20);
}

static void with_little_memlock(void)
{
	lock_at_most(32 << 10);
}

/* The library that plays a broken kernel is loaded into what starts between these two. False under
 * a sanitizer, whose own library has to be the first. */
static bool fault_begin(const char *variable, const char *word)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)variable;
	(void)word;
	return false;
#else
	char binary[PATH_MAX], library[PATH_MAX + 32];

	snprintf(binary, sizeof(binary), "%s", proxy_binary());
	snprintf(library, sizeof(library), "%s/tests/kernel.so", dirname(binary));
	assert_int_equal(access(library, R_OK), 0);
	setenv("LD_PRELOAD", library, 1);
	setenv(variable, word, 1);
	return true;
#endif
}

static void fault_end(void)
{
	unsetenv("LD_PRELOAD");
	unsetenv("XY_KERNEL_FAULT");
	unsetenv("XY_KERNEL_UNAME");
}

static int teardown(void **state)
{
	(void)state;
	fault_end();
	assert_int_equal(footprint_cgroups("xylem-doctor"), 0);
	return 0;
}

/* ---- all is well ----------------------------------------------------------------------------- */

static const char *const probes[] = {"cgroup",     "programs", "memlock",    "arrays",   "ring",
				     "grace",      "pins",     "population", "redirect", "order",
				     "deadman",    "credit",   "gone",       "foreign",  "ipv6",
				     "namespaces", "memory"};

static void test_all_is_well_here(void **state)
{
	(void)state;
	examine(NULL, NULL);
	assert_int_equal(json_array_size(json_object_get(report, "probes")), LENGTH(probes));
	for (size_t i = 0; i + 1 < LENGTH(probes); i++)
		found(probes[i], "ok", "");
	/* Where there is no such cgroup it cannot be tried, which is no fault. */
	if (strcmp(text_of(probe_of("memory"), "verdict"), "untried") != 0)
		found("memory", "ok", "ENOMEM");
	lanes("yes", OK);
}

/* Cuts a line of the table into its columns; false: it is a remedy. */
static bool row_cut(char *line, char **ret_name, char **ret_verdict, char **ret_text)
{
	*ret_text = line;
	if (line[0] == ' ') {
		*ret_text += strspn(line, " ");
		return false;
	}
	*ret_name = strsep(ret_text, " ");
	*ret_text += strspn(*ret_text, " ");
	*ret_verdict = strsep(ret_text, " ");
	*ret_text += strspn(*ret_text, " ");
	return true;
}

static void assert_table_is_report(void)
{
	json_t *object = json_object_get(report, "probes"), *probe = NULL;
	char *rest = strstr(outcome.out, "\nPROBE"), *name, *verdict, *text, *line;
	char remedy[300];
	size_t rows = 0;

	assert_non_null(rest);
	rest = strchr(rest + 1, '\n') + 1;
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		if (row_cut(line, &name, &verdict, &text)) {
			probe = json_array_get(object, rows++);
			assert_non_null(probe);
			assert_string_equal(name, text_of(probe, "name"));
			assert_string_equal(verdict, text_of(probe, "verdict"));
			assert_string_equal(text, text_of(probe, "reason"));
		} else {
			snprintf(remedy, sizeof(remedy), "remedy: %s", text_of(probe, "remedy"));
			assert_string_equal(text, remedy);
		}
	}
	assert_int_equal(rows, json_array_size(object));
	snprintf(remedy, sizeof(remedy), "Lanes: %s", text_of(report, "lanes"));
	says(rest, STRINGS(remedy));
}

static void test_the_table_says_what_the_json_says(void **state)
{
	static void (*const prepare[])(void) = {NULL, without_bpf, ipv6_refused};

	(void)state;
	for (size_t i = 0; i < LENGTH(prepare); i++) {
		int status;

		examine(prepare[i], NULL);
		status = outcome.status;
		run(prepare[i], STRINGS("doctor", "--cgroup", sandbox_cgroup()));
		ended(status);
		assert_table_is_report();
	}
}

static void test_a_signal_leaves_nothing_behind(void **state)
{
	struct running running;
	int signals[] = {SIGTERM, SIGINT};

	(void)state;
	for (size_t i = 0; i < LENGTH(signals); i++) {
		running = start(NULL, STRINGS("doctor", "--cgroup", sandbox_cgroup()));
		kill(running.pid, signals[i]);
		finish(running);
		assert_in_range(-outcome.status, 0, SIGTERM);
		assert_int_equal(footprint_cgroups("xylem-doctor"), 0);
	}
}

/* What hangs is not waited for when somebody has enough of it. */
static void test_a_signal_ends_what_hangs(void **state)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct running running;

	(void)state;
	if (!fault_begin("XY_KERNEL_FAULT", "hang"))
		return;
	running = start(NULL, STRINGS("doctor", "--cgroup", sandbox_cgroup()));
	while (footprint_cgroups("xylem-doctor") == 0 && test_now_ms() < deadline)
		poll(NULL, 0, 2);
	kill(running.pid, SIGTERM);
	finish(running);
	ended(-SIGTERM);
}

static void in_a_network_that_is_down(void)
{
	prepared(unshare(CLONE_NEWNET) == 0);
}

static void test_the_network_of_the_caller_is_not_used(void **state)
{
	(void)state;
	examine(in_a_network_that_is_down, NULL);
	found("redirect", "ok", "");
	found("namespaces", "ok", "");
	lanes("yes", OK);
}

/* ---- rights ---------------------------------------------------------------------------------- */

static void test_rights_that_are_missing_are_named(void **state)
{
	static const struct {
		void (*prepare)(void);
		const char *words;
	} cases[] = {
		{as_nobody, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"},
		{without_bpf, "CAP_BPF"},
		{without_net_admin, "CAP_NET_ADMIN"},
		{without_perfmon, "CAP_PERFMON"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		examine(cases[i].prepare, NULL);
		found("programs", "no", cases[i].words);
		found("redirect", "untried", "a probe above");
		lanes("no", FAILURE);
	}
	examine(bpf_refused, NULL);
	found("programs", "no", "seccomp");
	lanes("no", FAILURE);
}

/* With what a sidecar has, no place of its own can be made: asked for, its loopback serves. */
static void test_without_a_place_of_its_own_it_says_so(void **state)
{
	(void)state;
	examine(as_sidecar, NULL);
	found("programs", "ok", "");
	found("redirect", "untried", "--here");
	lanes("unknown", FAILURE);
	examine(as_sidecar_with_cgroups_read_only, "--here");
	found("population", "untried", "no cgroup can be made");
	found("redirect", "ok", "");
	found("order", "ok", "");
	found("credit", "ok", "");
	found("namespaces", "untried", "no network namespace");
	lanes("unknown", FAILURE);
	examine(with_cgroups_read_only, NULL);
	found("population", "untried", "Read-only");
	found("redirect", "ok", "");
	lanes("unknown", FAILURE);
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void test_without_cgroup_v2_there_are_no_lanes(void **state)
{
	(void)state;
	run(without_cgroup2, STRINGS("doctor"));
	ended(FAILURE);
	says(outcome.out, STRINGS("no cgroup v2 is mounted", "Lanes: no"));
	RUN("doctor", "--cgroup", "/tmp");
	ended(FAILURE);
	says(outcome.out, STRINGS("no cgroup v2 directory", "Lanes: no"));
}

/* An agent that tolerates no other on its cgroup. */
static void test_an_agent_that_is_alone_on_the_cgroup_is_seen(void **state)
{
	static const struct bpf_insn idle[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int cgroup = open(sandbox_cgroup(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int program =
		bpf_prog_load(BPF_PROG_TYPE_SOCK_OPS, "alone", "GPL", idle, LENGTH(idle), NULL);

	(void)state;
	assert_true(cgroup >= 0 && program >= 0);
	assert_int_equal(bpf_prog_attach(program, cgroup, BPF_CGROUP_SOCK_OPS, 0), 0);
	examine(NULL, NULL);
	assert_int_equal(bpf_prog_detach2(program, cgroup, BPF_CGROUP_SOCK_OPS), 0);
	found("cgroup", "no", "allows no second one");
	found("cgroup", "no", "BPF_F_ALLOW_MULTI");
	found("population", "no", "cannot attach");
	lanes("no", FAILURE);
	assert_int_equal(bpf_prog_attach(program, cgroup, BPF_CGROUP_SOCK_OPS, BPF_F_ALLOW_MULTI),
			 0);
	examine(NULL, NULL);
	assert_int_equal(bpf_prog_detach2(program, cgroup, BPF_CGROUP_SOCK_OPS), 0);
	found("cgroup", "ok", "1 sock_ops program is attached to it already");
	lanes("yes", OK);
	close(program);
	close(cgroup);
}

static void test_what_lanes_can_do_without_degrades(void **state)
{
	(void)state;
	examine(without_bpffs, NULL);
	found("pins", "degraded", "no bpffs");
	lanes("yes", FAILURE);
	examine(ipv6_refused, NULL);
	found("ipv6", "degraded", "::1");
	lanes("yes", FAILURE);
	examine(membarrier_refused, NULL);
	found("grace", "ok", "map in a map");
	lanes("yes", OK);
	examine(without_memory_cgroup, NULL);
	found("memory", "untried", "no memory cgroup");
	lanes("yes", OK);
}

/* Before 5.11 by a real cause; later kernels charge maps to cgroups. */
static void test_a_low_memlock_limit_costs_lanes_where_maps_are_charged(void **state)
{
	const char *charged = "maps are charged";

	(void)state;
	examine(with_some_memlock, NULL);
	if (strstr(text_of(probe_of("memlock"), "reason"), charged) == NULL) {
		found("memlock", "ok", "4096 of 4096 lanes");
		lanes("yes", OK);
		return;
	}
	found("memlock", "degraded", charged);
	lanes("yes", FAILURE);
	examine(with_little_memlock, NULL);
	found("memlock", "no", "RLIMIT_MEMLOCK");
	found("programs", "no", "RLIMIT_MEMLOCK");
	lanes("no", FAILURE);
}

/* ---- a broken kernel ------------------------------------------------------------------------- */

static void test_a_broken_kernel_is_found_out(void **state)
{
	static const struct {
		const char *fault, *probe, *verdict, *words;
		void (*prepare)(void);
		const char *lanes;
	} cases[] = {
		{"arrays", "arrays", "no", "cannot be mapped", NULL, "no"},
		{"ring", "ring", "no", "ring buffer", NULL, "no"},
		{"grace", "grace", "no", "no way to wait", membarrier_refused, "no"},
		{"attach", "population", "no", "cannot attach", NULL, "no"},
		{"flip=65536", "redirect", "no", "not what was sent", NULL, "no"},
		{"order", "order", "no", "not what was sent", NULL, "no"},
		{"flip=1000", "deadman", "no", "not what was sent", NULL, "no"},
		{"flip=32768", "credit", "no", "not what was sent", NULL, "no"},
		{"gone", "gone", "no", "redirected what it had to leave", NULL, "no"},
		{"foreign", "foreign", "no", "not refused", NULL, "no"},
		{"namespaces", "namespaces", "untried", "No space", NULL, "yes"},
		{"flip=50000", "memory", "no", "not what was sent", NULL, "no"},
		{"crash", "redirect", "no", "did not come to its end", NULL, "no"},
		{"crash", "order", "untried", "a probe above", NULL, "no"},
		{"place", "cgroup", "untried", "", NULL, "unknown"},
		{"memlock", "memlock", "degraded", "2048 of 4096 lanes", with_some_memlock, "yes"},
		{"memlock", "memlock", "no", "RLIMIT_MEMLOCK", with_little_memlock, "no"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		if (!fault_begin("XY_KERNEL_FAULT", cases[i].fault))
			return;
		examine(cases[i].prepare, NULL);
		fault_end();
		if (strcmp(cases[i].probe, "memory") == 0 &&
		    strcmp(text_of(probe_of("memory"), "verdict"), "untried") == 0)
			continue;
		found(cases[i].probe, cases[i].verdict, cases[i].words);
		lanes(cases[i].lanes, strcmp(cases[i].probe, "namespaces") == 0 ? OK : FAILURE);
	}
}

static void test_a_kernel_with_known_bugs_is_warned_of(void **state)
{
	static const struct {
		const char *uname, *warning;
	} cases[] = {
		{"5.10.0-30-cloud-amd64|#1 SMP Debian 5.10.218-1 (2024-06-01)",
		 "Linux 5.10.218 is older than 5.10.265"},
		{"5.10.0-99-amd64|#1 SMP Debian 5.10.265-1 (2026-06-01)", NULL},
		{"6.12.113|#1", "Linux 6.12.113 is older than 6.12.114"},
		{"6.12.114|#1", NULL},
		{"6.19.2|#1", NULL},
		{"4.19.300|#1", "Linux 4.19.300 is older than 5.10"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		const json_t *warnings;

		if (!fault_begin("XY_KERNEL_UNAME", cases[i].uname))
			return;
		/* The first one all the way: it warns, and changes nothing. */
		examine(i > 0 ? bpf_refused : NULL, NULL);
		fault_end();
		if (i == 0)
			lanes("yes", OK);
		warnings = json_object_get(report, "warnings");
		assert_int_equal(json_array_size(warnings), cases[i].warning != NULL);
		if (cases[i].warning != NULL)
			says(json_string_value(json_array_get(warnings, 0)),
			     STRINGS(cases[i].warning));
	}
}

/* ---- serve ----------------------------------------------------------------------------------- */

static void test_serve_tries_its_lanes_and_says_so(void **state)
{
	(void)state;
	works(LISTENING("--cgroup", sandbox_cgroup()));
	SAYS("event=kernel-path active=yes", "tested=yes");
	assert_int_equal(footprint_cgroups("xylem-doctor"), 0);
	works(LISTENING("--cgroup", sandbox_cgroup(), "--lanes", "1"));
	SAYS("event=kernel-path active=yes", "untested=\"one lane is too few to try\"");
	works(start(as_sidecar_with_cgroups_read_only,
		    STRINGS("serve", "--listen", ANY_PORT, "--cgroup", sandbox_cgroup(),
			    "--kernel-path", "on")));
	SAYS("event=kernel-path active=yes", "untested=\"population: no cgroup can be made");
}

static void test_serve_without_working_lanes_refuses_or_goes_on_without(void **state)
{
	(void)state;
	if (!fault_begin("XY_KERNEL_FAULT", "flip=65536"))
		return;
	RUN("serve", "--listen", ANY_PORT, "--cgroup", sandbox_cgroup(), "--kernel-path", "on");
	ended(NO_KERNEL);
	SAYS("option=--kernel-path", "self-test of redirect", "xylem doctor");
	works(LISTENING("--cgroup", sandbox_cgroup()));
	SAYS("event=kernel-path active=no", "self-test of redirect", "xylem doctor");
	fault_end();
	/* Killed by somebody: that says nothing of the kernel. */
	fault_begin("XY_KERNEL_FAULT", "place");
	works(LISTENING("--cgroup", sandbox_cgroup()));
	SAYS("event=kernel-path active=yes", "untested=\"population: ");
}

static void test_serve_without_a_kernel_path_never_asks_for_bpf(void **state)
{
	(void)state;
	works(start(bpf_deadly, STRINGS("serve", "--listen", ANY_PORT, "--kernel-path", "off")));
	/* The filter is one: with lanes it is the end. */
	run(bpf_deadly, STRINGS("serve", "--listen", ANY_PORT));
	ended(-SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_all_is_well_here, teardown),
		cmocka_unit_test_teardown(test_the_table_says_what_the_json_says, teardown),
		cmocka_unit_test_teardown(test_a_signal_leaves_nothing_behind, teardown),
		cmocka_unit_test_teardown(test_a_signal_ends_what_hangs, teardown),
		cmocka_unit_test_teardown(test_the_network_of_the_caller_is_not_used, teardown),
		cmocka_unit_test_teardown(test_rights_that_are_missing_are_named, teardown),
		cmocka_unit_test_teardown(test_without_a_place_of_its_own_it_says_so, teardown),
		cmocka_unit_test_teardown(test_without_cgroup_v2_there_are_no_lanes, teardown),
		cmocka_unit_test_teardown(test_an_agent_that_is_alone_on_the_cgroup_is_seen,
					  teardown),
		cmocka_unit_test_teardown(test_what_lanes_can_do_without_degrades, teardown),
		cmocka_unit_test_teardown(
			test_a_low_memlock_limit_costs_lanes_where_maps_are_charged, teardown),
		cmocka_unit_test_teardown(test_a_broken_kernel_is_found_out, teardown),
		cmocka_unit_test_teardown(test_a_kernel_with_known_bugs_is_warned_of, teardown),
		cmocka_unit_test_teardown(test_serve_tries_its_lanes_and_says_so, teardown),
		cmocka_unit_test_teardown(
			test_serve_without_working_lanes_refuses_or_goes_on_without, teardown),
		cmocka_unit_test_teardown(test_serve_without_a_kernel_path_never_asks_for_bpf,
					  teardown),
	};
	const char *missing = sandbox_enter();
	int failures;

	if (missing != NULL) {
		print_message("skipped: %s\n", missing);
		return 77;
	}
	failures = cmocka_run_group_tests(tests, NULL, NULL);
	json_decref(report);
	return failures;
}
