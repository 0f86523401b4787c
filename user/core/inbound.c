/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes of a client to frames, frames to deliveries.
 *
 * Neighbouring DATA frames to one target whose receivers are the same become one run: it is shared
 * with each receiver once, however many frames it holds.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "core/connection.h"
#include "core/notify.h"
#include "core/permit.h"
#include "kernel/session.h"

/* What one connection may take of one turn of its loop; the rest waits for the next. */
#define TURN_BYTES  (256u << 10)
#define READ_COST   512 /* bytes of a turn that a read costs at least: records may be tiny */
/* The same in shares given to receivers: small frames to changing targets with many receivers cost
 * more than their bytes. */
#define TURN_SHARES 8192

struct run {
	struct xy_target *target;
	const struct xy_route *route; /* of its first frame: the read section keeps it */
	struct xy_cursor start;
	size_t length;
	uint32_t frames;
};

/* ---- routing --------------------------------------------------------------------------------- */

static void no_responders(struct xy_connection *connection, const struct xy_frame *frame)
{
	xy_count(connection->worker->core, XY_COUNT_NO_RECEIVER, 1);
	if (frame->flags & XY_REPLY_WANTED)
		xy_error_send(connection, XY_E_NO_RESPONDERS, frame,
			      "nobody subscribes to this subject");
}

/* Nothing is lost in silence: the sender hears of the first of so many frames. */
static void no_memory(struct xy_connection *connection, const struct xy_frame *frame,
		      uint32_t frames)
{
	xy_count(connection->worker->core, XY_COUNT_NO_MEMORY, frames);
	xy_error_send(connection, XY_E_OVERLOADED, frame,
		      "out of memory: not all receivers get this message");
}

/* The member with the most room. */
static const struct xy_receiver *group_best(const struct xy_deliveries *deliveries,
					    const struct xy_group *group,
					    const struct xy_peer *sender)
{
	const struct xy_receiver *best = NULL;
	uint64_t best_room = 0;

	for (uint32_t m = 0; m < group->members; m++) {
		const struct xy_receiver *member = &group->member[m];
		uint64_t room;

		if (member->peer == sender && !member->echo)
			continue;
		/* One that is closed has all its room, until the router takes it out. */
		room = xy_peer_closed(member->peer)
			       ? 0
			       : xy_deliveries_room(deliveries, member->peer) + 1;
		if (!best || room > best_room) {
			best = member;
			best_room = room;
		}
	}
	return best;
}

/* All fragments of a message go to the members that got the first one. */
static void chosen_begin(struct xy_target *target, const struct xy_frame *frame)
{
	if (!frame->fragment || frame->sequence != target->chosen_sequence)
		target->chosen_count = 0;
	target->chosen_sequence = frame->sequence;
	for (uint32_t c = 0; c < target->chosen_count; c++)
		target->chosen[c].given = false;
}

/* Of those chosen the one that is in this group, if any: whichever group it was chosen for, it
 * satisfies this one. */
static struct xy_chosen *chosen_find(const struct xy_target *target, const struct xy_group *group,
				     const struct xy_receiver **ret_member)
{
	for (uint32_t c = 0; c < target->chosen_count; c++)
		for (uint32_t m = 0; m < group->members; m++)
			if (group->member[m].peer == target->chosen[c].peer) {
				*ret_member = &group->member[m];
				return &target->chosen[c];
			}
	return NULL;
}

static struct xy_chosen *chosen_add(struct xy_target *target, const struct xy_peer *peer)
{
	if (target->chosen_count == target->chosen_capacity) {
		uint32_t capacity = target->chosen_capacity ? target->chosen_capacity * 2 : 4;
		void *chosen = realloc(target->chosen, capacity * sizeof(*target->chosen));

		if (!chosen)
			return NULL;
		target->chosen = chosen;
		target->chosen_capacity = capacity;
	}
	target->chosen[target->chosen_count] = (struct xy_chosen){.peer = peer};
	return &target->chosen[target->chosen_count++];
}

