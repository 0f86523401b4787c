/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "peers.h"

#define READ_SIZE  (256u << 10)
#define PIPE_SIZE  (1 << 20)
#define CONNECT_MS 5000

struct link {
	int listener;
	int *out; /* to everybody who gets what is published */
	unsigned outs;
	int in;
	uint8_t *queued, *got;
	size_t queued_length, queued_size, got_first, got_end, got_size;
};

static struct link *link_new(struct xy_bench_job *job)
{
	struct link *link = peer_allocate(sizeof(*link));
	size_t whole = job->run->size + sizeof(uint32_t);

	link->listener = link->in = -1;
	link->out = peer_allocate(job->run->consumers * sizeof(*link->out));
	link->queued_size = PEER_BATCH + whole;
	link->queued = peer_allocate(link->queued_size);
	link->got_size = READ_SIZE + whole;
	link->got = peer_allocate(link->got_size);
	job->link = link;
	return link;
}

static int stream_close(struct xy_bench_job *job)
{
	struct link *link = job->link;

	if (!link)
		return XY_CMD_OK;
	for (unsigned i = 0; i < link->outs; i++)
		close(link->out[i]);
	/* Mostly the same socket. */
	if (link->in >= 0 && (!link->outs || link->in != link->out[0]))
		close(link->in);
	if (link->listener >= 0)
		close(link->listener);
	free(link->out);
	free(link->queued);
	free(link->got);
	free(link);
	job->link = NULL;
	return XY_CMD_OK;
}

/* ---- sockets --------------------------------------------------------------------------------- */

