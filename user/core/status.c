/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/connection.h"
#include "core/router.h"
#include "core/worker.h"
#include "io/net.h"
#include "kernel/session.h"

#define SLOW_MS 10000 /* how long a receiver is called slow after its last drop */

const char *xy_counter_text(enum xy_counter counter)
{
	static const char *const text[] = {
#define X(name, text) [XY_COUNT_##name] = text,
		XY_COUNTERS(X)
#undef X
	};

	return text[counter];
}

static json_t *hex(uint64_t id)
{
	char text[17];

	snprintf(text, sizeof(text), "%016" PRIx64, id);
	return json_string(text);
}

static json_t *kernel_of(const struct xy_session *session)
{
	static const char *const text[] = {
#define X(name, text, why) [XY_REASON_##name] = text,
		XY_REASONS(X)
#undef X
	};
	json_t *reasons = json_object();

	for (unsigned r = 0; r < XY_REASON_COUNT; r++)
		if (xy_session_reason(session, r))
			json_object_set_new(
				reasons, text[r],
				json_integer((json_int_t)xy_session_reason(session, r)));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "frames",
			 (json_int_t)session->frames, "bytes", (json_int_t)session->bytes, "sends",
			 (json_int_t)session->sends, "passed", (json_int_t)session->passed,
			 "received", (json_int_t)session->sent_frames, "outstanding",
			 (json_int_t)xy_session_outstanding(session), "reasons", reasons);
}

/* In all. */
static uint64_t dropped_frames(const struct xy_peer *peer)
{
	uint64_t frames = 0;

	for (unsigned p = 0; p < XY_POLICIES; p++)
		frames += peer->dropped.frames[p];
	return frames;
}

static json_t *dropped_of(const struct xy_peer *peer)
{
	json_t *json = json_object();

	for (unsigned p = 0; p < XY_POLICIES; p++)
		if (peer->dropped.frames[p])
			json_object_set_new(json, xy_overflow_text((enum xy_overflow)p),
					    json_pack("{s:I, s:I}", "messages",
						      (json_int_t)peer->dropped.messages[p],
						      "frames",
						      (json_int_t)peer->dropped.frames[p]));
	return json;
}

/* A receiver that others wait for, or that something was dropped for lately, and what it costs.
 * NULL: it is neither. */
static json_t *slow_of(const struct xy_connection *connection)
{
	const struct xy_peer *peer = connection->peer;
	uint64_t dropped_ms = atomic_load(&peer->dropped.last_ms);
	bool waited_for = atomic_load(&peer->waiting) != 0;
	bool dropping =
		dropped_ms && xy_loop_now_ms(connection->worker->loop) < dropped_ms + SLOW_MS;

	if (!waited_for && !dropping && !xy_peer_crowded(peer))
		return NULL;
	return json_pack("{s:o, s:s, s:I, s:I, s:b, s:o}", "endpoint", hex(peer->endpoint), "name",
			 peer->name, "held", (json_int_t)atomic_load(&peer->pending), "outstanding",
			 (json_int_t)xy_peer_outstanding(peer), "waited_for", waited_for, "dropped",
			 dropped_of(peer));
}

static json_t *tls_of(const struct xy_tls *tls)
{
	return tls ? json_pack("{s:s, s:s}", "version", xy_tls_version(tls), "cipher",
			       xy_tls_cipher(tls))
		   : json_null();
}

