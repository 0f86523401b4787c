/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks: order, posting from other threads, wake-ups, stop. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit/loop_fixture.h"

static void tasks_run_in_the_order_posted(void **state)
{
	struct numbered tasks[5];

	(void)state;
	for (int i = 0; i < 5; i++) {
		tasks[i] = (struct numbered){.task.run = numbered_run, .number = i};
		xy_loop_post(loop, &tasks[i].task);
	}
	xy_loop_stop(loop);
	assert_int_equal(xy_loop_run(loop), 0);
	ASSERT_ORDER(0, 1, 2, 3, 4);
	assert_int_equal(xy_loop_rounds(loop), 1);
}

static bool stop_when_done(struct xy_loop *of, void *context)
{
	const unsigned *until = context;

	if (happened >= *until)
		xy_loop_stop(of);
	return false;
}

static void task_posted_by_a_task_waits_for_the_next_round(void **state)
{
	struct numbered first = {.task.run = numbered_run, .number = 1, .again = 2};
	struct numbered second = {.task.run = numbered_run, .number = 2};
	unsigned until = 4;

	(void)state;
	loop_with_turn_end(stop_when_done, &until);
	xy_loop_post(loop, &first.task);
	xy_loop_post(loop, &second.task);
	assert_int_equal(xy_loop_run(loop), 0);
	ASSERT_ORDER(1, 2, 1, 1);
	assert_true(xy_loop_rounds(loop) >= 3);
}

static void freeing_run(struct xy_task *task)
{
	happen(7);
	free(task);
}

static void task_may_free_itself(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct xy_task *task = calloc(1, sizeof(*task));

		assert_non_null(task);
		task->run = freeing_run;
		xy_loop_post(loop, task);
	}
	xy_loop_stop(loop);
	xy_loop_run(loop);
	ASSERT_ORDER(7, 7, 7);
}

#define POSTERS 4
#define POSTS   20000

struct counted {
	struct xy_task task;
	unsigned poster, number;
};

static unsigned next_of[POSTERS], counted_total;
static bool out_of_order;

static void counted_run(struct xy_task *task)
{
	struct counted *counted = xy_container_of(task, struct counted, task);

	if (counted->number != next_of[counted->poster]++)
		out_of_order = true;
	if (++counted_total == POSTERS * POSTS)
		xy_loop_stop(loop);
	free(counted);
}

static void *post_many(void *argument)
{
	for (unsigned i = 0; i < POSTS; i++) {
		struct counted *counted = calloc(1, sizeof(*counted));

		if (!counted)
			abort();
		*counted = (struct counted){.task.run = counted_run,
					    .poster = (unsigned)(uintptr_t)argument,
					    .number = i};
		xy_loop_post(loop, &counted->task);
		/* Now and then let the loop fall asleep. */
		if (i % 1000 == 0)
			sched_yield();
	}
	return NULL;
}

static void tasks_of_many_threads_all_run_and_each_thread_in_order(void **state)
{
	pthread_t threads[POSTERS];

	(void)state;
	memset(next_of, 0, sizeof(next_of));
	counted_total = 0;
	out_of_order = false;
	for (uintptr_t i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
	assert_int_equal(xy_loop_run(loop), 0);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counted_total, POSTERS * POSTS);
	assert_false(out_of_order);
}

/* Ping-pong: both loops fall asleep between any two tasks, so a lost wake-up hangs the test. A
 * loaded machine, which may take a time slice of others for each bounce, sees fewer of them. */
#define BOUNCES     5000
#define BOUNCES_MIN 200
#define BOUNCE_MS   5000

struct ball {
	struct xy_task task;
	struct xy_loop *loops[2];
	unsigned bounces;
	uint64_t tired_ms;
};

static bool ball_rests(struct ball *ball)
{
	if (++ball->bounces < BOUNCES_MIN ||
	    (ball->bounces < BOUNCES && xy_clock_ms() < ball->tired_ms))
		return false;
	xy_loop_stop(ball->loops[0]);
	xy_loop_stop(ball->loops[1]);
	return true;
}