union place {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

/* A socket for that place, of the family that it has; or -errno. */
static int place_socket(const struct peer_address *address, union place *place,
			socklen_t *ret_length)
{
	int fd;

	memset(place, 0, sizeof(*place));
	if (address->port) {
		place->in.sin_family = AF_INET;
		place->in.sin_port = htons(address->port);
		inet_pton(AF_INET, address->host, &place->in.sin_addr);
		*ret_length = sizeof(place->in);
	} else {
		place->un.sun_family = AF_UNIX;
		snprintf(place->un.sun_path, sizeof(place->un.sun_path), "%.107s", address->host);
		*ret_length = sizeof(place->un);
	}
	fd = socket(place->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static void no_delay(int fd)
{
	/* Refused by sockets of another family, which have no delay. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static int listen_at(struct link *link, const struct peer_address *address, unsigned backlog)
{
	union place place;
	socklen_t length;
	int fd = place_socket(address, &place, &length);

	if (fd < 0)
		return fd;
	link->listener = fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (!address->port)
		unlink(address->host);
	return bind(fd, &place.any, length) || listen(fd, (int)backlog) ? -errno : 0;
}

static int connect_to(const struct peer_address *address)
{
	union place place;
	socklen_t length;
	int fd = place_socket(address, &place, &length);

	if (fd < 0)
		return fd;
	if (connect(fd, &place.any, length)) {
		int r = -errno;

		close(fd);
		return r;
	}
	no_delay(fd);
	return fd;
}

/* Everybody has connected, by the time that anything is to be sent; through a proxy, soon. */
static int accept_all(struct link *link, unsigned consumers)
{
	while (link->outs < consumers) {
		struct pollfd polled = {.fd = link->listener, .events = POLLIN};
		int fd, r = poll(&polled, 1, CONNECT_MS);

		if (r <= 0)
			return r ? -errno : -ETIMEDOUT;
		fd = accept4(link->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			return -errno;
		no_delay(fd);
		link->out[link->outs++] = fd;
	}
	return 0;
}

static int stream_open(struct xy_bench_job *job, const char *out, const char *in)
{
	char front[PEER_HOST_SIZE];
	const char *server = peer_server(job), *back = strchr(server, ',');
	struct link *link = link_new(job);
	struct peer_address address;
	int status, r;

	snprintf(front, sizeof(front), "%.*s", back ? (int)(back - server) : (int)strlen(server),
		 server);
	status = peer_address(job, job->self->producer && back ? back + 1 : front, &address);
	if (status)
		return status;
	if (job->run->producers > 1)
		return xy_bench_complain(job, "several publishers", -ENOTSUP);
	if (job->self->producer) {
		r = listen_at(link, &address, job->run->consumers);
		return r ? xy_bench_complain(job, server, r) : XY_CMD_OK;
	}
	r = connect_to(&address);
	if (r < 0)
		return xy_bench_complain(job, server, r);
	if (in)
		link->in = r;
	if (out) {
		link->out[0] = r;
		link->outs = 1;
	}
	return XY_CMD_OK;
}

/* ---- sending --------------------------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *data, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, data, length);

		if (n >= 0) {
			data += n;
			length -= (size_t)n;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int stream_flush(struct xy_bench_job *job)
{
	struct link *link = job->link;
	int r = 0;

	if (link->listener >= 0)
		r = accept_all(link, job->run->consumers);
	for (unsigned i = 0; i < link->outs && !r; i++)
		r = write_all(link->out[i], link->queued, link->queued_length);
	if (!r)
		link->queued_length = 0;
	/* Replies come the same way. */
	if (!r && link->listener >= 0 && job->run->request)
		link->in = link->out[0];
	return r;
}

static int stream_publish(struct xy_bench_job *job, const void *data)
{
	struct link *link = job->link;
	uint32_t size = job->run->size;

	memcpy(link->queued + link->queued_length, &size, sizeof(size));
	memcpy(link->queued + link->queued_length + sizeof(size), data, size);
	link->queued_length += sizeof(size) + size;
	return link->queued_length < PEER_BATCH ? 0 : stream_flush(job);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static bool message_take(struct link *link, struct xy_bench_message *ret_message)
{
	size_t there = link->got_end - link->got_first;
	uint32_t length;

	if (there < sizeof(length))
		return false;
	memcpy(&length, link->got + link->got_first, sizeof(length));
	if (there - sizeof(length) < length)
		return false;
	*ret_message = (struct xy_bench_message){
		.data = link->got + link->got_first + sizeof(length),
		.length = length,
	};
	link->got_first += sizeof(length) + length;
	return true;
}

static int stream_next(struct xy_bench_job *job, struct xy_bench_message *ret_message)
{
	struct link *link = job->link;

	while (!message_take(link, ret_message)) {
		ssize_t n;

		memmove(link->got, link->got + link->got_first, link->got_end - link->got_first);
		link->got_end -= link->got_first;
		link->got_first = 0;
		n = read(link->in, link->got + link->got_end, link->got_size - link->got_end);
		if (n < 0)
			return -errno;
		link->got_end += (size_t)n;
		/* The publisher has left, and is not expected to come back. */
		if (n == 0 && poll(NULL, 0, CONNECT_MS) < 0)
			return -errno;
	}
	return 0;
}

const struct xy_bench_transport peer_stream = {
	.name = "stream",
	.anonymous = true,
	.open = stream_open,
	.close = stream_close,
	.publish = stream_publish,
	.flush = stream_flush,
	.next = stream_next,
};

/* ---- pipes ----------------------------------------------------------------------------------- */

/* Whoever opens both ends never waits for the other side. */
static int fifo_open(const char *path, const char *suffix, bool new)
{
	char name[PEER_HOST_SIZE + 8];
	int fd;

	snprintf(name, sizeof(name), "%s.%s", path, suffix);
	if (new &&unlink(name) && errno != ENOENT)
		return -errno;
	if (new &&mkfifo(name, 0600))
		return -errno;
	fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
	return fd;
}

static int pipe_open(struct xy_bench_job *job, const char *out, const char *in)
{
	struct link *link = link_new(job);
	struct peer_address address;
	int status = peer_address(job, peer_server(job), &address);
	bool first = job->self->producer;
	int there, back;

	(void)out;
	(void)in;
	if (status)
		return status;
	if (job->run->producers + job->run->consumers != 2)
		return xy_bench_complain(job, "several at one side", -ENOTSUP);
	there = fifo_open(address.host, "there", first);
	back = there < 0 ? there : fifo_open(address.host, "back", first);
	if (back < 0)
		return xy_bench_complain(job, address.host, back);
	link->out[link->outs++] = first ? there : back;
	link->in = first ? back : there;
	return XY_CMD_OK;
}

const struct xy_bench_transport peer_pipe = {
	.name = "pipe",
	.anonymous = true,
	.open = pipe_open,
	.close = stream_close,
	.publish = stream_publish,
	.flush = stream_flush,
	.next = stream_next,
};
