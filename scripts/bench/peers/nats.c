/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NATS by cnats, in its way for external event loops: its caller's thread reads and writes, without
 * a change of threads for each message.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nats/nats.h>

#include "peers.h"

#define IO_SIZE  (256 << 10) /* of its buffer for reading */
#define REPLY_MS 5000

struct link {
	natsOptions *options;
	natsConnection *connection;
	natsSubscription *subscription;
	natsMsg *message; /* the last one received */
	int fd;
	int queued; /* messages that are parsed and not taken */
	const char *out;
};

static int broken(const char *what, natsStatus status)
{
	fprintf(stderr, "peers: nats: %s: %s\n", what, natsStatus_GetText(status));
	return -EIO;
}

/* ---- the event loop, whose caller knows when to read and write ------------------------------- */

static natsStatus loop_attach(void **data, void *loop, natsConnection *connection, natsSock fd)
{
	struct link *link = loop;

	(void)connection;
	link->fd = fd;
	*data = link;
	return NATS_OK;
}

static natsStatus loop_change(void *data, bool add)
{
	(void)data;
	(void)add;
	return NATS_OK;
}

static natsStatus loop_detach(void *data)
{
	(void)data;
	return NATS_OK;
}

static bool lost(const struct link *link)
{
	return natsConnection_Status(link->connection) != NATS_CONN_STATUS_CONNECTED;
}

/* Sends what is buffered; receives meanwhile only what the server says to a publisher. */
static int drain(struct link *link)
{
	while (natsConnection_Buffered(link->connection) > 0) {
		natsConnection_ProcessWriteEvent(link->connection);
		if (lost(link))
			return -ECONNRESET;
		if (natsConnection_Buffered(link->connection) > 0) {
			struct pollfd polled = {.fd = link->fd, .events = POLLIN | POLLOUT};

			/* What a signal interrupts goes on: the message is queued already. */
			if (poll(&polled, 1, -1) > 0 && polled.revents & POLLIN)
				natsConnection_ProcessReadEvent(link->connection);
		}
	}
	return 0;
}

/* Waits for something to read, and parses it. */
static int await(struct link *link, int timeout_ms)
{
	struct pollfd polled = {.fd = link->fd, .events = POLLIN};
	int r = poll(&polled, 1, timeout_ms);
	uint64_t queued;

	if (r <= 0)
		return r ? -errno : -ETIMEDOUT;
	natsConnection_ProcessReadEvent(link->connection);
	if (lost(link))
		return -ECONNRESET;
	if (!link->subscription)
		return 0;
	if (natsSubscription_QueuedMsgs(link->subscription, &queued) != NATS_OK)
		return -EIO;
	link->queued = (int)queued;
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static natsStatus options_set(struct link *link, const char *url)
{
	natsStatus s = natsOptions_Create(&link->options);

	if (s == NATS_OK)
		s = natsOptions_SetURL(link->options, url);
	if (s == NATS_OK)
		s = natsOptions_SetAllowReconnect(link->options, false);
	/* Never wakes its own thread for flushing. */
	if (s == NATS_OK)
		s = natsOptions_SetSendAsap(link->options, true);
	if (s == NATS_OK)
		s = natsOptions_SetIOBufSize(link->options, IO_SIZE);
	if (s == NATS_OK)
		s = natsOptions_SetEventLoop(link->options, link, loop_attach, loop_change,
					     loop_change, loop_detach);
	return s;
}

/* The server has the subscription when it has answered what was sent behind it: an echo. */
static int subscribe(struct xy_bench_job *job, const char *subject)
{
	struct link *link = job->link;
	char echo[XY_BENCH_SUBJECT_SIZE + 64];
	natsSubscription *echoes, *wanted;
	natsStatus s;
	int r;

	s = natsConnection_SubscribeSync(&wanted, link->connection, subject);
	if (s == NATS_OK)
		s = natsSubscription_SetPendingLimits(wanted, -1, -1);
	snprintf(echo, sizeof(echo), "%s.echo.%d", subject, (int)job->self->index);
	if (s == NATS_OK)
		s = natsConnection_SubscribeSync(&echoes, link->connection, echo);
	if (s == NATS_OK)
		s = natsConnection_Publish(link->connection, echo, "", 0);
	if (s != NATS_OK)
		return broken(subject, s);
	r = drain(link);
	link->subscription = echoes;
	while (!r && !link->queued)
		r = await(link, REPLY_MS);
	natsSubscription_Unsubscribe(echoes);
	natsSubscription_Destroy(echoes);
	link->subscription = wanted;
	link->queued = 0;
	return r ? r : drain(link);
}

static int nats_open_link(struct xy_bench_job *job, const char *out, const char *in)
{
	struct link *link = peer_allocate(sizeof(*link));
	char url[PEER_HOST_SIZE + 16];
	natsStatus s;
	int r;

	job->link = link;
	snprintf(url, sizeof(url), "nats://%s", peer_server(job));
	s = options_set(link, url);
	if (s == NATS_OK)
		s = natsConnection_Connect(&link->connection, link->options);
	if (s != NATS_OK)
		return xy_bench_complain(job, url, broken("connect", s));
	link->out = out ? strdup(out) : NULL;
	r = in ? subscribe(job, in) : 0;
	return r ? xy_bench_complain(job, in, r) : XY_CMD_OK;
}

static int nats_close_link(struct xy_bench_job *job)
{
	struct link *link = job->link;

	if (!link)
		return XY_CMD_OK;
	natsMsg_Destroy(link->message);
	natsSubscription_Destroy(link->subscription);
	natsConnection_Destroy(link->connection);
	natsOptions_Destroy(link->options);
	free((void *)link->out);
	free(link);
	job->link = NULL;
	return XY_CMD_OK;
}

/* ---- messages -------------------------------------------------------------------------------- */

static int nats_publish(struct xy_bench_job *job, const void *data)
{
	const struct link *link = job->link;
	natsStatus s =
		natsConnection_Publish(link->connection, link->out, data, (int)job->run->size);

	if (s != NATS_OK)
		return broken("publish", s);
	return natsConnection_Buffered(link->connection) < (int)PEER_BATCH ? 0 : drain(job->link);
}

static int nats_flush(struct xy_bench_job *job)
{
	return drain(job->link);
}

static int nats_next(struct xy_bench_job *job, struct xy_bench_message *ret_message)
{
	struct link *link = job->link;

	natsMsg_Destroy(link->message);
	link->message = NULL;
	while (!link->queued) {
		int r = await(link, -1);

		if (r)
			return r;
	}
	link->queued--;
	if (natsSubscription_NextMsg(&link->message, link->subscription, 0) != NATS_OK)
		return -EIO;
	*ret_message = (struct xy_bench_message){
		.data = natsMsg_GetData(link->message),
		.length = (size_t)natsMsg_GetDataLength(link->message),
	};
	return 0;
}

const struct xy_bench_transport peer_nats = {
	.name = "nats",
	.anonymous = true,
	.unbounded = true,
	.open = nats_open_link,
	.close = nats_close_link,
	.publish = nats_publish,
	.flush = nats_flush,
	.next = nats_next,
};
