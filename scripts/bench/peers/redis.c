/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Redis' publish and subscribe by hiredis: a connection for each direction, as the protocol wants
 * it. Replies are parsed by hiredis into no objects: a message is copied once, a count is counted.
 * Commands are formatted by hiredis once, and repeated with another message in them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "base/bytes.h"
#include "peers.h"

/* Of one read: some messages, and not many, as hiredis moves all that is left for every KiB that it
 * parses. */
#define READ_MIN  (16u << 10)
#define READ_MAX  (64u << 10)
#define LOOK_EACH 64 /* sends between two looks at the server's answers */

struct link {
	redisContext *out, *in;
	/* Of a publisher. */
	char *command; /* around a message, which begins at `place` */
	size_t command_length, place;
	char *queued;
	size_t queued_length;
	unsigned sends;
	uint64_t published, answered;
	/* Of a subscriber. */
	uint8_t *message;
	size_t size, length;
	bool is_message, subscribed, failed;
	size_t read_size;
	char got[READ_MAX];
};

/* ---- replies --------------------------------------------------------------------------------- */

static void *on_string(const redisReadTask *task, char *text, size_t length)
{
	struct link *link = task->privdata;

	if (task->type == REDIS_REPLY_ERROR) {
		fprintf(stderr, "peers: redis: %.*s\n", (int)length, text);
		link->failed = true;
	} else if (task->parent && task->idx == 0) {
		link->is_message = length == strlen("message");
	} else if (task->parent && task->idx == 2) {
		link->length = length;
		memcpy(link->message, text, xy_min(length, link->size));
	}
	return link;
}

static void *on_array(const redisReadTask *task, int elements)
{
	(void)elements;
	return task->privdata;
}

/* How many got a message, or how many subscriptions there are. */
static void *on_integer(const redisReadTask *task, long long value)
{
	struct link *link = task->privdata;

	(void)value;
	if (task->parent)
		link->subscribed = true;
	else
		link->answered++;
	return link;
}

static void *on_nil(const redisReadTask *task)
{
	return task->privdata;
}

static void on_free(void *object)
{
	(void)object;
}

static redisReplyObjectFunctions functions = {
	.createString = on_string,
	.createArray = on_array,
	.createInteger = on_integer,
	.createNil = on_nil,
	.freeObject = on_free,
};

/* 1: one was parsed; 0: none is whole; or -errno. */
static int parse(struct link *link, redisContext *context)
{
	void *reply = NULL;

	if (redisReaderGetReply(context->reader, &reply) != REDIS_OK || link->failed)
		return -EPROTO;
	return reply != NULL;
}

static int feed(struct link *link, redisContext *context, int flags)
{
	ssize_t n = recv(context->fd, link->got, link->read_size, flags);

	if (n <= 0)
		return n ? -errno : -ECONNRESET;
	return redisReaderFeed(context->reader, link->got, (size_t)n) == REDIS_OK ? 0 : -ENOMEM;
}

/* ---- life ------------------------------------------------------------------------------------ */

static redisContext *connect_to(struct link *link, const struct peer_address *address)
{
	redisContext *context = address->port ? redisConnect(address->host, address->port)
					      : redisConnectUnix(address->host);

	if (!context || context->err)
		return context;
	context->reader->fn = &functions;
	context->reader->privdata = link;
	/* Its buffer stays. */
	context->reader->maxbuf = 0;
	return context;
}

static int subscribe(struct link *link, const char *subject)
{
	char *command;
	int length = redisFormatCommand(&command, "SUBSCRIBE %s", subject), r = 0;

	if (length < 0)
		return -ENOMEM;
	if (write(link->in->fd, command, (size_t)length) != length)
		r = -errno;
	redisFreeCommand(command);
	while (!r && !link->subscribed) {
		r = feed(link, link->in, 0);
		while (!r && (r = parse(link, link->in)) > 0)
			r = 0;
	}
	return r;
}

