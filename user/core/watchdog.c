/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/watchdog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/log.h"
#include "core/core.h"
#include "core/router.h"
#include "core/worker.h"

struct watched {
	struct xy_loop *loop;
	struct xy_pulse *pulse;
	uint64_t rounds;
	uint64_t moved_ms; /* when it was last seen to have come round, or to have nothing to do */
};

struct xy_watchdog {
	struct xy_core *core;
	struct xy_loop *loop;
	struct xy_timer timer;
	struct watched watched[XY_WORKERS_MAX + 2];
	unsigned count;
	uint64_t looked_ms, beat_ms, told_ms;
};

static void watchdog_watch(struct xy_watchdog *watchdog, struct xy_loop *loop,
			   struct xy_pulse *pulse)
{
	watchdog->watched[watchdog->count++] = (struct watched){
		.loop = loop, .pulse = pulse, .moved_ms = xy_loop_now_ms(watchdog->loop)};
}

/* ---- looking --------------------------------------------------------------------------------- */

static bool is_stuck(const struct watched *watched)
{
	return atomic_load_explicit(&watched->pulse->stuck, memory_order_relaxed);
}

static void incident_begins(struct xy_watchdog *watchdog, struct watched *watched, uint64_t for_ms)
{
	const char *running = xy_loop_running(watched->loop);

	atomic_store_explicit(&watched->pulse->stuck, true, memory_order_relaxed);
	atomic_fetch_add_explicit(&watched->pulse->incidents, 1, memory_order_relaxed);
	xy_count(watchdog->core, XY_COUNT_STUCK, 1);
	xy_log(XY_LOG_WARN, "loop-stuck", "loop=%s running=%s for_ms=%" PRIu64,
	       xy_loop_name(watched->loop), xy_log_quoted(running ? running : "epoll_wait"),
	       for_ms);
}

static void incident_ends(struct watched *watched, uint64_t for_ms)
{
	atomic_store_explicit(&watched->pulse->stuck, false, memory_order_relaxed);
	xy_log(XY_LOG_WARN, "loop-moving", "loop=%s for_ms=%" PRIu64, xy_loop_name(watched->loop),
	       for_ms);
}

/* For how long the loop has not come round although there was something to do. `late`: for how long
 * the watchdog itself did not run; what it cannot know it blames nobody for. */
static uint64_t loop_look(struct xy_watchdog *watchdog, struct watched *watched, uint64_t now,
			  uint64_t late)
{
	uint64_t rounds = xy_loop_rounds(watched->loop), for_ms;

	watched->moved_ms = xy_min(watched->moved_ms + late, now);
	for_ms = now - watched->moved_ms;
	if (rounds != watched->rounds || xy_loop_idle(watched->loop)) {
		watched->rounds = rounds;
		watched->moved_ms = now;
		if (is_stuck(watched))
			incident_ends(watched, for_ms);
		return 0;
	}
	if (for_ms >= watchdog->core->stuck_after_ms && !is_stuck(watched))
		incident_begins(watchdog, watched, for_ms);
	if (is_stuck(watched) && for_ms > atomic_load(&watched->pulse->longest_ms))
		atomic_store(&watched->pulse->longest_ms, for_ms);
	return for_ms;
}

/* ---- what a stuck worker leaves to others ---------------------------------------------------- */

static void tasks_move(struct xy_core *core, struct xy_worker *stuck, uint32_t *more)
{
	struct xy_task *task, *next;
	struct xy_worker *taker;
	unsigned moved = 0;

	/* Without a taker they stay where they are. */
	taker = xy_worker_choose(core, more);
	if (atomic_load_explicit(&taker->pulse.stuck, memory_order_relaxed))
		return;
	for (task = xy_loop_take_unbound(stuck->loop); task; task = next, moved++) {
		next = task->next;
		taker = xy_worker_choose(core, more);
		more[taker->index]++;
		xy_loop_post_unbound(taker->loop, task);
	}
	if (!moved)
		return;
	xy_count(core, XY_COUNT_MOVED, moved);
	xy_log(XY_LOG_WARN, "tasks-moved", "loop=%s tasks=%u", stuck->name, moved);
}

static void stuck_relieve(struct xy_core *core)
{
	uint32_t more[XY_WORKERS_MAX] = {0}; /* what each was given here, and has not taken yet */

	for (unsigned w = 0; w < core->workers; w++)
		if (atomic_load_explicit(&core->worker[w]->pulse.stuck, memory_order_relaxed))
			tasks_move(core, core->worker[w], more);
}

/* The manager restarts a proxy that is silent for too long, so it is told as the kernel is: only
 * while all loops come round. */
static void manager_tell(struct xy_watchdog *watchdog, uint64_t now)
{
	const struct xy_service *service = &watchdog->core->service;

	if (!service->watchdog_ms || now < watchdog->told_ms + service->watchdog_ms / 3)
		return;
	watchdog->told_ms = now;
	xy_service_tell(service, "WATCHDOG=1");
}

/* ---- the round ------------------------------------------------------------------------------- */

static uint64_t look_every_ms(const struct xy_core *core)
{
	return xy_min((uint64_t)core->stuck_after_ms / 2, (uint64_t)XY_HEARTBEAT_EVERY_MS);
}

static void watchdog_look(struct xy_timer *timer)
{
	struct xy_watchdog *watchdog = xy_container_of(timer, struct xy_watchdog, timer);
	struct xy_core *core = watchdog->core;
	uint64_t now = xy_loop_now_ms(watchdog->loop), every = look_every_ms(core);
	uint64_t due = watchdog->looked_ms + every, longest = 0;

	for (unsigned w = 0; w < watchdog->count; w++)
		longest = xy_max(longest, loop_look(watchdog, &watchdog->watched[w], now,
						    now > due ? now - due : 0));
	watchdog->looked_ms = now;
	stuck_relieve(core);
	/* The kernel must stop soon after a loop did, also where the bound is long. */
	if (now >= watchdog->beat_ms + XY_HEARTBEAT_EVERY_MS &&
	    longest < xy_min(core->stuck_after_ms, (uint32_t)XY_HEARTBEAT_EVERY_MS)) {
		watchdog->beat_ms = now;
		if (core->kernel)
			xy_kernel_beat(core->kernel);
		manager_tell(watchdog, now);
	}
	xy_log_flush(false);
	xy_timer_start(watchdog->loop, timer, every);
}

int xy_watchdog_new(struct xy_core *core, struct xy_loop *loop, struct xy_watchdog **ret_watchdog)
{
	struct xy_watchdog *watchdog = calloc(1, sizeof(*watchdog));

	if (!watchdog)
		return -ENOMEM;
	watchdog->core = core;
	watchdog->loop = loop;
	watchdog->timer = (struct xy_timer){.name = "watchdog", .expired = watchdog_look};
	*ret_watchdog = watchdog;
	return 0;
}

void xy_watchdog_free(struct xy_watchdog *watchdog)
{
	if (!watchdog)
		return;
	xy_timer_stop(&watchdog->timer);
	free(watchdog);
}

void xy_watchdog_start(struct xy_watchdog *watchdog)
{
	struct xy_core *core = watchdog->core;

	for (unsigned w = 0; w < core->workers; w++)
		watchdog_watch(watchdog, core->worker[w]->loop, &core->worker[w]->pulse);
	watchdog_watch(watchdog, xy_router_loop(core->router), &core->router_pulse);
	watchdog_watch(watchdog, core->acceptor_loop, &core->acceptor_pulse);
	watchdog->looked_ms = xy_loop_now_ms(watchdog->loop);
	watchdog_look(&watchdog->timer);
}
