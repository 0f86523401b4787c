/* SPDX-License-Identifier: BSD-2-Clause */
/* How many loops there are when nobody says it. */
#include <sched.h>

#include "common/proxy.h"
#include "common/status.h"

static void test_there_are_as_many_loops_as_cores_that_may_be_used(void **state)
{
	cpu_set_t all, one;
	struct proxy *proxy;
	json_t *status;
	int cpu = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	proxy = proxy_start(KERNEL_PATH_OFF, NULL);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	status = status_take(proxy);
	/* The router's, the acceptor's and main's are not among them. */
	assert_non_null(status_loop(status, "loop-0"));
	assert_null(status_loop(status, "loop-1"));
	json_decref(status);
	proxy_stop(proxy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_are_as_many_loops_as_cores_that_may_be_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
