/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- calls: what a correlation pairs with its answer ----------------------------------------- */

static uint64_t next_correlation(struct xy_client *client)
{
	if (++client->correlation == 0)
		client->correlation = 1;
	return client->correlation;
}

uint64_t xy_call_begin(struct xy_client *client, struct xy_call *call)
{
	uint64_t correlation = next_correlation(client);

	if (xy_idmap_put(&client->calls, correlation, call) != 0)
		return 0;
	call->correlation = correlation;
	return correlation;
}

void xy_call_end(struct xy_client *client, struct xy_call *call)
{
	if (call->correlation != 0)
		xy_idmap_remove(&client->calls, call->correlation);
	call->correlation = 0;
}

void xy_call_ok(struct xy_client *client, uint64_t correlation, uint64_t target)
{
	struct xy_call *call = xy_idmap_get(&client->calls, correlation);

	if (call == NULL || call->kind == XY_CALL_REQUEST)
		return;
	xy_call_end(client, call);
	if (call->kind == XY_CALL_DECLARE)
		xy_topic_answered(client, xy_container_of(call, struct xy_topic, call), target, 0);
	else
		xy_subscription_answered(
			client, xy_container_of(call, struct xy_subscription, call), target, 0);
}

/* Its handler will be called with no message; the words of now say why. */
static void request_fail(struct xy_client *client, struct xy_request *request)
{
	xy_call_end(client, &request->call);
	xy_list_remove(&request->link);
	memcpy(request->words, client->words, sizeof(request->words));
	xy_list_add_tail(&client->failed, &request->link);
}

bool xy_call_error(struct xy_client *client, uint64_t correlation, int error)
{
	struct xy_call *call;

	if (correlation == client->awaited.correlation) {
		client->awaited.answered = true;
		client->awaited.error = error;
		return true;
	}
	call = xy_idmap_get(&client->calls, correlation);
	if (call == NULL)
		return false;
	if (call->kind == XY_CALL_REQUEST) {
		request_fail(client, xy_container_of(call, struct xy_request, call));
		return true;
	}
	xy_call_end(client, call);
	if (call->kind == XY_CALL_DECLARE)
		xy_topic_answered(client, xy_container_of(call, struct xy_topic, call), 0, error);
	else
		xy_subscription_answered(
			client, xy_container_of(call, struct xy_subscription, call), 0, error);
	return true;
}

/* ---- requests that wait ---------------------------------------------------------------------- */

bool xy_request_awaits(const struct xy_client *client, const uint8_t *frame)
{
	const struct xy_header *header = (const struct xy_header *)frame;

	return client->awaited.correlation != 0 && !client->awaited.answered &&
	       xy_be64(header->correlation) == client->awaited.correlation &&
	       (header->flags & xy_be16(XY_DIRECT | XY_REPLY_WANTED | XY_BUNDLE)) ==
		       xy_be16(XY_DIRECT);
}

static int send_request(struct xy_client *client, struct xy_topic *topic, const void *data,
			size_t length, uint64_t correlation)
{
	return xy_client_enqueue(client,
				 &(struct xy_outgoing){.topic = topic,
						       .flags = XY_REPLY_WANTED,
						       .correlation = correlation,
						       .data = data,
						       .length = length},
				 true);
}

static int await(struct xy_client *client, uint64_t deadline)
{
	while (!client->awaited.answered) {
		int error;

		xy_client_push(client, true);
		if (client->awaited.answered)
			break;
		error = xy_client_wait(client, deadline);
		if (error == -ETIMEDOUT)
			return xy_client_fail(client, error, "no reply in time");
		if (error)
			return error;
	}
	return client->awaited.error;
}

int xy_client_request(struct xy_client *client, struct xy_topic *topic, const void *data,
		      size_t length, int timeout_ms, struct xy_message *ret_reply)
{
	uint64_t deadline = xy_client_deadline(timeout_ms);
	uint64_t correlation = next_correlation(client);
	int error;

	if (client->in.reply != NULL) {
		xy_inbound_kill(client, client->in.reply);
		client->in.reply = NULL;
		xy_inbound_release(client);
	}
	error = send_request(client, topic, data, length, correlation);
	if (error)
		return error;
	client->awaited.correlation = correlation;
	client->awaited.answered = false;
	client->awaited.error = 0;
	client->awaited.frame = NULL;
	error = await(client, deadline);
	client->awaited.correlation = 0;
	if (!error && !xy_deliver_plain(client, client->awaited.frame, NULL, ret_reply))
		error = xy_client_fail(client, -EBADMSG, "the reply is damaged");
	if (client->evented)
		xy_client_arm(client);
	return error;
}

