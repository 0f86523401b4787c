/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames that ask for something: DECLARE, SUBSCRIBE, UNSUBSCRIBE, PING, GOODBYE. What concerns
 * routes is asked of the router and answered when it comes back.
 */
#include <errno.h>
#include <string.h>

#include "core/connection.h"
#include "proto/subject.h"

#define JSON_MAX 4096 /* bytes of a SUBSCRIBE payload */

/* ---- answers of the router ------------------------------------------------------------------- */

/* The connection that a request belongs to, if it is still there. */
static struct xy_connection *request_back(struct xy_request *request)
{
	struct xy_connection *connection = request->peer->connection;

	if (!connection)
		return NULL;
	if (--connection->requests < XY_REQUESTS_MAX / 2)
		xy_connection_release(connection, XY_HOLD_REQUESTS);
	return connection;
}

static void answer_ok(struct xy_connection *connection, const struct xy_request *request)
{
	struct xy_frame ok = {
		.type = XY_OK, .target = request->id, .correlation = request->correlation};

	xy_control_send(connection, &ok, NULL, 0);
}

static void answer_error(struct xy_connection *connection, const struct xy_request *request,
			 enum xy_error error)
{
	struct xy_frame cause = {.target = request->target, .correlation = request->correlation};

	xy_error_send(connection, error, &cause,
		      error == XY_E_UNKNOWN_SUBSCRIPTION ? "no such subscription of this connection"
		      : error == XY_E_FORBIDDEN          ? "no rule allows this client to do that"
							 : "no room for another one");
}

static void answered_declare(struct xy_request *request)
{
	struct xy_connection *connection = request_back(request);
	enum xy_error error = request->error;

	if (connection) {
		if (!error && xy_target_topic(connection, request->id, request->topic))
			error = XY_E_OVERLOADED;
		if (error)
			answer_error(connection, request, error);
		else
			answer_ok(connection, request);
	}
	xy_request_free(request);
}

static void answered_subscription(struct xy_request *request)
{
	struct xy_connection *connection = request_back(request);

	if (connection) {
		if (request->error) {
			answer_error(connection, request, request->error);
		} else {
			if (request->kind == XY_REQUEST_SUBSCRIBE)
				connection->subscriptions++;
			else
				connection->subscriptions--;
			answer_ok(connection, request);
		}
	}
	xy_request_free(request);
}

static void answered_attach(struct xy_request *request)
{
	struct xy_connection *connection = request_back(request);

	if (connection) {
		connection->attached = true;
		xy_brake_answer(connection);
	}
	xy_request_free(request);
}

/* The router has forgotten the connection. One that is leaving still has its lane to send by; the
 * slot goes when that is over. */
static void answered_farewell(struct xy_request *request)
{
	struct xy_connection *connection = request->peer->connection;
	bool leaving = connection && connection->state == XY_CONNECTION_LEAVING;

	if (request->keeps_slot) {
		request->kind = XY_REQUEST_RELEASE;
		request->keeps_slot = false;
		if (leaving)
			connection->farewell = request;
		else
			xy_request_send(request->peer->core->router, request);
	} else {
		xy_request_free(request);
	}
	if (leaving) {
		connection->detached = true;
		xy_connection_leave(connection);
	}
}

static void answered_flow(struct xy_request *request)
{
	struct xy_connection *connection = request->peer->connection;

	if (connection) {
		connection->flows_asked--;
		if (request->installed)
			xy_brake_flow(connection);
		xy_brake_answer(connection);
	}
	xy_request_free(request);
}

/* ---- asking the router ----------------------------------------------------------------------- */

static void request_send(struct xy_connection *connection, struct xy_request *request)
{
	if (++connection->requests >= XY_REQUESTS_MAX)
		xy_connection_hold(connection, XY_HOLD_REQUESTS);
	xy_request_send(connection->worker->core->router, request);
}

int xy_request_attach(struct xy_connection *connection)
{
	struct xy_request *request =
		xy_request_new(XY_REQUEST_ATTACH, connection->peer, answered_attach);

	if (!request)
		return -ENOMEM;
	connection->farewell->kind = XY_REQUEST_DETACH;
	request_send(connection, request);
	return 0;
}

struct xy_request *xy_request_farewell(struct xy_peer *peer)
{
	return xy_request_new(XY_REQUEST_RELEASE, peer, answered_farewell);
}

void xy_request_detach(struct xy_connection *connection)
{
	struct xy_request *request = connection->farewell;

	if (!request)
		return;
	connection->farewell = NULL;
	request->keeps_slot = connection->state == XY_CONNECTION_LEAVING && connection->lane &&
			      request->kind == XY_REQUEST_DETACH;
	xy_request_send(connection->worker->core->router, request);
}

void xy_request_flow(struct xy_connection *connection, struct xy_target *target)
{
	struct xy_request *request =
		xy_request_new(XY_REQUEST_FLOW, connection->peer, answered_flow);

	if (!request) {
		target->asked = 0;
		return;
	}
	request->target = target->id;
	request->flow_kind = target->kind;
	connection->flows_asked++;
	xy_request_send(connection->worker->core->router, request);
}

