/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_FIRST (16u << 10)
#define QUEUE_KEPT  (1u << 20) /* an empty queue keeps at most this much memory */
#define LOOK_NS     20000      /* between two looks at the socket */

static void queue_compact(struct xy_queue *queue)
{
	size_t by = queue->head;

	memmove(queue->data, queue->data + by, queue->tail - by);
	queue->head = 0;
	queue->tail -= by;
	queue->batch = queue->batch > by ? queue->batch - by : 0;
	if (queue->open != XY_NOTHING)
		queue->open -= by;
}

int xy_queue_reserve(struct xy_queue *queue, size_t length)
{
	size_t capacity = queue->capacity ? queue->capacity : QUEUE_FIRST;
	uint8_t *data;

	if (queue->tail + length <= queue->capacity)
		return 0;
	/* Moved only when at least as much is free in front, so that each byte moves once on
	 * average. */
	if (queue->head >= queue->capacity / 2 && queue->head > 0) {
		queue_compact(queue);
		if (queue->tail + length <= queue->capacity)
			return 0;
	}
	while (capacity < queue->tail + length)
		capacity *= 2;
	data = realloc(queue->data, capacity);
	if (data == NULL)
		return -ENOMEM;
	queue->data = data;
	queue->capacity = capacity;
	return 0;
}

void xy_queue_reset(struct xy_queue *queue)
{
	if (queue->capacity > QUEUE_KEPT) {
		free(queue->data);
		queue->data = NULL;
		queue->capacity = 0;
	}
	queue->head = queue->tail = queue->unsent = queue->torn = 0;
	queue->open = XY_NOTHING;
	queue->batch = 0;
	queue->batch_frames = 0;
}

void xy_queue_free(struct xy_queue *queue)
{
	free(queue->data);
	*queue = (struct xy_queue){.open = XY_NOTHING};
}

/* `sent` bytes from the head are with the kernel. */
static void queue_sent(struct xy_queue *queue, size_t length, size_t sent)
{
	size_t whole = queue->torn;

	if (sent < length) {
		/* Find the border behind the last byte sent: the frame before it is torn. */
		while (whole < sent) {
			const uint8_t *frame = queue->data + queue->head + whole;

			queue->torn_loss = xy_frame_loss(frame);
			whole += xy_header_length(frame);
		}
		queue->torn = whole - sent;
	} else {
		queue->torn = 0;
	}
	queue->head += sent;
	queue->unsent = length - sent;
	if (queue->head == queue->tail) {
		xy_queue_reset(queue);
	} else if (queue->head > queue->batch) {
		queue->batch = queue->head;
		queue->batch_frames = 0;
	}
}

/* What a failed send did not send is given up: an error of that send only (protocol rule 9). */
static void queue_give_up(struct xy_client *client, struct xy_queue *queue, size_t length)
{
	if (queue == &client->data)
		for (size_t at = 0; at < length;) {
			const uint8_t *frame = queue->data + queue->head + at;

			xy_client_lose(client, xy_frame_loss(frame));
			at += xy_header_length(frame);
		}
	queue_sent(queue, length, length);
}

static int queue_send_failed(struct xy_client *client, struct xy_queue *queue, size_t length,
			     int error)
{
	xy_channel_fail(client, -error, "send");
	/* Only a read tells whether the connection is over; a reset that this send has reported is
	 * not reported again. */
	while (client->fd >= 0 && xy_inbound_intake(client) > 0)
		;
	if (client->fd < 0)
		return -ENOTCONN;
	if ((error != EPIPE && error != ENOMEM && error != EACCES && error != ENOBUFS) ||
	    queue->torn > 0 || client->tls != NULL) {
		xy_client_disconnect(client);
		return -ENOTCONN;
	}
	queue_give_up(client, queue, length);
	client->lost_told = client->stats.lost;
	xy_client_fail(client, -error, "dropped by a failed send: %s", strerror(error));
	xy_client_tell(client, XY_EVENT_ERROR);
	return -error;
}

