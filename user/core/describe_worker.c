/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's part of a status: its connections.
 */
#include "core/connection.h"
#include "core/page.h"
#include "io/net.h"
#include "kernel/session.h"

#define SLOW_MS 10000 /* how long a receiver is called slow after its last drop */

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

/* A receiver that others wait for, or that something was dropped for lately. */
static bool is_slow(const struct xy_connection *connection)
{
	const struct xy_peer *peer = connection->peer;
	uint64_t dropped_ms = atomic_load(&peer->dropped.last_ms);
	bool dropping =
		dropped_ms && xy_loop_now_ms(connection->worker->loop) < dropped_ms + SLOW_MS;

	return atomic_load(&peer->waiting) || dropping || xy_peer_crowded(peer);
}

/* What it costs. */
static json_t *slow_of(const struct xy_connection *connection)
{
	const struct xy_peer *peer = connection->peer;

	return json_pack("{s:o, s:s, s:I, s:I, s:b, s:o}", "endpoint", xy_json_id(peer->endpoint),
			 "name", peer->name, "held", (json_int_t)atomic_load(&peer->pending),
			 "outstanding", (json_int_t)xy_peer_outstanding(peer), "waited_for",
			 atomic_load(&peer->waiting) != 0, "dropped", dropped_of(peer));
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
		"endpoint", xy_json_id(peer->endpoint), "name", peer->name, "peer",
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

/* The worker's next connection that serves somebody, by numbers from page->position[0] on; NULL:
 * the end, or that of the page. */
static const struct xy_connection *next_of(const struct xy_worker *worker, struct xy_page *page)
{
	const struct xy_core *core = worker->core;

	page->more = true;
	while (page->position[0] < core->max_connections) {
		const struct xy_place *place = &core->place[page->position[0]];

		if (!xy_page_look(page))
			return NULL;
		page->position[0]++;
		if (atomic_load_explicit(&place->worker, memory_order_relaxed) == worker &&
		    place->connection->state < XY_CONNECTION_LINGER)
			return place->connection;
	}
	page->more = false;
	return NULL;
}

void xy_worker_connections(const struct xy_worker *worker, struct xy_page *page)
{
	const struct xy_connection *connection;

	while ((connection = next_of(worker, page)))
		xy_page_list(page, connection_of(connection));
}

void xy_worker_slow(const struct xy_worker *worker, struct xy_page *page)
{
	const struct xy_connection *connection;

	while ((connection = next_of(worker, page)))
		if (is_slow(connection))
			xy_page_list(page, slow_of(connection));
}
