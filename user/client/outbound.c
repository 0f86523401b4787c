/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <string.h>

/* Messages that stand in the queue when it is their turn, and only those, share frames: a message
 * opens a frame; while that frame is the last one and unsent, more messages to its target join it.
 * The second one turns it into a bundle. */

static void put_be32(uint8_t *to, uint32_t value)
{
	value = xy_be32(value);
	memcpy(to, &value, sizeof(value));
}

static uint32_t get_be32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return xy_be32(value);
}

/* The CRC behind a payload that ends the queue; room for it was reserved with the payload. */
static void put_crc(struct xy_queue *queue, size_t payload)
{
	uint32_t crc = xy_crc32c(0, queue->data + payload, queue->tail - payload);

	put_be32(queue->data + queue->tail, crc);
	queue->tail += XY_CRC_SIZE;
}

void xy_outbound_seal(struct xy_client *client)
{
	struct xy_queue *queue = &client->data;
	struct xy_header *header;

	if (queue->open == XY_NOTHING)
		return;
	if (client->crc)
		put_crc(queue, queue->open + XY_HEADER_SIZE);
	header = (struct xy_header *)(queue->data + queue->open);
	header->length = xy_be32((uint32_t)(queue->tail - queue->open));
	if (queue->open_items > 1)
		header->flags |= xy_be16(XY_BUNDLE);
	queue->open = XY_NOTHING;
}

static uint64_t items(const uint8_t *frame)
{
	uint16_t flags = xy_header_flags(frame);
	const uint8_t *at = frame + XY_HEADER_SIZE;
	const uint8_t *end = frame + xy_header_length(frame) - (flags & XY_CRC ? XY_CRC_SIZE : 0);
	uint64_t messages = 0;

	if ((flags & XY_BUNDLE) == 0)
		return 1;
	for (; at < end; at += XY_BUNDLE_PREFIX + get_be32(at))
		messages++;
	return messages;
}

struct xy_loss xy_frame_loss(const uint8_t *frame)
{
	const struct xy_header *header = (const struct xy_header *)frame;
	struct xy_loss loss = {.messages = items(frame)};

	if (header->fragments != 0) {
		loss.target = header->target;
		loss.sequence = header->sequence;
	}
	return loss;
}

void xy_client_lose(struct xy_client *client, struct xy_loss loss)
{
	if (loss.sequence != 0) {
		if (loss.sequence == client->lost_last.sequence &&
		    loss.target == client->lost_last.target)
			return;
		client->lost_last = loss;
	}
	client->stats.lost += loss.messages;
}

size_t xy_outbound_batch(struct xy_client *client, bool everything)
{
	struct xy_queue *queue = &client->data;
	const struct xy_header *first = (const struct xy_header *)(queue->data + queue->head);
	size_t at = queue->head, limit = everything ? queue->tail : queue->batch;

	for (unsigned frames = 0; at < limit && frames < XY_SEND_FRAMES_MAX; frames++) {
		struct xy_header *header = (struct xy_header *)(queue->data + at);

		if (at == queue->open) {
			xy_outbound_seal(client);
			limit = queue->tail;
		}
		if (frames > 0 && (header->target != first->target ||
				   (header->flags ^ first->flags) & xy_be16(XY_DIRECT) ||
				   at + xy_be32(header->length) - queue->head > XY_SEND_BYTES_MAX))
			break;
		header->ack = xy_be64(client->consumed);
		at += xy_be32(header->length);
	}
	return at - queue->head;
}

/* Whether the frame may go into the last batch; else that one is full and a new one begins. */
static void batch_enter(struct xy_queue *queue, const struct xy_outgoing *message, size_t length)
{
	bool direct = (message->flags & XY_DIRECT) != 0;

	if (queue->tail == queue->batch || queue->batch_target != message->target ||
	    queue->batch_direct != direct || queue->batch_frames == XY_SEND_FRAMES_MAX ||
	    queue->tail + length - queue->batch > XY_SEND_BYTES_MAX) {
		queue->batch = queue->tail;
		queue->batch_frames = 0;
		queue->batch_target = message->target;
		queue->batch_direct = direct;
	}
	queue->batch_frames++;
}