static json_t *connection_of(const struct xy_connection *connection)
{
	const struct xy_peer *peer = connection->peer;
	char address[XY_ADDRESS_TEXT_SIZE];
	json_t *json = json_pack(
		"{s:o, s:s, s:s, s:s, s:b, s:{s:I, s:I}, s:{s:I, s:I}, s:I, s:I, s:I, s:b, s:i, "
		"s:i}",
		"endpoint", hex(peer->endpoint), "name", peer->name, "peer",
		xy_net_peer_text(connection->watch.fd, address, sizeof(address)), "kind",
		connection->is_unix ? "unix"
		: connection->tls   ? "tls"
				    : "tcp",
		"lane", connection->lane, "in", "frames", (json_int_t)connection->frames_in,
		"bytes", (json_int_t)connection->bytes_in, "out", "frames",
		(json_int_t)connection->frames_out, "bytes", (json_int_t)connection->bytes_out,
		"queued_bytes",
		(json_int_t)xy_pipe_length(connection->data) +
			(json_int_t)xy_pipe_length(connection->control),
		"memory", (json_int_t)connection->cost.bytes, "dropped",
		(json_int_t)dropped_frames(peer), "waiting", !xy_list_empty(&connection->braked),
		"subscriptions", (int)connection->subscriptions, "topics", (int)connection->topics);

	if (!json)
		return NULL;
	json_object_set_new(json, "identity", json_string(peer->identity->name));
	json_object_set_new(json, "tls", tls_of(connection->tls));
	json_object_set_new(json, "loop", json_string(connection->worker->name));
	json_object_set_new(json, "dropped_by", dropped_of(peer));
	json_object_set_new(json, "slot",
			    connection->lane ? json_integer(peer->slot.slot) : json_null());
	json_object_set_new(json, "kernel",
			    connection->lane ? kernel_of(peer->session) : json_null());
	return json;
}

/* How a loop does, as the watchdog knows it. `connections` < 0: it owns none. Any thread. Returns
 * the entry, borrowed; NULL without memory. */
static json_t *loop_add(json_t *json, const struct xy_loop *loop, const struct xy_pulse *pulse,
			int connections)
{
	json_t *entry = json_pack("{s:s, s:I, s:b, s:i, s:I}", "name", xy_loop_name(loop), "rounds",
				  (json_int_t)xy_loop_rounds(loop), "stuck",
				  (int)atomic_load(&pulse->stuck), "stuck_count",
				  (int)atomic_load(&pulse->incidents), "stuck_longest_ms",
				  (json_int_t)atomic_load(&pulse->longest_ms));

	if (connections >= 0)
		json_object_set_new(entry, "connections", json_integer(connections));
	return json_array_append_new(json_object_get(json, "loops"), entry) ? NULL : entry;
}

static json_t *worker_loop_add(const struct xy_worker *worker, json_t *json)
{
	return loop_add(json, worker->loop, &worker->pulse, (int)atomic_load(&worker->load));
}

static void worker_add(struct xy_worker *worker, json_t *json)
{
	json_t *connections = json_object_get(json, "connections");
	json_t *slow = json_object_get(json, "slow"), *entry;
	struct xy_connection *connection;
	struct xy_pool_stats pool;

	xy_budget_look(worker);
	xy_pool_stats(worker->pool, &pool);
	json_object_set_new(worker_loop_add(worker, json), "cached_segments",
			    json_integer(pool.cached));
	xy_list_each (connection, &worker->connections, of_worker) {
		if (connection->state >= XY_CONNECTION_LINGER)
			continue;
		json_array_append_new(connections, connection_of(connection));
		entry = slow_of(connection);
		if (entry)
			json_array_append_new(slow, entry);
	}
}

static json_t *kernel_path(const struct xy_core *core)
{
	struct xy_kernel *kernel = core->kernel;

	if (!kernel)
		return json_pack("{s:b, s:s}", "active", 0, "reason", core->kernel_why);
	return json_pack("{s:b, s:s, s:s, s:s, s:s, s:s?, s:s?, s:i, s:i, s:i, s:I}", "active", 1,
			 "reason", "", "untested", xy_kernel_untried(kernel), "cgroup",
			 xy_kernel_cgroup(kernel), "cgroup_why", xy_kernel_cgroup_why(kernel),
			 "pins", xy_kernel_pins(kernel), "pins_why", xy_kernel_pins_why(kernel),
			 "slots", (int)xy_kernel_slots(kernel), "slots_free",
			 (int)xy_kernel_slots_free(kernel), "flows", (int)xy_kernel_flows(kernel),
			 "sockets_left", (json_int_t)xy_kernel_sockets_left(kernel));
}

