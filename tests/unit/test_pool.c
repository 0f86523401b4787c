/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of pipes: what is rented, reused and given back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit/pipe_fixture.h"

/* ---- pool ---------------------------------------------------------------------------------- */

static void all_segments_are_back_after_consumption(void **state)
{
	struct fixture *f = *state;

	put_zeros(f->pipe, 3 * SEGMENT + 1);
	assert_int_equal(in_use(f), 4);
	consume(f->pipe, SEGMENT);
	assert_int_equal(in_use(f), 3);
	consume(f->pipe, 2 * SEGMENT);
	assert_int_equal(in_use(f), 1);
	consume(f->pipe, 1);
	assert_int_equal(in_use(f), 0);
	assert_int_equal(stats(f->pool).cached, 4);
}

static void all_but_one_are_back_while_a_reservation_is_open(void **state)
{
	struct fixture *f = *state;
	uint8_t data[SEGMENT], *memory;
	size_t length;

	put_zeros(f->pipe, 2 * SEGMENT + 10);
	memory = reserve(f->pipe, 100, &length);
	consume(f->pipe, 2 * SEGMENT + 10);
	assert_int_equal(in_use(f), 1);
	/* The reader's progress has not moved what the writer fills. */
	fill(data, 100, 1);
	memcpy(memory, data, 100);
	assert_int_equal(xy_pipe_commit(f->pipe, 100), 0);
	assert_int_equal(xy_pipe_flush(f->pipe), 0);
	expect(f->pipe, data, 100);
	assert_int_equal(in_use(f), 0);

	reserve(f->pipe, 1, &length);
	assert_int_equal(in_use(f), 1);
	assert_int_equal(xy_pipe_commit(f->pipe, 0), 0);
	assert_int_equal(in_use(f), 0);
}

static void emptied_pipe_gets_the_same_memory_again(void **state)
{
	struct fixture *f = *state;
	const void *first = NULL;

	put_zeros(f->to, 3 * SEGMENT);
	consume(f->to, 3 * SEGMENT);
	for (int i = 0; i < 1000; i++) {
		size_t length;
		const void *memory = reserve(f->pipe, 0, &length);

		if (!first)
			first = memory;
		assert_ptr_equal(memory, first);
		assert_int_equal(xy_pipe_commit(f->pipe, 100), 0);
		xy_pipe_flush(f->pipe);
		consume(f->pipe, 100);
	}
	assert_int_equal(stats(f->pool).created, 3);
}

static void larger_than_a_segment_bypasses_the_pool_in_its_exact_size(void **state)
{
	struct fixture *f = *state;
	size_t length;

	reserve(f->pipe, SEGMENT + 1, &length);
	assert_int_equal(length, SEGMENT + 1);
	assert_int_equal(xy_pool_total_bytes(), SEGMENT + 1);
	assert_int_equal(xy_pipe_commit(f->pipe, length), 0);
	xy_pipe_flush(f->pipe);
	consume(f->pipe, length);
	assert_int_equal(xy_pool_total_bytes(), 0);
	assert_int_equal(stats(f->pool).cached, 0);
}

static void exactly_a_segment_uses_the_pool(void **state)
{
	struct fixture *f = *state;
	size_t length;

	reserve(f->pipe, SEGMENT, &length);
	assert_int_equal(length, SEGMENT);
	assert_int_equal(xy_pipe_commit(f->pipe, length), 0);
	xy_pipe_flush(f->pipe);
	consume(f->pipe, length);
	assert_int_equal(stats(f->pool).cached, 1);
	reserve(f->pipe, SEGMENT, &length);
	assert_int_equal(stats(f->pool).created, 1);
	assert_int_equal(stats(f->pool).rented, 2);
}

static void segments_are_reused_up_to_the_cap_and_freed_beyond(void **state)
{
	struct fixture *f = *state;

	put_zeros(f->pipe, (CACHED + 3) * SEGMENT);
	consume(f->pipe, (CACHED + 3) * SEGMENT);
	assert_int_equal(stats(f->pool).cached, CACHED);
	assert_int_equal(xy_pool_total_bytes(), CACHED * SEGMENT);
	put_zeros(f->pipe, CACHED * SEGMENT);
	assert_int_equal(stats(f->pool).created, CACHED + 3);
	consume(f->pipe, CACHED * SEGMENT);
	xy_pool_trim(f->pool, 1);
	assert_int_equal(xy_pool_total_bytes(), SEGMENT);
	xy_pool_trim(f->pool, 0);
	assert_int_equal(xy_pool_total_bytes(), 0);
}

