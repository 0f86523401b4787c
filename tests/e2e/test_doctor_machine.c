/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem doctor, and what serve makes of it at its start, on a machine that lacks one thing after
 * the other, or whose kernel is broken.
 */
#include "e2e/doctor_fixture.h"

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
		TEST(test_without_cgroup_v2_there_are_no_lanes),
		TEST(test_an_agent_that_is_alone_on_the_cgroup_is_seen),
		TEST(test_what_lanes_can_do_without_degrades),
		TEST(test_a_low_memlock_limit_costs_lanes_where_maps_are_charged),
		TEST(test_a_broken_kernel_is_found_out),
		TEST(test_a_kernel_with_known_bugs_is_warned_of),
		TEST(test_serve_tries_its_lanes_and_says_so),
		TEST(test_serve_without_working_lanes_refuses_or_goes_on_without),
		TEST(test_serve_without_a_kernel_path_never_asks_for_bpf),
	};

	return doctor_tests(tests);
}