void xy_request_deaf(struct xy_connection *connection)
{
	struct xy_request *request =
		xy_request_new(XY_REQUEST_DEAF, connection->peer, xy_request_free);

	if (request)
		xy_request_send(connection->worker->core->router, request);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* A new request for a frame, or an ERROR to the client. */
static struct xy_request *request_of(struct xy_connection *connection, const struct xy_frame *frame,
				     enum xy_request_kind kind,
				     void (*answer)(struct xy_request *request))
{
	struct xy_core *core = connection->worker->core;
	struct xy_request *request;

	if (kind != XY_REQUEST_UNSUBSCRIBE && xy_budget_spent(&core->budget)) {
		xy_count(core, XY_COUNT_MEMORY_REFUSED, 1);
		xy_error_send(connection, XY_E_OVERLOADED, frame,
			      "the proxy's memory budget is used up");
		return NULL;
	}
	request = xy_request_new(kind, connection->peer, answer);
	if (!request) {
		xy_error_send(connection, XY_E_OVERLOADED, frame, "the proxy is out of memory");
		return NULL;
	}
	request->correlation = frame->correlation;
	request->target = frame->target;
	return request;
}

static void frame_declare(struct xy_connection *connection, const struct xy_frame *frame,
			  const struct xy_cursor *payload)
{
	char subject[XY_SUBJECT_MAX + 1] = "";
	size_t length = frame->length - XY_HEADER_SIZE;
	const char *why = "longer than 255 bytes";
	struct xy_request *request;

	if (length <= XY_SUBJECT_MAX)
		xy_cursor_peek(payload, subject, length);
	if (length > XY_SUBJECT_MAX || xy_subject_check(subject, length, &why)) {
		xy_error_send(connection, XY_E_BAD_SUBJECT, frame, why);
		return;
	}
	request = request_of(connection, frame, XY_REQUEST_DECLARE, answered_declare);
	if (!request)
		return;
	memcpy(request->subscribe->subject, subject, length + 1);
	request_send(connection, request);
}

static void frame_subscribe(struct xy_connection *connection, const struct xy_frame *frame,
			    const struct xy_cursor *payload)
{
	size_t length = frame->length - XY_HEADER_SIZE;
	char json[JSON_MAX], why_json[XY_WHY_SIZE];
	struct xy_subscribe subscribe;
	struct xy_request *request;
	const char *why;
	int error;

	if (length > sizeof(json)) {
		xy_error_send(connection, XY_E_TOO_LARGE, frame, "over 4,096 bytes of JSON");
		return;
	}
	xy_cursor_peek(payload, json, length);
	error = xy_subscribe_decode(json, length, &subscribe, why_json);
	if (error) {
		xy_error_send(connection, error == -ENOMEM ? XY_E_OVERLOADED : XY_E_BAD_JSON, frame,
			      why_json);
		return;
	}
	if (xy_pattern_check(subscribe.subject, strlen(subscribe.subject), &why)) {
		xy_error_send(connection, XY_E_BAD_SUBJECT, frame, why);
		return;
	}
	request = request_of(connection, frame, XY_REQUEST_SUBSCRIBE, answered_subscription);
	if (!request)
		return;
	*request->subscribe = subscribe;
	request_send(connection, request);
}

static void frame_unsubscribe(struct xy_connection *connection, const struct xy_frame *frame)
{
	struct xy_request *request =
		request_of(connection, frame, XY_REQUEST_UNSUBSCRIBE, answered_subscription);

	if (request)
		request_send(connection, request);
}

static void frame_ping(struct xy_connection *connection, const struct xy_frame *frame,
		       const struct xy_cursor *payload)
{
	struct xy_frame pong = {.type = XY_PONG, .correlation = frame->correlation};
	size_t length = frame->length - XY_HEADER_SIZE;
	uint8_t echo[XY_PING_MAX];

	if (length > sizeof(echo)) {
		xy_error_send(connection, XY_E_TOO_LARGE, frame, "a PING has up to 64 bytes");
		return;
	}
	xy_cursor_peek(payload, echo, length);
	xy_control_send(connection, &pong, echo, length);
}

static void frame_goodbye(struct xy_connection *connection)
{
	connection->state = XY_CONNECTION_LEAVING;
	xy_timer_start(connection->worker->loop, &connection->timer, XY_DRAIN_TIMEOUT_MS);
	xy_request_detach(connection);
}

void xy_request_frame(struct xy_connection *connection, const struct xy_frame *frame,
		      const struct xy_cursor *payload)
{
	/* After GOODBYE the router knows it no more: nothing may be asked in its name. */
	if (connection->state != XY_CONNECTION_OPEN && frame->type != XY_PING)
		return;
	switch (frame->type) {
	case XY_DECLARE:
		frame_declare(connection, frame, payload);
		break;
	case XY_SUBSCRIBE:
		frame_subscribe(connection, frame, payload);
		break;
	case XY_UNSUBSCRIBE:
		frame_unsubscribe(connection, frame);
		break;
	case XY_PING:
		frame_ping(connection, frame, payload);
		break;
	case XY_GOODBYE:
		frame_goodbye(connection);
		break;
	}
}