static void run_deliver(struct xy_connection *connection, const struct run *run,
			const struct xy_receiver *receiver)
{
	struct xy_frame first;
	uint8_t header[XY_HEADER_SIZE];

	if (!xy_deliver(connection->worker, receiver->peer,
			(enum xy_delivery_policy)receiver->overflow, &run->start, run->length,
			run->frames))
		return;
	xy_cursor_peek(&run->start, header, sizeof(header));
	xy_frame_decode(header, &first);
	no_memory(connection, &first, run->frames);
}

/* Asks for a flow when this route could be one and was not asked for yet. */
static void flow_ask(struct xy_connection *connection, struct xy_target *target,
		     const struct xy_route *route)
{
	uint64_t version = route ? route->version : 1;
	struct xy_flow flow;

	if (!connection->lane || target->asked == version)
		return;
	target->asked = version;
	target->flow = route ? xy_route_flow(route, connection->peer, &flow)
			     : target->peer->session != NULL && target->peer != connection->peer;
	if (target->flow)
		xy_request_flow(connection, target);
}

/* Ends a run: gives it to every receiver of its topic. Groups take single frames (`frame`). */
static void run_end(struct xy_connection *connection, struct run *run, const struct xy_frame *frame)
{
	const struct xy_peer *sender = connection->peer;
	const struct xy_route *route = run->route;

	if (!run->frames)
		return;
	for (uint32_t p = 0; p < route->plains; p++)
		if (route->plain[p].peer != sender || route->plain[p].echo)
			run_deliver(connection, run, &route->plain[p]);
	if (route->groups)
		chosen_begin(run->target, frame);
	for (uint32_t g = 0; g < route->groups; g++) {
		const struct xy_group *group = route->group[g];
		const struct xy_receiver *member = NULL;
		struct xy_chosen *chosen;

		if (!xy_group_open(route, group, sender))
			continue;
		chosen = chosen_find(run->target, group, &member);
		if (!chosen) {
			member = group_best(&connection->worker->deliveries, group, sender);
			if (!member)
				continue;
			chosen = chosen_add(run->target, member->peer);
		}
		if (chosen && chosen->given)
			continue;
		run_deliver(connection, run, member);
		if (chosen)
			chosen->given = true;
	}
	flow_ask(connection, run->target, route);
	run->frames = 0;
}

static bool peer_finished(const struct xy_peer *peer)
{
	return atomic_load_explicit(&peer->finished, memory_order_relaxed);
}

/* Whether one of the receivers gets what the sender sends; `unfinished`: and still takes DATA. */
static bool receivers_take(const struct xy_receiver *receivers, uint32_t count,
			   const struct xy_peer *sender, bool unfinished)
{
	for (uint32_t r = 0; r < count; r++)
		if ((receivers[r].peer != sender || receivers[r].echo) &&
		    !(unfinished && peer_finished(receivers[r].peer)))
			return true;
	return false;
}

static bool route_reaches(const struct xy_route *route, const struct xy_peer *sender,
			  bool unfinished)
{
	if (receivers_take(route->plain, route->plains, sender, unfinished))
		return true;
	for (uint32_t g = 0; g < route->groups; g++)
		if (receivers_take(route->group[g]->member, route->group[g]->members, sender,
				   unfinished))
			return true;
	return false;
}

/* The proxy has said GOODBYE to sender and receivers. */
static void too_late(struct xy_connection *connection, const struct xy_frame *frame)
{
	xy_connection_fail(connection, XY_E_SHUTTING_DOWN, frame,
			   "after GOODBYE, and its receivers are finished, too");
}

