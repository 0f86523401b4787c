/* SPDX-License-Identifier: BSD-2-Clause */
/* The event loop: timers, watches and rounds. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "unit/loop_fixture.h"

/* ---- timers -------------------------------------------------------------------------------- */

static void timers_expire_in_order_of_time_then_of_start(void **state)
{
	/* Over the borders of the wheel's levels, at 64 ms. */
	static const uint64_t delays[] = {150, 3, 70, 3, 0, 64, 63, 65, 150, 1, 0, 3};
	struct clocked timers[XY_ARRAY_SIZE(delays)] = {0};

	(void)state;
	for (unsigned i = 0; i < XY_ARRAY_SIZE(delays); i++)
		clocked_start(&timers[i], (int)i, delays[i]);
	timers[8].last = true;
	assert_int_equal(xy_loop_run(loop), 0);
	ASSERT_ORDER(4, 10, 9, 1, 3, 11, 6, 5, 7, 2, 0, 8);
}

static void restarted_timer_expires_once_at_the_new_time(void **state)
{
	struct clocked a = {0}, b = {.last = true};

	(void)state;
	clocked_start(&a, 1, 1);
	clocked_start(&b, 2, 30);
	clocked_start(&a, 1, 20);
	assert_int_equal(xy_loop_run(loop), 0);
	ASSERT_ORDER(1, 2);
}

static void stopped_timer_does_not_expire(void **state)
{
	struct clocked a = {0}, b = {.last = true};

	(void)state;
	clocked_start(&a, 1, 1);
	clocked_start(&b, 2, 10);
	assert_true(xy_timer_active(&a.timer));
	xy_timer_stop(&a.timer);
	xy_timer_stop(&a.timer);
	assert_false(xy_timer_active(&a.timer));
	assert_int_equal(xy_loop_run(loop), 0);
	ASSERT_ORDER(2);
}

static void timer_stops_another_that_is_due_with_it(void **state)
{
	struct clocked a = {0}, b = {0}, c = {.last = true};

	(void)state;
	clocked_start(&a, 1, 5);
	clocked_start(&b, 2, 5);
	clocked_start(&c, 3, 5);
	a.stops = &b;
	assert_int_equal(xy_loop_run(loop), 0);
	ASSERT_ORDER(1, 3);
}

static void restarts_at_once(struct xy_timer *timer)
{
	happen(1);
	if (happened < 10)
		xy_timer_start(loop, timer, 0);
	else
		xy_loop_stop(loop);
}

static void timer_without_delay_lets_other_rounds_through(void **state)
{
	struct xy_timer timer = {.expired = restarts_at_once};

	(void)state;
	xy_timer_start(loop, &timer, 0);
	assert_int_equal(xy_loop_run(loop), 0);
	assert_true(xy_loop_rounds(loop) >= 10);
}

static void far_timers_are_held_and_let_go_with_the_loop(void **state)
{
	static const uint64_t delays[] = {1ull << 12, 1ull << 30, 1ull << 50, UINT64_MAX};
	struct clocked timers[XY_ARRAY_SIZE(delays)] = {0};
	struct clocked near = {.last = true};

	for (unsigned i = 0; i < XY_ARRAY_SIZE(delays); i++)
		clocked_start(&timers[i], 9, delays[i]);
	clocked_start(&near, 1, 1);
	assert_int_equal(xy_loop_run(loop), 0);
	ASSERT_ORDER(1);
	teardown(state);
	for (unsigned i = 0; i < XY_ARRAY_SIZE(delays); i++)
		assert_false(xy_timer_active(&timers[i].timer));
	assert_int_equal(setup(state), 0);
}

/* ---- watches ------------------------------------------------------------------------------- */

struct watched {
	struct xy_watch watch;
	int number;
	struct watched
		*removes; /* unwatched (and freed, when on the heap) when this one is ready */
	bool frees;
};

