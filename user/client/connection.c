/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"
#include "client/token.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int xy_client_control(struct xy_client *client, enum xy_type type, uint64_t target,
		      uint64_t correlation, const void *payload, size_t length)
{
	struct xy_queue *queue = &client->control;
	struct xy_header header = {
		.length = xy_be32((uint32_t)(XY_HEADER_SIZE + length)),
		.version = XY_WIRE_VERSION,
		.type = (uint8_t)type,
		.target = xy_be64(target),
		.source = xy_be64(client->endpoint),
		.correlation = xy_be64(correlation),
	};
	int error;

	if (xy_queue_length(queue) > XY_CONTROL_MAX)
		return xy_client_fail(client, -ENOBUFS,
				      "the proxy asks without reading the answers");
	error = xy_queue_reserve(queue, XY_HEADER_SIZE + length);
	if (error)
		return xy_client_fail(client, error, "out of memory");
	memcpy(queue->data + queue->tail, &header, sizeof(header));
	if (length > 0)
		memcpy(queue->data + queue->tail + XY_HEADER_SIZE, payload, length);
	queue->tail += XY_HEADER_SIZE + length;
	return 0;
}

int xy_client_send_sync(struct xy_client *client)
{
	int error = xy_client_control(client, XY_SYNC, 0, client->sync_out + 1, NULL, 0);

	if (!error) {
		client->sync_out++;
		client->stats.syncs++;
		xy_pace_synced(client);
	}
	return error;
}

int xy_client_greet(struct xy_client *client)
{
	struct xy_hello hello = {.library = "libxylem " XY_VERSION, .ack = !client->no_lane};
	char json[(XY_NAME_MAX * 2 + XY_TOKEN_MAX) * 6 + 128];
	ssize_t length;
	int error;

	memcpy(hello.name, client->name, sizeof(hello.name));
	if (client->token != NULL)
		memcpy(hello.token, client->token, strlen(client->token) + 1);
	if (client->token_file != NULL) {
		error = xy_token_read(client->token_file, hello.token);
		if (error)
			return xy_client_fail(
				client, error, "the token file %s: %s", client->token_file,
				error == -EBADMSG ? "must hold one token" : strerror(-error));
	}
	length = xy_hello_encode(&hello, json, sizeof(json));
	if (length < 0)
		return xy_client_fail(client, (int)length, "name or token cannot be encoded");
	client->state = XY_CLIENT_GREETING;
	client->endpoint = 0;
	return xy_client_control(client, XY_HELLO, 0, 0, json, (size_t)length);
}

void xy_client_on_welcome(struct xy_client *client, const uint8_t *frame, uint32_t length)
{
	struct xy_welcome welcome;
	char why[XY_WHY_SIZE];
	int error =
		xy_welcome_decode(frame + XY_HEADER_SIZE, length - XY_HEADER_SIZE, &welcome, why);

	if (!error && (client->state != XY_CLIENT_GREETING || welcome.endpoint == 0 ||
		       welcome.max_frame < XY_HEADER_SIZE + XY_BUNDLE_ITEM_MAX ||
		       welcome.max_frame > XY_FRAME_MAX)) {
		snprintf(why, sizeof(why), "its values are impossible");
		error = -EPROTO;
	}
	if (error) {
		xy_client_fail(client, error, "bad WELCOME: %s", why);
		xy_client_disconnect(client);
		return;
	}
	client->endpoint = welcome.endpoint;
	client->window = welcome.window;
	client->max_frame = welcome.max_frame;
	client->max_message = welcome.max_message;
	client->heartbeat_ns = welcome.heartbeat_ms * XY_NS_PER_MS;
	client->consumed = client->acked = 0;
	client->sync_out = client->sync_in = 0;
	xy_pace_start(client);
	client->state = XY_CLIENT_SYNCING;
	if (xy_client_send_sync(client) != 0)
		xy_client_disconnect(client);
}

void xy_client_on_synced(struct xy_client *client, const uint8_t *frame)
{
	const struct xy_header *header = (const struct xy_header *)frame;

	if (xy_be64(header->correlation) != client->sync_out)
		return;
	client->sync_in = client->sync_out;
	client->lane = (xy_be16(header->flags) & XY_LANE) != 0;
	if (client->state == XY_CLIENT_SYNCING)
		xy_client_restore(client);
}

