/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/connection.h"
#include "io/depot.h"

/* What does not go back to the system: rare traffic should not map and unmap with every message. */
#define SHRINK_KEEP 4

struct xy_worker *xy_worker_choose(const struct xy_core *core, const uint32_t *more)
{
	struct xy_worker *best = NULL;
	bool best_stuck = true;
	uint32_t best_load = 0;

	for (unsigned w = 0; w < core->workers; w++) {
		struct xy_worker *worker = core->worker[w];
		bool stuck = atomic_load_explicit(&worker->pulse.stuck, memory_order_relaxed);
		uint32_t load = atomic_load(&worker->load) + (more ? more[w] : 0);

		if (best && (stuck != best_stuck ? stuck : load >= best_load))
			continue;
		best = worker;
		best_stuck = stuck;
		best_load = load;
	}
	return best;
}

static void look_again_run(struct xy_task *task)
{
	struct xy_worker *worker = xy_container_of(task, struct xy_worker, look_again);

	atomic_store_explicit(&worker->look_again_posted, false, memory_order_seq_cst);
	xy_brake_look_again(worker);
}

void xy_worker_look_again(struct xy_worker *worker)
{
	if (!atomic_exchange_explicit(&worker->look_again_posted, true, memory_order_seq_cst))
		xy_loop_post(worker->loop, &worker->look_again);
}

static void brake_timer_expired(struct xy_timer *timer)
{
	xy_brake_look_again(xy_container_of(timer, struct xy_worker, brake_timer));
}

static void shrink_timer_expired(struct xy_timer *timer)
{
	xy_pool_shrink(xy_container_of(timer, struct xy_worker, shrink_timer)->pool, SHRINK_KEEP);
}

/* A loop without traffic has nothing to give back, and is not woken for it. */
static void shrink_later(struct xy_worker *worker)
{
	struct xy_pool_stats stats;

	if (xy_timer_active(&worker->shrink_timer))
		return;
	xy_pool_stats(worker->pool, &stats);
	if (stats.cached > SHRINK_KEEP || xy_depot_count(worker->core->depot))
		xy_timer_start(worker->loop, &worker->shrink_timer, XY_SHRINK_MS);
}

/* What the events and tasks of this turn left to do: input of publishers that may go on, output of
 * everybody who got something, memory of those who are gone. */
static bool turn_end(struct xy_loop *loop, void *context)
{
	struct xy_worker *worker = context;
	struct xy_connection *connection, *after;
	struct xy_list ready;

	(void)loop;
	xy_list_init(&ready);
	while ((connection = xy_list_first(&worker->ready, struct xy_connection, ready))) {
		xy_list_remove(&connection->ready);
		xy_list_add_tail(&ready, &connection->ready);
	}
	while ((connection = xy_list_first(&ready, struct xy_connection, ready))) {
		xy_list_remove(&connection->ready);
		xy_inbound_ready(connection);
	}
	while ((connection = xy_list_first(&worker->dirty, struct xy_connection, dirty))) {
		xy_list_remove(&connection->dirty);
		xy_outbound_send(connection);
	}
	xy_list_each_safe (connection, after, &worker->dead, of_worker)
		xy_connection_free(connection);
	shrink_later(worker);
	xy_budget_turn(worker);
	return !xy_list_empty(&worker->ready);
}

static void *worker_thread(void *context)
{
	struct xy_worker *worker = context;

	pthread_setname_np(pthread_self(), worker->name);
	xy_rcu_register_thread();
	xy_loop_run(worker->loop);
	xy_rcu_unregister_thread();
	return NULL;
}

static void drain_run(struct xy_task *task)
{
	struct xy_worker *worker = xy_container_of(task, struct xy_worker, drain);
	struct xy_connection *connection, *after;

	xy_list_each_safe (connection, after, &worker->connections, of_worker)
		xy_connection_drain(connection);
}

static void shut_run(struct xy_task *task)
{
	struct xy_worker *worker = xy_container_of(task, struct xy_worker, shut);
	struct xy_connection *connection, *after;

	worker->shutting = true;
	xy_list_each_safe (connection, after, &worker->connections, of_worker)
		xy_connection_close(connection, "the proxy ends");
}

static void stop_run(struct xy_task *task)
{
	xy_loop_stop(xy_container_of(task, struct xy_worker, stop)->loop);
}

int xy_worker_new(struct xy_core *core, unsigned index, struct xy_worker **ret_worker)
{
	struct xy_worker *worker = calloc(1, sizeof(*worker));
	struct xy_loop_options options = {.turn_end = turn_end, .context = worker};
	struct xy_pool_options pool = {.size = sizeof(pool),
				       .cached_max = core->budget.pool_cached};
	int error = -ENOMEM;

	if (!worker)
		return -ENOMEM;
	worker->core = core;
	worker->index = index;
	snprintf(worker->name, sizeof(worker->name), "loop-%u", index);
	options.name = worker->name;
	xy_list_init(&worker->connections);
	xy_list_init(&worker->dirty);
	xy_list_init(&worker->braked);
	xy_list_init(&worker->ready);
	xy_list_init(&worker->dead);
	worker->brake_timer = (struct xy_timer){.name = "brake", .expired = brake_timer_expired};
	worker->shrink_timer = (struct xy_timer){.name = "shrink", .expired = shrink_timer_expired};
	worker->look_again = (struct xy_task){.name = "look again", .run = look_again_run};
	worker->drain = (struct xy_task){.name = "drain", .run = drain_run};
	worker->shut = (struct xy_task){.name = "shut", .run = shut_run};
	xy_budget_share_init(worker);
	worker->stop = (struct xy_task){.name = "stop", .run = stop_run};
	worker->pool = xy_pool_new(&pool);
	if (!worker->pool)
		goto err_free;
	xy_pool_share(worker->pool, core->depot);
	error = xy_deliveries_init(&worker->deliveries, core->max_connections);
	if (error)
		goto err_free;
	error = xy_loop_new(&options, &worker->loop);
	if (error)
		goto err_free;
	*ret_worker = worker;
	return 0;

err_free:
	xy_worker_free(worker);
	return error;
}

void xy_worker_free(struct xy_worker *worker)
{
	if (!worker)
		return;
	xy_loop_free(worker->loop);
	xy_deliveries_free(&worker->deliveries);
	xy_pool_free(worker->pool);
	free(worker);
}

int xy_worker_start(struct xy_worker *worker)
{
	return -pthread_create(&worker->thread, NULL, worker_thread, worker);
}

void xy_worker_drain(struct xy_worker *worker)
{
	xy_loop_post(worker->loop, &worker->drain);
}

void xy_worker_shut(struct xy_worker *worker)
{
	xy_loop_post(worker->loop, &worker->shut);
}

bool xy_worker_idle(const struct xy_worker *worker)
{
	return atomic_load(&worker->load) == 0 && atomic_load(&worker->asked) == 0;
}

void xy_worker_stop(struct xy_worker *worker)
{
	xy_loop_post(worker->loop, &worker->stop);
	pthread_join(worker->thread, NULL);
}
