/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The budget's size and its rounds; main's side. What a connection costs, and who has to go, is
 * the workers' side: cost.c.
 */
#include "core/budget.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/core.h"
#include "core/server.h"
#include "core/worker.h"
#include "kernel/kernel.h"

#define WINDOW_MIN   (256ull << 10)
#define WINDOW_MAX   (1ull << 20)
#define SOCKET_MIN   (32ull << 10)
#define SOCKET_MAX   (256ull << 10)
#define SEGMENT      (64ull << 10) /* of a pool, by default */
#define CACHED_MAX   64u
#define CACHED_SHARE 16 /* of the budget, in the caches of all pools */

#define GREETINGS_SHARE 8 /* of the budget, of all that nobody knows yet */

#define CALM_MS 250 /* from round to round while little is used … */
#define BUSY_MS 25  /* … and when more than a quarter is */
#define GAP_MS  2   /* at least, also when somebody asks */
#define STEP    16  /* who sees this share of the budget more than the last round did, asks */

/* ---- what follows from its size -------------------------------------------------------------- */

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
	return xy_min(xy_max(value, low), high);
}

void xy_budget_plan(struct xy_budget *budget, uint64_t bytes, unsigned workers)
{
	budget->bytes = bytes;
	budget->window = clamp(bytes / 16, WINDOW_MIN, WINDOW_MAX);
	budget->socket_buffer = (uint32_t)clamp(bytes / 128, SOCKET_MIN, SOCKET_MAX);
	budget->pool_cached =
		(uint32_t)clamp(bytes / CACHED_SHARE / SEGMENT / workers, 1, CACHED_MAX);
	budget->alarm = bytes / 4;
}

uint64_t xy_budget_default(const char *root)
{
	uint64_t cgroup = xy_limits_cgroup(root);
	uint64_t bytes = xy_limits_tcp(root) / 4;

	if (cgroup != XY_LIMIT_NONE)
		bytes = xy_min(bytes, cgroup / 2);
	return xy_max(bytes, XY_BUDGET_MIN);
}

/* ---- use ------------------------------------------------------------------------------------- */

/* From here on redirect is switched off, publishers are braked. */
static uint64_t pressing(const struct xy_budget *budget)
{
	return budget->bytes / 4 * 3;
}