void xy_client_on_sync_wanted(struct xy_client *client)
{
	/* A SYNC in flight answers it. */
	if (!xy_client_holding(client) && xy_client_send_sync(client) != 0)
		xy_client_disconnect(client);
	client->stats.syncs_wanted++;
	xy_pace_wanted(client);
}

void xy_client_on_goodbye(struct xy_client *client)
{
	xy_client_tell(client, XY_EVENT_DRAINING);
	if (client->said_goodbye || client->parting)
		return;
	/* What is sent gets to its receivers, the rest waits for the next connection. */
	client->parting = true;
	if (!xy_client_holding(client) && xy_client_send_sync(client) != 0)
		xy_client_disconnect(client);
}

/* ---- timers ---------------------------------------------------------------------------------- */

static uint64_t heartbeat_due(const struct xy_client *client)
{
	uint64_t silent_since = xy_min(client->heard_ns, client->spoke_ns);

	if (client->heartbeat_ns == 0)
		return UINT64_MAX;
	return xy_max(silent_since, client->asked_ns) + client->heartbeat_ns;
}

static void heartbeat(struct xy_client *client, uint64_t now)
{
	/* What a full memory keeps us from reading may well be there. */
	if (now >= client->heard_ns + client->heartbeat_ns && !client->in.full)
		client->unheard++;
	if (client->unheard >= 3) {
		xy_client_fail(client, -ETIMEDOUT, "nothing heard from the proxy for %llu ms",
			       (unsigned long long)(3 * client->heartbeat_ns / XY_NS_PER_MS));
		xy_client_disconnect(client);
		return;
	}
	client->asked_ns = now;
	/* Behind a full control queue there is something to be said anyway. */
	if (client->control.tail == 0)
		xy_client_control(client, XY_PING, 0, 0, NULL, 0);
	xy_client_push(client, false);
}

uint64_t xy_client_next_due(const struct xy_client *client)
{
	const struct xy_request *first = xy_list_first(&client->requests, struct xy_request, link);
	uint64_t due = first != NULL ? first->due_ns : UINT64_MAX;

	if (client->state == XY_CLIENT_READY)
		return xy_min(due, heartbeat_due(client));
	if (client->state == XY_CLIENT_CLOSED)
		return due;
	return xy_min(due, client->due_ns);
}

