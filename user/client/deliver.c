/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <string.h>

/* While the application looks at a frame it is HELD: nothing below it moves, and calls that the
 * application makes meanwhile pass it by. */

enum outcome {
	DONE,   /* the frame is dead */
	GIVEN,  /* ret_message is filled */
	PASSED, /* left for next() */
	CLOSED, /* a handler closed the client */
};

static void hold(uint8_t *frame)
{
	struct xy_header *header = (struct xy_header *)frame;

	header->type = header->type == XY_MARK_ASSEMBLED ? XY_MARK_HELD_ASSEMBLED : XY_MARK_HELD;
}

static uint32_t item_length(const uint8_t *at)
{
	uint32_t length;

	memcpy(&length, at, sizeof(length));
	return xy_be32(length);
}

/* Messages in a bundle; 0 when its lengths do not add up. */
static uint64_t bundle_count(const uint8_t *at, const uint8_t *end)
{
	uint64_t count = 0;

	while (end - at >= XY_BUNDLE_PREFIX) {
		uint32_t length = item_length(at);

		if (length > (size_t)(end - at) - XY_BUNDLE_PREFIX)
			return 0;
		at += XY_BUNDLE_PREFIX + length;
		count++;
	}
	return at == end ? count : 0;
}

static void message_head(const uint8_t *frame, const struct xy_binding *binding,
			 struct xy_message *ret_message)
{
	const struct xy_header *header = (const struct xy_header *)frame;

	*ret_message = (struct xy_message){
		.subject = binding != NULL ? binding->subject : "",
		.source = xy_be64(header->source),
		.sequence = xy_be64(header->sequence),
		.timestamp = xy_be64(header->timestamp),
		.correlation = xy_be64(header->correlation),
		.reply_wanted = (xy_be16(header->flags) & XY_REPLY_WANTED) != 0,
		.subscription = binding != NULL ? binding->subscription : NULL,
	};
}

bool xy_deliver_plain(struct xy_client *client, const uint8_t *frame,
		      const struct xy_binding *binding, struct xy_message *ret_message)
{
	const struct xy_assembly *assembly = xy_assembly_of(frame);
	const uint8_t *data;
	size_t length;

	if (assembly != NULL) {
		data = assembly->data;
		length = assembly->length;
	} else if (!xy_inbound_payload(client, frame, &data, &length)) {
		return false;
	}
	message_head(frame, binding, ret_message);
	ret_message->data = data;
	ret_message->length = length;
	client->stats.messages_in++;
	client->stats.bytes_in += length;
	return true;
}

/* The next message of the bundle that next() is giving out. What they have in common is copied from
 * `item`, which stays as it is: a copy of what was just written would wait for the write. */
static bool give_item(struct xy_client *client, struct xy_message *ret_message)
{
	struct xy_inbound *in = &client->in;
	uint32_t length = item_length(in->bundle);

	if (in->item_generation != client->generation && in->item.subscription != NULL) {
		const struct xy_header *header = (const struct xy_header *)in->current;
		struct xy_binding *binding = xy_binding_of(client, xy_be64(header->target));

		if (binding == NULL || binding->subscription == NULL) {
			in->bundle = NULL;
			return false;
		}
		in->item.subscription = binding->subscription;
		in->item_generation = client->generation;
	}
	*ret_message = in->item;
	ret_message->data = in->bundle + XY_BUNDLE_PREFIX;
	ret_message->length = length;
	ret_message->sequence = in->item_sequence;
	if (in->item_sequence != 0)
		in->item_sequence++;
	in->bundle += XY_BUNDLE_PREFIX + length;
	if (in->bundle == in->bundle_end)
		in->bundle = NULL;
	client->stats.messages_in++;
	client->stats.bytes_in += length;
	return true;
}

struct handler {
	xy_message_fn call;
	void *context;
};

static struct handler handler_of(struct xy_client *client, const struct xy_binding *binding)
{
	if (binding == NULL)
		return (struct handler){client->on_direct, client->context};
	if (binding->subscription == NULL)
		return (struct handler){NULL, NULL};
	return (struct handler){binding->subscription->on_message, binding->subscription->context};
}

static void call(struct xy_client *client, struct handler handler, const struct xy_message *message)
{
	client->delivering = true;
	handler.call(client, message, handler.context);
	client->delivering = false;
}