int xy_queue_send(struct xy_client *client, struct xy_queue *queue, size_t length)
{
	uint64_t consumed = client->consumed;
	ssize_t sent;

	sent = xy_channel_send(client, queue->data + queue->head, length);
	client->stats.sends++;
	if (sent < 0 && sent != -EAGAIN)
		return queue_send_failed(client, queue, length, (int)-sent);
	client->spoke_ns = xy_clock_ns();
	if (sent < 0)
		sent = 0;
	if (queue == &client->data) {
		client->looked = false;
		client->unpolled += (size_t)sent;
	}
	/* A batch is stamped with what is consumed when it is built; what stays unsent keeps that.
	 */
	if (sent > 0 && queue->unsent == 0)
		client->acked = consumed;
	queue_sent(queue, length, (size_t)sent);
	if ((size_t)sent == length && !xy_channel_unsent(client))
		return 0;
	client->blocked = true;
	return -EAGAIN;
}

/* The rest of a send that TLS has taken whole. */
static int channel_flush(struct xy_client *client)
{
	int error = xy_tls_flush(client->tls);

	client->stats.sends++;
	if (error == -EAGAIN)
		client->blocked = true;
	else if (error)
		error = queue_send_failed(client, &client->control, 0, -error);
	return error;
}

bool xy_client_look(struct xy_client *client)
{
	struct pollfd p = {.fd = client->fd, .events = POLLIN | POLLOUT};

	if (poll(&p, 1, 0) < 0)
		return false;
	client->looked = true;
	client->looked_ns = xy_clock_ns();
	if (p.revents & POLLOUT) {
		client->blocked = false;
		client->unpolled = 0;
	} else {
		client->blocked = true;
	}
	if (xy_channel_pending(client) || p.revents & (POLLIN | POLLERR | POLLHUP))
		xy_inbound_intake(client);
	return client->fd >= 0 && !client->blocked;
}

/* Before DATA: finds a SYNC_WANTED first, and keeps room for an ACK behind it (K25). Of sends that
 * follow each other at once few look: a poll is a good part of what a small one costs. */
static bool look_due(const struct xy_client *client)
{
	size_t most = xy_min(xy_queue_length(&client->data), (size_t)XY_SEND_BYTES_MAX);

	if (client->unpolled + most > client->unpolled_max)
		return true;
	return !client->looked && xy_clock_ns() - client->looked_ns >= LOOK_NS;
}

static bool push_data_allowed(const struct xy_client *client, bool everything)
{
	const struct xy_queue *data = &client->data;

	return client->state == XY_CLIENT_READY && !xy_client_holding(client) &&
	       data->head < (everything ? data->tail : data->batch);
}

int xy_client_push(struct xy_client *client, bool everything)
{
	int error = 0;

	while (client->fd >= 0 && client->state >= XY_CLIENT_GREETING) {
		struct xy_queue *queue = &client->data;
		size_t length;

		if (xy_client_parted(client)) {
			xy_client_disconnect(client);
			break;
		}
		if (client->blocked &&
		    (xy_channel_unsent(client) || queue->unsent > 0 || client->control.tail > 0 ||
		     push_data_allowed(client, everything))) {
			if (!xy_client_look(client))
				break;
			continue;
		}
		if (xy_channel_unsent(client)) {
			error = channel_flush(client);
			if (error)
				break;
			continue;
		}
		if (queue->unsent > 0) {
			length = queue->unsent;
		} else if (client->control.tail > 0) {
			queue = &client->control;
			length = queue->unsent;
			if (length == 0) {
				struct xy_header *header =
					(struct xy_header *)(queue->data + queue->head);

				length = xy_be32(header->length);
				if (header->type != XY_HELLO)
					header->ack = xy_be64(client->consumed);
			}
		} else if (push_data_allowed(client, everything)) {
			if (look_due(client)) {
				if (!xy_client_look(client))
					break;
				if (!push_data_allowed(client, everything) ||
				    client->control.tail > 0)
					continue;
			}
			length = xy_outbound_batch(client, everything);
			if (xy_pace_due(client, queue->data + queue->head, length) &&
			    xy_client_send_sync(client) == 0)
				continue;
			xy_pace_sent(client, queue->data + queue->head, length);
		} else {
			break;
		}
		error = xy_queue_send(client, queue, length);
		if (error == -EAGAIN || error == -ENOTCONN)
			break;
	}
	return client->control.tail > 0 || client->data.tail > 0 || xy_channel_unsent(client)
		       ? -EAGAIN
		       : 0;
}
