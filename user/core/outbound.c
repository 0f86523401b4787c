/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the pipes of a connection to its socket, or into its lane.
 *
 * Two pipes: control frames never wait for credit and go first; DATA waits. Both hold whole frames.
 * A socket takes what it can, and the rest of a frame cut by a short send goes before anything
 * else. A lane takes whole frames, at most 64 KiB of them in one send, or nothing (K1, K2, K22).
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "core/connection.h"
#include "core/notify.h"
#include "kernel/session.h"

#define IOV_MAXIMUM 64
#define SEND_BYTES  (256u << 10)

/* More than a client's send buffer and the proxy's receive buffer hold together. */
#define UNPROVEN_HELD (8u << 20)

/* ---- control frames -------------------------------------------------------------------------- */

int xy_control_send(struct xy_connection *connection, const struct xy_frame *frame,
		    const void *payload, size_t length)
{
	size_t bytes = XY_HEADER_SIZE + length, room;
	uint8_t *to;

	if (connection->state >= XY_CONNECTION_LINGER || connection->deaf)
		return -EPIPE;
	to = xy_pipe_reserve(connection->control, bytes, &room);
	if (!to) { /* its stream would not be what it must be: it ends with this turn */
		connection->broken = true;
		xy_outbound_dirty(connection);
		return -ENOMEM;
	}
	xy_frame_compose(frame, payload, length, to);
	xy_pipe_commit(connection->control, bytes);
	xy_pipe_flush(connection->control);
	connection->held_control++;
	if (xy_pipe_length(connection->control) > XY_CONTROL_MAX)
		xy_connection_hold(connection, XY_HOLD_CONTROL);
	xy_outbound_dirty(connection);
	return 0;
}

void xy_error_send(struct xy_connection *connection, enum xy_error error,
		   const struct xy_frame *cause, const char *message)
{
	struct xy_frame frame = xy_frame_error(cause);
	char payload[512];
	ssize_t length = xy_error_encode(error, message, payload, sizeof(payload));

	if (length >= 0)
		xy_control_send(connection, &frame, payload, (size_t)length);
	xy_count(connection->worker->core, XY_COUNT_ERRORS, 1);
	if (error == XY_E_FORBIDDEN)
		xy_count(connection->worker->core, XY_COUNT_FORBIDDEN, 1);
}

void xy_outbound_dirty(struct xy_connection *connection)
{
	if (xy_list_empty(&connection->dirty))
		xy_list_add_tail(&connection->worker->dirty, &connection->dirty);
}

bool xy_outbound_empty(const struct xy_connection *connection)
{
	return xy_pipe_length(connection->control) == 0 && xy_pipe_length(connection->data) == 0 &&
	       !xy_stream_unsent(connection->tls);
}

/* ---- DATA in --------------------------------------------------------------------------------- */

void xy_outbound_gone(struct xy_connection *connection, size_t bytes, uint32_t frames)
{
	struct xy_peer *peer = connection->peer;
	uint64_t left;

	if (connection->lane)
		xy_session_queued_sub(peer->session, frames);
	left = atomic_fetch_sub_explicit(&peer->pending, bytes, memory_order_seq_cst) - bytes;
	if (left < XY_BUFFER_RESUME && atomic_load_explicit(&peer->waiting, memory_order_seq_cst))
		xy_notify_room(peer);
}

void xy_outbound_lost(struct xy_connection *connection, size_t bytes, uint32_t frames,
		      enum xy_delivery_policy policy)
{
	xy_outbound_gone(connection, bytes, frames);
	xy_count(connection->worker->core, XY_COUNT_NO_MEMORY, frames);
	/* Some may lose messages; a stream that may not ends here. */
	connection->broken |= policy != XY_DELIVER_DROP_OLDEST && policy != XY_DELIVER_DROP_NEWEST;
	xy_outbound_dirty(connection);
}

/* As xy_outbound_gone(), from the front of the pipe. */
static void data_left(struct xy_connection *connection, size_t bytes, uint32_t frames)
{
	connection->held_data -= frames;
	xy_overflow_left(connection, bytes);
	atomic_fetch_add_explicit(&connection->peer->given, bytes, memory_order_relaxed);
	xy_outbound_gone(connection, bytes, frames);
}