static void watched_ready(struct xy_watch *watch, uint32_t events)
{
	struct watched *watched = xy_container_of(watch, struct watched, watch);
	struct watched *removed = watched->removes;
	bool frees = watched->frees;

	assert_true(events & EPOLLIN);
	happen(watched->number);
	watched->removes = NULL;
	if (removed) {
		int fd = removed->watch.fd;

		xy_loop_unwatch(loop, &removed->watch);
		close(fd);
		if (frees)
			free(removed);
	}
}

static struct watched *watched_new(int number)
{
	struct watched *watched = calloc(1, sizeof(*watched));

	assert_non_null(watched);
	watched->number = number;
	watched->watch.name = "watched";
	watched->watch.ready = watched_ready;
	watched->watch.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(watched->watch.fd >= 0);
	assert_int_equal(xy_loop_watch(loop, &watched->watch, EPOLLIN), 0);
	return watched;
}

static void watched_free(struct watched *watched)
{
	xy_loop_unwatch(loop, &watched->watch);
	close(watched->watch.fd);
	free(watched);
}

static void readiness_is_reported_until_it_is_gone(void **state)
{
	struct watched *a = watched_new(1);
	uint64_t value;

	(void)state;
	one_round();
	one_round();
	assert_int_equal(read(a->watch.fd, &value, sizeof(value)), sizeof(value));
	one_round();
	ASSERT_ORDER(1, 1);
	watched_free(a);
}

static void fetched_event_of_a_watch_removed_by_another_is_not_delivered(void **state)
{
	struct watched *a = watched_new(1), *b = watched_new(2);

	(void)state;
	/* Whichever comes first removes and frees the other. */
	a->removes = b;
	b->removes = a;
	a->frees = b->frees = true;
	one_round();
	one_round();
	assert_int_equal(happened, 2);
	assert_int_equal(order[0], order[1]);
	watched_free(order[0] == 1 ? a : b);
}

static void watch_may_remove_and_free_itself(void **state)
{
	struct watched *a = watched_new(1);

	(void)state;
	a->removes = a;
	a->frees = true;
	one_round();
	one_round();
	ASSERT_ORDER(1);
}

static struct watched *pair[2];

static void mute_other_ready(struct xy_watch *watch, uint32_t events)
{
	struct watched *watched = xy_container_of(watch, struct watched, watch);

	(void)events;
	happen(watched->number);
	assert_int_equal(xy_loop_rewatch(loop, &pair[1 - watched->number]->watch, 0), 0);
}

static void replace_other_ready(struct xy_watch *watch, uint32_t events)
{
	struct watched *watched = xy_container_of(watch, struct watched, watch);
	struct watched *other = pair[1 - watched->number];

	(void)events;
	happen(watched->number);
	xy_loop_unwatch(loop, &other->watch);
	close(other->watch.fd);
	/* The same memory and the same number, with nothing to read. */
	other->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(xy_loop_watch(loop, &other->watch, EPOLLIN), 0);
}

static void watch_used_anew_in_the_same_round_gets_no_old_event(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		pair[i] = watched_new(i);
		pair[i]->watch.ready = replace_other_ready;
	}
	one_round();
	assert_int_equal(happened, 1);
	for (int i = 0; i < 2; i++)
		watched_free(pair[i]);
}

static void event_rewatched_away_in_the_same_round_is_not_delivered(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		pair[i] = watched_new(i);
		pair[i]->watch.ready = mute_other_ready;
	}
	/* Whichever comes first mutes the other, for good. */
	one_round();
	one_round();
	assert_int_equal(happened, 2);
	assert_int_equal(order[0], order[1]);
	/* And back: now both were asked for before the round. */
	happened = 0;
	for (int i = 0; i < 2; i++) {
		pair[i]->watch.ready = watched_ready;
		assert_int_equal(xy_loop_rewatch(loop, &pair[i]->watch, EPOLLIN), 0);
	}
	one_round();
	assert_int_equal(happened, 2);
	assert_int_not_equal(order[0], order[1]);
	for (int i = 0; i < 2; i++)
		watched_free(pair[i]);
}

