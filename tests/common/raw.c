/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/secure.h"

static struct raw *all;

/* ---- connections ----------------------------------------------------------------------------- */

static struct raw *connect_to(const struct sockaddr *address, socklen_t length)
{
	struct raw *raw = calloc(1, sizeof(*raw));

	assert_non_null(raw);
	raw->next = all;
	all = raw;
	raw->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(raw->fd >= 0);
	assert_int_equal(connect(raw->fd, address, length), 0);
	assert_int_equal(fcntl(raw->fd, F_SETFL, O_NONBLOCK), 0);
	return raw;
}

struct raw *raw_connect_port(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct raw *raw = connect_to((struct sockaddr *)&address, sizeof(address));
	int on = 1;

	assert_int_equal(setsockopt(raw->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return raw;
}

struct raw *raw_connect(const struct proxy *proxy)
{
	if (secure_wanted())
		return secure_reach(&(struct secure_options){.port = proxy_secure_port(proxy)});
	return raw_connect_port(proxy_port(proxy));
}

struct raw *raw_connect_unix(const struct proxy *proxy)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		 proxy_unix(proxy) + strlen("unix:"));
	return connect_to((struct sockaddr *)&address, sizeof(address));
}

void raw_close(struct raw *raw)
{
	for (struct raw **link = &all; *link != NULL; link = &(*link)->next) {
		if (*link == raw) {
			*link = raw->next;
			break;
		}
	}
	SSL_free(raw->ssl);
	if (raw->fd >= 0)
		close(raw->fd);
	free(raw);
}

void raw_reset(struct raw *raw)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(raw->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	raw_close(raw);
}

void raw_leave(struct raw *raw)
{
	enum raw_result result;

	raw_send_frame(raw, raw_header(raw, XY_GOODBYE), NULL, 0);
	while ((result = raw_read(raw, TEST_TIMEOUT_MS)) == RAW_FRAME)
		;
	if (result != RAW_CLOSED)
		fail_msg("the proxy does not close after GOODBYE");
	raw_close(raw);
}

void raw_close_all(void)
{
	while (all != NULL)
		raw_close(all);
}

void raw_hello(struct raw *raw, const char *json)
{
	struct xy_frame hello = {.version = XY_WIRE_VERSION, .type = XY_HELLO};
	const struct raw_frame *answer;
	char why[XY_WHY_SIZE];

	raw_send_frame(raw, hello, json, strlen(json));
	answer = raw_expect(raw, XY_WELCOME);
	if (xy_welcome_decode(answer->payload, answer->length, &raw->welcome, why) < 0)
		fail_msg("WELCOME: %s", why);
	assert_int_equal(answer->header.target, raw->welcome.endpoint);
	raw->endpoint = raw->welcome.endpoint;
	raw->consumed = 0;
}

void raw_sync(struct raw *raw)
{
	struct xy_frame sync = raw_header(raw, XY_SYNC);
	const struct raw_frame *answer;

	sync.correlation = ++raw->syncs;
	raw_send_frame(raw, sync, NULL, 0);
	answer = raw_expect(raw, XY_SYNCED);
	assert_int_equal(answer->header.correlation, raw->syncs);
	assert_int_equal(answer->header.flags & ~XY_LANE, 0);
	raw->lane = (answer->header.flags & XY_LANE) != 0;
}

struct raw *raw_open(const struct proxy *proxy)
{
	struct raw *raw = raw_connect(proxy);

	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	assert_int_equal(raw->lane, proxy_kernel_path(proxy) == KERNEL_PATH_ON);
	return raw;
}

struct raw *raw_open_unix(const struct proxy *proxy)
{
	struct raw *raw = raw_connect_unix(proxy);

	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	assert_false(raw->lane);
	return raw;
}

/* ---- bytes, with TLS or without -------------------------------------------------------------- */