/* Whole frames at the cursor, at most `bytes_max` of them; *ret_frames says how many. */
static size_t frames_cut(struct xy_cursor cursor, size_t bytes_max, uint32_t *ret_frames)
{
	size_t bytes = 0;
	uint32_t frames = 0, length;

	while (xy_cursor_peek(&cursor, &length, sizeof(length)) == 0) {
		length = xy_be32(length);
		if (bytes + length > bytes_max || xy_cursor_skip(&cursor, length))
			break;
		bytes += length;
		frames++;
	}
	*ret_frames = frames;
	return bytes;
}

void xy_outbound_deliver(struct xy_connection *connection, struct xy_peer *sender,
			 struct xy_chain *chain, uint32_t frames, enum xy_delivery_policy policy)
{
	size_t bytes;

	if (connection->state >= XY_CONNECTION_LINGER || connection->goodbye_sent ||
	    connection->deaf) {
		xy_outbound_gone(connection, chain->length, frames);
		xy_chain_clear(chain, connection->worker->pool);
		xy_count(connection->worker->core, XY_COUNT_GONE, frames);
		/* Posted before its sender could know: nothing ends in silence. */
		if (connection->draining && connection->goodbye_sent)
			xy_notify_too_late(sender);
		return;
	}
	if (!xy_overflow_admit(connection, sender, chain, &frames, policy))
		return;
	bytes = chain->length;
	if (xy_pipe_append(connection->data, chain)) {
		xy_chain_clear(chain, connection->worker->pool);
		xy_outbound_lost(connection, bytes, frames, policy);
		return;
	}
	xy_pipe_flush(connection->data);
	xy_overflow_kept(connection, bytes, policy);
	connection->held_data += frames;
	xy_outbound_dirty(connection);
}

void xy_outbound_drop(struct xy_connection *connection)
{
	size_t bytes = xy_pipe_length(connection->data);
	struct xy_view view;

	/* Its flows go a moment later: of what comes until then nothing may pass by what is
	 * dropped. The slot's next owner begins at 0 again. */
	if (connection->lane)
		xy_session_queued_add(connection->peer->session, 1);
	connection->partial = 0;
	xy_overflow_left(connection, bytes);
	if (xy_pipe_read(connection->data, &view) == 0)
		xy_pipe_advance(connection->data, view.length, view.length);
	if (connection->held_data) {
		xy_count(connection->worker->core, XY_COUNT_GONE, connection->held_data);
		xy_outbound_gone(connection, bytes, connection->held_data);
		connection->held_data = 0;
	}
}

/* The rest of a frame that has begun to leave goes before the control frames, as one of them. */
static int begun_kept(struct xy_connection *connection, size_t begun)
{
	struct xy_chain chain = {0};
	struct xy_view view;
	struct xy_cursor cursor;
	int error = xy_pipe_read(connection->data, &view);

	if (error)
		return error;
	cursor = xy_view_cursor(&view);
	error = xy_cursor_share(&cursor, begun, &chain);
	xy_pipe_advance(connection->data, 0, 0);
	if (!error && xy_pipe_read(connection->control, &view) == 0) {
		cursor = xy_view_cursor(&view);
		error = xy_cursor_share(&cursor, view.length, &chain);
		xy_pipe_advance(connection->control, error ? 0 : view.length, view.length);
	}
	if (!error)
		error = xy_pipe_append(connection->control, &chain);
	if (!error)
		xy_pipe_flush(connection->control);
	xy_chain_clear(&chain, connection->worker->pool);
	return error;
}

void xy_outbound_cut(struct xy_connection *connection)
{
	uint32_t begun = connection->partial;
	bool data = begun && !connection->partial_control;

	/* A stream that ends within a frame is no place for another one. */
	if (data && begun_kept(connection, begun))
		connection->broken = true;
	xy_outbound_drop(connection);
	if (data) {
		connection->held_control++;
		connection->partial_control = true;
	}
	connection->partial = begun;
}

/*
 * BINDINGs count in the lane's `queued` until they are in it, or DATA could overtake them. They are
 * counted off together, when the last control frame of that moment has gone.
 */