static void data_topic(struct xy_connection *connection, struct run *run,
		       const struct xy_frame *frame, const struct xy_cursor *cursor)
{
	struct xy_target *target = xy_target_find(connection, frame->target, XY_FLOW_TOPIC);
	const struct xy_route *route;

	if (!target) {
		xy_error_send(connection, XY_E_UNKNOWN_TOPIC, frame,
			      "DECLARE the subject on this connection first");
		return;
	}
	if (!xy_permit_target(connection, target)) {
		xy_error_send(connection, XY_E_FORBIDDEN, frame,
			      "no rule allows this client to publish there");
		return;
	}
	route = xy_topic_route(target->topic);
	xy_target_feed(connection, target);
	if (!route_reaches(route, connection->peer, false)) {
		no_responders(connection, frame);
		return;
	}
	if (connection->goodbye_sent && !route_reaches(route, connection->peer, true)) {
		too_late(connection, frame);
		return;
	}
	run->target = target;
	run->route = route;
	run->start = *cursor;
	run->length = frame->length;
	run->frames = 1;
	if (route->groups)
		run_end(connection, run, frame);
}

static void data_direct(struct xy_connection *connection, const struct xy_frame *frame,
			const struct xy_cursor *cursor)
{
	struct xy_target *target = xy_target_direct(connection, frame->target);

	if (!target && errno == ENOMEM) {
		no_memory(connection, frame, 1);
		return;
	}
	if (!target) {
		xy_error_send(connection, XY_E_UNKNOWN_ENDPOINT, frame, "no such endpoint here");
		return;
	}
	if (!xy_permit_target(connection, target)) {
		xy_error_send(connection, XY_E_FORBIDDEN, frame,
			      "no rule allows this client to send there");
		return;
	}
	if (connection->goodbye_sent && peer_finished(target->peer)) {
		too_late(connection, frame);
		return;
	}
	xy_target_feed(connection, target);
	if (target->refusing && xy_peer_direct_full(target->peer)) {
		xy_error_send(connection, XY_E_OVERLOADED, frame, "the endpoint does not read");
		return;
	}
	target->refusing = false;
	if (xy_deliver(connection->worker, target->peer, XY_DELIVER_DIRECT, cursor, frame->length,
		       1))
		no_memory(connection, frame, 1);
	flow_ask(connection, target, NULL);
}

