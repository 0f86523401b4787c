/* SPDX-License-Identifier: BSD-2-Clause */
#include "edge/ending.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/core.h"
#include "core/router.h"
#include "core/worker.h"

#define LOOK_MS 100

struct watched {
	struct xy_loop *loop;
	uint64_t rounds, moved_ms;
};

struct xy_ending {
	struct xy_server *server;
	struct xy_admin *admin;
	struct xy_sweeper *sweeper;
	struct watched watched[XY_WORKERS_MAX + 2];
	unsigned count;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool over;
};

static bool is_stuck(struct watched *watched, uint64_t now)
{
	uint64_t rounds = xy_loop_rounds(watched->loop);

	if (rounds != watched->rounds || xy_loop_idle(watched->loop)) {
		watched->rounds = rounds;
		watched->moved_ms = now;
	}
	return now - watched->moved_ms >= XY_STUCK_END_MS;
}

static _Noreturn void end_by_force(struct xy_ending *ending, struct xy_loop *stuck)
{
	const char *running = xy_loop_running(stuck);

	xy_log(XY_LOG_ERROR, "stop-forced", "loop=%s running=%s", xy_loop_name(stuck),
	       xy_log_quoted(running ? running : "epoll_wait"));
	xy_sweeper_sweep(ending->sweeper);
	xy_admin_withdraw(ending->admin);
	xy_server_withdraw(ending->server);
	xy_log_flush(true);
	_exit(XY_EXIT_FAILURE);
}

static void wait_a_little(struct xy_ending *ending)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_cond_timedwait(&ending->wake, &ending->lock, &until);
}

static void *ending_thread(void *context)
{
	struct xy_ending *ending = context;

	pthread_setname_np(pthread_self(), "ending");
	pthread_mutex_lock(&ending->lock);
	while (!ending->over) {
		uint64_t now = xy_clock_ms();

		for (unsigned w = 0; w < ending->count; w++)
			if (is_stuck(&ending->watched[w], now))
				end_by_force(ending, ending->watched[w].loop);
		wait_a_little(ending);
	}
	pthread_mutex_unlock(&ending->lock);
	return NULL;
}

static void watch(struct xy_ending *ending, struct xy_loop *loop)
{
	ending->watched[ending->count++] =
		(struct watched){.loop = loop, .moved_ms = xy_clock_ms()};
}

struct xy_ending *xy_ending_begin(struct xy_server *server, struct xy_admin *admin,
				  struct xy_sweeper *sweeper)
{
	const struct xy_core *core = xy_server_core(server);
	struct xy_ending *ending = calloc(1, sizeof(*ending));

	if (!ending)
		return NULL;
	ending->server = server;
	ending->admin = admin;
	ending->sweeper = sweeper;
	pthread_mutex_init(&ending->lock, NULL);
	pthread_cond_init(&ending->wake, NULL);
	for (unsigned w = 0; w < core->workers; w++)
		watch(ending, core->worker[w]->loop);
	watch(ending, xy_router_loop(core->router));
	watch(ending, core->acceptor_loop);
	if (pthread_create(&ending->thread, NULL, ending_thread, ending) == 0)
		return ending;
	free(ending);
	return NULL;
}

void xy_ending_over(struct xy_ending *ending)
{
	if (!ending)
		return;
	pthread_mutex_lock(&ending->lock);
	ending->over = true;
	pthread_cond_signal(&ending->wake);
	pthread_mutex_unlock(&ending->lock);
	pthread_join(ending->thread, NULL);
	pthread_cond_destroy(&ending->wake);
	pthread_mutex_destroy(&ending->lock);
	free(ending);
}