void xy_outbound_binding(struct xy_connection *connection)
{
	connection->bindings++;
}

/* DATA may go: no BINDING that it may need is still on its way here. */
static bool announced(const struct xy_connection *connection)
{
	return !atomic_load_explicit(&connection->peer->bindings, memory_order_relaxed);
}

static void bindings_sent(struct xy_connection *connection)
{
	if (connection->held_control || !connection->bindings)
		return;
	if (connection->lane)
		xy_session_queued_sub(connection->peer->session, connection->bindings);
	connection->bindings = 0;
}

/* Who hung up, or whose lane has ended (K22), takes nothing more, but what it sent before is still
 * to be read: its end, or the error, comes behind that. One that is there still sees the end of
 * its stream, and closes. Nobody is to wait for what it would ack. */
static void deafen(struct xy_connection *connection)
{
	struct xy_view view;

	connection->deaf = true;
	connection->writing = false;
	xy_right_end(connection);
	atomic_store_explicit(&connection->peer->closed, true, memory_order_release);
	xy_outbound_drop(connection);
	if (xy_pipe_read(connection->control, &view) == 0)
		xy_pipe_advance(connection->control, view.length, view.length);
	connection->held_control = 0;
	bindings_sent(connection);
	if (connection->lane)
		xy_request_deaf(connection);
	xy_notify_room(connection->peer);
	shutdown(connection->watch.fd, SHUT_WR);
	xy_connection_rewatch(connection);
}

/* ---- to a lane ------------------------------------------------------------------------------- */

/* What one redirect takes. */
struct redirect {
	struct iovec iov[IOV_MAXIMUM];
	size_t slices, bytes;
	uint32_t frames;
};

/* Whole frames at the cursor: of at most `limit` bytes, and of no more slices than there are
 * iovecs. Each small frame may be a slice of its own, where the pipes of several receivers are
 * filled by turns; none has many, for it was read into one segment or two. */
static void redirect_cut(struct redirect *redirect, const struct xy_cursor *cursor, size_t limit)
{
	size_t covered = limit;

	do {
		redirect->bytes = frames_cut(*cursor, covered, &redirect->frames);
		redirect->slices = (size_t)xy_cursor_iov(cursor, redirect->bytes, redirect->iov,
							 IOV_MAXIMUM, &covered);
	} while (covered < redirect->bytes);
}

/* 0, or -errno: nothing was sent. */
static int redirect_send(struct redirect *redirect, int fd)
{
	struct msghdr message = {.msg_iov = redirect->iov, .msg_iovlen = redirect->slices};
	ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent == (ssize_t)redirect->bytes)
		return 0;
	if (sent >= 0)
		return -EPROTO; /* never: a redirect is whole or not at all (K2, K15) */
	return -errno;
}

/* Its client has closed, or is about to find out (K22). */
static bool hung_up(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -EACCES;
}

/* Sends what fits into `room` from one pipe. Returns false when something is left that must wait.
 */
static bool lane_send(struct xy_connection *connection, struct xy_pipe *pipe, uint64_t room)
{
	bool data = pipe == connection->data;
	struct redirect redirect;
	struct xy_view view;
	int error = 0;

	while (xy_pipe_read(pipe, &view) == 0) {
		const struct xy_cursor cursor = xy_view_cursor(&view);

		redirect_cut(&redirect, &cursor, xy_min(room, (uint64_t)XY_SEND_BYTES_MAX));
		if (redirect.bytes)
			error = redirect_send(&redirect, connection->watch.fd);
		if (error || !redirect.bytes) {
			xy_pipe_advance(pipe, 0, 0);
			break;
		}
		room -= redirect.bytes;
		xy_budget_given(connection->worker, redirect.bytes);
		xy_pipe_advance(pipe, redirect.bytes, redirect.bytes);
		connection->frames_out += redirect.frames;
		connection->bytes_out += redirect.bytes;
		if (data) {
			data_left(connection, redirect.bytes, redirect.frames);
		} else {
			connection->held_control -= redirect.frames;
			bindings_sent(connection);
		}
	}
	if (error == -ENOMEM)
		xy_session_unsend(connection->peer->session, redirect.bytes);
	if (error == -ENOMEM || error == -EAGAIN || error == -ENOBUFS) {
		xy_count(connection->worker->core, XY_COUNT_REDIRECT_FAILED, 1);
		return false;
	}
	if (error) {
		xy_log(hung_up(error) ? XY_LOG_DEBUG : XY_LOG_WARN, "lane-ended",
		       "endpoint=%016lx error=%d", connection->peer->endpoint, error);
		deafen(connection);
		return false;
	}
	return xy_pipe_length(pipe) == 0;
}

