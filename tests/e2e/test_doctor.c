/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem doctor: all is well here; then it has fewer rights, or is told to end.
 */
#include "e2e/doctor_fixture.h"
#include "edge/filter.h"

/* ---- all is well ----------------------------------------------------------------------------- */

static const char *const probes[] = {"cgroup",     "programs", "memlock",    "arrays",   "ring",
				     "grace",      "pins",     "population", "redirect", "order",
				     "deadman",    "credit",   "gone",       "foreign",  "ipv6",
				     "namespaces", "memory",   "confinement"};

static void test_all_is_well_here(void **state)
{
	(void)state;
	examine(NULL, NULL);
	assert_int_equal(json_array_size(json_object_get(report, "probes")), LENGTH(probes));
	for (size_t i = 0; i + 2 < LENGTH(probes); i++)
		found(probes[i], "ok", "");
	if (XY_FILTER_BUILT)
		found("confinement", "ok", "are refused");
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

/* ---- confinement ----------------------------------------------------------------------------- */

/* Without kernel programs, which take long and are not asked about. */
static void filters_refused(void)
{
	bpf_refused();
	filter(SYS_seccomp, -1, SECCOMP_RET_ERRNO | EPERM);
}

static void drop_refused(void)
{
	bpf_refused();
	filter(SYS_capset, -1, SECCOMP_RET_ERRNO | EPERM);
}

static void drop_deadly(void)
{
	bpf_refused();
	filter(SYS_capset, -1, SECCOMP_RET_KILL_PROCESS);
}

static void root_for_good(void)
{
	bpf_refused();
	filter(SYS_setresuid, -1, SECCOMP_RET_ERRNO | EPERM);
}

static void test_what_a_proxy_cannot_give_up_is_seen(void **state)
{
	static const struct {
		void (*prepare)(void);
		const char *verdict, *words[2];
	} cases[] = {
		{filters_refused, "no", {"calls cannot be filtered: ", "allow seccomp(2)"}},
		{drop_refused, "no", {"capabilities cannot be given up: ", "--confine off"}},
		{drop_deadly, "no", {"the process that tried it died", "--confine off"}},
		{root_for_good, "degraded", {"it stays root", "CAP_SETUID"}},
		{bpf_refused, "ok", {"are refused", "are refused"}},
		{as_nobody, "ok", {"are refused", "are refused"}},
	};

	(void)state;
	if (!XY_FILTER_BUILT)
		return;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		examine(cases[i].prepare, NULL);
		for (size_t w = 0; w < LENGTH(cases[i].words); w++)
			found("confinement", cases[i].verdict, cases[i].words[w]);
		lanes("no", FAILURE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_is_well_here),
		TEST(test_the_table_says_what_the_json_says),
		TEST(test_a_signal_leaves_nothing_behind),
		TEST(test_a_signal_ends_what_hangs),
		TEST(test_the_network_of_the_caller_is_not_used),
		TEST(test_rights_that_are_missing_are_named),
		TEST(test_without_a_place_of_its_own_it_says_so),
		TEST(test_what_a_proxy_cannot_give_up_is_seen),
	};

	return doctor_tests(tests);
}