static void ball_run(struct xy_task *task)
{
	struct ball *ball = xy_container_of(task, struct ball, task);

	if (!ball_rests(ball))
		xy_loop_post(ball->loops[ball->bounces % 2], task);
}

static void every_post_to_a_sleeping_loop_wakes_it(void **state)
{
	const struct xy_loop_options options = {.name = "other"};
	struct ball ball = {
		.task.run = ball_run, .loops = {loop}, .tired_ms = xy_clock_ms() + BOUNCE_MS};
	pthread_t thread;

	(void)state;
	assert_int_equal(xy_loop_new(&options, &ball.loops[1]), 0);
	assert_int_equal(pthread_create(&thread, NULL, run_loop, ball.loops[1]), 0);
	xy_loop_post(loop, &ball.task);
	assert_int_equal(xy_loop_run(loop), 0);
	pthread_join(thread, NULL);
	assert_in_range(ball.bounces, BOUNCES_MIN, BOUNCES);
	xy_loop_free(ball.loops[1]);
}

/* A poster that is faster than the loop takes a share of each round, not all of it: what waits in
 * the descriptors gets its turn in between. */
enum { FLOOD = 1000, FLOOD_A_ROUND = 256 };

static unsigned flooded;

static void flood_run(struct xy_task *task)
{
	(void)task;
	if (++flooded == FLOOD)
		xy_loop_stop(loop);
}

static void flood_of_tasks_is_spread_over_rounds(void **state)
{
	static struct xy_task tasks[FLOOD];

	(void)state;
	flooded = 0;
	for (int i = 0; i < FLOOD; i++) {
		tasks[i] = (struct xy_task){.run = flood_run};
		xy_loop_post(loop, &tasks[i]);
	}
	xy_loop_run(loop);
	assert_int_equal(flooded, FLOOD);
	assert_true(xy_loop_rounds(loop) >= FLOOD / FLOOD_A_ROUND);
}

/* ---- tasks that any loop may run ------------------------------------------------------------- */

static struct xy_loop *ran_on;

static void unbound_ball_run(struct xy_task *task)
{
	struct ball *ball = xy_container_of(task, struct ball, task);

	assert_ptr_equal(xy_loop_here(), ball->loops[ball->bounces % 2]);
	if (!ball_rests(ball))
		xy_loop_post_unbound(ball->loops[ball->bounces % 2], task);
}

static void unbound_task_wakes_a_sleeping_loop(void **state)
{
	const struct xy_loop_options options = {.name = "other"};
	struct ball ball = {.task.run = unbound_ball_run,
			    .loops = {loop},
			    .tired_ms = xy_clock_ms() + BOUNCE_MS};
	pthread_t thread;

	(void)state;
	assert_int_equal(xy_loop_new(&options, &ball.loops[1]), 0);
	assert_int_equal(pthread_create(&thread, NULL, run_loop, ball.loops[1]), 0);
	xy_loop_post_unbound(loop, &ball.task);
	assert_int_equal(xy_loop_run(loop), 0);
	pthread_join(thread, NULL);
	assert_in_range(ball.bounces, BOUNCES_MIN, BOUNCES);
	xy_loop_free(ball.loops[1]);
}

static void here_run(struct xy_task *task)
{
	(void)task;
	ran_on = xy_loop_here();
	xy_loop_stop(ran_on);
}

static void unbound_tasks_can_be_taken_until_they_start_and_bound_ones_cannot(void **state)
{
	struct numbered bound = {.task.run = numbered_run, .number = 1};
	struct numbered unbound[3];
	struct xy_task *task, here = {.run = here_run};
	int taken = 0;

	(void)state;
	xy_loop_post(loop, &bound.task);
	for (int i = 0; i < 3; i++) {
		unbound[i] = (struct numbered){.task.run = numbered_run, .number = 10 + i};
		xy_loop_post_unbound(loop, &unbound[i].task);
	}
	for (task = xy_loop_take_unbound(loop); task != NULL; task = task->next)
		assert_ptr_equal(task, &unbound[taken++].task);
	assert_int_equal(taken, 3);
	assert_null(xy_loop_take_unbound(loop));
	xy_loop_post_unbound(loop, &here);
	xy_loop_run(loop);
	ASSERT_ORDER(1);
	assert_ptr_equal(ran_on, loop);
	assert_null(xy_loop_here());
}