/*
 * Bytes that may be redirected: by acks a window, by proofs two, as for other senders (K5: nothing
 * else bounds what is queued on one that acks but does not read). Of one whose input is held the
 * proofs may lie behind all that TCP holds of it.
 */
static uint64_t lane_room(const struct xy_connection *connection, uint64_t beyond)
{
	const struct xy_session *session = connection->peer->session;
	uint64_t window = connection->peer->window;
	uint64_t limit = 2 * window + beyond + (connection->holds ? UNPROVEN_HELD : 0);
	uint64_t unproven = xy_session_unproven(session);

	return xy_min(xy_session_room(session, window + beyond),
		      unproven < limit ? limit - unproven : 0);
}

/* One that gets nothing more, and acks nothing: has it really not read, or is its credit wrong? */
static void lane_watch(struct xy_connection *connection)
{
	uint64_t acked = xy_session_acked(connection->peer->session);
	uint64_t now = xy_loop_now_ms(connection->worker->loop);

	if (!connection->stuck_ms || acked != connection->stuck_acked) {
		connection->stuck_acked = acked;
		connection->stuck_ms = now;
	} else if (now - connection->stuck_ms >= xy_peer_patience(connection->peer)) {
		xy_right_begin(connection);
	}
}

static void outbound_lane(struct xy_connection *connection)
{
	bool done;

	if (xy_right_holds(connection))
		return; /* comes back when that is over */
	done = lane_send(connection, connection->control, lane_room(connection, XY_CONTROL_MAX));
	if (done && announced(connection))
		done = lane_send(connection, connection->data,
				 xy_min(lane_room(connection, 0), xy_budget_room(connection)));
	if (!done && !connection->proofs && xy_budget_short(&connection->worker->core->budget))
		xy_proof_ask(connection); /* its ack is not to wait for a quarter of the window */
	/* In step with what goes, whenever the marks are reported; and nobody else may ask, once
	 * the router has forgotten it. */
	if (connection->state < XY_CONNECTION_LINGER && !connection->proofs &&
	    xy_session_unproven(connection->peer->session) > connection->peer->window)
		xy_proof_ask(connection);
	if (done) {
		connection->stuck_ms = 0;
		return;
	}
	if (connection->deaf)
		return;
	lane_watch(connection);
	/* Acks that ride on redirected DATA wake nobody here, so that a look by timer is needed. */
	xy_connection_retry(connection);
}

/* ---- to a socket ----------------------------------------------------------------------------- */

/* Bytes that are left of the frame which `sent` bytes of this view ended in. `held` frames are in
 * the view; they need not be walked when all of it went. */
static uint32_t frame_rest(const struct xy_view *view, uint32_t partial, size_t sent, uint32_t held,
			   uint32_t *ret_frames)
{
	struct xy_cursor cursor = xy_view_cursor(view);
	uint32_t frames = 0, length;
	size_t end = partial;

	if (sent == view->length) {
		*ret_frames = held;
		return 0;
	}
	if (partial && sent >= partial)
		frames++;
	xy_cursor_skip(&cursor, partial);
	while (end < sent && xy_cursor_peek(&cursor, &length, sizeof(length)) == 0) {
		length = xy_be32(length);
		end += length;
		if (end <= sent)
			frames++;
		if (xy_cursor_skip(&cursor, length))
			break;
	}
	*ret_frames = frames;
	return (uint32_t)(end - sent);
}

void xy_outbound_unread(struct xy_connection *connection)
{
	/* An ack beyond what was sent says nothing. */
	if (connection->acked && connection->acked <= connection->bytes_out)
		atomic_store_explicit(&connection->peer->unread,
				      connection->bytes_out - connection->acked,
				      memory_order_relaxed);
}