static json_t *confinement_of(const struct xy_confinement *confinement)
{
	if (!confinement->on)
		return json_pack("{s:b, s:s?}", "active", 0, "reason", confinement->why);
	return json_pack("{s:b, s:s, s:I, s:I, s:[s*], s:b}", "active", 1, "reason",
			 confinement->why, "user", (json_int_t)confinement->user, "group",
			 (json_int_t)confinement->group, "capabilities",
			 confinement->bpf ? "CAP_BPF" : NULL, "filter", (int)confinement->filter);
}

static json_t *core_of(const struct xy_core *core)
{
	json_t *counters = json_object(), *listen = json_array();

	for (unsigned c = 0; c < XY_COUNTER_COUNT; c++)
		json_object_set_new(counters, xy_counter_text(c),
				    json_integer((json_int_t)atomic_load(&core->counter[c])));
	for (unsigned l = 0; l < core->listens; l++)
		json_array_append_new(listen, json_string(core->listen[l]));
	return json_pack("{s:s, s:s, s:i, s:I, s:b, s:o, s:o, s:o, s:[], s:[], s:[], s:o, "
			 "s:I, s:I}",
			 "instance", core->instance, "version", XY_VERSION, "pid", (int)getpid(),
			 "uptime_ms", (json_int_t)(xy_clock_ms() - core->started_ms), "draining",
			 (int)atomic_load(&core->draining), "listen", listen, "kernel_path",
			 kernel_path(core), "confinement", confinement_of(&core->confinement),
			 "loops", "slow", "connections", "counters", counters, "pool_bytes",
			 (json_int_t)xy_pool_total_bytes(), "access_generation",
			 (json_int_t)atomic_load(&core->access_generation));
}

static bool is_stuck(const struct xy_pulse *pulse)
{
	return atomic_load_explicit(&pulse->stuck, memory_order_relaxed);
}

/* Sends the status to its next stop that is not stuck. */
static void status_go(struct xy_status *status)
{
	struct xy_core *core = status->core;

	while (status->stop < core->workers && is_stuck(&core->worker[status->stop]->pulse))
		worker_loop_add(core->worker[status->stop++], status->json);
	if (status->stop == core->workers && is_stuck(&core->router_pulse))
		status->stop++;
	if (status->stop < core->workers)
		xy_loop_post_unbound(core->worker[status->stop]->loop, &status->task);
	else
		xy_loop_post(status->stop == core->workers ? xy_router_loop(core->router)
							   : status->home,
			     &status->task);
}

static void status_run(struct xy_task *task)
{
	struct xy_status *status = xy_container_of(task, struct xy_status, task);
	struct xy_core *core = status->core;

	if (status->stop > core->workers) {
		loop_add(status->json, xy_router_loop(core->router), &core->router_pulse, -1);
		loop_add(status->json, core->acceptor_loop, &core->acceptor_pulse, -1);
		json_object_set_new(status->json, "memory", xy_budget_describe(core));
		status->done(status, status->context);
		return;
	}
	if (status->stop == core->workers)
		xy_router_describe(core->router, status->json);
	else if (xy_loop_here() == core->worker[status->stop]->loop)
		worker_add(core->worker[status->stop], status->json);
	else /* that worker is stuck, and another took the task over */
		worker_loop_add(core->worker[status->stop], status->json);
	status->stop++;
	status_go(status);
}

int xy_status_take(struct xy_core *core, struct xy_loop *home,
		   void (*done)(struct xy_status *status, void *context), void *context,
		   struct xy_status **ret_status)
{
	struct xy_status *status = calloc(1, sizeof(*status));

	if (!status)
		return -ENOMEM;
	status->json = core_of(core);
	if (!status->json) {
		free(status);
		return -ENOMEM;
	}
	status->task = (struct xy_task){.name = "status", .run = status_run};
	status->core = core;
	status->home = home;
	status->done = done;
	status->context = context;
	*ret_status = status;
	status_go(status);
	return 0;
}

void xy_status_free(struct xy_status *status)
{
	if (!status)
		return;
	json_decref(status->json);
	free(status);
}
