/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/budget.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "core/core.h"
#include "core/server.h"
#include <xylem/pipe.h>

#define WINDOW_MIN   (256ull << 10)
#define WINDOW_MAX   (1ull << 20)
#define SOCKET_MIN   (16ull << 10)
#define SOCKET_MAX   (256ull << 10)
#define SEGMENT      (64ull << 10) /* of a pool, by default */
#define CACHED_MAX   64u
#define CACHED_SHARE 16 /* of the budget, in the caches of all pools */

/* ---- what follows from its size ----------------------------------------------------------------
 */

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
	return xy_min(xy_max(value, low), high);
}

void xy_budget_plan(struct xy_budget *budget, uint64_t bytes, unsigned workers)
{
	budget->bytes = bytes;
	budget->window = clamp(bytes / 16, WINDOW_MIN, WINDOW_MAX);
	budget->socket_buffer = (uint32_t)clamp(bytes / 64, SOCKET_MIN, SOCKET_MAX);
	budget->pool_cached =
		(uint32_t)clamp(bytes / CACHED_SHARE / SEGMENT / workers, 1, CACHED_MAX);
}

uint64_t xy_budget_default(const char *root)
{
	uint64_t cgroup = xy_limits_cgroup(root);
	uint64_t bytes = xy_limits_tcp(root) / 4;

	if (cgroup != XY_LIMIT_NONE)
		bytes = xy_min(bytes, cgroup / 2);
	return xy_max(bytes, XY_BUDGET_MIN);
}

/* ---- for people --------------------------------------------------------------------------------
 */

json_t *xy_budget_describe(const struct xy_core *core)
{
	const struct xy_budget *budget = &core->budget;

	return json_pack("{s:I, s:I, s:I, s:I}", "budget", (json_int_t)budget->bytes, "pools",
			 (json_int_t)xy_pool_total_bytes(), "window", (json_int_t)budget->window,
			 "socket_buffer", (json_int_t)budget->socket_buffer);
}
