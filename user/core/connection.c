/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "core/notify.h"
#include "kernel/session.h"

#define LINGER_MS 2000
#define RETRY_MS  5

/* ---- input on and off ------------------------------------------------------------------------ */

void xy_connection_rewatch(struct xy_connection *connection)
{
	uint32_t events = (connection->holds ? 0 : EPOLLIN) | (connection->writing ? EPOLLOUT : 0);

	if (connection->state == XY_CONNECTION_CLOSED || (connection->unwatched && !events))
		return;
	if (!connection->unwatched) {
		xy_loop_rewatch(connection->worker->loop, &connection->watch, events);
		return;
	}
	connection->unwatched = false;
	if (xy_loop_watch(connection->worker->loop, &connection->watch, events))
		xy_connection_close(connection, "out of memory");
}

/* Hanging up is reported whatever is watched, again and again, and may come before the input of a
 * held connection has been read. The hold ends it: no receiver may stall for ever. */
static void hung_up_while_held(struct xy_connection *connection)
{
	xy_loop_unwatch(connection->worker->loop, &connection->watch);
	connection->unwatched = true;
	connection->writing = false;
}

static void timer_restart(struct xy_connection *connection, uint64_t delay_ms)
{
	xy_timer_start(connection->worker->loop, &connection->timer, delay_ms);
}

void xy_connection_hold(struct xy_connection *connection, enum xy_hold hold)
{
	if (connection->state >= XY_CONNECTION_LINGER || connection->holds & hold)
		return;
	connection->holds |= hold;
	atomic_store_explicit(&connection->peer->held, true, memory_order_relaxed);
	if (hold == XY_HOLD_CONTROL && connection->state == XY_CONNECTION_OPEN)
		timer_restart(connection, atomic_load_explicit(&connection->peer->stall_ms,
							       memory_order_relaxed));
	xy_connection_rewatch(connection);
}

void xy_connection_release(struct xy_connection *connection, enum xy_hold hold)
{
	if (!(connection->holds & hold))
		return;
	connection->holds &= ~(uint32_t)hold;
	if (connection->holds || connection->state >= XY_CONNECTION_LINGER)
		return;
	atomic_store_explicit(&connection->peer->held, false, memory_order_relaxed);
	xy_connection_rewatch(connection);
	/* Frames may lie in its pipe that no further readiness would announce. */
	if (xy_list_empty(&connection->ready))
		xy_list_add_tail(&connection->worker->ready, &connection->ready);
}

/* ---- timers ---------------------------------------------------------------------------------- */

/* What the kernel moved counts as heard: a lane's DATA passes the proxy by. */
static void heard_in_kernel(struct xy_connection *connection, uint64_t now)
{
	uint64_t moved;

	if (!connection->lane)
		return;
	moved = xy_session_frames(connection->peer->session) +
		xy_session_acked(connection->peer->session);
	if (moved != connection->heard_kernel)
		connection->heard_ms = now;
	connection->heard_kernel = moved;
}

/* What is left is little, and says why; or the client's memory, which only it could free. */
static void linger_end(struct xy_connection *connection)
{
	if (xy_peer_outstanding(connection->peer) > XY_CONTROL_MAX)
		xy_connection_abort(connection, "lingered, and did not read");
	else
		xy_connection_close(connection, "lingered long enough");
}

static void timer_expired(struct xy_timer *timer)
{
	struct xy_connection *connection = xy_container_of(timer, struct xy_connection, timer);
	uint64_t now = xy_loop_now_ms(connection->worker->loop);
	uint64_t heartbeat = connection->worker->core->heartbeat_ms;

	switch (connection->state) {
	case XY_CONNECTION_LEAVING:
		xy_connection_close(connection, "its time to leave was up");
		return;
	case XY_CONNECTION_LINGER:
		linger_end(connection);
		return;
	case XY_CONNECTION_CLOSED:
		return;
	default:
		break;
	}
	if (connection->draining) {
		xy_connection_close(connection, "drained as far as time allowed");
		return;
	}
	if (connection->holds & XY_HOLD_CONTROL) {
		xy_count(connection->worker->core, XY_COUNT_SLOW_CONSUMERS, 1);
		xy_connection_fail(connection, XY_E_SLOW_CONSUMER, NULL,
				   "asks without reading the answers");
		return;
	}
	heard_in_kernel(connection, now);
	if (connection->holds) /* who is not read cannot be heard */
		connection->heard_ms = now;
	if (now - connection->heard_ms >= 3 * heartbeat) {
		xy_connection_abort(connection, "silent for three heartbeats");
		return;
	}
	if (connection->state == XY_CONNECTION_OPEN && now - connection->heard_ms >= heartbeat)
		xy_proof_ask(connection);
	timer_restart(connection, heartbeat);
}