/* Posted on one loop, taken from it by another thread while it runs: each runs once, here or there.
 */
enum { MANY = 20000 };

static struct xy_task many[MANY];
static _Atomic(unsigned) ran[MANY], ran_total;

static void many_run(struct xy_task *task)
{
	atomic_fetch_add(&ran[task - many], 1);
	atomic_fetch_add(&ran_total, 1);
}

static void *take_and_run(void *argument)
{
	struct xy_task *task, *next;

	(void)argument;
	while (atomic_load(&ran_total) < MANY) {
		for (task = xy_loop_take_unbound(loop); task != NULL; task = next) {
			next = task->next;
			task->run(task);
		}
		sched_yield();
	}
	xy_loop_stop(loop);
	return NULL;
}

static void *post_unbound_many(void *argument)
{
	(void)argument;
	for (int i = 0; i < MANY; i++) {
		xy_loop_post_unbound(loop, &many[i]);
		if (i % 100 == 0)
			sched_yield();
	}
	return NULL;
}

static void unbound_tasks_run_once_whoever_takes_them(void **state)
{
	pthread_t poster, taker;

	(void)state;
	for (int i = 0; i < MANY; i++)
		many[i] = (struct xy_task){.run = many_run};
	assert_int_equal(pthread_create(&poster, NULL, post_unbound_many, NULL), 0);
	assert_int_equal(pthread_create(&taker, NULL, take_and_run, NULL), 0);
	xy_loop_run(loop);
	pthread_join(poster, NULL);
	pthread_join(taker, NULL);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(ran[i], 1);
}

static void *post_then_stop(void *argument)
{
	xy_loop_post(loop, argument);
	xy_loop_stop(loop);
	return NULL;
}

static void what_was_posted_before_stop_still_runs(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++) {
		struct numbered task = {.task.run = numbered_run, .number = i};
		pthread_t thread;

		happened = 0;
		assert_int_equal(pthread_create(&thread, NULL, post_then_stop, &task.task), 0);
		xy_loop_run(loop);
		ASSERT_ORDER(i);
		pthread_join(thread, NULL);
	}
}

static void on_signal(int number)
{
	(void)number;
	xy_loop_stop(loop);
}

static void loop_stops_from_a_signal_handler(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, before;

	(void)state;
	sigaction(SIGALRM, &action, &before);
	ualarm(1000, 0);
	assert_int_equal(xy_loop_run(loop), 0);
	sigaction(SIGALRM, &before, NULL);
}

static void pending_tasks_are_dropped_unrun_with_the_loop(void **state)
{
	struct numbered task = {.task.run = numbered_run};

	xy_loop_post(loop, &task.task);
	teardown(state);
	assert_int_equal(happened, 0);
	assert_int_equal(setup(state), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(tasks_run_in_the_order_posted),
		LOOP_TEST(task_posted_by_a_task_waits_for_the_next_round),
		LOOP_TEST(task_may_free_itself),
		LOOP_TEST(tasks_of_many_threads_all_run_and_each_thread_in_order),
		LOOP_TEST(every_post_to_a_sleeping_loop_wakes_it),
		LOOP_TEST(flood_of_tasks_is_spread_over_rounds),
		LOOP_TEST(unbound_task_wakes_a_sleeping_loop),
		LOOP_TEST(unbound_tasks_can_be_taken_until_they_start_and_bound_ones_cannot),
		LOOP_TEST(unbound_tasks_run_once_whoever_takes_them),
		LOOP_TEST(what_was_posted_before_stop_still_runs),
		LOOP_TEST(loop_stops_from_a_signal_handler),
		LOOP_TEST(pending_tasks_are_dropped_unrun_with_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