static bool bundleable(const struct xy_client *client, const struct xy_outgoing *message)
{
	return !client->no_bundle && message->length <= XY_BUNDLE_ITEM_MAX &&
	       message->correlation == 0;
}

/* Adds the message to the open frame if that is of its kind and has room. */
static bool join(struct xy_client *client, const struct xy_outgoing *message)
{
	struct xy_queue *queue = &client->data;
	size_t crc = client->crc ? XY_CRC_SIZE : 0;
	size_t grow = XY_BUNDLE_PREFIX + message->length +
		      (queue->open_items == 1 ? XY_BUNDLE_PREFIX : 0);
	uint8_t *payload;

	if (queue->open == XY_NOTHING || queue->batch_target != message->target ||
	    queue->batch_direct != ((message->flags & XY_DIRECT) != 0) ||
	    !bundleable(client, message) ||
	    queue->tail + grow + crc - queue->open > client->max_frame ||
	    queue->tail + grow + crc - queue->batch > XY_SEND_BYTES_MAX ||
	    xy_queue_reserve(queue, grow + crc) != 0)
		return false;
	if (queue->open_items == 1) {
		size_t length = queue->tail - queue->open - XY_HEADER_SIZE;

		payload = queue->data + queue->open + XY_HEADER_SIZE;
		memmove(payload + XY_BUNDLE_PREFIX, payload, length);
		put_be32(payload, (uint32_t)length);
		queue->tail += XY_BUNDLE_PREFIX;
	}
	put_be32(queue->data + queue->tail, (uint32_t)message->length);
	if (message->length > 0)
		memcpy(queue->data + queue->tail + XY_BUNDLE_PREFIX, message->data,
		       message->length);
	queue->tail += XY_BUNDLE_PREFIX + message->length;
	queue->open_items++;
	if (message->sequence != NULL)
		++*message->sequence;
	return true;
}

static size_t payload_max(const struct xy_client *client)
{
	return client->max_frame - XY_HEADER_SIZE - (client->crc ? XY_CRC_SIZE : 0);
}

static size_t fragments_of(const struct xy_client *client, size_t length)
{
	size_t most = payload_max(client);

	return length <= most ? 1 : (length + most - 1) / most;
}

/* Appends one frame; room is reserved. */
static void append_frame(struct xy_client *client, const struct xy_outgoing *message,
			 struct xy_header *header, const uint8_t *data, size_t length)
{
	struct xy_queue *queue = &client->data;
	size_t whole = XY_HEADER_SIZE + length + (client->crc ? XY_CRC_SIZE : 0);

	xy_outbound_seal(client);
	batch_enter(queue, message, whole);
	header->length = xy_be32((uint32_t)whole);
	memcpy(queue->data + queue->tail, header, sizeof(*header));
	if (length > 0)
		memcpy(queue->data + queue->tail + XY_HEADER_SIZE, data, length);
	queue->tail += XY_HEADER_SIZE + length;
	client->stats.frames_out++;
	if (header->fragments == 0 && bundleable(client, message)) {
		queue->open = queue->tail - length - XY_HEADER_SIZE;
		queue->open_items = 1;
	} else if (client->crc) {
		put_crc(queue, queue->tail - length);
	}
}

