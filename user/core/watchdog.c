/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/watchdog.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/log.h"
#include "core/core.h"
#include "core/router.h"
#include "core/worker.h"

struct watched {
	struct xy_loop *loop;
	uint64_t rounds;
	bool stuck;
};

struct xy_watchdog {
	struct xy_core *core;
	struct xy_loop *loop;
	struct xy_timer timer;
	struct watched watched[XY_WORKERS_MAX + 2];
	unsigned count;
};

static void watchdog_watch(struct xy_watchdog *watchdog, struct xy_loop *loop)
{
	watchdog->watched[watchdog->count++].loop = loop;
}

/* A loop is stuck when it has been in the same round since the last look, and is not waiting. */
static bool loop_is_stuck(struct xy_core *core, struct watched *watched)
{
	const char *running = xy_loop_running(watched->loop);
	uint64_t rounds = xy_loop_rounds(watched->loop);
	bool stuck = running && rounds == watched->rounds;

	watched->rounds = rounds;
	if (stuck && !watched->stuck) {
		xy_log(XY_LOG_WARN, "loop-stuck", "loop=%s running=%s", xy_loop_name(watched->loop),
		       xy_log_quoted(running));
		xy_count(core, XY_COUNT_STUCK, 1);
	}
	watched->stuck = stuck;
	return stuck;
}

static void watchdog_look(struct xy_timer *timer)
{
	struct xy_watchdog *watchdog = xy_container_of(timer, struct xy_watchdog, timer);
	bool stuck = false;

	for (unsigned w = 0; w < watchdog->count; w++)
		stuck = loop_is_stuck(watchdog->core, &watchdog->watched[w]) || stuck;
	if (watchdog->core->kernel && !stuck)
		xy_kernel_beat(watchdog->core->kernel);
	xy_log_flush(false);
	xy_timer_start(watchdog->loop, timer, XY_HEARTBEAT_EVERY_MS);
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

void xy_watchdog_start(struct xy_watchdog *watchdog, struct xy_loop *acceptor)
{
	for (unsigned w = 0; w < watchdog->core->workers; w++)
		watchdog_watch(watchdog, watchdog->core->worker[w]->loop);
	watchdog_watch(watchdog, xy_router_loop(watchdog->core->router));
	watchdog_watch(watchdog, acceptor);
	watchdog_look(&watchdog->timer);
}
