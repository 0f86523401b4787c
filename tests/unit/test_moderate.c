/* SPDX-License-Identifier: BSD-2-Clause */
/* When one that is woken very often should sleep for a moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/moderate.h"

#define MS 1000000ull

struct one {
	struct xy_moderator moderator;
	struct xy_traffic traffic;
	uint64_t now;
};

/* A millisecond with so much traffic. */
static bool passes(struct one *one, unsigned wakes, unsigned messages, unsigned bytes)
{
	one->traffic.wakes += wakes;
	one->traffic.messages += messages;
	one->traffic.bytes += bytes;
	one->now += MS;
	return xy_moderate(&one->moderator, &one->traffic, one->now);
}

static struct one begun(void)
{
	struct one one = {.now = 1000 * MS};

	assert_false(passes(&one, 1, 1, 100));
	return one;
}

static void many_wake_ups_begin_it_and_few_do_not(void **state)
{
	struct one one = begun();

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_false(passes(&one, 29, 1000, 1000));
	assert_true(passes(&one, 30, 30, 1000));
}

static void it_goes_on_while_several_messages_come_at_a_time(void **state)
{
	struct one one = begun();

	(void)state;
	assert_true(passes(&one, 100, 100, 1000));
	for (int i = 0; i < 1000; i++)
		assert_true(passes(&one, 20, 60, 1000));
	assert_false(passes(&one, 20, 59, 1000));
}

/* Milliseconds of many wake-ups until it tries again, after an attempt that brought nothing. */
static unsigned pause_of(struct one *one)
{
	unsigned passed = 0;

	assert_false(passes(one, 20, 20, 1000));
	while (!passes(one, 40, 40, 1000))
		passed++;
	return passed;
}

static void attempts_that_bring_nothing_become_rare_until_one_brings_something(void **state)
{
	static const unsigned expected[] = {1, 3, 7, 15, 31, 63, 64, 64};
	struct one one = begun();

	(void)state;
	assert_true(passes(&one, 40, 40, 1000));
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(pause_of(&one), expected[i]);
	assert_true(passes(&one, 20, 100, 1000));
	assert_int_equal(pause_of(&one), 1);
}

static void one_that_sends_is_let_alone(void **state)
{
	struct one one = begun();

	(void)state;
	one.traffic.sent++;
	assert_false(passes(&one, 100, 100, 1000));
	assert_true(passes(&one, 100, 100, 1000));
	one.traffic.sent++;
	assert_false(passes(&one, 100, 100, 1000));
}

static void so_is_one_whose_buffers_might_fill(void **state)
{
	struct one one = begun();

	(void)state;
	assert_false(passes(&one, 100, 100, 256 << 10));
	assert_true(passes(&one, 100, 100, (256 << 10) - 1));
	assert_false(passes(&one, 100, 100, 256 << 10));
}

static void nothing_changes_within_a_millisecond_and_long_ones_say_nothing(void **state)
{
	struct one one = begun();

	(void)state;
	assert_true(passes(&one, 100, 100, 1000));
	one.now++;
	assert_true(xy_moderate(&one.moderator, &one.traffic, one.now));
	one.traffic.wakes += 100000;
	one.traffic.messages += 100000;
	one.now += 10 * MS;
	assert_false(xy_moderate(&one.moderator, &one.traffic, one.now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_wake_ups_begin_it_and_few_do_not),
		cmocka_unit_test(it_goes_on_while_several_messages_come_at_a_time),
		cmocka_unit_test(
			attempts_that_bring_nothing_become_rare_until_one_brings_something),
		cmocka_unit_test(one_that_sends_is_let_alone),
		cmocka_unit_test(so_is_one_whose_buffers_might_fill),
		cmocka_unit_test(nothing_changes_within_a_millisecond_and_long_ones_say_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
