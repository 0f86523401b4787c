/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A proxy for tests of libxylem: one thread that accepts one connection after the other, records
 * every frame, and answers by itself what the test does not want to answer. And a send() of the
 * test program's own, through which all sends of the library go: it records where each begins and
 * ends, and can cut one short or let it fail.
 *
 * Every function fails the running cmocka test when it cannot do what it says.
 */
#ifndef FAKE_PROXY_H
#define FAKE_PROXY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <xylem/client.h>

#include "proto/frame.h"
#include "proto/json.h"

#define FAKE_TIMEOUT_S 60 /* only a failing test waits for so long */
#define FAKE_ENDPOINT  0x1111222233334444ull
#define FAKE_WINDOW    (256u << 10)
#define FAKE_PEER      0x5555666677778888ull

struct fake_frame {
	struct xy_frame header;
	unsigned connection;
	uint8_t *payload;
};

struct fake {
	int listener, fd;
	uint16_t port;
	char server[64];
	pthread_t thread;
	pthread_mutex_t lock; /* all below, and writing to fd */
	pthread_cond_t changed;
	bool stop;

	/* What it answers by itself. */
	bool hold_synced;     /* leaves SYNCs but the first of a connection unanswered */
	bool refuse_declare;  /* answers DECLARE with `forbidden` */
	bool refuse_hello;    /* answers HELLO with `unauthorized` */
	bool hold_subscribe;  /* leaves SUBSCRIBE unanswered */
	bool silent_requests; /* else DATA that wants a reply is answered with its own payload */
	bool paused;          /* reads nothing */
	bool no_lane;         /* has none to give */
	int receive_buffer;   /* SO_RCVBUF; 0 = default */
	uint32_t heartbeat_ms, window; /* 0 = default */
	uint64_t max_message;
	uint64_t topic_offset; /* added to all topic ids */

	struct fake_frame *frames;
	size_t count, capacity;
	unsigned connections;
	uint64_t ids;
};

/* ---- sends of the library -------------------------------------------------------------------- */

struct fake_send {
	size_t length;
	ssize_t result;
	uint8_t *data;
};

static struct {
	struct fake_send *log;
	size_t count, capacity;
	size_t cut;       /* != 0: the next send of more than this takes only so much, once */
	int error;        /* with this … */
	unsigned fail;    /* … the n-th next send of DATA fails for each bit n */
	bool would_block; /* the next send fails with EAGAIN, once */
	bool opaque;      /* what is sent is encrypted: it is cut, and nothing else */
} sends;

static inline size_t fake_send_cut(size_t length)
{
	size_t take = length;

	if (sends.cut != 0 && length > sends.cut) {
		take = sends.cut;
		sends.cut = 0;
	}
	return take;
}

static inline bool fake_send_is_data(const void *data, size_t length)
{
	return length >= XY_HEADER_SIZE && ((const uint8_t *)data)[5] == XY_DATA;
}

static inline bool fake_send_fails(const void *data, size_t length)
{
	bool fails = sends.fail & 1;

	if (!fake_send_is_data(data, length))
		return false;
	sends.fail >>= 1;
	return fails;
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
	struct fake_send entry = {.length = length};

	assert_int_equal(flags, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sends.opaque)
		return syscall(SYS_sendto, fd, data, fake_send_cut(length), flags, NULL, 0);
	if (fake_send_fails(data, length)) {
		entry.result = -sends.error;
	} else if (sends.would_block) {
		entry.result = -EAGAIN;
		sends.would_block = false;
	} else {
		entry.result = syscall(SYS_sendto, fd, data, fake_send_cut(length), flags, NULL, 0);
		if (entry.result < 0)
			entry.result = -errno;
	}
	entry.data = malloc(length);
	memcpy(entry.data, data, length);
	if (sends.count == sends.capacity) {
		sends.capacity = sends.capacity ? 2 * sends.capacity : 256;
		sends.log = realloc(sends.log, sends.capacity * sizeof(*sends.log));
	}
	sends.log[sends.count++] = entry;
	errno = entry.result < 0 ? (int)-entry.result : errno;
	return entry.result < 0 ? -1 : entry.result;
}

