/* SPDX-License-Identifier: BSD-2-Clause */
/* A loop, and what happened on it in which order. */
#ifndef XY_TESTS_LOOP_FIXTURE_H
#define XY_TESTS_LOOP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "io/loop.h"

#define ORDER_MAX 64

static struct xy_loop *loop;
static int order[ORDER_MAX];
static unsigned happened;

static inline int setup(void **state)
{
	const struct xy_loop_options options = {.name = "test"};

	(void)state;
	happened = 0;
	return xy_loop_new(&options, &loop);
}

static inline int teardown(void **state)
{
	(void)state;
	xy_loop_free(loop);
	return 0;
}

static inline void happen(int what)
{
	assert_true(happened < ORDER_MAX);
	order[happened++] = what;
}

static inline void assert_order(const int *expected, unsigned count)
{
	assert_int_equal(happened, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(order[i], expected[i]);
}

#define ASSERT_ORDER(...) \
	assert_order((const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

struct numbered {
	struct xy_task task;
	int number;
	unsigned again;
};

static inline void numbered_run(struct xy_task *task)
{
	struct numbered *numbered = xy_container_of(task, struct numbered, task);

	happen(numbered->number);
	if (numbered->again > 0) {
		numbered->again--;
		xy_loop_post(loop, task);
	}
}

struct clocked {
	struct xy_timer timer;
	int number;
	uint64_t earliest_ms;
	struct clocked *stops; /* stopped when this one expires */
	bool last;
};

static inline void clocked_expired(struct xy_timer *timer)
{
	struct clocked *clocked = xy_container_of(timer, struct clocked, timer);

	assert_false(xy_timer_active(timer));
	assert_true(xy_loop_now_ms(loop) >= clocked->earliest_ms);
	happen(clocked->number);
	if (clocked->stops)
		xy_timer_stop(&clocked->stops->timer);
	if (clocked->last)
		xy_loop_stop(loop);
}

static inline void clocked_start(struct clocked *clocked, int number, uint64_t delay_ms)
{
	clocked->timer.expired = clocked_expired;
	clocked->number = number;
	clocked->earliest_ms = xy_loop_now_ms(loop) + delay_ms;
	xy_timer_start(loop, &clocked->timer, delay_ms);
}

static inline void loop_with_turn_end(bool (*turn_end)(struct xy_loop *loop, void *context),
				      void *context)
{
	const struct xy_loop_options options = {
		.name = "test", .turn_end = turn_end, .context = context};

	xy_loop_free(loop);
	assert_int_equal(xy_loop_new(&options, &loop), 0);
}

static inline void *run_loop(void *argument)
{
	xy_loop_run(argument);
	return NULL;
}

static inline void one_round(void)
{
	xy_loop_stop(loop);
	assert_int_equal(xy_loop_run(loop), 0);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