static enum outcome call_items(struct xy_client *client, struct xy_message message, uint64_t id,
			       const uint8_t *at, const uint8_t *end)
{
	while (at < end) {
		struct xy_binding *binding = id ? xy_binding_of(client, id) : NULL;
		struct handler handler = handler_of(client, binding);

		/* Unsubscribed by the handler of the item before. */
		if (handler.call == NULL)
			break;
		message.subscription = binding != NULL ? binding->subscription : NULL;
		message.length = item_length(at);
		message.data = at + XY_BUNDLE_PREFIX;
		at += XY_BUNDLE_PREFIX + message.length;
		client->stats.messages_in++;
		client->stats.bytes_in += message.length;
		call(client, handler, &message);
		if (client->closing)
			return CLOSED;
		if (message.sequence != 0)
			message.sequence++;
	}
	return DONE;
}

static enum outcome deliver_bundle(struct xy_client *client, uint8_t *frame,
				   const struct xy_binding *binding, struct handler handler,
				   struct xy_message *ret_message)
{
	struct xy_inbound *in = &client->in;
	struct xy_message message;
	const uint8_t *data;
	uint64_t count;
	size_t length;

	if (!xy_inbound_payload(client, frame, &data, &length))
		return DONE;
	count = bundle_count(data, data + length);
	if (count == 0) {
		client->stats.corrupt++;
		return DONE;
	}
	message_head(frame, binding, &message);
	if (binding != NULL)
		xy_stream_count(client, &message, binding->id, count);
	if (handler.call != NULL)
		return call_items(client, message, binding != NULL ? binding->id : 0, data,
				  data + length);
	in->item = message;
	in->item_sequence = message.sequence;
	in->item_generation = client->generation;
	in->bundle = data;
	in->bundle_end = data + length;
	in->current = frame;
	give_item(client, ret_message);
	return GIVEN;
}

/* A reply that an asynchronous request waits for. */
static enum outcome deliver_reply(struct xy_client *client, const uint8_t *frame,
				  struct xy_request *request)
{
	struct handler handler = {request->on_reply, request->context};
	struct xy_message message;

	if (!xy_deliver_plain(client, frame, NULL, &message))
		return DONE;
	xy_request_done(client, request);
	call(client, handler, &message);
	return client->closing ? CLOSED : DONE;
}

static enum outcome deliver_frame(struct xy_client *client, uint8_t *frame,
				  struct xy_message *ret_message)
{
	const struct xy_header *header = (const struct xy_header *)frame;
	uint16_t flags = xy_be16(header->flags);
	struct xy_binding *binding = NULL;
	struct xy_message message;
	struct handler handler;

	if ((flags & XY_DIRECT) == 0) {
		binding = xy_binding_of(client, xy_be64(header->target));
		if (binding == NULL || binding->subscription == NULL)
			return DONE;
	} else if (header->correlation != 0 && (flags & XY_REPLY_WANTED) == 0) {
		struct xy_request *request = xy_request_find(client, xy_be64(header->correlation));

		/* Nobody waits for a reply that comes too late. */
		if (request == NULL)
			return DONE;
		hold(frame);
		return deliver_reply(client, frame, request);
	}
	handler = handler_of(client, binding);
	if (handler.call == NULL && ret_message == NULL)
		return PASSED;
	hold(frame);
	if (flags & XY_BUNDLE)
		return deliver_bundle(client, frame, binding, handler, ret_message);
	if (!xy_deliver_plain(client, frame, binding, &message))
		return DONE;
	if (binding != NULL)
		xy_stream_count(client, &message, binding->id, 1);
	if (handler.call == NULL) {
		client->in.current = frame;
		*ret_message = message;
		return GIVEN;
	}
	call(client, handler, &message);
	return client->closing ? CLOSED : DONE;
}

static bool is_alive(const uint8_t *frame)
{
	uint8_t type = ((const struct xy_header *)frame)->type;

	return type == XY_DATA || type == XY_MARK_ASSEMBLED;
}

int xy_client_deliver(struct xy_client *client, struct xy_message *ret_message)
{
	struct xy_inbound *in = &client->in;

	if (ret_message != NULL && in->bundle != NULL) {
		if (give_item(client, ret_message))
			return 1;
		xy_inbound_let_go(client);
	}
	for (;;) {
		struct xy_position *position = &in->walk, first = in->read;
		uint8_t *frame;

		if (ret_message != NULL)
			position = &first;
		frame = xy_inbound_frame(position);
		while (frame != NULL && !is_alive(frame)) {
			position->at += xy_header_length(frame);
			frame = xy_inbound_frame(position);
		}
		if (frame == NULL)
			return 0;
		position->at += xy_header_length(frame);
		switch (deliver_frame(client, frame, ret_message)) {
		case DONE:
			xy_inbound_kill(client, frame);
			xy_inbound_release(client);
			break;
		case GIVEN:
			return 1;
		case PASSED:
			break;
		case CLOSED:
			return -ENOTCONN;
		}
	}
}