static void shrinking_gives_back_what_lay_unused_since_the_last_time(void **state)
{
	struct fixture *f = *state;

	put_zeros(f->pipe, CACHED * SEGMENT);
	consume(f->pipe, CACHED * SEGMENT);
	/* All of it was in use since the pool is there. */
	xy_pool_shrink(f->pool, 0);
	assert_int_equal(xy_pool_total_bytes(), CACHED * SEGMENT);
	put_zeros(f->pipe, SEGMENT);
	consume(f->pipe, SEGMENT);
	xy_pool_shrink(f->pool, 0);
	assert_int_equal(xy_pool_total_bytes(), SEGMENT);
	put_zeros(f->pipe, 2 * SEGMENT);
	consume(f->pipe, 2 * SEGMENT);
	xy_pool_shrink(f->pool, 0);
	assert_int_equal(xy_pool_total_bytes(), 2 * SEGMENT);
	xy_pool_shrink(f->pool, 1);
	assert_int_equal(xy_pool_total_bytes(), SEGMENT);
	xy_pool_shrink(f->pool, 0);
	assert_int_equal(xy_pool_total_bytes(), 0);
}

static void shrinking_leaves_what_is_in_use_alone(void **state)
{
	static uint8_t data[CACHED * SEGMENT];
	struct fixture *f = *state;
	struct xy_chain chain;

	fill(data, sizeof(data), 7);
	put(f->pipe, data, sizeof(data));
	put(f->to, data, 100);
	chain = take_chain(f->to, 100);
	for (int i = 0; i < 3; i++)
		xy_pool_shrink(f->pool, 0);
	assert_int_equal(in_use(f), CACHED + 1);
	assert_int_equal(xy_pipe_append(f->to, &chain), 0);
	xy_pipe_flush(f->to);
	expect(f->to, data, 100);
	expect(f->pipe, data, sizeof(data));
}

static void places_for_slices_are_bounded_and_shrink_too(void **state)
{
	const uint32_t slices = 10000;
	struct fixture *f = *state;

	for (uint32_t i = 0; i < slices; i++) {
		struct xy_chain chain;

		/* Too large to be copied, and apart, so that each slice has a place of its own. */
		put_zeros(f->pipe, SEGMENT / 8);
		chain = take_chain(f->pipe, SEGMENT / 8 - 1);
		consume(f->pipe, 1);
		assert_int_equal(xy_pipe_append(f->to, &chain), 0);
	}
	xy_pipe_flush(f->to);
	consume(f->to, xy_pipe_length(f->to));
	assert_in_range(stats(f->pool).links, 1000, 4096);
	xy_pool_shrink(f->pool, 2);
	xy_pool_shrink(f->pool, 2);
	assert_int_equal(stats(f->pool).links, 2);
	xy_pool_trim(f->pool, 0);
	assert_int_equal(stats(f->pool).links, 0);
}

/* Pages of this process that are in memory. */
static size_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t size, resident;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%zu %zu", &size, &resident), 2);
	fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void freed_segments_are_back_with_the_system(void **state)
{
	enum { SEGMENTS = 256, SIZE = 64 * 1024 };
	struct xy_pool *pool = xy_pool_new(NULL);
	struct xy_pipe *pipe = pipe_new(pool);
	size_t before, full, length;
	void *between[SEGMENTS];

	(void)state;
	before = resident_bytes();
	for (int i = 0; i < SEGMENTS; i++) {
		memset(reserve(pipe, SIZE, &length), 1, SIZE);
		assert_int_equal(xy_pipe_commit(pipe, SIZE), 0);
		/* What keeps a heap from falling, too large for the gaps in it. */
		between[i] = malloc(SIZE);
		assert_non_null(between[i]);
	}
	full = resident_bytes();
	assert_true(full >= before + SEGMENTS * SIZE);
	xy_pipe_flush(pipe);
	consume(pipe, SEGMENTS * SIZE);
	xy_pool_trim(pool, 0);
	assert_true(resident_bytes() + (SEGMENTS - 16) * SIZE <= full);
	for (int i = 0; i < SEGMENTS; i++)
		free(between[i]);
	xy_pipe_free(pipe);
	xy_pool_free(pool);
}