static int command_make(struct link *link, const char *subject, uint32_t size)
{
	const char *argv[] = {"PUBLISH", subject, (const char *)link->message};
	size_t lengths[] = {strlen(argv[0]), strlen(subject), size};
	int length = redisFormatCommandArgv(&link->command, 3, argv, lengths);

	if (length < 0)
		return -ENOMEM;
	link->command_length = (size_t)length;
	link->place = (size_t)length - size - strlen("\r\n");
	link->queued = peer_allocate(PEER_BATCH + (size_t)length);
	return 0;
}

static int redis_open(struct xy_bench_job *job, const char *out, const char *in)
{
	struct link *link = peer_allocate(sizeof(*link));
	struct peer_address address;
	int status = peer_address(job, peer_server(job), &address), r = 0;

	job->link = link;
	if (status)
		return status;
	link->size = job->run->size;
	link->read_size = xy_max(READ_MIN, xy_min(READ_MAX, 4 * job->run->size));
	link->message = peer_allocate(link->size + 1);
	if (out) {
		link->out = connect_to(link, &address);
		r = link->out && !link->out->err ? command_make(link, out, job->run->size)
						 : -ECONNREFUSED;
	}
	if (in && !r) {
		link->in = connect_to(link, &address);
		r = link->in && !link->in->err ? subscribe(link, in) : -ECONNREFUSED;
	}
	return r ? xy_bench_complain(job, peer_server(job), r) : XY_CMD_OK;
}

static int redis_close(struct xy_bench_job *job)
{
	struct link *link = job->link;

	if (!link)
		return XY_CMD_OK;
	redisFree(link->out);
	redisFree(link->in);
	redisFreeCommand(link->command);
	free(link->queued);
	free(link->message);
	free(link);
	job->link = NULL;
	return XY_CMD_OK;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Takes what the server has answered to publishers; waits for some of it, unless flags say not to.
 */
static int answers_take(struct link *link, int flags)
{
	int r = feed(link, link->out, flags);

	if (r == -EAGAIN || r == -EINTR)
		return 0;
	while (!r && (r = parse(link, link->out)) > 0)
		r = 0;
	return r;
}

static int redis_flush(struct xy_bench_job *job)
{
	struct link *link = job->link;
	size_t sent = 0;

	while (sent < link->queued_length) {
		ssize_t n = send(link->out->fd, link->queued + sent, link->queued_length - sent,
				 MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			sent += (size_t)n;
	}
	link->queued_length = 0;
	return ++link->sends % LOOK_EACH ? 0 : answers_take(link, MSG_DONTWAIT);
}

static int redis_publish(struct xy_bench_job *job, const void *data)
{
	struct link *link = job->link;

	memcpy(link->queued + link->queued_length, link->command, link->command_length);
	memcpy(link->queued + link->queued_length + link->place, data, job->run->size);
	link->queued_length += link->command_length;
	link->published++;
	return link->queued_length < PEER_BATCH ? 0 : redis_flush(job);
}

static int redis_sync(struct xy_bench_job *job)
{
	struct link *link = job->link;
	int r = redis_flush(job);

	while (!r && link->answered < link->published && xy_bench_phase(job->run) != XY_BENCH_BYE)
		r = answers_take(link, 0);
	return r;
}

static int redis_next(struct xy_bench_job *job, struct xy_bench_message *ret_message)
{
	struct link *link = job->link;

	for (;;) {
		int r = parse(link, link->in);

		if (r == 0)
			r = feed(link, link->in, 0);
		else if (r > 0 && link->is_message)
			break;
		if (r < 0)
			return r;
	}
	*ret_message = (struct xy_bench_message){.data = link->message, .length = link->length};
	return 0;
}

const struct xy_bench_transport peer_redis = {
	.name = "redis",
	.anonymous = true,
	.unbounded = true,
	.open = redis_open,
	.close = redis_close,
	.publish = redis_publish,
	.flush = redis_flush,
	.sync = redis_sync,
	.next = redis_next,
};