static void watching_a_closed_descriptor_is_an_error(void **state)
{
	struct xy_watch watch = {.fd = 1 << 20, .ready = watched_ready};

	(void)state;
	assert_true(xy_loop_watch(loop, &watch, EPOLLIN) < 0);
	xy_loop_unwatch(loop, &watch);
}

/* ---- rounds -------------------------------------------------------------------------------- */

static bool three_turns(struct xy_loop *of, void *context)
{
	unsigned *turns = context;

	assert_ptr_equal(of, loop);
	assert_ptr_equal(xy_loop_context(of), context);
	if (++*turns == 3)
		xy_loop_stop(of);
	return *turns < 3;
}

static void turn_end_with_work_left_is_called_again_without_waiting(void **state)
{
	struct numbered first = {.task.run = numbered_run, .number = 1};
	unsigned turns = 0;

	(void)state;
	/* Nothing else ever wakes this loop. */
	loop_with_turn_end(three_turns, &turns);
	xy_loop_post(loop, &first.task);
	assert_int_equal(xy_loop_run(loop), 0);
	assert_true(turns >= 3);
}

static bool note_turn_end(struct xy_loop *of, void *context)
{
	(void)of;
	(void)context;
	happen(4);
	return false;
}

static void round_runs_events_then_tasks_then_timers_then_turn_end(void **state)
{
	struct numbered task = {.task.run = numbered_run, .number = 2};
	struct clocked timer = {0};
	struct watched *watched;

	(void)state;
	loop_with_turn_end(note_turn_end, NULL);
	watched = watched_new(1);
	clocked_start(&timer, 3, 0);
	xy_loop_post(loop, &task.task);
	one_round();
	ASSERT_ORDER(1, 2, 3, 4);
	watched_free(watched);
}

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool inside, go_on;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void gate_run(struct xy_task *task)
{
	(void)task;
	pthread_mutex_lock(&gate.lock);
	gate.inside = true;
	pthread_cond_signal(&gate.changed);
	while (!gate.go_on)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static void watchdog_sees_what_a_stuck_loop_runs_and_nothing_while_it_waits(void **state)
{
	struct xy_task task = {.name = "stuck", .run = gate_run};
	pthread_t thread;
	uint64_t rounds;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
	xy_loop_post(loop, &task);
	pthread_mutex_lock(&gate.lock);
	while (!gate.inside)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	rounds = xy_loop_rounds(loop);
	assert_true(rounds > 0);
	assert_string_equal(xy_loop_running(loop), "stuck");
	assert_int_equal(xy_loop_rounds(loop), rounds);
	assert_false(xy_loop_idle(loop));

	pthread_mutex_lock(&gate.lock);
	gate.go_on = true;
	pthread_cond_signal(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
	while (!xy_loop_idle(loop))
		sched_yield();
	xy_loop_stop(loop);
	pthread_join(thread, NULL);
	assert_null(xy_loop_running(loop));
	assert_string_equal(xy_loop_name(loop), "test");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(timers_expire_in_order_of_time_then_of_start),
		LOOP_TEST(restarted_timer_expires_once_at_the_new_time),
		LOOP_TEST(stopped_timer_does_not_expire),
		LOOP_TEST(timer_stops_another_that_is_due_with_it),
		LOOP_TEST(timer_without_delay_lets_other_rounds_through),
		LOOP_TEST(far_timers_are_held_and_let_go_with_the_loop),
		LOOP_TEST(readiness_is_reported_until_it_is_gone),
		LOOP_TEST(fetched_event_of_a_watch_removed_by_another_is_not_delivered),
		LOOP_TEST(watch_may_remove_and_free_itself),
		LOOP_TEST(watch_used_anew_in_the_same_round_gets_no_old_event),
		LOOP_TEST(event_rewatched_away_in_the_same_round_is_not_delivered),
		LOOP_TEST(watching_a_closed_descriptor_is_an_error),
		LOOP_TEST(turn_end_with_work_left_is_called_again_without_waiting),
		LOOP_TEST(round_runs_events_then_tasks_then_timers_then_turn_end),
		LOOP_TEST(watchdog_sees_what_a_stuck_loop_runs_and_nothing_while_it_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