static void one_huge_reservation_leaves_no_gigabyte_behind(void **state)
{
	const size_t hints[] = {1024, 1024, 1024 * 1024 * 1024, 1024};
	struct fixture *f = *state;
	size_t length;

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		reserve(f->pipe, hints[i], &length);
	assert_int_equal(xy_pool_total_bytes(), SEGMENT);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		reserve(f->pipe, hints[i], &length);
		assert_int_equal(xy_pipe_commit(f->pipe, 1), 0);
	}
	xy_pipe_flush(f->pipe);
	consume(f->pipe, 4);
	assert_true(xy_pool_total_bytes() <= CACHED * SEGMENT);
}

static void writes_to_a_completed_reader_rent_nothing(void **state)
{
	struct fixture *f = *state;
	struct xy_chain chain;
	uint64_t rented;
	size_t length;

	put_zeros(f->to, 100);
	chain = take_chain(f->to, 100);
	put_zeros(f->pipe, 5 * SEGMENT);
	xy_pipe_complete_reader(f->pipe);
	assert_int_equal(in_use(f), 1);
	rented = stats(f->pool).rented;
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(xy_pipe_write(f->pipe, "0123456789", 10), -EPIPE);
		assert_null(xy_pipe_reserve(f->pipe, 10, &length));
		assert_int_equal(errno, EPIPE);
		assert_int_equal(xy_pipe_append_shared(f->pipe, &chain), -EPIPE);
		assert_int_equal(xy_pipe_flush(f->pipe), -EPIPE);
	}
	assert_int_equal(xy_pipe_append(f->pipe, &chain), -EPIPE);
	assert_int_equal(chain.length, 100);
	assert_int_equal(stats(f->pool).rented, rented);
	xy_chain_clear(&chain, f->pool);
}

static void reservation_outlives_the_reader(void **state)
{
	struct fixture *f = *state;
	size_t length;
	uint8_t *memory = reserve(f->pipe, 100, &length);

	xy_pipe_complete_reader(f->pipe);
	memset(memory, 1, length);
	assert_int_equal(xy_pipe_commit(f->pipe, length), 0);
	assert_int_equal(xy_pipe_flush(f->pipe), -EPIPE);
	assert_int_equal(in_use(f), 0);
}

/* ---- writer -------------------------------------------------------------------------------- */

static void hint_zero_gives_the_minimum_segment(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe_options options = {
		.size = sizeof(options), .pool = f->pool, .minimum_segment = 300};
	struct xy_pipe *pipe;
	size_t length;

	assert_int_equal(xy_pipe_new(&options, &pipe), 0);
	put_zeros(pipe, SEGMENT - 300);
	reserve(pipe, 0, &length);
	assert_int_equal(length, 300);
	assert_int_equal(xy_pipe_commit(pipe, 1), 0);
	reserve(pipe, 0, &length);
	assert_int_equal(length, SEGMENT);
	assert_int_equal(xy_pipe_commit(pipe, 0), 0);
	/* A hint takes what fits. */
	reserve(pipe, 299, &length);
	assert_int_equal(length, 299);
	xy_pipe_free(pipe);
	/* By default no more than a segment. */
	reserve(f->pipe, 0, &length);
	assert_int_equal(length, SEGMENT);
}

static void writes_larger_than_a_segment_arrive_whole(void **state)
{
	static uint8_t data[10 * SEGMENT + 3];
	struct fixture *f = *state;

	fill(data, sizeof(data), 2);
	put(f->pipe, data, 5);
	put(f->pipe, data, sizeof(data));
	assert_int_equal(in_use(f), 11);
	expect(f->pipe, data, 5);
	expect(f->pipe, data, sizeof(data));
}