/* Sends up to `bytes` from one pipe. 1 = all of it, 0 = the socket is full, -errno. */
static int socket_send(struct xy_connection *connection, struct xy_pipe *pipe, size_t bytes)
{
	struct iovec iov[IOV_MAXIMUM];
	struct xy_cursor cursor;
	struct xy_view view;
	bool data = pipe == connection->data;
	uint32_t frames;
	size_t covered, count;
	ssize_t sent;

	if (xy_pipe_read(pipe, &view))
		return 1;
	if (connection->tls) /* takes no more at once */
		bytes = xy_min(bytes, (size_t)XY_TLS_PLAIN);
	cursor = xy_view_cursor(&view);
	count = (size_t)xy_cursor_iov(&cursor, xy_min(bytes, view.length), iov, IOV_MAXIMUM,
				      &covered);
	sent = xy_stream_send(connection->watch.fd, connection->tls, iov, count);
	if (sent < 0) {
		xy_pipe_advance(pipe, 0, 0);
		return sent == -EAGAIN ? 0 : (int)sent;
	}
	connection->partial =
		frame_rest(&view, connection->partial, (size_t)sent,
			   data ? connection->held_data : connection->held_control, &frames);
	connection->partial_control = !data;
	xy_budget_given(connection->worker, (size_t)sent);
	xy_pipe_advance(pipe, (size_t)sent, (size_t)sent);
	connection->frames_out += frames;
	connection->bytes_out += (size_t)sent;
	xy_outbound_unread(connection);
	if (data)
		data_left(connection, (size_t)sent, frames);
	else
		connection->held_control -= frames;
	return (size_t)sent == covered;
}

/* Memory is short and the client has enough in hand: a socket that could take more would wake the
 * loop at once, so that a look by timer has to do. */
static void outbound_later(struct xy_connection *connection)
{
	connection->writing = false;
	xy_connection_retry(connection);
}

/* What TLS has taken and not sent. As socket_send(). */
static int unsent_flush(struct xy_connection *connection)
{
	int error = connection->tls ? xy_tls_flush(connection->tls) : 0;

	return error ? (error == -EAGAIN ? 0 : error) : 1;
}

static int outbound_socket(struct xy_connection *connection)
{
	size_t budget = xy_min(xy_budget_room(connection), (uint64_t)SEND_BYTES);
	int more = unsent_flush(connection);

	while (more > 0 && connection->partial && !connection->partial_control)
		more = socket_send(connection, connection->data, connection->partial);
	while (more > 0 && xy_pipe_length(connection->control))
		more = socket_send(connection, connection->control, SEND_BYTES);
	while (more > 0 && xy_pipe_length(connection->data) && budget && announced(connection)) {
		uint64_t before = connection->bytes_out;

		more = socket_send(connection, connection->data, budget);
		budget -= xy_min(budget, (size_t)(connection->bytes_out - before));
	}
	return more;
}

void xy_outbound_send(struct xy_connection *connection)
{
	if (connection->state == XY_CONNECTION_CLOSED)
		return;
	if (connection->broken) {
		xy_count(connection->worker->core, XY_COUNT_BROKEN, 1);
		xy_connection_close(connection, "out of memory");
		return;
	}
	if (connection->lane && !connection->deaf) {
		outbound_lane(connection);
	} else if (!connection->deaf && outbound_socket(connection) < 0) {
		deafen(connection);
	} else {
		bindings_sent(connection);
		connection->writing =
			!xy_outbound_empty(connection) && !xy_stream_stalled(connection->tls);
		if (connection->writing && !xy_budget_room(connection))
			outbound_later(connection);
		xy_connection_rewatch(connection);
	}
	if (xy_pipe_length(connection->control) <= XY_CONTROL_MAX / 2)
		xy_connection_release(connection, XY_HOLD_CONTROL);
	if (connection->state == XY_CONNECTION_LINGER && xy_outbound_empty(connection) &&
	    xy_stream_shut(connection->watch.fd, connection->tls)) {
		connection->writing = true;
		xy_connection_rewatch(connection);
	}
	xy_connection_leave(connection);
}