static void data_frame(struct xy_connection *connection, struct run *run,
		       const struct xy_frame *frame, const struct xy_cursor *cursor)
{
	enum xy_error error = xy_frame_check_data(frame, connection->worker->core->max_message);

	if (error) {
		run_end(connection, run, frame);
		xy_error_send(connection, error, frame, "this DATA frame is not valid");
		return;
	}
	if (run->frames && run->target->id == frame->target && !(frame->flags & XY_DIRECT)) {
		run->length += frame->length;
		run->frames++;
		return;
	}
	run_end(connection, run, frame);
	if (frame->flags & XY_DIRECT)
		data_direct(connection, frame, cursor);
	else
		data_topic(connection, run, frame, cursor);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* A client outside of the cgroup is nothing to worry about; one whose socket is another agent's,
 * likely like all of them, is something to know. */
static void no_lane(struct xy_core *core, const struct xy_peer *peer, int error)
{
	xy_count(core, XY_COUNT_NOT_BOUND, 1);
	xy_log(error == -ENOENT ? XY_LOG_DEBUG : XY_LOG_WARN, "no-lane", "endpoint=%016lx error=%d",
	       peer->endpoint, error);
	if (xy_kernel_sockets_left(core->kernel) && !atomic_exchange(&core->foreign_told, true))
		xy_log(XY_LOG_WARN, "sockets-left",
		       "why=\"clients' sockets are in another eBPF agent's sockmap, or the maps "
		       "are "
		       "full (--lanes): these clients have no lanes\"");
}

/* The client's first frame decides whether the connection is a lane (the claim ends with it). */
static int first_frame(struct xy_connection *connection, const struct xy_frame *frame)
{
	struct xy_core *core = connection->worker->core;
	struct xy_peer *peer = connection->peer;
	int error;

	connection->state = XY_CONNECTION_OPEN;
	if (peer->slot.generation) {
		xy_kernel_unclaim(core->kernel, peer->endpoint);
		if (frame->type == XY_SYNC) {
			error = xy_kernel_adopt(core->kernel, peer->slot, connection->watch.fd);
			if (!error) {
				peer->session = xy_kernel_session(core->kernel, peer->slot.slot);
				connection->lane = true;
				xy_count(core, XY_COUNT_LANES, 1);
			} else {
				no_lane(core, peer, error);
			}
		}
	}
	return xy_request_attach(connection);
}

static void frame_other(struct xy_connection *connection, const struct xy_frame *frame,
			const struct xy_cursor *cursor)
{
	struct xy_cursor payload = *cursor;

	xy_cursor_skip(&payload, XY_HEADER_SIZE);
	switch (frame->type) {
	case XY_SYNC:
		if (connection->state == XY_CONNECTION_OPEN)
			xy_brake_sync(connection, frame);
		break;
	case XY_ACK:
		break;
	case XY_PONG:
		xy_proof_pong(connection, frame, &payload);
		break;
	default:
		xy_request_frame(connection, frame, &payload);
		break;
	}
}

/* The client consumed something: its own frames may go on, and those who wait for it. */
static void acked(struct xy_connection *connection, uint64_t ack)
{
	if (!connection->lane) {
		connection->acked = ack;
		xy_outbound_unread(connection);
		return;
	}
	xy_session_ack(connection->peer->session, ack);
	if (!xy_outbound_empty(connection))
		xy_outbound_dirty(connection);
	if (atomic_load_explicit(&connection->peer->waiting, memory_order_relaxed))
		xy_notify_room(connection->peer);
}

static bool turn_is_over(const struct xy_connection *connection)
{
	return connection->worker->deliveries.shares >= TURN_SHARES;
}

/* Takes the frames of one read. Returns the bytes consumed. */
static size_t frames_take(struct xy_connection *connection, const struct xy_view *view)
{
	struct xy_cursor cursor = xy_view_cursor(view);
	struct run run = {0};
	struct xy_frame frame = {0};
	uint32_t data = 0;
	uint64_t ack = 0;
	uint8_t header[XY_HEADER_SIZE];

	while (cursor.remaining >= XY_HEADER_SIZE && !connection->holds &&
	       !turn_is_over(connection)) {
		size_t chunk;
		const void *at = xy_cursor_chunk(&cursor, &chunk);
		enum xy_error error;

		if (chunk < XY_HEADER_SIZE) {
			xy_cursor_peek(&cursor, header, sizeof(header));
			at = header;
		}
		xy_frame_decode(at, &frame);
		error = xy_frame_check(&frame, connection->peer->endpoint);
		if (error) {
			run_end(connection, &run, &frame);
			xy_connection_fail(connection, error, &frame,
					   "the stream cannot be followed any further");
			break;
		}
		if (cursor.remaining < frame.length)
			break;
		if (connection->state == XY_CONNECTION_FIRST && first_frame(connection, &frame)) {
			xy_connection_close(connection, "out of memory");
			break;
		}
		ack = xy_max(ack, frame.ack);
		if (frame.type != XY_DATA) {
			run_end(connection, &run, &frame);
			/* What a frame causes must come behind what stood before it. */
			xy_deliver_flush(connection->worker, connection);
			xy_brake_handed(connection, data);
			data = 0;
			if (connection->state < XY_CONNECTION_LINGER)
				frame_other(connection, &frame, &cursor);
		} else if (connection->state == XY_CONNECTION_OPEN) {
			data++;
			data_frame(connection, &run, &frame, &cursor);
		}
		connection->frames_in++;
		xy_cursor_skip(&cursor, frame.length);
		if (connection->state >= XY_CONNECTION_LINGER)
			break;
	}
	run_end(connection, &run, &frame);
	xy_deliver_flush(connection->worker, connection);
	xy_brake_handed(connection, data);
	if (ack && connection->state < XY_CONNECTION_LINGER)
		acked(connection, ack);
	return cursor.position;
}

static void frames_read(struct xy_connection *connection)
{
	struct xy_view view;
	size_t consumed;

	if (xy_pipe_read(connection->in, &view))
		return;
	xy_rcu_read_lock();
	consumed = frames_take(connection, &view);
	xy_rcu_read_unlock();
	connection->bytes_in += consumed;
	/* A publisher that waits for room, or for its next turn, leaves frames here: they were not
	 * looked at. */
	xy_pipe_advance(connection->in, consumed,
			connection->holds || turn_is_over(connection) ? consumed : view.length);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void input_ended(struct xy_connection *connection, int error)
{
	if (error == -ECONNABORTED)
		xy_count(connection->worker->core, XY_COUNT_TLS_CUT, 1);
	if (error == -ENOBUFS)
		xy_count(connection->worker->core, XY_COUNT_BROKEN, 1);
	if (error == -ENODATA && connection->tls)
		xy_tls_close(connection->tls);
	xy_connection_close(connection, error == -ENODATA        ? "closed by the client"
					: error == -ECONNABORTED ? "its stream was cut"
					: error == -ENOBUFS      ? "out of memory"
								 : "connection error");
}

static void input_discard(struct xy_connection *connection)
{
	char nowhere[16384];
	size_t discarded = 0;
	ssize_t got;

	do {
		got = recv(connection->watch.fd, nowhere, sizeof(nowhere), MSG_DONTWAIT);
		discarded += (size_t)xy_max(got, 0);
	} while (got > 0 && discarded < TURN_BYTES);
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		xy_connection_close(connection, "lingered");
}

/* 0 = the socket is empty for now, 1 = there may be more, -errno. -ENODATA: the end. */
static int input_read(struct xy_connection *connection, size_t *ret_got)
{
	size_t room;
	void *to = xy_pipe_reserve(connection->in, 0, &room);
	bool stalled = xy_stream_stalled(connection->tls);
	ssize_t got;

	if (!to)
		return -ENOMEM;
	got = xy_stream_recv(connection->watch.fd, connection->tls, to, room);
	if (stalled && !xy_stream_stalled(connection->tls))
		xy_outbound_dirty(connection);
	if (got <= 0) {
		xy_pipe_commit(connection->in, 0);
		/* Want of memory within a stream ends that. */
		return got == 0         ? -ENODATA
		       : got == -EAGAIN ? 0
		       : got == -ENOMEM ? -ENOBUFS
					: (int)got;
	}
	xy_pipe_commit(connection->in, (size_t)got);
	xy_pipe_flush(connection->in);
	*ret_got += xy_max((size_t)got, (size_t)READ_COST);
	return (size_t)got == room || xy_stream_pending(connection->tls);
}

void xy_inbound_ready(struct xy_connection *connection)
{
	size_t got = 0;
	int more;

	if (connection->state == XY_CONNECTION_LINGER) {
		input_discard(connection);
		return;
	}
	connection->worker->deliveries.shares = 0;
	do {
		frames_read(connection); /* what a wait left behind */
		if (connection->holds || connection->state >= XY_CONNECTION_LINGER ||
		    turn_is_over(connection))
			break;
		more = input_read(connection, &got);
		if (more == -ENOMEM) {
			xy_count(connection->worker->core, XY_COUNT_INPUT_WAITS, 1);
			xy_connection_hold(connection, XY_HOLD_MEMORY);
			xy_connection_retry(connection);
			break;
		}
		if (more < 0) {
			input_ended(connection, more);
			return;
		}
		frames_read(connection);
	} while (more && got < TURN_BYTES && !connection->holds && !turn_is_over(connection) &&
		 connection->state < XY_CONNECTION_LINGER);
	/* No readiness would announce what its pipe holds, or TLS. */
	if ((turn_is_over(connection) || xy_stream_pending(connection->tls)) &&
	    !connection->holds && connection->state < XY_CONNECTION_LINGER &&
	    xy_list_empty(&connection->ready))
		xy_list_add_tail(&connection->worker->ready, &connection->ready);
	connection->heard_ms = xy_loop_now_ms(connection->worker->loop);
	if (connection->lane && connection->state == XY_CONNECTION_OPEN)
		xy_brake_off_lane(connection);
}
