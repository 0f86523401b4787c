/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mosquitto by libmosquitto, QoS 0, in its way for external event loops. The library sends each
 * message by itself and knows no batches.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mosquitto.h>

#include "base/bytes.h"
#include "peers.h"

#define KEEPALIVE_S 3600
#define REPLY_MS    5000

struct link {
	struct mosquitto *client;
	char *out;
	bool connected, subscribed, here; /* … a message is */
	uint8_t *message;
	size_t size, length;
};

static int broken(const char *what, int error)
{
	fprintf(stderr, "peers: mosquitto: %s: %s\n", what, mosquitto_strerror(error));
	return -EIO;
}

static void on_connect(struct mosquitto *client, void *context, int code)
{
	struct link *link = context;

	(void)client;
	link->connected = code == 0;
}

static void on_subscribe(struct mosquitto *client, void *context, int id, int count,
			 const int *granted)
{
	struct link *link = context;

	(void)client;
	(void)id;
	(void)count;
	(void)granted;
	link->subscribed = true;
}

static void on_message(struct mosquitto *client, void *context,
		       const struct mosquitto_message *message)
{
	struct link *link = context;

	(void)client;
	link->length = (size_t)message->payloadlen;
	memcpy(link->message, message->payload, xy_min(link->length, link->size));
	link->here = true;
}

/* Writes and reads until that is so; at most a packet more. */
static int until(struct link *link, const bool *it, int timeout_ms)
{
	bool idle = false;

	while (!*it) {
		bool writes = mosquitto_want_write(link->client);
		struct pollfd polled = {.fd = mosquitto_socket(link->client),
					.events = (short)(POLLIN | (writes ? POLLOUT : 0))};
		int r;

		/* It reads one packet a call, and does not say whether there was one. */
		if (idle) {
			r = poll(&polled, 1, timeout_ms);
			if (r <= 0)
				return r ? -errno : -ETIMEDOUT;
		}
		if (writes)
			mosquitto_loop_write(link->client, 1);
		r = mosquitto_loop_read(link->client, 1);
		if (r)
			return broken("read", r);
		idle = true;
	}
	return 0;
}

static int mosquitto_open(struct xy_bench_job *job, const char *out, const char *in)
{
	struct link *link = peer_allocate(sizeof(*link));
	struct peer_address address;
	int status = peer_address(job, peer_server(job), &address), r;

	job->link = link;
	if (status)
		return status;
	link->size = job->run->size;
	link->message = peer_allocate(link->size + 1);
	mosquitto_lib_init();
	link->client = mosquitto_new(NULL, true, link);
	if (!link->client)
		return xy_bench_complain(job, "client", -ENOMEM);
	mosquitto_int_option(link->client, MOSQ_OPT_TCP_NODELAY, 1);
	mosquitto_connect_callback_set(link->client, on_connect);
	mosquitto_subscribe_callback_set(link->client, on_subscribe);
	mosquitto_message_callback_set(link->client, on_message);
	r = mosquitto_connect(link->client, address.host, address.port, KEEPALIVE_S);
	r = r ? broken("connect", r) : until(link, &link->connected, REPLY_MS);
	if (!r && in) {
		r = mosquitto_subscribe(link->client, NULL, in, 0);
		r = r ? broken("subscribe", r) : until(link, &link->subscribed, REPLY_MS);
	}
	link->out = out ? strdup(out) : NULL;
	return r ? xy_bench_complain(job, peer_server(job), r) : XY_CMD_OK;
}

static int mosquitto_close(struct xy_bench_job *job)
{
	struct link *link = job->link;

	if (!link)
		return XY_CMD_OK;
	mosquitto_destroy(link->client);
	mosquitto_lib_cleanup();
	free(link->out);
	free(link->message);
	free(link);
	job->link = NULL;
	return XY_CMD_OK;
}

static int mosquitto_send(struct xy_bench_job *job, const void *data)
{
	const struct link *link = job->link;
	int r = mosquitto_publish(link->client, NULL, link->out, (int)job->run->size, data, 0,
				  false);

	if (r)
		return broken("publish", r);
	/* What the socket did not take waits in the library, without end. */
	while (mosquitto_want_write(link->client)) {
		struct pollfd polled = {.fd = mosquitto_socket(link->client), .events = POLLOUT};

		poll(&polled, 1, -1);
		r = mosquitto_loop_write(link->client, 1);
		if (r)
			return broken("write", r);
	}
	return 0;
}

static int mosquitto_flush(struct xy_bench_job *job)
{
	(void)job;
	return 0;
}

static int mosquitto_next(struct xy_bench_job *job, struct xy_bench_message *ret_message)
{
	struct link *link = job->link;
	int r;

	link->here = false;
	r = until(link, &link->here, -1);
	if (r)
		return r;
	*ret_message = (struct xy_bench_message){.data = link->message, .length = link->length};
	return 0;
}

const struct xy_bench_transport peer_mosquitto = {
	.name = "mosquitto",
	.anonymous = true,
	.unbounded = true,
	.open = mosquitto_open,
	.close = mosquitto_close,
	.publish = mosquitto_send,
	.flush = mosquitto_flush,
	.next = mosquitto_next,
};