static void round_trips_of_5_bytes_to_50_kilobytes(void **state)
{
	static uint8_t data[50000];
	struct fixture *f = *state;

	for (size_t length = 5; length <= sizeof(data); length = length * 3 / 2 + 1) {
		fill(data, length, (unsigned)length);
		put(f->pipe, data, length);
		expect(f->pipe, data, length);
	}
}

static void zero_length_adds_no_segment(void **state)
{
	struct fixture *f = *state;
	struct xy_chain chain = {0};

	put(f->pipe, "", 0);
	assert_int_equal(xy_pipe_append(f->pipe, &chain), 0);
	assert_int_equal(xy_pipe_commit(f->pipe, 0), 0);
	assert_int_equal(stats(f->pool).rented, 0);
	put_zeros(f->pipe, SEGMENT);
	put(f->pipe, "", 0);
	assert_int_equal(in_use(f), 1);
}

static void commit_beyond_the_reservation_is_an_error(void **state)
{
	struct fixture *f = *state;
	size_t length;

	assert_int_equal(xy_pipe_commit(f->pipe, 1), -EINVAL);
	reserve(f->pipe, 10, &length);
	assert_int_equal(xy_pipe_commit(f->pipe, length + 1), -EINVAL);
	assert_int_equal(xy_pipe_commit(f->pipe, SIZE_MAX), -EINVAL);
	assert_int_equal(xy_pipe_commit(f->pipe, 3), 0);
	assert_int_equal(xy_pipe_commit(f->pipe, 1), -EINVAL);
	reserve(f->pipe, 10, &length);
	put(f->pipe, "ab", 2);
	assert_int_equal(xy_pipe_commit(f->pipe, 1), -EINVAL);
	assert_int_equal(xy_pipe_length(f->pipe), 5);
}

static void reservation_above_4_gib_is_refused(void **state)
{
	struct fixture *f = *state;
	size_t length;

	errno = 0;
	assert_null(xy_pipe_reserve(f->pipe, (size_t)UINT32_MAX + 1, &length));
	assert_int_equal(errno, EINVAL);
	put(f->pipe, "ab", 2);
	expect(f->pipe, "ab", 2);
}

static void unused_new_segment_behind_content_goes_back(void **state)
{
	struct fixture *f = *state;
	size_t length;

	put_zeros(f->pipe, SEGMENT - 10);
	for (int i = 0; i < 3; i++) {
		reserve(f->pipe, 100, &length);
		assert_int_equal(in_use(f), 2);
		assert_int_equal(xy_pipe_commit(f->pipe, 0), 0);
		assert_int_equal(in_use(f), 1);
	}
	put_zeros(f->pipe, 20);
	consume(f->pipe, SEGMENT + 10);
	assert_int_equal(in_use(f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(all_segments_are_back_after_consumption),
		POOL_TEST(all_but_one_are_back_while_a_reservation_is_open),
		POOL_TEST(emptied_pipe_gets_the_same_memory_again),
		POOL_TEST(larger_than_a_segment_bypasses_the_pool_in_its_exact_size),
		POOL_TEST(exactly_a_segment_uses_the_pool),
		POOL_TEST(segments_are_reused_up_to_the_cap_and_freed_beyond),
		POOL_TEST(shrinking_gives_back_what_lay_unused_since_the_last_time),
		POOL_TEST(shrinking_leaves_what_is_in_use_alone),
		POOL_TEST(places_for_slices_are_bounded_and_shrink_too),
		POOL_TEST(freed_segments_are_back_with_the_system),
		POOL_TEST(one_huge_reservation_leaves_no_gigabyte_behind),
		POOL_TEST(writes_to_a_completed_reader_rent_nothing),
		POOL_TEST(reservation_outlives_the_reader),
		POOL_TEST(hint_zero_gives_the_minimum_segment),
		POOL_TEST(writes_larger_than_a_segment_arrive_whole),
		POOL_TEST(round_trips_of_5_bytes_to_50_kilobytes),
		POOL_TEST(zero_length_adds_no_segment),
		POOL_TEST(commit_beyond_the_reservation_is_an_error),
		POOL_TEST(reservation_above_4_gib_is_refused),
		POOL_TEST(unused_new_segment_behind_content_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