/* As recv(2) and send(2) would say it. */
static ssize_t ssl_result(struct raw *raw, int r)
{
	int error = SSL_get_error(raw->ssl, r);

	raw->cut = error == SSL_ERROR_SYSCALL ||
		   ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
	ERR_clear_error();
	if (r > 0)
		return r;
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
	return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

ssize_t raw_send_some(struct raw *raw, const void *data, size_t length)
{
	if (raw->ssl == NULL)
		return send(raw->fd, data, length, MSG_NOSIGNAL);
	ERR_clear_error();
	return ssl_result(raw, SSL_write(raw->ssl, data, (int)length));
}

static ssize_t bytes_recv(struct raw *raw, void *buffer, size_t size)
{
	if (raw->ssl == NULL)
		return recv(raw->fd, buffer, size, 0);
	ERR_clear_error();
	return ssl_result(raw, SSL_read(raw->ssl, buffer, (int)size));
}

static void await_bytes(const struct raw *raw, int timeout_ms)
{
	struct pollfd pollfd = {.fd = raw->fd, .events = POLLIN};

	poll(&pollfd, 1, timeout_ms);
}

/* ---- bindings -------------------------------------------------------------------------------- */

static struct raw_binding *binding_find(struct raw *raw, uint64_t topic)
{
	for (unsigned i = 0; i < raw->bound_count; i++)
		if (raw->bound[i].topic == topic)
			return &raw->bound[i];
	return NULL;
}

static void binding_keep(struct raw *raw, uint64_t topic, const char *subject, bool by_binding)
{
	struct raw_binding *binding = binding_find(raw, topic);

	if (binding == NULL) {
		assert_true(raw->bound_count < RAW_BINDINGS_MAX);
		binding = &raw->bound[raw->bound_count++];
		binding->topic = topic;
		assert_in_range(strlen(subject), 1, XY_SUBJECT_MAX);
		strcpy(binding->subject, subject);
	} else if (by_binding && binding->by_binding) {
		fail_msg("a second BINDING of %s", subject);
	}
	assert_string_equal(binding->subject, subject);
	binding->by_binding = binding->by_binding || by_binding;
}

/* ---- out ------------------------------------------------------------------------------------- */

struct xy_frame raw_header(const struct raw *raw, uint8_t type)
{
	return (struct xy_frame){.version = XY_WIRE_VERSION,
				 .type = type,
				 .source = raw->endpoint,
				 .ack = raw->consumed};
}

size_t raw_put(void *buffer, struct xy_frame frame, const void *payload, size_t length)
{
	frame.length = (uint32_t)(XY_HEADER_SIZE + length);
	xy_frame_encode(&frame, buffer);
	if (length > 0)
		memcpy((uint8_t *)buffer + XY_HEADER_SIZE, payload, length);
	return frame.length;
}

bool raw_try_send(struct raw *raw, const void *data, size_t length)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	const uint8_t *at = data;

	while (length > 0) {
		struct pollfd pollfd = {.fd = raw->fd, .events = POLLOUT};
		ssize_t sent = raw_send_some(raw, at, length);

		if (sent >= 0) {
			at += sent;
			length -= (size_t)sent;
		} else if (errno == EAGAIN) {
			assert_true(test_now_ms() < deadline);
			poll(&pollfd, 1, 100);
		} else {
			return false;
		}
	}
	return true;
}

void raw_send(struct raw *raw, const void *data, size_t length)
{
	if (!raw_try_send(raw, data, length))
		fail_msg("send: %s", strerror(errno));
}

void raw_send_frame(struct raw *raw, struct xy_frame frame, const void *payload, size_t length)
{
	uint8_t bytes[XY_FRAME_MAX];

	assert_true(length <= XY_PAYLOAD_MAX);
	raw_send(raw, bytes, raw_put(bytes, frame, payload, length));
	raw->acked = frame.ack > raw->acked ? frame.ack : raw->acked;
}

uint64_t raw_request(struct raw *raw, uint8_t type, uint64_t target, const char *payload)
{
	struct xy_frame request = raw_header(raw, type);
	const struct raw_frame *answer;

	request.target = target;
	request.correlation = ++raw->correlation;
	raw_send_frame(raw, request, payload, strlen(payload));
	answer = raw_expect(raw, XY_OK);
	assert_int_equal(answer->header.correlation, request.correlation);
	assert_int_equal(answer->header.source, 0);
	return answer->header.target;
}

uint64_t raw_declare(struct raw *raw, const char *subject)
{
	uint64_t topic = raw_request(raw, XY_DECLARE, 0, subject);

	assert_int_not_equal(topic, 0);
	binding_keep(raw, topic, subject, false);
	return topic;
}