static inline void fake_sends_clear(void)
{
	for (size_t i = 0; i < sends.count; i++)
		free(sends.log[i].data);
	free(sends.log);
	memset(&sends, 0, sizeof(sends));
}

/* Rule 7 of the conversation, for one send that begins on a frame border. */
static inline void fake_check_send(const struct fake_send *send)
{
	size_t at = 0, frames = 0;
	struct xy_frame first = {0}, frame;

	assert_true(send->length <= XY_SEND_BYTES_MAX);
	while (at < send->length) {
		assert_true(send->length - at >= XY_HEADER_SIZE);
		xy_frame_decode(send->data + at, &frame);
		assert_true(frame.length >= XY_HEADER_SIZE && frame.length <= send->length - at);
		if (frames++ == 0)
			first = frame;
		assert_int_equal(frame.type, first.type);
		assert_int_equal(frame.target, first.target);
		assert_int_equal(frame.flags & XY_DIRECT, first.flags & XY_DIRECT);
		at += frame.length;
	}
	assert_true(frames >= 1 && frames <= XY_SEND_FRAMES_MAX);
	if (first.type != XY_DATA)
		assert_int_equal(frames, 1);
}

/* Rule 7 for all sends so far: what a send left over is exactly the next. */
static inline void fake_check_sends(void)
{
	const uint8_t *rest = NULL;
	size_t rest_length = 0;

	for (size_t i = 0; i < sends.count; i++) {
		const struct fake_send *send = &sends.log[i];
		size_t taken = send->result > 0 ? (size_t)send->result : 0;

		if (rest_length > 0) {
			assert_int_equal(send->length, rest_length);
			assert_memory_equal(send->data, rest, rest_length);
		} else {
			fake_check_send(send);
		}
		rest = send->data + taken;
		rest_length = send->length - taken;
		if (send->result < 0 && send->result != -EAGAIN)
			rest_length = 0;
	}
}

/* ---- the proxy ------------------------------------------------------------------------------- */

static inline void fake_write(int fd, const void *data, size_t length)
{
	const uint8_t *at = data;

	while (length > 0) {
		ssize_t n = syscall(SYS_sendto, fd, at, length, MSG_NOSIGNAL, NULL, 0);

		if (n < 0)
			return; /* the client is gone; the test will say what it misses */
		at += n;
		length -= (size_t)n;
	}
}

/* The caller holds the lock. */
static inline void fake_put(struct fake *fake, struct xy_frame header, const void *payload,
			    size_t length)
{
	uint8_t *frame = malloc(XY_HEADER_SIZE + length);

	header.length = (uint32_t)(XY_HEADER_SIZE + length);
	header.version = XY_WIRE_VERSION;
	xy_frame_encode(&header, frame);
	if (length > 0)
		memcpy(frame + XY_HEADER_SIZE, payload, length);
	fake_write(fake->fd, frame, XY_HEADER_SIZE + length);
	free(frame);
}

static inline void fake_inject(struct fake *fake, struct xy_frame header, const void *payload,
			       size_t length)
{
	pthread_mutex_lock(&fake->lock);
	fake_put(fake, header, payload, length);
	pthread_mutex_unlock(&fake->lock);
}

static inline void fake_inject_error(struct fake *fake, enum xy_error error, uint64_t correlation)
{
	char json[256];
	ssize_t length = xy_error_encode(error, "scripted", json, sizeof(json));

	fake_inject(fake, (struct xy_frame){.type = XY_ERROR, .correlation = correlation}, json,
		    (size_t)length);
}

