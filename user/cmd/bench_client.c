/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages of a bench by libxylem.
 */
#include <stdio.h>
#include <stdlib.h>
#include <xylem/client.h>

#include "cmd/bench.h"
#include "cmd/connect.h"

/* Of a subscriber on a machine that has no time for it. */
#define STALL_MS 5000

struct link {
	struct xy_connect connect;
	struct xy_topic *topic;
	struct xy_message message; /* the last one received */
};

static struct xy_client *client_of(const struct xy_bench_job *job)
{
	return ((const struct link *)job->link)->connect.client;
}

static int client_complain(const struct xy_bench_job *job, const char *what, int error)
{
	const struct link *link = job->link;

	return xy_connect_complain(&link->connect, what, error);
}

static int subscribe(const struct xy_bench_job *job, const char *subject)
{
	const struct xy_bench_run *run = job->run;
	struct xy_subscribe_options options = {.size = sizeof(options), .stall_ms = STALL_MS};
	struct xy_subscription *subscription;

	/* Several repliers share the requests. */
	if (run->request && !run->bench->pairs && run->consumers > 1)
		options.group = "bench";
	return xy_client_subscribe(client_of(job), subject, &options, &subscription);
}

static int client_open(struct xy_bench_job *job, const char *out, const char *in)
{
	struct link *link = calloc(1, sizeof(*link));
	int status, r = 0;

	job->link = link;
	if (!link) {
		fprintf(stderr, "xylem bench: no memory for a client\n");
		return XY_CMD_FAILURE;
	}
	link->connect = job->run->bench->connect;
	link->connect.no_reconnect = true;
	status = xy_connect_open(&link->connect, job->command);
	if (status)
		return status;
	job->self->endpoint = xy_client_endpoint(link->connect.client);
	/* Replies come to whoever asked, and go there. */
	if (job->self->producer)
		r = xy_client_declare(link->connect.client, out, &link->topic);
	else
		r = subscribe(job, in);
	return r ? client_complain(job, job->self->producer ? out : in, r) : XY_CMD_OK;
}

static int client_close(struct xy_bench_job *job)
{
	struct link *link = job->link;
	bool failed;

	if (!link)
		return XY_CMD_OK;
	failed = link->connect.failed;
	if (link->connect.client)
		job->self->lane = xy_client_on_lane(link->connect.client);
	xy_connect_close(&link->connect);
	free(link);
	job->link = NULL;
	return failed ? XY_CMD_FAILURE : XY_CMD_OK;
}

static int client_publish(struct xy_bench_job *job, const void *data)
{
	const struct link *link = job->link;

	return xy_client_publish(link->connect.client, link->topic, data, job->run->size);
}

static int client_flush(struct xy_bench_job *job)
{
	return xy_client_flush(client_of(job), -1);
}

static int client_sync(struct xy_bench_job *job)
{
	return xy_client_sync(client_of(job), -1);
}

static struct xy_bench_message message_of(const struct xy_message *message)
{
	return (struct xy_bench_message){
		.data = message->data,
		.length = message->length,
		.source = message->source,
		.sequence = message->sequence,
		.origin = message,
	};
}

static int client_next(struct xy_bench_job *job, struct xy_bench_message *ret_message)
{
	struct link *link = job->link;
	int r = xy_client_next(link->connect.client, -1, &link->message);

	if (!r)
		*ret_message = message_of(&link->message);
	return r;
}

static int client_request(struct xy_bench_job *job, const void *data,
			  struct xy_bench_message *ret_reply)
{
	struct link *link = job->link;
	int r = xy_client_request(link->connect.client, link->topic, data, job->run->size,
				  (int)job->run->bench->where.timeout_ms, &link->message);

	if (!r)
		*ret_reply = message_of(&link->message);
	return r;
}

static int client_reply(struct xy_bench_job *job, const struct xy_bench_message *request)
{
	return xy_client_reply(client_of(job), request->origin, request->data, request->length);
}

static void on_reply(struct xy_client *client, const struct xy_message *reply, void *context)
{
	struct xy_bench_message message;

	(void)client;
	if (reply)
		message = message_of(reply);
	xy_bench_replied(context, reply ? &message : NULL);
}

static int client_request_async(struct xy_bench_job *job, const void *data, void *context)
{
	const struct link *link = job->link;

	return xy_client_request_async(link->connect.client, link->topic, data, job->run->size,
				       (int)job->run->bench->where.timeout_ms, on_reply, context);
}

static int client_process(struct xy_bench_job *job)
{
	return xy_client_process(client_of(job));
}

static int client_fd(const struct xy_bench_job *job)
{
	return xy_client_fd(client_of(job));
}

const struct xy_bench_transport xy_bench_client = {
	.name = "xylem",
	.open = client_open,
	.close = client_close,
	.publish = client_publish,
	.flush = client_flush,
	.sync = client_sync,
	.next = client_next,
	.request = client_request,
	.reply = client_reply,
	.request_async = client_request_async,
	.process = client_process,
	.fd = client_fd,
	.complain = client_complain,
};