static uint64_t load(const _Atomic(uint64_t) *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

/* What arrives may be added before what was posted. */
static uint64_t carried(const struct xy_budget *budget)
{
	return (uint64_t)xy_max(atomic_load_explicit(&budget->carried, memory_order_relaxed),
				(int64_t)0);
}

uint64_t xy_budget_used(const struct xy_budget *budget)
{
	return xy_pool_total_bytes() + load(&budget->outstanding) + load(&budget->sockets) +
	       load(&budget->greetings) + load(&budget->tls) + carried(budget);
}

bool xy_budget_short(const struct xy_budget *budget)
{
	return xy_budget_pressed(budget) || xy_budget_used(budget) >= pressing(budget);
}

bool xy_budget_spent(const struct xy_budget *budget)
{
	return xy_budget_used(budget) >= budget->bytes;
}

void xy_budget_greeting(struct xy_budget *budget, ptrdiff_t bytes)
{
	atomic_fetch_add_explicit(&budget->greetings, (uint64_t)bytes, memory_order_relaxed);
}

bool xy_budget_greeted(const struct xy_budget *budget)
{
	return load(&budget->greetings) >= budget->bytes / GREETINGS_SHARE;
}

void xy_budget_tls(struct xy_budget *budget, ptrdiff_t bytes)
{
	atomic_fetch_add_explicit(&budget->tls, (uint64_t)bytes, memory_order_relaxed);
}

/* Whether its connections could outgrow half of the budget unseen by the proxy. */
static bool is_wide(const struct xy_core *core)
{
	const struct xy_budget *budget = &core->budget;
	uint64_t each = 2 * budget->window + 4 * (uint64_t)budget->socket_buffer;
	uint64_t connections = 0;

	for (unsigned w = 0; w < core->workers; w++)
		connections += atomic_load_explicit(&core->worker[w]->load, memory_order_relaxed);
	return connections * each >= budget->bytes / 2;
}

/* ---- decisions ------------------------------------------------------------------------------- */

/* A drain has switched redirect off for good. */
static void redirect_switch(struct xy_core *core, bool on)
{
	if (core->kernel && !atomic_load(&core->draining))
		xy_kernel_redirect_switch(core->kernel, on);
}

static void pressed_set(struct xy_core *core, bool pressed, uint64_t used)
{
	struct xy_budget *budget = &core->budget;

	atomic_store_explicit(&budget->pressed, pressed, memory_order_relaxed);
	redirect_switch(core, !pressed);
	xy_log(XY_LOG_WARN, "memory-pressure",
	       "state=%s used=%llu budget=%llu outstanding=%llu sockets=%llu pools=%zu",
	       pressed ? "on" : "off", (unsigned long long)used, (unsigned long long)budget->bytes,
	       (unsigned long long)load(&budget->outstanding),
	       (unsigned long long)load(&budget->sockets), xy_pool_total_bytes());
	if (pressed)
		xy_count(core, XY_COUNT_PRESSED, 1);
	for (unsigned w = 0; !pressed && w < core->workers; w++)
		xy_worker_look_again(core->worker[w]);
}

/* What the kernel may move until the next round: up to the mark where redirect is switched off. */
static void meter_set(struct xy_core *core, uint64_t used)
{
	struct xy_budget *budget = &core->budget;
	uint64_t most = pressing(budget);
	bool wide = is_wide(core);

	atomic_store_explicit(&budget->wide, wide, memory_order_relaxed);
	if (core->kernel)
		xy_kernel_meter(core->kernel, wide ? most - xy_min(used, most) : UINT64_MAX);
}

static void decide(struct xy_core *core)
{
	struct xy_budget *budget = &core->budget;
	uint64_t used = xy_budget_used(budget);

	if (used > load(&budget->high))
		atomic_store_explicit(&budget->high, used, memory_order_relaxed);
	atomic_store_explicit(&budget->alarm,
			      xy_max(budget->bytes / 4, used + budget->bytes / STEP),
			      memory_order_relaxed);
	if (!xy_budget_pressed(budget) && used >= pressing(budget))
		pressed_set(core, true, used);
	else if (xy_budget_pressed(budget) && used < budget->bytes / 2)
		pressed_set(core, false, used);
	meter_set(core, used);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void timer_restart(struct xy_budget *budget)
{
	bool calm = !xy_budget_pressed(budget) && xy_budget_used(budget) < budget->bytes / 4;

	xy_timer_start(budget->loop, &budget->timer, calm ? CALM_MS : BUSY_MS);
}

static void decide_run(struct xy_task *task)
{
	struct xy_budget *budget = xy_container_of(task, struct xy_budget, decide);

	atomic_store_explicit(&budget->looking, 0, memory_order_relaxed);
	decide(budget->core);
	timer_restart(budget);
}

static void look_run(struct xy_task *task)
{
	struct xy_worker *worker = xy_container_of(task, struct xy_worker, share.look);
	struct xy_budget *budget = &worker->core->budget;

	xy_budget_look(worker);
	if (atomic_fetch_sub_explicit(&budget->looking, 1, memory_order_acq_rel) == 2)
		xy_loop_post(budget->loop, &budget->decide);
}

static void round_begin(struct xy_budget *budget)
{
	struct xy_core *core = budget->core;

	if (atomic_load_explicit(&budget->looking, memory_order_relaxed))
		return;
	budget->began_ms = xy_loop_now_ms(budget->loop);
	/* One more than there are workers: main, until it has decided. */
	atomic_store_explicit(&budget->looking, core->workers + 1, memory_order_relaxed);
	for (unsigned w = 0; w < core->workers; w++)
		xy_loop_post(core->worker[w]->loop, &core->worker[w]->share.look);
}

static void timer_expired(struct xy_timer *timer)
{
	struct xy_budget *budget = xy_container_of(timer, struct xy_budget, timer);

	/* A worker that is held up must not hold up the decision. */
	if (!atomic_load_explicit(&budget->looking, memory_order_relaxed) &&
	    (is_wide(budget->core) || xy_budget_pressed(budget) ||
	     xy_budget_used(budget) >= budget->bytes / 4))
		round_begin(budget);
	else
		decide(budget->core);
	timer_restart(budget);
}

static void soon_run(struct xy_task *task)
{
	struct xy_budget *budget = xy_container_of(task, struct xy_budget, soon);

	atomic_store_explicit(&budget->soon_posted, false, memory_order_release);
	if (xy_loop_now_ms(budget->loop) - budget->began_ms >= GAP_MS)
		round_begin(budget);
	else
		xy_timer_start(budget->loop, &budget->timer, GAP_MS);
}

void xy_budget_joined(struct xy_core *core)
{
	struct xy_budget *budget = &core->budget;

	if (!atomic_load_explicit(&budget->wide, memory_order_relaxed) && is_wide(core))
		xy_budget_soon(budget);
}

void xy_budget_share_init(struct xy_worker *worker)
{
	worker->share.look = (struct xy_task){.name = "memory", .run = look_run};
}

void xy_budget_start(struct xy_core *core, struct xy_loop *loop)
{
	struct xy_budget *budget = &core->budget;

	budget->core = core;
	budget->loop = loop;
	budget->timer = (struct xy_timer){.name = "memory", .expired = timer_expired};
	budget->soon = (struct xy_task){.name = "memory", .run = soon_run};
	budget->decide = (struct xy_task){.name = "memory", .run = decide_run};
	timer_restart(budget);
}

/* ---- for people ------------------------------------------------------------------------------ */

json_t *xy_budget_describe(const struct xy_core *core)
{
	const struct xy_budget *budget = &core->budget;
	uint64_t used = xy_budget_used(budget);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "budget",
			 (json_int_t)budget->bytes, "used", (json_int_t)used, "high",
			 (json_int_t)xy_max(used, load(&budget->high)), "outstanding",
			 (json_int_t)load(&budget->outstanding), "pools",
			 (json_int_t)xy_pool_total_bytes(), "sockets",
			 (json_int_t)load(&budget->sockets), "tls", (json_int_t)load(&budget->tls),
			 "carried", (json_int_t)carried(budget), "pressed",
			 xy_budget_pressed(budget), "window", (json_int_t)budget->window,
			 "socket_buffer", (json_int_t)budget->socket_buffer);
}
