/* SPDX-License-Identifier: BSD-2-Clause */
/* The histogram of `xylem bench` against the values themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cmd/histogram.h"

#define VALUES 20000

static struct xy_histogram one, other, both;

static int reset(void **state)
{
	(void)state;
	one = other = both = (struct xy_histogram){0};
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* What is told of one value alone, with two larger ones so that the maximum does not help. */
static uint64_t told_of(uint64_t value)
{
	struct xy_histogram *histogram = &one;

	*histogram = (struct xy_histogram){0};
	xy_histogram_add(histogram, 0, 1);
	xy_histogram_add(histogram, value, 1);
	xy_histogram_add(histogram, UINT64_MAX, 2);
	return xy_histogram_percentile(histogram, 500000);
}

static void assert_told(uint64_t value)
{
	uint64_t told = told_of(value);

	assert_true(told >= value);
	/* Exactly the bound that the header promises. */
	assert_true(told - value <= value / XY_HISTOGRAM_STEPS);
	if (value < 2 * XY_HISTOGRAM_STEPS)
		assert_int_equal(told, value);
}

static void a_value_is_told_never_too_small_and_at_most_one_step_too_large(void **state)
{
	(void)state;
	for (uint64_t value = 0; value < 5000; value++)
		assert_told(value);
	for (unsigned bit = 8; bit < XY_HISTOGRAM_LIMIT_BITS; bit++)
		for (int64_t near = -3; near <= 3; near++)
			assert_told((1ull << bit) + (uint64_t)near);
	srandom(1);
	for (int i = 0; i < 20000; i++)
		assert_told(((uint64_t)random() << 31 | (uint64_t)random()) >>
			    (20 + random() % 40));
	assert_told(XY_HISTOGRAM_LIMIT - 1);
}

static void every_bucket_is_used_and_each_begins_where_the_last_one_ends(void **state)
{
	uint64_t value = 0;

	(void)state;
	for (unsigned bucket = 0; bucket < XY_HISTOGRAM_BUCKETS; bucket++) {
		uint64_t top = told_of(value);

		assert_int_equal(one.bucket[bucket], bucket == 0 ? 2 : 1);
		assert_int_equal(told_of(top), top);
		value = top + 1;
	}
	assert_int_equal(value, XY_HISTOGRAM_LIMIT);
}

static void an_empty_one_says_zero(void **state)
{
	(void)state;
	assert_int_equal(xy_histogram_percentile(&one, 0), 0);
	assert_int_equal(xy_histogram_percentile(&one, 500000), 0);
	assert_int_equal(xy_histogram_percentile(&one, 1000000), 0);
	assert_int_equal(xy_histogram_mean(&one), 0);
	xy_histogram_merge(&other, &one);
	xy_histogram_add(&other, 7, 0);
	assert_int_equal(other.count, 0);
	xy_histogram_add(&other, 9, 1);
	xy_histogram_merge(&other, &one);
	assert_int_equal(other.minimum, 9);
	xy_histogram_merge(&one, &other);
	assert_int_equal(one.minimum, 9);
}

static void percentiles_are_those_of_the_sorted_values(void **state)
{
	static const uint32_t asked[] = {0,      1,      10000,  250000, 500000,
					 900000, 990000, 999000, 999900, 1000000};
	uint64_t *values = calloc(VALUES, sizeof(*values)), sum = 0;

	(void)state;
	assert_non_null(values);
	srandom(2);
	for (int i = 0; i < VALUES; i++) {
		values[i] = (uint64_t)random() >> (random() % 31);
		xy_histogram_add(&one, values[i], 1);
		sum += values[i];
	}
	qsort(values, VALUES, sizeof(*values), compare);
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		uint64_t rank = ((uint64_t)VALUES * asked[i] + 999999) / 1000000;
		uint64_t value = values[rank ? rank - 1 : 0];
		uint64_t told = xy_histogram_percentile(&one, asked[i]);

		assert_true(told >= value && told - value <= value / XY_HISTOGRAM_STEPS);
	}
	assert_int_equal(xy_histogram_percentile(&one, 0), values[0]);
	assert_int_equal(xy_histogram_percentile(&one, 1000000), values[VALUES - 1]);
	assert_int_equal(xy_histogram_mean(&one), sum / VALUES);
	free(values);
}

static void none_is_above_the_largest_value(void **state)
{
	(void)state;
	xy_histogram_add(&one, 1000001, 5);
	assert_int_equal(xy_histogram_percentile(&one, 500000), 1000001);
	assert_int_equal(xy_histogram_percentile(&one, 1000000), 1000001);
}

static void a_value_many_times_counts_as_often(void **state)
{
	(void)state;
	xy_histogram_add(&one, 5, 90);
	xy_histogram_add(&one, 100, 10);
	assert_int_equal(one.count, 100);
	assert_int_equal(one.sum, 5 * 90 + 100 * 10);
	assert_int_equal(xy_histogram_percentile(&one, 900000), 5);
	assert_int_equal(xy_histogram_percentile(&one, 900001), 100);
}

static void merged_is_as_if_it_had_been_one(void **state)
{
	(void)state;
	srandom(3);
	for (int i = 0; i < VALUES; i++) {
		uint64_t value = (uint64_t)random() << (random() % 16);

		xy_histogram_add(i % 3 ? &one : &other, value, 1 + (uint64_t)i % 4);
		xy_histogram_add(&both, value, 1 + (uint64_t)i % 4);
	}
	xy_histogram_merge(&one, &other);
	assert_memory_equal(&one, &both, sizeof(one));
}

static void what_is_too_large_is_counted_and_stands_for_the_maximum(void **state)
{
	(void)state;
	xy_histogram_add(&one, 10, 97);
	xy_histogram_add(&one, XY_HISTOGRAM_LIMIT, 2);
	xy_histogram_add(&one, XY_HISTOGRAM_LIMIT + 12345, 1);
	assert_int_equal(one.count, 100);
	assert_int_equal(one.overflow, 3);
	assert_int_equal(xy_histogram_percentile(&one, 970000), 10);
	assert_int_equal(xy_histogram_percentile(&one, 980000), XY_HISTOGRAM_LIMIT + 12345);
	assert_int_equal(xy_histogram_percentile(&one, 1000000), XY_HISTOGRAM_LIMIT + 12345);
	xy_histogram_merge(&other, &one);
	assert_int_equal(other.overflow, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			a_value_is_told_never_too_small_and_at_most_one_step_too_large, reset),
		cmocka_unit_test_setup(every_bucket_is_used_and_each_begins_where_the_last_one_ends,
				       reset),
		cmocka_unit_test_setup(an_empty_one_says_zero, reset),
		cmocka_unit_test_setup(percentiles_are_those_of_the_sorted_values, reset),
		cmocka_unit_test_setup(none_is_above_the_largest_value, reset),
		cmocka_unit_test_setup(a_value_many_times_counts_as_often, reset),
		cmocka_unit_test_setup(merged_is_as_if_it_had_been_one, reset),
		cmocka_unit_test_setup(what_is_too_large_is_counted_and_stands_for_the_maximum,
				       reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
