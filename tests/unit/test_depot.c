/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments that one loop fills and another lets go of come back without being mapped anew. */
#include <pthread.h>
#include <string.h>

#include "io/depot.h"
#include "io/pipe_internal.h"
#include "unit/pipe_fixture.h"

#define MOST   16u
#define ROUNDS 2000

struct two {
	struct xy_depot *depot;
	struct xy_pool *reads, *sends;
	struct xy_pipe *in, *out;
	size_t before;
};

static int two_setup(void **state)
{
	struct two *two = calloc(1, sizeof(*two));

	if (!two)
		return -1;
	two->before = xy_pool_total_bytes();
	two->depot = xy_depot_new(MOST, 0);
	two->reads = pool_new(SEGMENT);
	two->sends = pool_new(SEGMENT);
	xy_pool_share(two->reads, two->depot);
	xy_pool_share(two->sends, two->depot);
	two->in = pipe_new(two->reads);
	two->out = pipe_new(two->sends);
	*state = two;
	return 0;
}

static int two_teardown(void **state)
{
	struct two *two = *state;
	size_t before = two->before;

	xy_pipe_free(two->in);
	xy_pipe_free(two->out);
	xy_pool_free(two->reads);
	xy_pool_free(two->sends);
	xy_depot_free(two->depot);
	free(two);
	return xy_pool_total_bytes() != before;
}

/* Content of so many segments, read by one and sent by the other. */
static void pass(struct two *two, unsigned segments)
{
	uint8_t data[SEGMENT] = {0};
	struct xy_view view;

	for (unsigned i = 0; i < segments; i++)
		assert_int_equal(xy_pipe_write(two->in, data, sizeof(data)), 0);
	xy_pipe_flush(two->in);
	assert_int_equal(xy_pipe_copy_to_pipe(two->in, two->out, SIZE_MAX), 0);
	assert_int_equal(xy_pipe_read(two->out, &view), 0);
	assert_int_equal(view.length, (size_t)segments * SEGMENT);
	assert_int_equal(xy_pipe_advance(two->out, view.length, view.length), 0);
}

static uint64_t created(const struct xy_pool *pool)
{
	struct xy_pool_stats stats;

	xy_pool_stats(pool, &stats);
	return stats.created;
}

static void a_stream_from_one_pool_to_another_maps_nothing_anew(void **state)
{
	struct two *two = *state;
	uint64_t at_first;

	for (int i = 0; i < 10; i++)
		pass(two, 3);
	at_first = created(two->reads);
	for (int i = 0; i < ROUNDS; i++)
		pass(two, 3);
	assert_int_equal(created(two->reads), at_first);
	assert_int_equal(created(two->sends), 0);
}

static void it_holds_no_more_than_it_may(void **state)
{
	struct two *two = *state;

	pass(two, 3 * MOST);
	assert_int_equal(xy_depot_count(two->depot), MOST);
	assert_int_equal(xy_pool_total_bytes() - two->before, (MOST + CACHED) * SEGMENT);
}

static void what_nobody_needed_goes_back_to_the_system(void **state)
{
	struct two *two = *state;

	pass(two, MOST);
	assert_int_equal(xy_depot_count(two->depot), MOST - CACHED);
	xy_pool_shrink(two->sends, 0); /* all of them were needed a moment ago */
	assert_int_equal(xy_depot_count(two->depot), MOST - CACHED);
	pass(two, 2);
	xy_pool_shrink(two->sends, 0);
	assert_int_equal(xy_depot_count(two->depot), 2);
	xy_pool_shrink(two->sends, 0);
	assert_int_equal(xy_depot_count(two->depot), 0);
}

/* Each loop asks once a period, one right behind the other. */
static void who_asks_right_behind_another_gets_nothing_freed(void **state)
{
	struct two *two = *state;
	struct xy_depot *slow = xy_depot_new(MOST, 3600 * 1000);

	xy_pool_share(two->reads, slow);
	xy_pool_share(two->sends, slow);
	pass(two, MOST);
	for (int period = 0; period < 2; period++) {
		xy_pool_shrink(two->reads, 0);
		xy_pool_shrink(two->sends, 0);
		assert_int_equal(xy_depot_count(slow), MOST - CACHED);
	}
	xy_pool_share(two->reads, two->depot);
	xy_pool_share(two->sends, two->depot);
	xy_depot_free(slow);
}

static void under_pressure_it_keeps_nothing(void **state)
{
	struct two *two = *state;

	pass(two, MOST);
	xy_pool_trim(two->reads, 0);
	assert_int_equal(xy_depot_count(two->depot), 0);
	xy_pool_trim(two->sends, 0);
	assert_int_equal(xy_pool_total_bytes(), two->before);
}

/* ---- several threads ------------------------------------------------------------------------- */

static void *gives_and_takes(void *context)
{
	struct xy_depot *depot = context;
	struct xy_segment *mine[4];

	for (int i = 0; i < ROUNDS; i++) {
		unsigned count = 0;

		while (count < 4 && (mine[count] = xy_depot_take(depot)))
			memset(mine[count++]->data, i, SEGMENT);
		while (count)
			if (!xy_depot_give(depot, mine[--count]))
				return depot; /* there was room for it */
	}
	return NULL;
}

static void threads_get_each_segment_once(void **state)
{
	struct two *two = *state;
	pthread_t thread[3];

	pass(two, MOST);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, gives_and_takes, two->depot), 0);
	for (int i = 0; i < 3; i++) {
		void *failed;

		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(xy_depot_count(two->depot), MOST - CACHED);
}

int main(void)
{
#define DEPOT_TEST(function) cmocka_unit_test_setup_teardown(function, two_setup, two_teardown)
	const struct CMUnitTest tests[] = {
		DEPOT_TEST(a_stream_from_one_pool_to_another_maps_nothing_anew),
		DEPOT_TEST(it_holds_no_more_than_it_may),
		DEPOT_TEST(what_nobody_needed_goes_back_to_the_system),
		DEPOT_TEST(who_asks_right_behind_another_gets_nothing_freed),
		DEPOT_TEST(under_pressure_it_keeps_nothing),
		DEPOT_TEST(threads_get_each_segment_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
