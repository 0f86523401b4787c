/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/histogram.h"

/* Below twice the steps a bucket is one value wide; from there on, each row of steps is one power
 * of two, and twice as wide as the row before. */
static unsigned bucket_of(uint64_t value)
{
	unsigned row = 0;

	if (value >= 2 * XY_HISTOGRAM_STEPS)
		row = 63 - XY_HISTOGRAM_STEPS_BITS - (unsigned)__builtin_clzll(value);
	return row * XY_HISTOGRAM_STEPS + (unsigned)(value >> row);
}

/* The largest value of a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
	unsigned row = bucket / XY_HISTOGRAM_STEPS;

	/* The first two rows are of the same width. */
	row = row ? row - 1 : 0;
	return ((uint64_t)(bucket - row * XY_HISTOGRAM_STEPS + 1) << row) - 1;
}

void xy_histogram_add(struct xy_histogram *histogram, uint64_t value, uint64_t times)
{
	if (!times)
		return;
	if (!histogram->count || value < histogram->minimum)
		histogram->minimum = value;
	if (value > histogram->maximum)
		histogram->maximum = value;
	histogram->count += times;
	histogram->sum += value * times;
	if (value < XY_HISTOGRAM_LIMIT)
		histogram->bucket[bucket_of(value)] += times;
	else
		histogram->overflow += times;
}

void xy_histogram_merge(struct xy_histogram *into, const struct xy_histogram *from)
{
	if (!from->count)
		return;
	if (!into->count || from->minimum < into->minimum)
		into->minimum = from->minimum;
	if (from->maximum > into->maximum)
		into->maximum = from->maximum;
	into->count += from->count;
	into->sum += from->sum;
	into->overflow += from->overflow;
	for (unsigned i = 0; i < XY_HISTOGRAM_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

uint64_t xy_histogram_percentile(const struct xy_histogram *histogram, uint32_t ppm)
{
	uint64_t rank = (histogram->count * ppm + 999999) / 1000000, seen = 0;

	if (rank <= 1)
		return histogram->minimum;
	for (unsigned i = 0; i < XY_HISTOGRAM_BUCKETS && rank < histogram->count; i++) {
		seen += histogram->bucket[i];
		if (seen >= rank) {
			uint64_t top = bucket_top(i);

			return top < histogram->maximum ? top : histogram->maximum;
		}
	}
	return histogram->maximum;
}

uint64_t xy_histogram_mean(const struct xy_histogram *histogram)
{
	return histogram->count ? histogram->sum / histogram->count : 0;
}
