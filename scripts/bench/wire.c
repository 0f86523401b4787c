/* SPDX-License-Identifier: BSD-2-Clause */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define AT_ONCE     128 /* requests under way; the proxy takes 256 */

/* Of whoever reads or writes at the moment; a frame that begins in it may end behind a read. */
static uint8_t in[512 << 10], out[XY_FRAME_MAX];

void die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Waits, reading meanwhile: who does not read may not be read. */
static void wire_wait(struct wire *wire, short events)
{
	struct pollfd polled = {.fd = wire->fd, .events = events};

	if (poll(&polled, 1, PATIENCE_MS) <= 0)
		die("poll", "nothing for a minute");
}

static void send_bytes(struct wire *wire, const void *data, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t n = send(wire->fd, (const uint8_t *)data + at, length - at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			at += (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			if (at == 0) /* else the rest must be next */
				wire_drain(wire);
			wire_wait(wire, POLLOUT | (at == 0 ? POLLIN : 0));
		} else {
			die("send", strerror(errno));
		}
	}
}

/* At least `least` bytes into in[filled …); returns how many are there then. A receiver on a lane
 * cannot use MSG_WAITALL (K16). */
static size_t receive_bytes(struct wire *wire, size_t filled, size_t least, int flags)
{
	while (filled < least) {
		ssize_t n = recv(wire->fd, in + filled, sizeof(in) - filled, flags);

		if (n > 0)
			filled += (size_t)n;
		else if (n < 0 && errno == EAGAIN && flags)
			return filled;
		else if (n < 0 && errno == EAGAIN)
			wire_wait(wire, POLLIN);
		else
			die("receive", n ? strerror(errno) : "the proxy has closed");
	}
	return filled;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static size_t frame_put(struct wire *wire, uint8_t *to, const struct xy_header *header,
			const void *payload, size_t length)
{
	struct xy_header frame = *header;

	frame.length = xy_be32((uint32_t)(sizeof(frame) + length));
	frame.version = XY_WIRE_VERSION;
	frame.source = xy_be64(wire->endpoint);
	frame.ack = xy_be64(wire->consumed);
	memcpy(to, &frame, sizeof(frame));
	if (length)
		memcpy(to + sizeof(frame), payload, length);
	return sizeof(frame) + length;
}

static void frame_send(struct wire *wire, const struct xy_header *header, const void *payload,
		       size_t length)
{
	wire->acked = wire->consumed;
	send_bytes(wire, out, frame_put(wire, out, header, payload, length));
}

static void take_data(struct wire *wire, const struct xy_header *frame, uint32_t length)
{
	uint64_t number;

	if (length < sizeof(*frame) + sizeof(number))
		die("DATA", "too short");
	memcpy(&number, frame + 1, sizeof(number));
	wire->data++;
	wire->ordered += number > wire->last;
	wire->last = number;
}

static void take_frame(struct wire *wire, const struct xy_header *frame, uint32_t length)
{
	struct xy_header pong = {.type = XY_PONG, .correlation = frame->correlation};
	char why[128];

	switch (frame->type) {
	case XY_WELCOME:
		wire->endpoint = xy_be64(frame->target);
		wire->consumed = 0;
		return;
	case XY_SYNCED:
		wire->lane = xy_be16(frame->flags) & XY_LANE;
		wire->synced = xy_be64(frame->correlation);
		break;
	case XY_OK:
		wire->ok_target = xy_be64(frame->target);
		if (wire->targets)
			wire->targets[wire->oks] = wire->ok_target;
		wire->oks++;
		break;
	case XY_DATA:
		take_data(wire, frame, length);
		break;
	case XY_ERROR:
		snprintf(why, sizeof(why), "%.*s", (int)(length - sizeof(*frame)),
			 (const char *)(frame + 1));
		die("ERROR", why);
	case XY_PING:
		wire->consumed += length;
		frame_send(wire, &pong, frame + 1, length - sizeof(*frame));
		return;
	default:
		break;
	}
	wire->consumed += length;
}

/* Takes what has come; waits for it unless told otherwise (MSG_DONTWAIT). Acks on the way. */
static void take(struct wire *wire, int flags)
{
	const struct xy_header ack = {.type = XY_ACK};
	size_t filled = receive_bytes(wire, 0, 1, flags), at = 0;

	while (at < filled) {
		uint32_t length;

		if (filled - at >= sizeof(struct xy_header)) {
			memcpy(&length, in + at, sizeof(length));
			length = xy_be32(length);
			if (length < sizeof(struct xy_header) || length > XY_FRAME_MAX)
				die("frame", "of an impossible length");
			if (filled - at >= length) {
				take_frame(wire, (const struct xy_header *)(in + at), length);
				at += length;
				continue;
			}
		} else {
			length = sizeof(struct xy_header);
		}
		memmove(in, in + at, filled - at);
		filled = receive_bytes(wire, filled - at, length, 0);
		at = 0;
	}
	if (wire->window && wire->consumed - wire->acked >= wire->window / 8)
		frame_send(wire, &ack, NULL, 0);
}

void wire_drain(struct wire *wire)
{
	take(wire, MSG_DONTWAIT);
}

/* ---- conversation ---------------------------------------------------------------------------- */

void wire_open(struct wire *wire, uint16_t port)
{
	static const char hello[] = "{\"name\":\"bench\",\"ack\":true}";
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	int on = 1;

	*wire = (struct wire){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (wire->fd < 0 || connect(wire->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("connect", strerror(errno));
	setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	frame_send(wire, &(struct xy_header){.type = XY_HELLO}, hello, sizeof(hello) - 1);
	while (!wire->endpoint)
		take(wire, 0);
	wire->window = 256 << 10; /* the least that is ever told */
	wire_sync(wire);
}

void wire_close(struct wire *wire)
{
	close(wire->fd);
}

static void wire_answered_to(struct wire *wire, uint64_t oks)
{
	while (wire->oks < oks)
		take(wire, 0);
}

void wire_answered(struct wire *wire)
{
	wire_answered_to(wire, wire->correlation);
}

void wire_ask(struct wire *wire, enum xy_type type, uint64_t target, const char *payload)
{
	const struct xy_header header = {.type = (uint8_t)type,
					 .target = xy_be64(target),
					 .correlation = xy_be64(wire->correlation + 1)};

	if (wire->correlation - wire->oks >= AT_ONCE)
		wire_answered_to(wire, wire->correlation - AT_ONCE / 2);
	wire->correlation++;
	frame_send(wire, &header, payload, strlen(payload));
}

uint64_t wire_subscribe(struct wire *wire, const char *subject)
{
	wire_ask_subscribe(wire, subject);
	wire_answered(wire);
	return wire->ok_target;
}

void wire_ask_subscribe(struct wire *wire, const char *subject)
{
	char json[XY_SUBJECT_MAX + 32];

	snprintf(json, sizeof(json), "{\"subject\":\"%s\"}", subject);
	wire_ask(wire, XY_SUBSCRIBE, 0, json);
}

uint64_t wire_declare(struct wire *wire, const char *subject)
{
	wire_ask(wire, XY_DECLARE, 0, subject);
	wire_answered(wire);
	return wire->ok_target;
}

void wire_sync(struct wire *wire)
{
	const struct xy_header header = {.type = XY_SYNC, .correlation = xy_be64(++wire->syncs)};

	frame_send(wire, &header, NULL, 0);
	while (wire->synced != wire->syncs)
		take(wire, 0);
}

void wire_publish(struct wire *wire, uint64_t target, uint64_t first, unsigned frames, size_t size)
{
	static uint8_t payload[XY_PAYLOAD_MAX];
	size_t at = 0;

	for (unsigned f = 0; f < frames; f++) {
		uint64_t number = first + f;
		const struct xy_header header = {
			.type = XY_DATA, .target = xy_be64(target), .sequence = 0};

		memcpy(payload, &number, sizeof(number));
		at += frame_put(wire, out + at, &header, payload, size);
	}
	wire->acked = wire->consumed;
	send_bytes(wire, out, at);
}

void wire_receive(struct wire *wire, uint64_t data)
{
	while (wire->data < data)
		take(wire, 0);
}
