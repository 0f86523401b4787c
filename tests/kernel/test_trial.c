/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The self-test of a kernel side before it attaches: it really moves messages, and leaves maps,
 * slots and the cgroup as if it had not been.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "common/footprint.h"
#include "common/kernel_env.h"
#include "common/proxy.h"
#include "common/sandbox.h"
#include "kernel/ward.h"
#include "xylem.skel.h"

static void it_tries_everything_and_leaves_no_trace(void **state)
{
	struct env *env = env_open(&(struct env_options){.trial = true});
	static const struct xy_session fresh;
	struct xy_flow_key flow;
	uint64_t endpoint;

	(void)state;
	assert_string_equal(xy_kernel_untried(env->kernel), "");
	for (uint32_t slot = 0; slot < 4; slot++)
		assert_memory_equal(xy_kernel_session(env->kernel, slot), &fresh, sizeof(fresh));
	assert_int_equal(xy_kernel_slots_free(env->kernel), xy_kernel_slots(env->kernel));
	assert_int_equal(bpf_map_get_next_key(env->kernel->claims_fd, NULL, &endpoint), -ENOENT);
	assert_int_equal(bpf_map_get_next_key(env->kernel->flows_fd, NULL, &flow), -ENOENT);
	assert_int_equal(env->control->listeners, 1);
	assert_int_equal(env->control->redirect, 1);
	assert_int_equal(env->control->sockets, 0);
	assert_int_equal(env->control->unbound, 0);
	assert_int_equal(env->control->drops, 0);
	assert_int_equal(footprint_cgroups("xylem-doctor"), 0);
	env_close(env);
}

static void lanes_work_after_it(void **state)
{
	struct env *env = env_open(&(struct env_options){.trial = true});
	struct client from, to;
	struct counts before;

	(void)state;
	client_open(env, &from);
	client_open(env, &to);
	assert_int_equal(from.slot.slot, 0);
	assert_int_equal(from.slot.generation, 1);
	assert_int_equal(env->control->sockets, 2);
	flow_to(env, &from, 5, &to);
	before = counts_of(&from);
	send_frame(&from, FRAME(.target = 5, .sequence = 1, .payload = 100));
	assert_redirected(&from, &before, 1);
	assert_int_equal(receive_frame(to.fd).sequence, 1);
	client_close(env, &from);
	client_close(env, &to);
	env_close(env);
}

/* That programs were loaded and attached once proves nothing. */
static void a_redirect_that_does_not_come_about_is_the_end_of_it(void **state)
{
	struct env *env = env_open(NULL);
	char why[256];

	(void)state;
	assert_int_equal(bpf_prog_detach2(bpf_program__fd(env->kernel->bpf->progs.client_verdict),
					  bpf_map__fd(env->kernel->bpf->maps.client_sockets),
					  BPF_SK_MSG_VERDICT),
			 0);
	assert_int_equal(xy_trial(env->kernel, sandbox_cgroup(), why, sizeof(why)), -EOPNOTSUPP);
	assert_non_null(strstr(why, "self-test of population: "));
	assert_int_equal(footprint_cgroups("xylem-doctor"), 0);
	env_end(env);
}

static void hang(struct xy_ward *ward, struct xy_finding *finding)
{
	(void)ward;
	(void)finding;
	for (;;)
		pause();
}

static void be_well(struct xy_ward *ward, struct xy_finding *finding)
{
	(void)ward;
	xy_found(finding, XY_VERDICT_OK, "well");
}

static void a_probe_that_hangs_says_no_and_those_after_it_nothing(void **state)
{
	static const struct xy_probe first = {"first", "", true, be_well},
				     second = {"second", "", true, hang},
				     third = {"third", "", true, be_well};
	static const struct xy_probe *const probes[] = {&first, &second, &third, NULL};
	static const enum xy_verdict verdicts[] = {XY_VERDICT_OK, XY_VERDICT_NO,
						   XY_VERDICT_UNTRIED};
	static const struct xy_doctor_options options;
	struct xy_ward *ward = NULL;

	(void)state;
	/* On a busy machine it takes longer to come to the second. */
	for (int ms = 500; !ward || ward->finding[1].verdict != XY_VERDICT_NO; ms *= 2) {
		xy_ward_free(ward);
		ward = xy_ward_new(&options);
		assert_non_null(ward);
		assert_true(ms < TEST_TIMEOUT_MS);
		assert_int_equal(xy_ward_run(ward, probes, false, ms), 0);
	}
	assert_int_equal(ward->findings, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ward->finding[i].verdict, verdicts[i]);
	xy_ward_free(ward);
}

static void one_lane_is_too_few_to_try(void **state)
{
	struct env *env = env_open(&(struct env_options){.trial = true, .slots = 1});

	(void)state;
	assert_string_equal(xy_kernel_untried(env->kernel), "one lane is too few to try");
	env_close(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_tries_everything_and_leaves_no_trace),
		cmocka_unit_test(lanes_work_after_it),
		cmocka_unit_test(a_redirect_that_does_not_come_about_is_the_end_of_it),
		cmocka_unit_test(a_probe_that_hangs_says_no_and_those_after_it_nothing),
		cmocka_unit_test(one_lane_is_too_few_to_try),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
