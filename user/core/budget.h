/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory budget: what lies in receive queues of lanes, in pipes and pools, and in the proxy's
 * socket buffers, of all connections together, in bytes.
 */
#ifndef XY_CORE_BUDGET_H
#define XY_CORE_BUDGET_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct xy_core;

struct xy_budget {
	/* Set before the threads start. */
	uint64_t bytes;         /* the budget */
	uint64_t window;        /* of a lane; follows from it, as do the next two */
	uint32_t socket_buffer; /* SO_RCVBUF and SO_SNDBUF of a connection */
	uint32_t pool_cached;   /* segments that a worker's pool may keep */
};

/* What a budget of `bytes` means for `workers` loops. */
void xy_budget_plan(struct xy_budget *budget, uint64_t bytes, unsigned workers);
/* The smaller of a quarter of what TCP may use and half of the cgroup's limit; at least
 * XY_BUDGET_MIN. `root` as in base/limits.h. */
uint64_t xy_budget_default(const char *root);

/* "memory" of a status. Any thread. NULL: out of memory. */
json_t *xy_budget_describe(const struct xy_core *core);

#endif