static inline void fake_put_welcome(struct fake *fake)
{
	struct xy_welcome welcome = {.endpoint = FAKE_ENDPOINT + fake->connections,
				     .server = "fake",
				     .version = "0",
				     .max_frame = XY_FRAME_MAX,
				     .max_message = fake->max_message ?: XY_MESSAGE_MAX_DEFAULT,
				     .window = fake->window ?: FAKE_WINDOW,
				     .heartbeat_ms = fake->heartbeat_ms ?: 10000,
				     .lane = true};
	char json[1024];
	ssize_t length = xy_welcome_encode(&welcome, json, sizeof(json));

	fake_put(fake, (struct xy_frame){.type = XY_WELCOME, .target = welcome.endpoint}, json,
		 (size_t)length);
}

static inline void fake_answer(struct fake *fake, const struct fake_frame *frame)
{
	struct xy_frame answer = {.correlation = frame->header.correlation};
	char json[256];
	ssize_t length;

	switch (frame->header.type) {
	case XY_HELLO:
		if (!fake->refuse_hello) {
			fake_put_welcome(fake);
			return;
		}
		length = xy_error_encode(XY_E_UNAUTHORIZED, "scripted", json, sizeof(json));
		answer.type = XY_ERROR;
		fake_put(fake, answer, json, (size_t)length);
		shutdown(fake->fd, SHUT_WR);
		return;
	case XY_SYNC:
		answer.type = XY_SYNCED;
		answer.flags = fake->no_lane ? 0 : XY_LANE;
		if (!fake->hold_synced || frame->header.correlation == 1)
			fake_put(fake, answer, NULL, 0);
		return;
	case XY_DECLARE:
		if (fake->refuse_declare) {
			length = xy_error_encode(XY_E_FORBIDDEN, "scripted", json, sizeof(json));
			answer.type = XY_ERROR;
			fake_put(fake, answer, json, (size_t)length);
			return;
		}
		/* The id follows from the subject: its first 8 bytes. */
		answer.type = XY_OK;
		memcpy(&answer.target, frame->payload,
		       frame->header.length - XY_HEADER_SIZE < 8
			       ? frame->header.length - XY_HEADER_SIZE
			       : 8);
		answer.target += fake->topic_offset;
		fake_put(fake, answer, NULL, 0);
		return;
	case XY_SUBSCRIBE:
		if (fake->hold_subscribe)
			return;
		__attribute__((fallthrough));
	case XY_UNSUBSCRIBE:
		answer.type = XY_OK;
		answer.target = ++fake->ids;
		fake_put(fake, answer, NULL, 0);
		return;
	case XY_DATA:
		if ((frame->header.flags & XY_REPLY_WANTED) == 0 || fake->silent_requests)
			return;
		answer.type = XY_DATA;
		answer.flags = XY_DIRECT;
		answer.target = frame->header.source;
		answer.source = FAKE_PEER;
		fake_put(fake, answer, frame->payload, frame->header.length - XY_HEADER_SIZE);
		return;
	case XY_PING:
		answer.type = XY_PONG;
		fake_put(fake, answer, frame->payload, frame->header.length - XY_HEADER_SIZE);
		return;
	}
}

static inline bool fake_read(int fd, void *to, size_t length)
{
	uint8_t *at = to;

	while (length > 0) {
		ssize_t n = read(fd, at, length);

		if (n <= 0)
			return false;
		at += n;
		length -= (size_t)n;
	}
	return true;
}

static inline void fake_record(struct fake *fake, struct fake_frame frame)
{
	if (fake->count == fake->capacity) {
		fake->capacity = fake->capacity ? 2 * fake->capacity : 256;
		fake->frames = realloc(fake->frames, fake->capacity * sizeof(frame));
	}
	fake->frames[fake->count++] = frame;
	pthread_cond_broadcast(&fake->changed);
}

