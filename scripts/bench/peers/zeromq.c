/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ZeroMQ by libzmq, through a proxy of XSUB and XPUB (zeromq_proxy.c). It batches by itself, in a
 * thread of its own. A message is the subject, a zero byte, then its bytes. Nothing is dropped:
 * publishers wait at the high-water mark.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "peers.h"

#define HELLO_MS   2
#define HELLOS_MAX 2500
#define TOPIC_SIZE (XY_BENCH_SUBJECT_SIZE + 64)

struct topic {
	char name[TOPIC_SIZE];
	size_t length; /* with its zero byte */
};

struct link {
	void *context, *out, *in;
	struct topic to, from;
	bool wanted; /* somebody subscribes to what is published */
	zmq_msg_t message;
};

static struct topic topic_of(const char *subject, const char *suffix, int number)
{
	struct topic topic;

	if (suffix)
		snprintf(topic.name, sizeof(topic.name), "%.100s.%s.%d", subject, suffix, number);
	else
		snprintf(topic.name, sizeof(topic.name), "%.100s", subject);
	topic.length = strlen(topic.name) + 1;
	return topic;
}

static int connect_to(struct link *link, int kind, const char *host, unsigned port,
		      void **ret_socket)
{
	char url[PEER_HOST_SIZE + 32];
	void *socket = zmq_socket(link->context, kind);

	if (!socket)
		return -zmq_errno();
	*ret_socket = socket;
	if (kind == ZMQ_XPUB)
		zmq_setsockopt(socket, ZMQ_XPUB_NODROP, &(int){1}, sizeof(int));
	snprintf(url, sizeof(url), "tcp://%s:%u", host, port);
	return zmq_connect(socket, url) ? -zmq_errno() : 0;
}

static int post(struct link *link, const struct topic *topic, const void *data, size_t size)
{
	zmq_msg_t message;

	if (zmq_msg_init_size(&message, topic->length + size))
		return -zmq_errno();
	memcpy(zmq_msg_data(&message), topic->name, topic->length);
	if (size)
		memcpy((char *)zmq_msg_data(&message) + topic->length, data, size);
	if (zmq_msg_send(&message, link->out, 0) < 0) {
		int r = -zmq_errno();

		zmq_msg_close(&message);
		return r;
	}
	return 0;
}

/* Until the proxy says that somebody subscribes. */
static int subscriber_await(struct link *link)
{
	while (!link->wanted) {
		zmq_msg_t message;
		const char *text;

		zmq_msg_init(&message);
		if (zmq_msg_recv(&message, link->out, 0) < 0)
			return -zmq_errno();
		text = zmq_msg_data(&message);
		link->wanted = zmq_msg_size(&message) == link->to.length + 1 && text[0] == 1 &&
			       !memcmp(text + 1, link->to.name, link->to.length);
		zmq_msg_close(&message);
	}
	return 0;
}

/* The proxy has the subscription when something comes by one that was made after it. */
static int subscribe(struct xy_bench_job *job, const char *host, unsigned port)
{
	struct link *link = job->link;
	struct topic hello = topic_of(link->from.name, "hello", (int)job->self->index);
	struct link greeter = {.context = link->context};
	zmq_pollitem_t polled = {.socket = link->in, .events = ZMQ_POLLIN};
	int r;

	zmq_setsockopt(link->in, ZMQ_SUBSCRIBE, link->from.name, link->from.length);
	zmq_setsockopt(link->in, ZMQ_SUBSCRIBE, hello.name, hello.length);
	r = connect_to(&greeter, ZMQ_XPUB, host, port, &greeter.out);
	for (int i = 0; !r; i++) {
		r = i == HELLOS_MAX ? -ETIMEDOUT : post(&greeter, &hello, NULL, 0);
		if (!r && zmq_poll(&polled, 1, HELLO_MS) > 0)
			break;
	}
	zmq_setsockopt(link->in, ZMQ_UNSUBSCRIBE, hello.name, hello.length);
	zmq_close(greeter.out);
	return r;
}

static int zeromq_open(struct xy_bench_job *job, const char *out, const char *in)
{
	struct link *link = peer_allocate(sizeof(*link));
	struct peer_address address;
	int status = peer_address(job, peer_server(job), &address), r = 0;

	job->link = link;
	if (status)
		return status;
	link->context = zmq_ctx_new();
	zmq_msg_init(&link->message);
	if (in) {
		link->from = topic_of(in, NULL, 0);
		r = connect_to(link, ZMQ_SUB, address.host, address.port + 1u, &link->in);
		if (!r)
			r = subscribe(job, address.host, address.port);
	}
	if (out && !r) {
		link->to = topic_of(out, NULL, 0);
		r = connect_to(link, ZMQ_XPUB, address.host, address.port, &link->out);
	}
	return r ? xy_bench_complain(job, peer_server(job), r) : XY_CMD_OK;
}

static int zeromq_close(struct xy_bench_job *job)
{
	struct link *link = job->link;

	if (!link)
		return XY_CMD_OK;
	zmq_msg_close(&link->message);
	if (link->in)
		zmq_close(link->in);
	if (link->out) {
		/* All has come, or never will. */
		zmq_setsockopt(link->out, ZMQ_LINGER, &(int){0}, sizeof(int));
		zmq_close(link->out);
	}
	zmq_ctx_term(link->context);
	free(link);
	job->link = NULL;
	return XY_CMD_OK;
}

static int zeromq_publish(struct xy_bench_job *job, const void *data)
{
	struct link *link = job->link;
	int r = link->wanted ? 0 : subscriber_await(link);

	return r ? r : post(link, &link->to, data, job->run->size);
}

static int zeromq_flush(struct xy_bench_job *job)
{
	(void)job;
	return 0;
}

static int zeromq_next(struct xy_bench_job *job, struct xy_bench_message *ret_message)
{
	struct link *link = job->link;
	const char *data;
	size_t size;

	do {
		if (zmq_msg_recv(&link->message, link->in, 0) < 0)
			return -zmq_errno();
		data = zmq_msg_data(&link->message);
		size = zmq_msg_size(&link->message);
		/* Hellos may still be on their way. */
	} while (size < link->from.length || memcmp(data, link->from.name, link->from.length) != 0);
	*ret_message = (struct xy_bench_message){
		.data = data + link->from.length,
		.length = size - link->from.length,
	};
	return 0;
}

const struct xy_bench_transport peer_zeromq = {
	.name = "zeromq",
	.anonymous = true,
	.open = zeromq_open,
	.close = zeromq_close,
	.publish = zeromq_publish,
	.flush = zeromq_flush,
	.next = zeromq_next,
};
