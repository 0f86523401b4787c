/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"

#define DEFAULT_SERVER   "127.0.0.1:7400"
#define INBOUND_DEFAULT  ((64u << 20) + (1u << 20))
#define OUTBOUND_DEFAULT (4u << 20)
#define BLOCK_SMALL      (128u << 10) /* of a small inbound_max, so that it has two of them */
#define PROCESS_READS    16           /* reads of one process(): the application has other work */
#define BATCH_AGE_NS     100000       /* see xy_client_publish() */

/* ---- life ------------------------------------------------------------------------------------ */

/* Never from the environment of somebody who has fewer rights. */
static int take_token(struct xy_client *client, const struct xy_client_options *options)
{
	const char *token = options->token, *file = options->token_file;

	if (token == NULL && file == NULL)
		token = secure_getenv("XYLEM_TOKEN");
	if (token == NULL && file == NULL)
		file = secure_getenv("XYLEM_TOKEN_FILE");
	if (token != NULL && strlen(token) > XY_TOKEN_MAX)
		return xy_client_fail(client, -EINVAL, "a token has at most %d bytes",
				      XY_TOKEN_MAX);
	if (token != NULL)
		client->token = strdup(token);
	else if (file != NULL && *file != '\0')
		client->token_file = strdup(file);
	else
		return 0;
	return client->token != NULL || client->token_file != NULL ? 0 : -ENOMEM;
}

static int take_options(struct xy_client *client, const struct xy_client_options *options)
{
	const char *server = options->server;
	char why[XY_SECURE_WHY_SIZE];
	int error;

	if (server == NULL)
		server = getenv("XYLEM_SERVER");
	if (server == NULL || *server == '\0')
		server = DEFAULT_SERVER;
	if (options->name != NULL)
		snprintf(client->name, sizeof(client->name), "%s", options->name);
	else
		snprintf(client->name, sizeof(client->name), "%.64s-%d",
			 program_invocation_short_name, (int)getpid());
	client->server = strdup(server);
	if (client->server == NULL)
		return -ENOMEM;
	error = take_token(client, options);
	if (error)
		return error;
	error = xy_secure_take(server, options, &client->secure, why);
	if (error)
		return xy_client_fail(client, error, "%s", why);
	client->no_lane = options->no_lane;
	client->no_reconnect = options->no_reconnect;
	client->no_bundle = options->no_bundle;
	client->no_spin = options->no_spin;
	client->no_nap = options->no_nap;
	client->crc = options->crc;
	client->connect_timeout_ms = options->connect_timeout_ms ?: 5000;
	client->reconnect_min_ms = options->reconnect_min_ms ?: 50;
	client->reconnect_max_ms =
		xy_max(options->reconnect_max_ms ?: 5000, client->reconnect_min_ms);
	client->inbound_max = options->inbound_max ?: INBOUND_DEFAULT;
	client->outbound_max = options->outbound_max ?: OUTBOUND_DEFAULT;
	client->block_size = client->inbound_max < 4 * XY_BLOCK_SIZE ? BLOCK_SMALL : XY_BLOCK_SIZE;
	client->inbound_max = xy_max(client->inbound_max, (size_t)2 * client->block_size);
	client->on_event = options->on_event;
	client->on_direct = options->on_direct;
	client->context = options->context;
	return 0;
}

static void destroy(struct xy_client *client)
{
	xy_client_hang_up(client);
	xy_client_events_close(client);
	xy_inbound_free(client);
	xy_binding_forget_all(client);
	xy_streams_free(client);
	xy_requests_free(client);
	xy_topics_free(client);
	xy_queue_free(&client->control);
	xy_queue_free(&client->data);
	free(client->server);
	free(client->token);
	free(client->token_file);
	xy_secure_free(&client->secure);
	free(client);
}

/* Gives up a client that never was one. */
static void refuse(struct xy_client *client, const struct xy_client_options *options, int error)
{
	if (options->why != NULL && options->why_size > 0)
		snprintf(options->why, options->why_size, "%s",
			 *client->words ? client->words : strerror(-error));
	destroy(client);
}

static int create(const struct xy_client_options *options, struct xy_client **ret_client)
{
	struct xy_client *client = calloc(1, sizeof(*client));
	int error;

	if (client == NULL)
		return -ENOMEM;
	client->fd = client->epoll_fd = client->timer_fd = -1;
	client->control.open = client->data.open = XY_NOTHING;
	xy_list_init(&client->subscriptions);
	xy_list_init(&client->given_up);
	xy_list_init(&client->stream_order);
	xy_list_init(&client->requests);
	xy_list_init(&client->failed);
	xy_list_init(&client->spare_requests);
	xy_list_init(&client->in.progress);
	client->patterns = xy_tree_new();
	error = client->patterns ? take_options(client, options) : -ENOMEM;
	if (!error)
		error = xy_random_id(&client->correlation);
	if (!error)
		error = xy_client_events_open(client);
	if (error) {
		refuse(client, options, error);
		return error;
	}
	*ret_client = client;
	return 0;
}

