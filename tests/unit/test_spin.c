/* SPDX-License-Identifier: BSD-2-Clause */
/* When to wait awake: while it helps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/spin.h"

static void only_after_a_short_wait(void **state)
{
	struct xy_spin spin = {0};

	(void)state;
	assert_false(xy_spin_due(&spin));
	xy_spin_waited(&spin, XY_SPIN_SOON_NS - 1);
	assert_true(xy_spin_due(&spin));
	xy_spin_waited(&spin, XY_SPIN_SOON_NS);
	assert_false(xy_spin_due(&spin));
	xy_spin_waited(&spin, UINT64_MAX);
	assert_false(xy_spin_due(&spin));
}

static void as_long_as_something_comes(void **state)
{
	struct xy_spin spin = {0};

	(void)state;
	xy_spin_waited(&spin, 5000);
	for (int i = 0; i < 1000; i++) {
		assert_true(xy_spin_due(&spin));
		xy_spin_tried(&spin, true);
		xy_spin_waited(&spin, 5000);
	}
}

/* Short waits that are slept through until the next attempt. */
static unsigned pause_of(struct xy_spin *spin)
{
	unsigned waits = 0;

	while (!xy_spin_due(spin))
		waits++;
	return waits;
}

static void attempts_in_vain_become_rare_and_one_that_is_not_makes_them_frequent(void **state)
{
	struct xy_spin spin = {0};

	(void)state;
	xy_spin_waited(&spin, 5000);
	for (unsigned i = 1; i <= 15; i++) {
		xy_spin_tried(&spin, false);
		assert_int_equal(pause_of(&spin), 1u << (i < 10 ? i : 10));
	}
	xy_spin_tried(&spin, true);
	assert_int_equal(pause_of(&spin), 0);
	xy_spin_tried(&spin, false);
	assert_int_equal(pause_of(&spin), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_after_a_short_wait),
		cmocka_unit_test(as_long_as_something_comes),
		cmocka_unit_test(
			attempts_in_vain_become_rare_and_one_that_is_not_makes_them_frequent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
