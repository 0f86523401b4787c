/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/random.h"

/* ---- the end of a connection ----------------------------------------------------------------- */

void xy_client_close_for_good(struct xy_client *client)
{
	xy_client_hang_up(client);
	client->state = XY_CLIENT_CLOSED;
	if (client->was_ready)
		xy_client_tell(client, XY_EVENT_CLOSED);
}

static uint64_t backoff_ns(struct xy_client *client)
{
	uint64_t delay = client->reconnect_min_ms, random = 0;

	for (unsigned i = 0; i < client->attempts && delay < client->reconnect_max_ms; i++)
		delay *= 2;
	delay = xy_min(delay, (uint64_t)client->reconnect_max_ms) * XY_NS_PER_MS;
	client->attempts++;
	/* Half to all of it, so that the clients of a proxy do not come back in step. Without
	 * randomness the shortest will do. */
	(void)xy_random_id(&random);
	return delay / 2 + random % (delay / 2 + 1);
}

/* What was queued stays; the frame of which a part is sent is lost. */
static void outbound_end(struct xy_client *client)
{
	struct xy_queue *data = &client->data;

	xy_queue_reset(&client->control);
	if (data->torn > 0) {
		xy_client_lose(client, data->torn_loss);
		data->head += data->torn;
	}
	data->torn = data->unsent = 0;
	if (data->head == data->tail)
		xy_queue_reset(data);
	else
		data->batch = xy_max(data->batch, data->head);
}

static void calls_end(struct xy_client *client)
{
	struct xy_subscription *subscription;
	struct xy_topic *topic, *next;

	HASH_ITER(hh, client->topics, topic, next)
	{
		xy_call_end(client, &topic->call);
		topic->answer = XY_ANSWER_NONE;
	}
	xy_list_each (subscription, &client->subscriptions, link) {
		xy_call_end(client, &subscription->call);
		subscription->answer = XY_ANSWER_NONE;
	}
	xy_subscriptions_forget(client);
	xy_requests_fail_all(client, -ECONNRESET);
}

void xy_client_disconnect(struct xy_client *client)
{
	struct xy_position first;

	xy_client_hang_up(client);
	/* Before anything else, because what follows asks whether there is a connection. */
	client->state = XY_CLIENT_BACKOFF;
	client->connection++;
	client->sync_out = client->sync_in = 0;
	client->lane = client->blocked = client->parting = false;
	outbound_end(client);
	xy_inbound_end(client);
	calls_end(client);
	/* Ids of this connection are needed for as long as its messages are here. */
	first = client->in.read;
	if (xy_inbound_frame(&first) == NULL)
		xy_binding_forget_all(client);
	if (client->told_connected)
		xy_client_tell(client, XY_EVENT_DISCONNECTED);
	client->told_connected = false;
	if (!client->was_ready || client->no_reconnect || client->said_goodbye) {
		xy_client_close_for_good(client);
		return;
	}
	client->due_ns = xy_clock_ns() + backoff_ns(client);
}

/* ---- the beginning of the next --------------------------------------------------------------- */

struct requeue {
	struct xy_client *client;
	struct xy_topic *topic; /* of the frame before … */
	bool keep;              /* … and whether that stayed */
};

static struct xy_topic *topic_by_id(struct requeue *state, uint64_t id)
{
	struct xy_topic *topic, *next;

	if (state->topic != NULL && state->topic->id == id)
		return state->topic;
	HASH_ITER(hh, state->client->topics, topic, next)
	{
		if (topic->id == id) {
			state->topic = topic;
			return topic;
		}
	}
	return NULL;
}

/* Gives a queued frame the ids of this connection; false when it cannot be sent any more. */
static bool requeue_frame(struct requeue *state, uint8_t *frame)
{
	struct xy_header *header = (struct xy_header *)frame;
	struct xy_topic *topic;

	if (xy_be32(header->length) > state->client->max_frame)
		return false;
	/* A message whose beginning went with the old connection. */
	if (header->fragment != 0 && !state->keep)
		return false;
	header->source = xy_be64(state->client->endpoint);
	if (header->flags & xy_be16(XY_DIRECT))
		return true;
	topic = topic_by_id(state, xy_be64(header->target));
	if (topic == NULL || topic->next_id == 0)
		return false;
	header->target = xy_be64(topic->next_id);
	return true;
}

static void requeue(struct xy_client *client)
{
	struct requeue state = {.client = client};
	struct xy_queue *queue = &client->data;
	size_t to = queue->head;

	xy_outbound_seal(client);
	for (size_t at = queue->head; at < queue->tail;) {
		struct xy_header *header = (struct xy_header *)(queue->data + at);
		uint32_t length = xy_be32(header->length);

		state.keep = requeue_frame(&state, queue->data + at);
		if (state.keep) {
			memmove(queue->data + to, queue->data + at, length);
			to += length;
		} else {
			xy_client_lose(client, xy_frame_loss(queue->data + at));
		}
		at += length;
	}
	queue->tail = to;
	queue->batch = queue->tail;
	queue->batch_frames = 0;
	if (queue->head == queue->tail)
		xy_queue_reset(queue);
}

static void ready(struct xy_client *client)
{
	struct xy_topic *topic, *next;
	uint64_t lost;

	requeue(client);
	lost = client->stats.lost - client->lost_told;
	if (lost > 0) {
		client->lost_told = client->stats.lost;
		xy_client_fail(client, -ECONNRESET,
			       "%" PRIu64 " queued messages were lost with the connection", lost);
		xy_client_tell(client, XY_EVENT_ERROR);
	}
	HASH_ITER(hh, client->topics, topic, next)
	{
		topic->id = topic->next_id;
	}
	client->state = XY_CLIENT_READY;
	client->attempts = 0;
	if (client->was_ready)
		client->stats.reconnects++;
	xy_client_tell(client, client->was_ready ? XY_EVENT_RECONNECTED : XY_EVENT_CONNECTED);
	client->was_ready = client->told_connected = true;
}

void xy_client_restored(struct xy_client *client)
{
	if (--client->unanswered == 0)
		ready(client);
}

void xy_client_restore(struct xy_client *client)
{
	struct xy_subscription *subscription;
	struct xy_topic *topic, *next;
	int error = 0;

	client->state = XY_CLIENT_RESTORING;
	/* One for this function, so that nothing is ready before all is asked. */
	client->unanswered = 1;
	HASH_ITER(hh, client->topics, topic, next)
	{
		if (!error)
			error = xy_topic_ask(client, topic);
	}
	xy_list_each (subscription, &client->subscriptions, link) {
		if (!error)
			error = xy_subscription_ask(client, subscription);
	}
	if (error)
		xy_client_disconnect(client);
	else
		xy_client_restored(client);
}