/* Every public call that may have run the application's code ends here. */
static int leave(struct xy_client *client, int result)
{
	if (client->closing && !client->delivering) {
		destroy(client);
		return -ENOTCONN;
	}
	if (client->evented)
		xy_client_arm(client);
	return result;
}

int xy_client_connect(const struct xy_client_options *options, struct xy_client **ret_client)
{
	struct xy_client_options given = {.size = sizeof(given)};
	struct xy_client *client = NULL;
	int error;

	if (options != NULL)
		memcpy(&given, options, xy_min(options->size, sizeof(given)));
	error = create(&given, &client);
	if (error)
		return error;
	xy_client_dial(client);
	while (client->state != XY_CLIENT_READY) {
		if (client->state == XY_CLIENT_CLOSED) {
			error = client->error;
			refuse(client, &given, error);
			return error;
		}
		(void)xy_client_wait(client, UINT64_MAX);
	}
	xy_client_dispatch(client);
	error = leave(client, 0);
	if (!error)
		*ret_client = client;
	return error;
}

void xy_client_close(struct xy_client *client)
{
	if (client == NULL)
		return;
	if (client->delivering)
		client->closing = true;
	else
		destroy(client);
}

/* ---- what it knows --------------------------------------------------------------------------- */

const char *xy_client_error(const struct xy_client *client)
{
	return client->words;
}

uint64_t xy_client_endpoint(const struct xy_client *client)
{
	return client->endpoint;
}

bool xy_client_on_lane(const struct xy_client *client)
{
	return client->lane;
}

void xy_client_stats(const struct xy_client *client, struct xy_client_stats *ret_stats)
{
	*ret_stats = client->stats;
}

int xy_client_fd(const struct xy_client *client)
{
	/* Who asks for it polls it, and must be woken for queued messages, too. */
	struct xy_client *self = (struct xy_client *)(uintptr_t)client;

	self->evented = true;
	xy_client_arm(self);
	return client->epoll_fd;
}

/* ---- sending --------------------------------------------------------------------------------- */

static int publish(struct xy_client *client, struct xy_topic *topic, const void *data,
		   size_t length, bool wait)
{
	return xy_client_enqueue(
		client, &(struct xy_outgoing){.topic = topic, .data = data, .length = length},
		wait);
}

int xy_client_publish(struct xy_client *client, struct xy_topic *topic, const void *data,
		      size_t length)
{
	return publish(client, topic, data, length, true);
}

int xy_client_try_publish(struct xy_client *client, struct xy_topic *topic, const void *data,
			  size_t length)
{
	return publish(client, topic, data, length, false);
}

int xy_client_send(struct xy_client *client, uint64_t endpoint, const void *data, size_t length)
{
	return xy_client_enqueue(
		client,
		&(struct xy_outgoing){
			.target = endpoint, .flags = XY_DIRECT, .data = data, .length = length},
		true);
}

static int flush(struct xy_client *client, uint64_t deadline)
{
	while (xy_client_push(client, true) != 0) {
		int error;

		if (client->state == XY_CLIENT_CLOSED)
			return -ENOTCONN;
		error = xy_client_wait(client, deadline);
		if (error == -ETIMEDOUT)
			return xy_client_fail(client, error, "not sent in time");
		if (error)
			return error;
	}
	return client->state == XY_CLIENT_CLOSED ? -ENOTCONN : 0;
}

int xy_client_flush(struct xy_client *client, int timeout_ms)
{
	int error = flush(client, xy_client_deadline(timeout_ms));

	xy_client_dispatch(client);
	return leave(client, error);
}

/* Waits for the answer to the SYNC under way. */
static int wait_synced(struct xy_client *client, uint64_t deadline)
{
	unsigned connection = client->connection;

	while (xy_client_holding(client)) {
		int error;

		xy_client_push(client, true);
		if (!xy_client_holding(client))
			break;
		error = xy_client_wait(client, deadline);
		if (client->connection != connection)
			break;
		if (error == -ETIMEDOUT)
			return xy_client_fail(client, error, "no SYNCED in time");
		if (error)
			return error;
	}
	return client->connection == connection ? 0 : -ECONNRESET;
}

