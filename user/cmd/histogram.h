/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How often which value was seen, in memory of fixed size.
 *
 * Values below 2 × XY_HISTOGRAM_STEPS are kept exactly; above, each power of two is cut into
 * XY_HISTOGRAM_STEPS buckets of equal width. A percentile is the largest value that its bucket may
 * hold, but never more than the largest one seen: it is never below the true one, and at most
 * 1/XY_HISTOGRAM_STEPS of it above. Count, sum, minimum and maximum are exact. Values of
 * XY_HISTOGRAM_LIMIT and more are counted, as overflow; among the percentiles they stand for the
 * maximum.
 *
 * All zero is an empty one. Holds no pointers, so that processes may share it; one writer at a
 * time.
 */
#ifndef XY_CMD_HISTOGRAM_H
#define XY_CMD_HISTOGRAM_H

#include <stdint.h>

#define XY_HISTOGRAM_STEPS_BITS 7
#define XY_HISTOGRAM_STEPS      (1u << XY_HISTOGRAM_STEPS_BITS)
#define XY_HISTOGRAM_LIMIT_BITS 42 /* of nanoseconds: 73 minutes */
#define XY_HISTOGRAM_LIMIT      (1ull << XY_HISTOGRAM_LIMIT_BITS)
#define XY_HISTOGRAM_BUCKETS \
	((XY_HISTOGRAM_LIMIT_BITS - XY_HISTOGRAM_STEPS_BITS + 1) * XY_HISTOGRAM_STEPS)

struct xy_histogram {
	uint64_t count, sum, minimum, maximum;
	uint64_t overflow; /* of count */
	uint64_t bucket[XY_HISTOGRAM_BUCKETS];
};

/* The value, so many times. */
void xy_histogram_add(struct xy_histogram *histogram, uint64_t value, uint64_t times);
void xy_histogram_merge(struct xy_histogram *into, const struct xy_histogram *from);
/* The value that `ppm` millionths of all do not exceed (500,000 is the median), by nearest rank; 0
 * when empty. None of them gives the minimum, a million the maximum, both exactly. */
uint64_t xy_histogram_percentile(const struct xy_histogram *histogram, uint32_t ppm);
uint64_t xy_histogram_mean(const struct xy_histogram *histogram); /* 0 when empty */

#endif