static void retry_expired(struct xy_timer *timer)
{
	struct xy_connection *connection = xy_container_of(timer, struct xy_connection, retry);

	xy_outbound_dirty(connection);
	xy_connection_release(connection, XY_HOLD_MEMORY);
}

void xy_connection_retry(struct xy_connection *connection)
{
	if (connection->state < XY_CONNECTION_CLOSED && !xy_timer_active(&connection->retry))
		xy_timer_start(connection->worker->loop, &connection->retry, RETRY_MS);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void ready(struct xy_watch *watch, uint32_t events)
{
	struct xy_connection *connection = xy_container_of(watch, struct xy_connection, watch);

	if (events & EPOLLOUT)
		xy_outbound_dirty(connection);
	if (connection->holds && events & (EPOLLHUP | EPOLLERR))
		hung_up_while_held(connection);
	else if (events & ~(uint32_t)EPOLLOUT && !connection->holds)
		xy_inbound_ready(connection);
}

static int pipes_new(struct xy_connection *connection)
{
	struct xy_pipe_options options = {
		.size = sizeof(options), .pool = connection->worker->pool, .never_pause = true};
	int error = xy_pipe_new(&options, &connection->in);

	if (!error)
		error = xy_pipe_new(&options, &connection->control);
	if (!error)
		error = xy_pipe_new(&options, &connection->data);
	return error;
}

void xy_connection_free(struct xy_connection *connection)
{
	xy_list_remove(&connection->of_worker);
	xy_pipe_free(connection->in);
	xy_pipe_free(connection->control);
	xy_pipe_free(connection->data);
	xy_overflow_free(connection);
	free(connection->unposted.list);
	free(connection->proof);
	xy_peer_put(connection->peer);
	free(connection);
}

static void tls_free(struct xy_worker *worker, struct xy_tls *tls)
{
	if (tls)
		xy_budget_tls(&worker->core->budget, -(ptrdiff_t)xy_tls_memory(tls));
	xy_tls_free(tls);
}

/* No readiness would announce what TLS has read already, behind HELLO, or has not sent of WELCOME.
 */
static void tls_begin(struct xy_connection *connection)
{
	if (xy_stream_pending(connection->tls))
		xy_list_add_tail(&connection->worker->ready, &connection->ready);
	if (xy_stream_unsent(connection->tls))
		xy_outbound_dirty(connection);
}

void xy_connection_open(struct xy_worker *worker, struct xy_request *farewell, int fd,
			struct xy_tls *tls, bool is_unix)
{
	struct xy_connection *connection = calloc(1, sizeof(*connection));
	struct xy_peer *peer = farewell->peer;

	if (!connection)
		goto err_memory;
	connection->worker = worker;
	if (pipes_new(connection))
		goto err_pipes;
	connection->peer = peer;
	connection->tls = tls;
	connection->is_unix = is_unix;
	connection->farewell = farewell;
	connection->sync_threshold = XY_SYNC_THRESHOLD;
	connection->heard_ms = xy_loop_now_ms(worker->loop);
	connection->cost.taken_ms = connection->cost.frame_ms = connection->heard_ms;
	connection->watch = (struct xy_watch){.fd = fd, .name = "connection", .ready = ready};
	connection->timer = (struct xy_timer){.name = "heartbeat", .expired = timer_expired};
	connection->retry = (struct xy_timer){.name = "retry", .expired = retry_expired};
	xy_list_init(&connection->of_worker);
	xy_list_init(&connection->dirty);
	xy_list_init(&connection->braked);
	xy_list_init(&connection->ready);
	xy_list_init(&connection->fed);
	xy_list_init(&connection->flows);
	peer->connection = connection;
	worker->core->place[peer->number].connection = connection;
	atomic_store_explicit(&worker->core->place[peer->number].worker, worker,
			      memory_order_relaxed);
	xy_list_add_tail(&worker->connections, &connection->of_worker);
	if (xy_loop_watch(worker->loop, &connection->watch, EPOLLIN)) {
		xy_connection_close(connection, "out of memory");
		return;
	}
	tls_begin(connection);
	timer_restart(connection, worker->core->heartbeat_ms);
	xy_budget_joined(worker->core);
	if (worker->shutting)
		xy_connection_close(connection, "the proxy ends");
	else if (atomic_load(&worker->core->draining))
		xy_connection_drain(connection);
	return;

err_pipes:
	xy_pipe_free(connection->in);
	xy_pipe_free(connection->control);
	xy_pipe_free(connection->data);
err_memory:
	xy_log(XY_LOG_ERROR, "connection-failed", "endpoint=%016lx why=\"out of memory\"",
	       peer->endpoint);
	atomic_fetch_sub(&worker->load, 1);
	free(connection);
	xy_request_send(worker->core->router, farewell);
	tls_free(worker, tls);
	close(fd);
	xy_peer_put(peer);
}

void xy_connection_close(struct xy_connection *connection, const char *why)
{
	struct xy_worker *worker = connection->worker;
	struct xy_peer *peer = connection->peer;

	if (connection->state == XY_CONNECTION_CLOSED)
		return;
	xy_log(XY_LOG_DEBUG, "closed", "endpoint=%016lx name=%s why=\"%s\"", peer->endpoint,
	       xy_log_quoted(peer->name), why);
	connection->state = XY_CONNECTION_CLOSED;
	atomic_store_explicit(&peer->closed, true, memory_order_release);
	peer->connection = NULL;
	atomic_store_explicit(&worker->core->place[peer->number].worker, NULL,
			      memory_order_relaxed);
	xy_loop_unwatch(worker->loop, &connection->watch);
	xy_timer_stop(&connection->timer);
	xy_timer_stop(&connection->retry);
	xy_right_end(connection);
	xy_outbound_drop(connection);
	tls_free(worker, connection->tls);
	connection->tls = NULL;
	close(connection->watch.fd);
	xy_brake_clear(connection);
	xy_targets_free(connection);
	xy_list_remove(&connection->dirty);
	xy_list_remove(&connection->ready);
	xy_request_detach(connection);
	xy_notify_room(peer);
	atomic_fetch_sub_explicit(&worker->load, 1, memory_order_relaxed);
	xy_list_remove(&connection->of_worker);
	xy_list_add_tail(&worker->dead, &connection->of_worker);
}

void xy_connection_abort(struct xy_connection *connection, const char *why)
{
	const struct linger at_once = {.l_onoff = 1};

	if (connection->state == XY_CONNECTION_CLOSED)
		return;
	if (connection->lane)
		xy_kernel_discard(connection->worker->core->kernel, connection->peer->slot);
	setsockopt(connection->watch.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	xy_connection_close(connection, why);
}

/* From here on input is discarded until the client closes; closing with input unread would be an
 * RST that can destroy what was said last. That may have to wait for room, as may the rest of the
 * frame before it; nothing else is sent any more. */
static void linger(struct xy_connection *connection)
{
	connection->state = XY_CONNECTION_LINGER;
	connection->holds = 0;
	xy_right_end(connection);
	xy_outbound_cut(connection);
	timer_restart(connection, LINGER_MS);
	/* A lane takes nothing more once the router has forgotten it. */
	xy_outbound_send(connection);
	if (connection->state == XY_CONNECTION_CLOSED)
		return;
	xy_brake_clear(connection);
	xy_request_detach(connection);
	atomic_store_explicit(&connection->peer->closed, true, memory_order_release);
	xy_notify_room(connection->peer);
	xy_connection_rewatch(connection);
}

void xy_connection_fail(struct xy_connection *connection, enum xy_error error,
			const struct xy_frame *cause, const char *message)
{
	if (connection->state >= XY_CONNECTION_LINGER)
		return;
	xy_log(XY_LOG_INFO, "failed", "endpoint=%016lx name=%s error=%s why=\"%s\"",
	       connection->peer->endpoint, xy_log_quoted(connection->peer->name),
	       xy_error_text(error), message);
	xy_right_end(connection);
	xy_error_send(connection, error, cause, message);
	linger(connection);
}

void xy_connection_drain(struct xy_connection *connection)
{
	if (connection->draining || connection->state >= XY_CONNECTION_LINGER)
		return;
	connection->draining = true;
	timer_restart(connection, XY_DRAIN_TIMEOUT_MS);
	xy_connection_leave(connection);
}

/*
 * Who says GOODBYE sends no more DATA: so the proxy says it when it holds none. It closes a client
 * that said it first as soon as the router has forgotten it and everything has been sent.
 */
void xy_connection_leave(struct xy_connection *connection)
{
	struct xy_frame goodbye = {.type = XY_GOODBYE};
	bool leaving = connection->state == XY_CONNECTION_LEAVING;

	if (connection->state >= XY_CONNECTION_LINGER || (!leaving && !connection->draining) ||
	    (leaving && !connection->detached))
		return;
	if (!connection->goodbye_sent && xy_pipe_length(connection->data) == 0 &&
	    connection->state != XY_CONNECTION_FIRST) {
		connection->goodbye_sent = true;
		atomic_store_explicit(&connection->peer->finished, true, memory_order_relaxed);
		xy_control_send(connection, &goodbye, NULL, 0);
	} else if (leaving && connection->goodbye_sent && xy_outbound_empty(connection)) {
		linger(connection);
	}
}
