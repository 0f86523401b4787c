/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How cost grows with the number of things: each curve works on a proxy that does nothing else, and
 * prints a JSON line for each point.
 */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include <stdbool.h>
#include <stdint.h>

#include "gauge.h"
#include "wire.h"

#define POINTS_MAX 32

struct scale {
	const char *curve;
	int pid; /* the proxy's */
	uint16_t port;
	struct verdict verdict;
	unsigned points, point[POINTS_MAX]; /* ascending */
};

/* The proxy's CPU time and the clock, from here on. */
struct spent {
	uint64_t at_ns, cpu_ns;
};
struct spent spent_begin(const struct scale *scale);
/* A member of the line: "NAME_us" and "NAME_cpu_us", wall and proxy's CPU time of each. */
void spent_print(const struct scale *scale, struct spent since, const char *name, uint64_t count);

/* A line of output: begin, members, end. */
void line_begin(const struct scale *scale, unsigned x);
void line_number(const char *name, double value);
void line_end(void);

/* Sends messages from one connection to another, each to a random pair of `count`, in bursts, and
 * prints what one takes: "message_ns" (both calls, of one thread), "verdict_ns", "proxy_cpu_ns". */
struct pair {
	struct wire *from, *to;
	uint64_t target;
	uint64_t sent;
};
void pairs_print(const struct scale *scale, struct pair *pairs, unsigned count);

void curve_lanes(struct scale *scale);
void curve_shared(struct scale *scale);
void curve_flows(struct scale *scale);
void curve_senders(struct scale *scale);
void curve_subscriptions(struct scale *scale);
void curve_frames(struct scale *scale);
void curve_library(struct scale *scale);

#endif