uint64_t raw_subscribe(struct raw *raw, const char *json)
{
	return raw_request(raw, XY_SUBSCRIBE, 0, json);
}

uint64_t raw_subscribe_to(struct raw *raw, const char *subject)
{
	char json[512];

	snprintf(json, sizeof(json), "{\"subject\":\"%s\"}", subject);
	return raw_subscribe(raw, json);
}

void raw_publish(struct raw *raw, uint64_t topic, uint64_t sequence, const char *text)
{
	struct xy_frame data = raw_header(raw, XY_DATA);

	data.target = topic;
	data.sequence = sequence;
	raw_send_frame(raw, data, text, strlen(text));
}

/* ---- in -------------------------------------------------------------------------------------- */

/* Moves one frame from the buffer to raw->frame. False while it is not whole. */
static bool frame_take(struct raw *raw)
{
	struct xy_frame *header = &raw->frame.header;

	if (raw->filled < XY_HEADER_SIZE)
		return false;
	xy_frame_decode(raw->buffer, header);
	if (header->length < XY_HEADER_SIZE || header->length > XY_FRAME_MAX ||
	    header->version != XY_WIRE_VERSION)
		fail_msg("the proxy sent no frame: length %u, version %u", header->length,
			 header->version);
	if (raw->filled < header->length)
		return false;
	raw->frame.length = header->length - XY_HEADER_SIZE;
	memcpy(raw->frame.payload, raw->buffer + XY_HEADER_SIZE, raw->frame.length);
	raw->frame.payload[raw->frame.length] = 0;
	raw->filled -= header->length;
	memmove(raw->buffer, raw->buffer + header->length, raw->filled);
	raw->consumed += header->length;
	return true;
}

enum raw_result raw_read(struct raw *raw, uint64_t timeout_ms)
{
	uint64_t deadline = test_now_ms() + timeout_ms;

	while (!frame_take(raw)) {
		uint64_t now = test_now_ms();
		ssize_t got = bytes_recv(raw, raw->buffer + raw->filled,
					 sizeof(raw->buffer) - raw->filled);

		if (got > 0) {
			raw->filled += (size_t)got;
		} else if (got == 0 || errno != EAGAIN) {
			if (raw->filled > 0 && !raw->may_tear)
				fail_msg("the stream ends within a frame");
			return RAW_CLOSED;
		} else if (now >= deadline) {
			return RAW_TIMEOUT;
		} else {
			await_bytes(raw, (int)(deadline - now));
		}
	}
	return RAW_FRAME;
}

void raw_answer_with(struct raw *raw, uint64_t ack)
{
	bool ping = raw->frame.header.type == XY_PING;
	struct xy_frame answer = raw_header(raw, ping ? XY_PONG : XY_ACK);

	answer.ack = ack;
	answer.correlation = ping ? raw->frame.header.correlation : 0;
	raw_send_frame(raw, answer, raw->frame.payload, ping ? raw->frame.length : 0);
}

void raw_answer(struct raw *raw)
{
	raw_answer_with(raw, raw->consumed);
}

/* The next frame that is not the proxy's housekeeping, or is of the type wanted. Its type is 0 when
 * there is none. */
static void next_frame(struct raw *raw, uint8_t wanted)
{
	/* One for all: the proxy's PINGs would put it off for ever. */
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	for (;;) {
		uint64_t now = test_now_ms();
		enum raw_result result = raw_read(raw, now < deadline ? deadline - now : 0);
		uint8_t type = raw->frame.header.type;

		if (result != RAW_FRAME) {
			raw->frame.header.type = 0;
			raw->frame.payload[0] = 0;
			return;
		}
		if (!raw->silent && raw->endpoint != 0 &&
		    raw->consumed - raw->acked >= raw->welcome.window / 8)
			raw_send_frame(raw, raw_header(raw, XY_ACK), NULL, 0);
		if (type == XY_SYNC_WANTED)
			raw->sync_wanted++;
		if (type == wanted)
			return;
		if (type == XY_BINDING)
			binding_keep(raw, raw->frame.header.target, (char *)raw->frame.payload,
				     true);
		else if (type == XY_PING && !raw->silent)
			raw_answer(raw);
		else if (type != XY_SYNC_WANTED)
			return;
	}
}

