/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Running the doctor, and taking one thing after the other away from it: by a real cause where
 * there is one, else by a library that plays a broken kernel (tests/preload/kernel.c).
 */
#ifndef TEST_DOCTOR_FIXTURE_H
#define TEST_DOCTOR_FIXTURE_H

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

static inline json_t *probe_of(const char *name)
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
static inline void examine(void (*prepare)(void), const char *option)
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
static inline void found(const char *name, const char *verdict, const char *words)
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

static inline void lanes(const char *word, int status)
{
	assert_string_equal(text_of(report, "lanes"), word);
	ended(status);
}

/* ---- what is taken away ---------------------------------------------------------------------- */

static inline void prepared(bool done)
{
	if (!done)
		_exit(126);
}

/* A leak check needs rights that are taken away here. */
static inline void keep_capabilities(unsigned long long kept)
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

static inline void as_nobody(void)
{
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	prepared(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

static inline void without_bpf(void)
{
	keep_capabilities(BIT(CAP_NET_ADMIN) | BIT(CAP_PERFMON));
}

static inline void without_net_admin(void)
{
	keep_capabilities(BIT(CAP_BPF) | BIT(CAP_PERFMON));
}

static inline void without_perfmon(void)
{
	keep_capabilities(BIT(CAP_NET_ADMIN) | BIT(CAP_BPF));
}

static inline void as_sidecar(void)
{
	keep_capabilities(SIDECAR);
}

/* This system call, if its first argument is this one (-1: any): refused, or the end. */
static inline void filter(long number, int argument, unsigned action)
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

static inline void bpf_refused(void)
{
	filter(SYS_bpf, -1, SECCOMP_RET_ERRNO | EPERM);
}

static inline void bpf_deadly(void)
{
	filter(SYS_bpf, -1, SECCOMP_RET_KILL_PROCESS);
}

static inline void membarrier_refused(void)
{
	filter(SYS_membarrier, -1, SECCOMP_RET_ERRNO | EPERM);
}

static inline void ipv6_refused(void)
{
	filter(SYS_socket, AF_INET6, SECCOMP_RET_ERRNO | EAFNOSUPPORT);
}

/* Every mount of this type, in a mount namespace of its own. */
static inline void unmount(const char *type)
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

static inline void without_cgroup2(void)
{
	unmount("cgroup2");
}

static inline void without_memory_cgroup(void)
{
	unmount("cgroup");
}

static inline void without_bpffs(void)
{
	unmount("bpf");
	filter(SYS_mount, -1, SECCOMP_RET_ERRNO | EPERM);
}

static inline void with_cgroups_read_only(void)
{
	prepared(unshare(CLONE_NEWNS) == 0 &&
		 mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		 mount(sandbox_cgroup(), sandbox_cgroup(), NULL, MS_BIND, NULL) == 0 &&
		 mount(NULL, sandbox_cgroup(), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
}

static inline void as_sidecar_with_cgroups_read_only(void)
{
	with_cgroups_read_only();
	as_sidecar();
}

static inline void lock_at_most(rlim_t bytes)
{
	const struct rlimit limit = {bytes, bytes};

	prepared(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	keep_capabilities(ALL & ~BIT(CAP_SYS_RESOURCE));
}

static inline void with_some_memlock(void)
{
	lock_at_most(3 << 20);
}

static inline void with_little_memlock(void)
{
	lock_at_most(32 << 10);
}

/* The library that plays a broken kernel is loaded into what starts between these two. False under
 * a sanitizer, whose own library has to be the first. */
static inline bool fault_begin(const char *variable, const char *word)
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

static inline void fault_end(void)
{
	unsetenv("LD_PRELOAD");
	unsetenv("XY_KERNEL_FAULT");
	unsetenv("XY_KERNEL_UNAME");
}

static inline int teardown(void **state)
{
	(void)state;
	fault_end();
	assert_int_equal(footprint_cgroups("xylem-doctor"), 0);
	return 0;
}

#define TEST(function)      cmocka_unit_test_teardown(function, teardown)
#define doctor_tests(tests) doctor_run_tests(#tests, tests, LENGTH(tests))

static inline int doctor_run_tests(const char *name, const struct CMUnitTest *tests, size_t count)
{
	const char *missing = sandbox_enter();
	int failures;

	if (missing != NULL) {
		print_message("skipped: %s\n", missing);
		return 77;
	}
	failures = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
	json_decref(report);
	return failures;
}

#endif
