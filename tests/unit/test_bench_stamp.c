/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages of `xylem bench`: what is not what was sent is seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cmd/bench.h"

#define SIZE_MAX_HERE 200
#define STAMP         16

static uint8_t pattern[SIZE_MAX_HERE], message[SIZE_MAX_HERE];

static void make(uint32_t size, unsigned producer, uint64_t index)
{
	xy_bench_fill(pattern, size);
	xy_bench_fill(message, size);
	xy_bench_stamp(message, size, producer, index);
}

static bool intact(uint32_t size, bool whole)
{
	return xy_bench_intact(message, size, size, 3, 77, whole ? pattern : NULL);
}

static void what_was_sent_is_intact_at_every_size(void **state)
{
	(void)state;
	for (uint32_t size = 0; size < SIZE_MAX_HERE; size++) {
		make(size, 3, 77);
		assert_true(intact(size, false));
		assert_true(intact(size, true));
	}
}

static void another_length_is_seen(void **state)
{
	(void)state;
	for (uint32_t size = 0; size + 1 < SIZE_MAX_HERE; size++) {
		make(size, 3, 77);
		assert_false(xy_bench_intact(message, size + 1, size, 3, 77, NULL));
		if (size > 0)
			assert_false(xy_bench_intact(message, size - 1, size, 3, 77, NULL));
	}
}

static void another_index_producer_or_size_is_seen(void **state)
{
	(void)state;
	for (uint32_t size = STAMP; size + 1 < SIZE_MAX_HERE; size++) {
		make(size, 3, 78);
		assert_false(intact(size, false));
		make(size, 4, 77);
		assert_false(intact(size, false));
		make(size + 1, 3, 77);
		assert_false(intact(size, false));
	}
}

/* Of a small message every byte; of a large one those of its stamps, or every one if asked to. */
static void each_flipped_bit_is_seen_where_it_is_looked_for(void **state)
{
	(void)state;
	for (uint32_t size = 1; size < SIZE_MAX_HERE; size++) {
		make(size, 3, 77);
		for (uint32_t bit = 0; bit < 8 * size; bit++) {
			uint32_t at = bit / 8;
			bool stamped = at < STAMP || (size >= 2 * STAMP && at >= size - STAMP);

			message[at] ^= (uint8_t)(1u << bit % 8);
			assert_false(intact(size, true));
			assert_int_equal(intact(size, false), !stamped);
			message[at] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void a_stamp_tells_whose_it_is_and_which(void **state)
{
	(void)state;
	for (uint32_t size = STAMP; size < SIZE_MAX_HERE; size++) {
		for (unsigned from = 0; from < 5; from++) {
			unsigned producer = from;
			uint64_t index = 0;

			make(size, 3, 77);
			assert_true(xy_bench_stamped(message, size, size, 5, &producer, &index));
			assert_int_equal(producer, 3);
			assert_int_equal(index, 77);
		}
	}
}

static void a_stamp_of_nobody_is_seen(void **state)
{
	unsigned producer = 0;
	uint64_t index;

	(void)state;
	make(64, 3, 77);
	assert_false(xy_bench_stamped(message, 64, 64, 3, &producer, &index));
	assert_false(xy_bench_stamped(message, STAMP - 1, 64, 5, &producer, &index));
	assert_false(xy_bench_stamped(message, 64, 65, 5, &producer, &index));
	for (unsigned bit = 0; bit < 8 * STAMP; bit++) {
		make(64, 3, 77);
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(xy_bench_stamped(message, 64, 64, 5, &producer, &index));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_sent_is_intact_at_every_size),
		cmocka_unit_test(another_length_is_seen),
		cmocka_unit_test(another_index_producer_or_size_is_seen),
		cmocka_unit_test(each_flipped_bit_is_seen_where_it_is_looked_for),
		cmocka_unit_test(a_stamp_tells_whose_it_is_and_which),
		cmocka_unit_test(a_stamp_of_nobody_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
