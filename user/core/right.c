/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Credit set right.
 *
 * A client's redirect counts in its receiver's `sent` before the kernel queues it. One that then
 * fails (ENOMEM, EPIPE) leaves `sent` too high for ever; enough of them, and a receiver that has
 * read everything looks stalled. What it acks shows the difference, but only at a moment when
 * nothing is on its way to it. So:
 *
 *   1. `queued` is raised by one: from now on every verdict leaves what is for it to the proxy.
 *   2. Nothing is sent to it for a while: sends that are past their verdict land.
 *   3. A PING is redirected to it.
 *   4. The ack in its PONG is what it had received when it read the PING. What is missing to the
 *      `sent` of before the PING was never received, and is subtracted.
 *
 * The receiver is held up until the PONG comes, or HOLD_MS at most: one that really is slow must
 * get more as soon as it reads. When the PONG comes later, acks of what was sent behind the PING
 * may hide a part of what is missing, and never make it larger.
 *
 * An ack that is too low makes `sent` fall below what was received. The proof does not: the PONG
 * shows that everything before the PING was read, so `proven` becomes the same new `sent`, and two
 * windows from there are two windows of bytes. The PING itself is not counted as missing, whether
 * the ack in the PONG includes it or not.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/random.h"
#include "core/connection.h"
#include "core/notify.h"
#include "kernel/session.h"

#define QUIET_MS 50  /* for sends past their verdict; a sender may lose its CPU there */
#define HOLD_MS  100 /* for the PONG of a receiver that reads */

struct xy_righting {
	struct xy_connection *connection;
	struct xy_timer timer;
	uint64_t payload; /* of the PING */
	uint64_t sent;    /* session.sent before it */
	bool asked;       /* the PING is out */
	bool holding;     /* `queued` is raised, and nothing is sent */
};

static void hold_end(struct xy_righting *righting)
{
	struct xy_connection *connection = righting->connection;

	if (!righting->holding)
		return;
	righting->holding = false;
	xy_timer_stop(&righting->timer);
	xy_session_queued_sub(connection->peer->session, 1);
	xy_outbound_dirty(connection);
}

void xy_right_end(struct xy_connection *connection)
{
	struct xy_righting *righting = connection->righting;

	if (!righting)
		return;
	hold_end(righting);
	connection->righting = NULL;
	connection->righted_ms = xy_loop_now_ms(connection->worker->loop);
	free(righting);
}

static int ping_redirect(struct xy_righting *righting)
{
	struct xy_connection *connection = righting->connection;
	uint8_t ping[XY_HEADER_SIZE + sizeof(righting->payload)];
	struct xy_frame frame = {.type = XY_PING};

	if (xy_random_id(&righting->payload))
		return -EAGAIN;
	xy_frame_compose(&frame, &righting->payload, sizeof(righting->payload), ping);
	righting->sent = xy_session_sent(connection->peer->session);
	if (send(connection->watch.fd, ping, sizeof(ping), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == ENOMEM)
		xy_session_unsend(connection->peer->session, sizeof(ping));
	return -errno;
}

static void righting_timer(struct xy_timer *timer)
{
	struct xy_righting *righting = xy_container_of(timer, struct xy_righting, timer);

	if (righting->asked) {
		hold_end(righting);
		return;
	}
	/* Whoever has no memory or no room for so little is tried again when he is noticed again.
	 */
	if (ping_redirect(righting)) {
		xy_right_end(righting->connection);
		return;
	}
	righting->asked = true;
	righting->connection->bytes_out += XY_HEADER_SIZE + sizeof(righting->payload);
	righting->connection->frames_out++;
	xy_timer_start(righting->connection->worker->loop, timer, HOLD_MS);
}

void xy_right_begin(struct xy_connection *connection)
{
	struct xy_peer *peer = connection->peer;
	struct xy_righting *righting;

	/* A PONG behind input that is not read would not be seen. */
	if (!connection->lane || connection->righting || connection->holds ||
	    connection->state >= XY_CONNECTION_LINGER || !xy_peer_outstanding(peer) ||
	    xy_loop_now_ms(connection->worker->loop) - connection->righted_ms <
		    xy_peer_patience(peer))
		return;
	righting = calloc(1, sizeof(*righting));
	if (!righting)
		return;
	righting->connection = connection;
	righting->timer = (struct xy_timer){.name = "right", .expired = righting_timer};
	righting->holding = true;
	connection->righting = righting;
	xy_session_queued_add(peer->session, 1);
	xy_timer_start(connection->worker->loop, &righting->timer, QUIET_MS);
}

bool xy_right_holds(const struct xy_connection *connection)
{
	return connection->righting && connection->righting->holding;
}

bool xy_right_pong(struct xy_connection *connection, const struct xy_frame *frame, uint64_t payload)
{
	struct xy_righting *righting = connection->righting;
	struct xy_session *session = connection->peer->session;
	uint64_t acked, missing;

	if (!righting || !righting->asked || payload != righting->payload)
		return false;
	acked = xy_max(frame->ack, xy_session_acked(session));
	missing = righting->sent > acked ? righting->sent - acked : 0;
	xy_session_right(session, righting->sent, missing);
	xy_proofs_right(connection, missing);
	if (missing) {
		xy_count(connection->worker->core, XY_COUNT_CREDIT_RIGHTED, 1);
		xy_log(XY_LOG_INFO, "credit-righted", "endpoint=%016lx name=%s missing=%lu",
		       connection->peer->endpoint, xy_log_quoted(connection->peer->name), missing);
	}
	xy_right_end(connection);
	xy_outbound_dirty(connection);
	xy_notify_room(connection->peer);
	return true;
}