/* ---- requests with a handler ----------------------------------------------------------------- */

struct xy_request *xy_request_find(struct xy_client *client, uint64_t correlation)
{
	struct xy_call *call = xy_idmap_get(&client->calls, correlation);

	if (call == NULL || call->kind != XY_CALL_REQUEST)
		return NULL;
	return xy_container_of(call, struct xy_request, call);
}

void xy_request_done(struct xy_client *client, struct xy_request *request)
{
	xy_call_end(client, &request->call);
	xy_list_remove(&request->link);
	xy_list_add_head(&client->spare_requests, &request->link);
}

static struct xy_request *request_new(struct xy_client *client)
{
	struct xy_request *request =
		xy_list_first(&client->spare_requests, struct xy_request, link);

	if (request == NULL) {
		request = calloc(1, sizeof(*request));
		if (request == NULL)
			return NULL;
		xy_list_init(&request->link);
	}
	xy_list_remove(&request->link);
	request->call.kind = XY_CALL_REQUEST;
	return request;
}

/* Mostly they come in the order in which they end. */
static void insert_by_due(struct xy_client *client, struct xy_request *request)
{
	struct xy_list *after = client->requests.prev;

	while (after != &client->requests &&
	       xy_list_entry(after, struct xy_request, link)->due_ns > request->due_ns)
		after = after->prev;
	xy_list_insert(&request->link, after, after->next);
}

int xy_client_request_async(struct xy_client *client, struct xy_topic *topic, const void *data,
			    size_t length, int timeout_ms, xy_message_fn on_reply, void *context)
{
	struct xy_request *request = request_new(client);
	int error;

	if (request == NULL || xy_call_begin(client, &request->call) == 0) {
		free(request);
		return xy_client_fail(client, -ENOMEM, "out of memory");
	}
	request->due_ns = xy_client_deadline(timeout_ms);
	request->on_reply = on_reply;
	request->context = context;
	insert_by_due(client, request);
	error = send_request(client, topic, data, length, request->call.correlation);
	if (error)
		xy_request_done(client, request);
	else if (client->evented)
		xy_client_arm(client);
	return error;
}

int xy_client_reply(struct xy_client *client, const struct xy_message *request, const void *data,
		    size_t length)
{
	if (!request->reply_wanted)
		return xy_client_fail(client, -EINVAL, "the message wants no reply");
	return xy_client_enqueue(client,
				 &(struct xy_outgoing){.target = request->source,
						       .flags = XY_DIRECT,
						       .correlation = request->correlation,
						       .data = data,
						       .length = length},
				 true);
}

void xy_requests_expire(struct xy_client *client, uint64_t now_ns)
{
	struct xy_request *request;

	while ((request = xy_list_first(&client->requests, struct xy_request, link)) != NULL &&
	       request->due_ns <= now_ns) {
		xy_client_fail(client, -ETIMEDOUT, "no reply in time");
		request_fail(client, request);
	}
}

void xy_requests_fail_all(struct xy_client *client, int error)
{
	struct xy_request *request, *after;

	if (client->awaited.correlation != 0 && !client->awaited.answered) {
		client->awaited.answered = true;
		client->awaited.error = error;
	}
	xy_list_each_safe (request, after, &client->requests, link)
		request_fail(client, request);
}

void xy_requests_dispatch(struct xy_client *client)
{
	struct xy_request *request;

	while (!client->closing &&
	       (request = xy_list_first(&client->failed, struct xy_request, link)) != NULL) {
		xy_message_fn on_reply = request->on_reply;
		void *context = request->context;

		memcpy(client->words, request->words, sizeof(client->words));
		xy_list_remove(&request->link);
		xy_list_add_head(&client->spare_requests, &request->link);
		client->delivering = true;
		on_reply(client, NULL, context);
		client->delivering = false;
	}
}

static void list_free(struct xy_list *list)
{
	struct xy_request *request, *after;

	xy_list_each_safe (request, after, list, link)
		free(request);
}

void xy_requests_free(struct xy_client *client)
{
	list_free(&client->requests);
	list_free(&client->failed);
	list_free(&client->spare_requests);
	xy_idmap_clear(&client->calls);
}