static const char *type_seen(const struct raw *raw)
{
	return raw->frame.header.type != 0 ? xy_type_name(raw->frame.header.type)
					   : "nothing, or the end of the stream,";
}

const struct raw_frame *raw_expect(struct raw *raw, uint8_t type)
{
	next_frame(raw, type);
	if (raw->frame.header.type != type)
		fail_msg("%s instead of %s: %.200s", type_seen(raw), xy_type_name(type),
			 (const char *)raw->frame.payload);
	return &raw->frame;
}

const struct raw_frame *raw_expect_data(struct raw *raw)
{
	raw_expect(raw, XY_DATA);
	if ((raw->frame.header.flags & XY_DIRECT) == 0 &&
	    binding_find(raw, raw->frame.header.target) == NULL)
		fail_msg("DATA of a topic before its BINDING");
	return &raw->frame;
}

void raw_expect_text(struct raw *raw, const char *text)
{
	const struct raw_frame *data = raw_expect_data(raw);

	assert_string_equal((const char *)data->payload, text);
	assert_int_equal(data->length, strlen(text));
}

const struct raw_frame *raw_expect_error(struct raw *raw, enum xy_error error)
{
	const struct raw_frame *frame = raw_expect(raw, XY_ERROR);
	struct xy_error_info info;
	char why[XY_WHY_SIZE];

	if (xy_error_decode(frame->payload, frame->length, &info, why) < 0)
		fail_msg("ERROR: %s", why);
	assert_string_equal(info.code, xy_error_text(error));
	assert_int_not_equal(strlen(info.message), 0);
	assert_int_equal(frame->header.source, 0);
	if (xy_error_closes(error) || raw->endpoint == 0)
		raw_expect_closed(raw);
	return frame;
}

void raw_expect_closed(struct raw *raw)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	uint8_t rest;

	if (raw->filled > 0)
		fail_msg("%zu bytes instead of the end of the stream", raw->filled);
	for (;;) {
		ssize_t got = bytes_recv(raw, &rest, 1);

		if (got == 0 || (got < 0 && errno == ECONNRESET))
			break;
		if (got > 0)
			fail_msg("bytes instead of the end of the stream");
		if (test_now_ms() > deadline)
			fail_msg("the proxy does not close");
		await_bytes(raw, 100);
	}
}

void raw_drain(struct raw *raw)
{
	static uint8_t bytes[1 << 16];
	struct pollfd pollfd = {.fd = raw->fd, .events = POLLIN};
	ssize_t got;

	do {
		got = bytes_recv(raw, bytes, sizeof(bytes));
		if (got < 0 && errno == EAGAIN)
			assert_int_equal(poll(&pollfd, 1, TEST_TIMEOUT_MS), 1);
	} while (got > 0 || (got < 0 && errno == EAGAIN));
}

void raw_send_fence(struct raw *receiver, struct raw *sender)
{
	struct xy_frame fence = raw_header(sender, XY_DATA);

	fence.flags = XY_DIRECT;
	fence.target = receiver->endpoint;
	raw_send_frame(sender, fence, "fence", 5);
}

bool raw_is_fence(const struct raw_frame *frame)
{
	return (frame->header.flags & XY_DIRECT) != 0 && frame->length == 5 &&
	       memcmp(frame->payload, "fence", 5) == 0;
}

void raw_expect_fence(struct raw *receiver, struct raw *sender)
{
	const struct raw_frame *data;

	raw_send_fence(receiver, sender);
	data = raw_expect_data(receiver);
	if (!raw_is_fence(data) || data->header.source != sender->endpoint)
		fail_msg("DATA instead of the fence: %.200s", (const char *)data->payload);
}

void raw_expect_silence(struct raw *raw)
{
	struct xy_frame ping = raw_header(raw, XY_PING);

	ping.correlation = ++raw->correlation;
	raw_send_frame(raw, ping, "fence", 5);
	next_frame(raw, XY_PONG);
	if (raw->frame.header.type != XY_PONG)
		fail_msg("%s instead of silence: %.200s", type_seen(raw),
			 (const char *)raw->frame.payload);
	assert_int_equal(raw->frame.header.correlation, ping.correlation);
	assert_memory_equal(raw->frame.payload, "fence", 6);
}