static int append_message(struct xy_client *client, const struct xy_outgoing *message,
			  size_t fragments)
{
	struct xy_queue *queue = &client->data;
	size_t most = payload_max(client);
	const uint8_t *data = message->data;
	uint64_t now = xy_clock_realtime_ns();
	struct xy_header header = {
		.version = XY_WIRE_VERSION,
		.type = XY_DATA,
		.flags = xy_be16((uint16_t)(message->flags | (client->crc ? XY_CRC : 0))),
		.target = xy_be64(message->target),
		.source = xy_be64(client->endpoint),
		.timestamp = xy_be64(now),
		.correlation = xy_be64(message->correlation),
	};

	if (queue->tail == 0)
		queue->oldest_ns = now;
	if (message->sequence != NULL)
		header.sequence = xy_be64(++*message->sequence);
	for (size_t i = 0; i < fragments; i++) {
		size_t at = i * most;
		size_t length = message->length - at < most ? message->length - at : most;
		/* With the CRC that the frame before may still get. */
		int error = xy_queue_reserve(queue, XY_HEADER_SIZE + length + 2 * XY_CRC_SIZE);

		if (error)
			return xy_client_fail(client, error, "out of memory");
		if (fragments > 1) {
			header.fragment = xy_be16((uint16_t)i);
			header.fragments = xy_be16((uint16_t)fragments);
		}
		append_frame(client, message, &header, length > 0 ? data + at : NULL, length);
		/* Fragments leave as they are made, while they are in the cache. */
		if (i > 0)
			xy_client_push(client, false);
	}
	return 0;
}

/* Queue length above which a message of this size waits. One that is larger than the whole limit
 * goes alone. */
static bool has_room(const struct xy_client *client, size_t length, size_t fragments)
{
	size_t need = length + fragments * (XY_HEADER_SIZE + XY_CRC_SIZE);
	size_t queued = xy_queue_length(&client->data);

	return queued == 0 || queued + need <= client->outbound_max;
}

static int make_room(struct xy_client *client, size_t length, size_t fragments, bool wait)
{
	xy_client_push(client, true);
	while (!has_room(client, length, fragments)) {
		int error;

		if (client->state == XY_CLIENT_CLOSED)
			return -ENOTCONN;
		if (!wait)
			return -EAGAIN;
		error = xy_client_wait(client, UINT64_MAX);
		if (error)
			return error;
		xy_client_push(client, true);
	}
	return 0;
}

/* After waiting: in the meantime there may have been another connection, with other ids. */
static int address(struct xy_client *client, struct xy_outgoing *message)
{
	const struct xy_topic *topic = message->topic;

	if (topic == NULL)
		return 0;
	if (topic->answer == XY_ANSWER_REFUSED)
		return xy_client_fail(client, topic->error, "%s: the topic was refused",
				      topic->subject);
	message->target = topic->id;
	message->sequence = &message->topic->sequence;
	return 0;
}

int xy_client_enqueue(struct xy_client *client, struct xy_outgoing *message, bool wait)
{
	struct xy_queue *queue = &client->data;
	size_t fragments = 1, batch;
	bool first;
	int error;

	if (client->state == XY_CLIENT_CLOSED || client->said_goodbye)
		return xy_client_fail(client, -ENOTCONN, "the connection is closed for good");
	if (message->length > payload_max(client)) {
		fragments = fragments_of(client, message->length);
		if (message->length > client->max_message || fragments > UINT16_MAX ||
		    fragments > (client->max_message + XY_PAYLOAD_MAX - 1) / XY_PAYLOAD_MAX)
			return xy_client_fail(client, -EMSGSIZE,
					      "%zu bytes are more than the largest message",
					      message->length);
		/* Not counted means not fragmented. */
		message->sequence = &client->direct_sequence;
	}
	if (!has_room(client, message->length, fragments)) {
		error = make_room(client, message->length, fragments, wait);
		if (error)
			return error;
	}
	error = address(client, message);
	if (error)
		return error;
	first = queue->tail == 0;
	batch = queue->batch;
	if (!join(client, message)) {
		error = append_message(client, message, fragments);
		if (error)
			return error;
		/* A batch is full: the only place where publishing enters the kernel. */
		if (queue->batch != batch)
			xy_client_push(client, false);
	}
	client->stats.messages_out++;
	client->stats.bytes_out += message->length;
	if (first && client->evented)
		xy_client_arm(client);
	return 0;
}