static inline void fake_serve(struct fake *fake, int fd)
{
	uint8_t header[XY_HEADER_SIZE];
	struct fake_frame frame;

	for (;;) {
		size_t length;

		pthread_mutex_lock(&fake->lock);
		while (fake->paused && !fake->stop)
			pthread_cond_wait(&fake->changed, &fake->lock);
		pthread_mutex_unlock(&fake->lock);
		if (!fake_read(fd, header, sizeof(header)))
			return;
		memset(&frame, 0, sizeof(frame));
		xy_frame_decode(header, &frame.header);
		length = frame.header.length - XY_HEADER_SIZE;
		frame.payload = calloc(1, length + 8);
		if (!fake_read(fd, frame.payload, length)) {
			free(frame.payload);
			return;
		}
		pthread_mutex_lock(&fake->lock);
		frame.connection = fake->connections;
		if (fake->fd == fd)
			fake_answer(fake, &frame);
		fake_record(fake, frame);
		pthread_mutex_unlock(&fake->lock);
	}
}

static inline void *fake_run(void *argument)
{
	struct fake *fake = argument;
	sigset_t all;

	/* Signals are for the test. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (;;) {
		int fd = accept(fake->listener, NULL, NULL), on = 1;

		if (fd < 0)
			return NULL;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		pthread_mutex_lock(&fake->lock);
		fake->connections++;
		fake->fd = fd;
		pthread_cond_broadcast(&fake->changed);
		pthread_mutex_unlock(&fake->lock);
		fake_serve(fake, fd);
		pthread_mutex_lock(&fake->lock);
		close(fd);
		fake->fd = -1;
		pthread_cond_broadcast(&fake->changed);
		pthread_mutex_unlock(&fake->lock);
	}
}

static inline void fake_start(struct fake *fake)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	fake_sends_clear();
	fake->fd = -1;
	fake->listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fake->listener >= 0);
	if (fake->receive_buffer)
		setsockopt(fake->listener, SOL_SOCKET, SO_RCVBUF, &fake->receive_buffer,
			   sizeof(int));
	assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fake->listener, 8), 0);
	getsockname(fake->listener, (struct sockaddr *)&address, &size);
	fake->port = ntohs(address.sin_port);
	snprintf(fake->server, sizeof(fake->server), "127.0.0.1:%u", fake->port);
	pthread_mutex_init(&fake->lock, NULL);
	pthread_cond_init(&fake->changed, NULL);
	assert_int_equal(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
}

static inline void fake_set(struct fake *fake, bool *knob, bool value)
{
	pthread_mutex_lock(&fake->lock);
	*knob = value;
	pthread_cond_broadcast(&fake->changed);
	pthread_mutex_unlock(&fake->lock);
}

/* Topic ids as of another proxy. */
static inline void fake_renumber(struct fake *fake, uint64_t offset)
{
	pthread_mutex_lock(&fake->lock);
	fake->topic_offset = offset;
	pthread_mutex_unlock(&fake->lock);
}

/* Ends the connection, as a proxy that dies does. */
static inline void fake_hang_up(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	if (fake->fd >= 0)
		shutdown(fake->fd, SHUT_RDWR);
	pthread_mutex_unlock(&fake->lock);
}

static inline void fake_stop(struct fake *fake)
{
	shutdown(fake->listener, SHUT_RDWR);
	fake_set(fake, &fake->stop, true);
	fake_hang_up(fake);
	pthread_join(fake->thread, NULL);
	close(fake->listener);
	for (size_t i = 0; i < fake->count; i++)
		free(fake->frames[i].payload);
	free(fake->frames);
	pthread_mutex_destroy(&fake->lock);
	pthread_cond_destroy(&fake->changed);
	memset(fake, 0, sizeof(*fake));
	fake_check_sends();
	fake_sends_clear();
}

static inline size_t fake_count_locked(const struct fake *fake, int type)
{
	size_t n = 0;

	for (size_t i = 0; i < fake->count; i++)
		n += fake->frames[i].header.type == type;
	return n;
}

static inline size_t fake_count(struct fake *fake, int type)
{
	size_t n;

	pthread_mutex_lock(&fake->lock);
	n = fake_count_locked(fake, type);
	pthread_mutex_unlock(&fake->lock);
	return n;
}

static inline void fake_deadline(struct timespec *ret_deadline)
{
	clock_gettime(CLOCK_REALTIME, ret_deadline);
	ret_deadline->tv_sec += FAKE_TIMEOUT_S;
}

/* Waits until `n` frames of this type were recorded. */
static inline void fake_await(struct fake *fake, int type, size_t n)
{
	struct timespec deadline;
	int error = 0;

	fake_deadline(&deadline);
	pthread_mutex_lock(&fake->lock);
	while (fake_count_locked(fake, type) < n && error == 0)
		error = pthread_cond_timedwait(&fake->changed, &fake->lock, &deadline);
	pthread_mutex_unlock(&fake->lock);
	if (error)
		fail_msg("%zu of %zu %s frames", fake_count(fake, type), n,
			 xy_type_name((uint8_t)type));
}

/* The n-th frame of this type, from 0; it must have been recorded. */
static inline struct fake_frame fake_frame(struct fake *fake, int type, size_t n)
{
	struct fake_frame frame = {0};
	bool found = false;

	pthread_mutex_lock(&fake->lock);
	for (size_t i = 0; i < fake->count && !found; i++) {
		if (fake->frames[i].header.type != type || n-- > 0)
			continue;
		frame = fake->frames[i];
		found = true;
	}
	pthread_mutex_unlock(&fake->lock);
	assert_true(found);
	return frame;
}

/* ---- the client's side ----------------------------------------------------------------------- */

static inline struct xy_client *fake_connect(struct fake *fake, struct xy_client_options options)
{
	struct xy_client *client;

	options.size = sizeof(options);
	options.server = fake->server;
	options.name = "test";
	options.reconnect_min_ms = options.reconnect_min_ms ?: 1;
	options.reconnect_max_ms = options.reconnect_max_ms ?: 10;
	options.connect_timeout_ms = options.connect_timeout_ms ?: FAKE_TIMEOUT_S * 1000;
	assert_int_equal(xy_client_connect(&options, &client), 0);
	return client;
}

/* The id that the fake proxy gives to a subject on its first connection. */
static inline uint64_t fake_topic_id(const char *subject)
{
	uint64_t id = 0;

	memcpy(&id, subject, strlen(subject) < 8 ? strlen(subject) : 8);
	return id;
}

static inline void fake_bind(struct fake *fake, const char *subject)
{
	fake_inject(fake, (struct xy_frame){.type = XY_BINDING, .target = fake_topic_id(subject)},
		    subject, strlen(subject));
}

static inline void fake_data(struct fake *fake, const char *subject, uint64_t sequence,
			     const void *data, size_t length)
{
	fake_inject(fake,
		    (struct xy_frame){.type = XY_DATA,
				      .target = fake_topic_id(subject),
				      .source = FAKE_PEER,
				      .sequence = sequence},
		    data, length);
}

static inline void fake_text(struct fake *fake, const char *subject, uint64_t sequence,
			     const char *text)
{
	fake_data(fake, subject, sequence, text, strlen(text));
}

static inline void assert_text(const struct xy_message *message, const char *text)
{
	assert_int_equal(message->length, strlen(text));
	assert_memory_equal(message->data, text, strlen(text));
}

static inline void expect_text(struct xy_client *client, const char *text)
{
	struct xy_message message;

	assert_int_equal(xy_client_next(client, FAKE_TIMEOUT_S * 1000, &message), 0);
	assert_text(&message, text);
}

/* A proxy and its one client: both begin, and both end. */
static inline struct xy_client *fake_open(struct fake *fake, struct xy_client_options options)
{
	fake_start(fake);
	return fake_connect(fake, options);
}

static inline void fake_close(struct fake *fake, struct xy_client *client)
{
	xy_client_close(client);
	fake_stop(fake);
}

#endif