int xy_client_sync(struct xy_client *client, int timeout_ms)
{
	uint64_t deadline = xy_client_deadline(timeout_ms);
	int error = flush(client, deadline);

	while (!error && client->state != XY_CLIENT_READY)
		error = xy_client_wait(client, deadline);
	/* One that was wanted before says nothing of what was sent since. */
	if (!error)
		error = wait_synced(client, deadline);
	if (!error)
		error = xy_client_send_sync(client);
	if (!error)
		error = wait_synced(client, deadline);
	xy_client_dispatch(client);
	return leave(client, error);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Everything of the application's that is due, but messages. */
static void dispatch(struct xy_client *client)
{
	if (client->events_count > 0)
		xy_client_dispatch(client);
	if (!xy_list_empty(&client->failed))
		xy_requests_dispatch(client);
}

int xy_client_process(struct xy_client *client)
{
	int error = 0;

	if (client->delivering)
		return -EBUSY;
	xy_inbound_let_go(client);
	for (unsigned reads = 0; reads < PROCESS_READS && error >= 0; reads++) {
		int came;

		if (xy_client_dialing(client)) {
			error = xy_client_wait(client, 0);
			continue;
		}
		came = xy_inbound_intake(client);
		xy_client_push(client, false);
		error = xy_client_deliver(client, NULL);
		if (error >= 0)
			dispatch(client);
		if (client->closing || came <= 0 || client->in.drained)
			break;
	}
	if (!client->closing) {
		xy_client_tick(client);
		xy_client_push(client, true);
		dispatch(client);
	}
	error = client->state == XY_CLIENT_CLOSED ? -ENOTCONN : 0;
	return leave(client, error);
}

/* A message is found while others may be queued: those must not wait for as long as the
 * application likes to take over this one. */
static void push_aged(struct xy_client *client)
{
	if (client->data.tail > 0 && !client->blocked &&
	    xy_clock_realtime_ns() - client->data.oldest_ns > BATCH_AGE_NS)
		xy_client_push(client, true);
}

static int next(struct xy_client *client, int timeout_ms, struct xy_message *ret_message)
{
	uint64_t deadline = timeout_ms > 0 ? xy_client_deadline(timeout_ms)
					   : (timeout_ms == 0 ? 0 : UINT64_MAX);

	for (;;) {
		uint64_t frames = client->stats.frames_in;
		int error = xy_client_deliver(client, ret_message);

		if (error != 0) {
			if (error > 0)
				push_aged(client);
			return error > 0 ? 0 : error;
		}
		dispatch(client);
		if (client->closing || client->state == XY_CLIENT_CLOSED)
			return -ENOTCONN;
		xy_client_push(client, true);
		/* The look before a send took something in, which may be the message. */
		if (client->stats.frames_in != frames)
			continue;
		if (!client->in.drained && client->state == XY_CLIENT_READY) {
			error = xy_inbound_intake(client);
			if (error == 0)
				continue;
		} else {
			error = xy_client_wait(client, deadline);
			if (error == -ENOTCONN)
				continue;
			if (error)
				return error;
		}
		/* What was taken in may have to be answered or acked. */
		if (client->control.tail > 0)
			xy_client_push(client, false);
	}
}

int xy_client_next(struct xy_client *client, int timeout_ms, struct xy_message *ret_message)
{
	if (client->delivering)
		return -EBUSY;
	xy_inbound_let_go(client);
	return leave(client, next(client, timeout_ms, ret_message));
}

int xy_client_drain(struct xy_client *client, int timeout_ms)
{
	uint64_t deadline = xy_client_deadline(timeout_ms);
	int error;

	if (client->delivering)
		return -EBUSY;
	error = flush(client, deadline);
	if (!error && client->state == XY_CLIENT_READY) {
		error = xy_client_control(client, XY_GOODBYE, 0, 0, NULL, 0);
		client->said_goodbye = true;
	}
	while (!error && client->state == XY_CLIENT_READY) {
		uint64_t frames = client->stats.frames_in;

		xy_client_push(client, true);
		if (client->stats.frames_in == frames)
			error = xy_client_wait(client, deadline);
		if (xy_client_deliver(client, NULL) < 0)
			break;
		dispatch(client);
	}
	if (client->closing)
		return leave(client, error);
	/* The proxy has closed: that is how a drain ends well. */
	if (error == -ENOTCONN && client->said_goodbye)
		error = 0;
	if (error != -EAGAIN && error != -EINTR && client->state != XY_CLIENT_CLOSED)
		xy_client_close_for_good(client);
	dispatch(client);
	return leave(client, error);
}