void xy_client_tick(struct xy_client *client)
{
	uint64_t now = xy_clock_ns();

	if (client->state == XY_CLIENT_READY) {
		if (now >= heartbeat_due(client))
			heartbeat(client, now);
	} else if (client->state == XY_CLIENT_BACKOFF) {
		if (now >= client->due_ns)
			xy_client_dial(client);
	} else if (client->state != XY_CLIENT_CLOSED && now >= client->due_ns) {
		xy_client_fail(client, -ETIMEDOUT, "%s: no answer within %u ms", client->server,
			       client->connect_timeout_ms);
		xy_client_disconnect(client);
	}
	xy_requests_expire(client, now);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* A read that waits saves the poll before it, which every round trip feels. Returns 1 when it
 * brought something, 0 when poll should go on waiting, -EINTR. */
static int wait_read(struct xy_client *client, uint64_t now)
{
	struct pollfd p = {.fd = client->fd, .events = POLLIN};
	struct timespec tick = {0};
	int came = xy_inbound_await(client);

	if (came != 0)
		return came == -EINTR ? -EINTR : 1;
	/* On a lane a signal ends such a read with EAGAIN, as does a reset (K16); but those come
	 * early. The kernel counts the patience in ticks, the first of which may be short. */
	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	if (xy_clock_ns() - now + (uint64_t)tick.tv_nsec >= XY_PATIENCE_NS)
		return 0;
	if (poll(&p, 1, 0) <= 0)
		return -EINTR;
	xy_inbound_intake(client);
	return 1;
}

/* 1 when something came soon, 0 when it is time to sleep, -EINTR. */
static int wait_awake(struct xy_client *client, uint64_t now)
{
	struct pollfd p = {.fd = client->fd, .events = POLLIN};
	uint64_t last = now, at;
	bool alone = true;
	int came;

	if (client->no_spin || !xy_spin_due(&client->spin))
		return 0;
	/* What is there already is no merit of waiting. */
	if (xy_inbound_intake(client) != 0)
		return 1;
	do {
		came = poll(&p, 1, 0);
		at = xy_clock_ns();
		alone = alone && at - last < XY_SPIN_GAP_NS;
		last = at;
	} while (came == 0 && at - now < XY_SPIN_NS);
	xy_spin_tried(&client->spin, came > 0 && alone);
	if (came > 0)
		xy_inbound_intake(client);
	return came < 0 && errno == EINTR ? -EINTR : came > 0;
}

static int wait_asleep(struct xy_client *client, uint64_t now, uint64_t due, short events)
{
	struct pollfd p = {.fd = client->fd, .events = events};
	struct timespec timeout;
	bool pending = events & POLLIN && xy_channel_pending(client);
	uint64_t left = due > now && !pending ? due - now : 0;
	int ready;

	if (client->state == XY_CLIENT_READY && client->patient && events == POLLIN &&
	    left > 2 * XY_PATIENCE_NS) {
		ready = wait_read(client, now);
		if (ready != 0)
			return ready;
		left -= XY_PATIENCE_NS;
	}
	timeout.tv_sec = (time_t)(left / XY_NS_PER_S);
	timeout.tv_nsec = (long)(left % XY_NS_PER_S);
	ready = ppoll(&p, 1, due == UINT64_MAX && !pending ? NULL : &timeout, NULL);
	if (ready < 0)
		return errno == EINTR ? -EINTR : xy_client_fail(client, -errno, "poll failed");
	if (ready == 0 && !pending)
		return 0;
	if (xy_client_dialing(client)) {
		xy_client_dial_step(client);
		return 1;
	}
	if (p.revents & POLLOUT) {
		client->blocked = false;
		client->unpolled = 0;
	}
	if (pending || p.revents & (POLLIN | POLLERR | POLLHUP))
		xy_inbound_intake(client);
	return 1;
}

static int wait_socket(struct xy_client *client, uint64_t due, short events)
{
	uint64_t now = xy_clock_ns(), heard = client->heard_ns;
	int ready = 0;

	if (client->state == XY_CLIENT_READY && events == POLLIN && due > now + XY_NS_PER_MS &&
	    !xy_channel_pending(client)) {
		ready = xy_client_nap(client, now);
		if (ready > 0)
			ready = xy_inbound_intake(client) != 0;
		else if (ready == 0)
			ready = wait_awake(client, now);
	}
	if (ready == 0)
		ready = wait_asleep(client, now, due, events);
	xy_spin_waited(&client->spin,
		       client->heard_ns != heard ? client->heard_ns - now : UINT64_MAX);
	return ready;
}

int xy_client_wait(struct xy_client *client, uint64_t deadline_ns)
{
	uint64_t frames = client->stats.frames_in, sends = client->stats.sends, due;
	short events;
	int ready;

	xy_client_push(client, false);
	if (client->state == XY_CLIENT_CLOSED)
		return -ENOTCONN;
	/* That may have been what the caller waits for: the look before a send takes in what is
	 * there, and a rest that is sent makes way for what is queued behind it. */
	if (client->stats.frames_in != frames || client->stats.sends != sends)
		return 0;
	events = xy_client_interest(client);
	/* Room to send may not come before the proxy is read again: two that feed each other would
	 * wait for ever. */
	if (client->fd >= 0 && client->in.full) {
		ready = events ? wait_socket(client, 0, events) : 0;
		if (ready == 0)
			return xy_client_fail(client, -EAGAIN,
					      "inbound memory is full: take messages first");
		return xy_min(ready, 0);
	}
	/* Memory came free: what was read before needs no poll. */
	if (client->in.stalled && !client->in.full) {
		xy_inbound_intake(client);
		return client->state == XY_CLIENT_CLOSED ? -ENOTCONN : 0;
	}
	due = xy_min(deadline_ns, xy_client_next_due(client));
	ready = wait_socket(client, due, events);
	if (ready < 0)
		return ready;
	if (ready == 0)
		xy_client_tick(client);
	if (client->state == XY_CLIENT_CLOSED)
		return -ENOTCONN;
	return ready == 0 && due == deadline_ns ? -ETIMEDOUT : 0;
}
