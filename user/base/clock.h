/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clocks. Any thread; never fail on Linux.
 */
#ifndef XY_BASE_CLOCK_H
#define XY_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define XY_NS_PER_S  1000000000ull
#define XY_NS_PER_MS 1000000ull

static inline uint64_t xy_clock_read_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * XY_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* CLOCK_MONOTONIC: the same that bpf_ktime_get_ns() reads. */
static inline uint64_t xy_clock_ns(void)
{
	return xy_clock_read_ns(CLOCK_MONOTONIC);
}

static inline uint64_t xy_clock_ms(void)
{
	return xy_clock_ns() / XY_NS_PER_MS;
}

static inline uint64_t xy_clock_realtime_ns(void)
{
	return xy_clock_read_ns(CLOCK_REALTIME);
}

#endif
