/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What libxylem makes of the bytes of a proxy: framing, bindings, bundles, fragments, CRCs. The
 * messages that the application gets are those that a second account of the protocol expects.
 *
 * The client's system calls end here: connect() succeeds, send() takes everything and its HELLO,
 * SYNC and SUBSCRIBE are answered, then recv() gives the input in pieces, and its end.
 *
 * Input: a byte of ways (bits: 1 next() instead of handlers, 2 small pieces, 4 little memory,
 * 8 the rest is the stream as it is), then records of which each makes a frame (make_frame()).
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <xylem/client.h>

#include "proto/frame.h"
#include "proto/json.h"
#include "proto/subject.h"

#define STREAM_MAX   (512u << 10)
#define MESSAGES_MAX 8192
#define SOURCES      4
#define TOPICS       8

static const char *const subjects[TOPICS] = {"a", "a.b", "a.b.c", "x", "x.y", "*", "", "none"};
static const char *const patterns[] = {"a.>", "x.*", "a"};

/* ---- the other end --------------------------------------------------------------------------- */

static struct {
	uint8_t answers[4096]; /* of the handshake */
	size_t answers_read, answers_end;
	uint8_t bytes[STREAM_MAX];
	size_t read, end;
	bool open, in_pieces;
	uint64_t ids;
} stream;

static void answer(uint8_t type, uint64_t target, uint64_t correlation, const void *payload,
		   size_t length)
{
	struct xy_frame frame = {.length = (uint32_t)(XY_HEADER_SIZE + length),
				 .version = XY_WIRE_VERSION,
				 .type = type,
				 .target = target,
				 .correlation = correlation};
	uint8_t *to = stream.answers + stream.answers_end;

	fuzz_check(stream.answers_end + frame.length <= sizeof(stream.answers));
	xy_frame_encode(&frame, to);
	if (length > 0)
		memcpy(to + XY_HEADER_SIZE, payload, length);
	stream.answers_end += frame.length;
}

static void answer_frame(const struct xy_frame *frame)
{
	struct xy_welcome welcome = {.endpoint = 77,
				     .server = "fuzz",
				     .version = "0",
				     .max_frame = XY_FRAME_MAX,
				     .max_message = XY_MESSAGE_MAX_DEFAULT,
				     .window = 256 << 10,
				     .heartbeat_ms = 1000000};
	char json[512];

	switch (frame->type) {
	case XY_HELLO:
		answer(XY_WELCOME, 77, 0, json, (size_t)xy_welcome_encode(&welcome, json, 512));
		break;
	case XY_SYNC:
		answer(XY_SYNCED, 0, frame->correlation, NULL, 0);
		break;
	case XY_SUBSCRIBE:
		answer(XY_OK, ++stream.ids, frame->correlation, NULL, 0);
		break;
	}
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	(void)fd;
	(void)address;
	(void)length;
	return 0;
}

/* Whole frames, all that is sent; answered during the handshake only. */
ssize_t send(int fd, const void *data, size_t length, int flags)
{
	(void)fd;
	(void)flags;
	for (size_t at = 0; at < length;) {
		struct xy_frame frame;

		fuzz_check(length - at >= XY_HEADER_SIZE);
		xy_frame_decode((const uint8_t *)data + at, &frame);
		fuzz_check(frame.length >= XY_HEADER_SIZE && frame.length <= length - at);
		fuzz_check(frame.version == XY_WIRE_VERSION);
		if (!stream.open)
			answer_frame(&frame);
		at += frame.length;
	}
	return (ssize_t)length;
}

ssize_t recv(int fd, void *to, size_t length, int flags)
{
	size_t left = stream.end - stream.read;

	(void)fd;
	(void)flags;
	if (stream.answers_read < stream.answers_end) {
		left = stream.answers_end - stream.answers_read;
		length = length < left ? length : left;
		memcpy(to, stream.answers + stream.answers_read, length);
		stream.answers_read += length;
		return (ssize_t)length;
	}
	if (!stream.open) {
		errno = EAGAIN;
		return -1;
	}
	length = length < left ? length : left;
	/* Odd pieces of up to 89 bytes: headers and payloads are cut everywhere. */
	if (stream.in_pieces && length > 0)
		length = length < 89 ? length : 1 + stream.read * 7 % 89;
	memcpy(to, stream.bytes + stream.read, length);
	stream.read += length;
	return (ssize_t)length;
}

/* Always ready. */
int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	(void)timeout;
	for (nfds_t i = 0; i < count; i++)
		fds[i].revents = POLLIN | POLLOUT;
	return (int)count;
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	(void)mask;
	return poll(fds, count, timeout != NULL);
}

/* ---- a second account ------------------------------------------------------------------------ */

struct assembly {
	uint64_t target, sequence;
	uint16_t fragments, next; /* fragments 0: none */
	size_t length;
	uint8_t *data;
};

struct expected {
	const char *subject;
	uint64_t source, sequence, correlation;
	size_t length;
	uint64_t sum;
};

static struct {
	struct expected message[MESSAGES_MAX];
	size_t count, got;
	char bound[256][XY_SUBJECT_MAX + 1]; /* by topic id */
	bool is_bound[256];
	struct assembly assembly[256]; /* by source */
	bool ended;
} model;

/* What the application gets is not told apart: with little memory what does not fit is dropped; and
 * DATA before the BINDING of its topic, which no proxy sends, may come when that is known. */
static bool lossy;

static uint64_t sum_of(const uint8_t *data, size_t length)
{
	uint64_t sum = 14695981039346656037u;

	for (size_t i = 0; i < length; i++)
		sum = (sum ^ data[i]) * 1099511628211u;
	return sum;
}

static void expect(const struct xy_frame *frame, const char *subject, uint64_t sequence,
		   const uint8_t *data, size_t length)
{
	if (model.count == MESSAGES_MAX)
		return;
	model.message[model.count++] = (struct expected){.subject = subject,
							 .source = frame->source,
							 .sequence = sequence,
							 .correlation = frame->correlation,
							 .length = length,
							 .sum = sum_of(data, length)};
}

static uint32_t big_endian(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void expect_bundle(const struct xy_frame *frame, const char *subject, const uint8_t *data,
			  size_t length)
{
	uint64_t sequence = frame->sequence;
	size_t at = 0;

	while (length - at >= 4 && big_endian(data + at) <= length - at - 4)
		at += 4 + big_endian(data + at);
	if (at != length)
		return;
	for (at = 0; at < length; at += 4 + big_endian(data + at)) {
		expect(frame, subject, sequence, data + at + 4, big_endian(data + at));
		sequence += sequence != 0;
	}
}

/* The subject under which the application gets it; NULL: not at all. */
static const char *receiver_of(const struct xy_frame *frame)
{
	if (frame->flags & XY_DIRECT)
		return frame->correlation == 0 || frame->flags & XY_REPLY_WANTED ? "" : NULL;
	if (frame->target > 255 || !model.is_bound[frame->target]) {
		lossy = true;
		return NULL;
	}
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (xy_pattern_match(patterns[i], model.bound[frame->target]))
			return model.bound[frame->target];
	return NULL;
}

static void assembly_drop(struct assembly *assembly)
{
	free(assembly->data);
	*assembly = (struct assembly){0};
}

static bool crc_cut(const struct xy_frame *frame, const uint8_t *payload, size_t *length)
{
	if (!(frame->flags & XY_CRC))
		return true;
	if (*length < 4)
		return false;
	*length -= 4;
	return big_endian(payload + *length) == xy_crc32c(0, payload, *length);
}

static void expect_fragment(const struct xy_frame *frame, const uint8_t *payload, size_t length)
{
	struct assembly *assembly = &model.assembly[frame->source & 255];
	const char *subject = receiver_of(frame);

	if (frame->source == 0 || frame->source > 255)
		return;
	if (assembly->fragments != 0 &&
	    (assembly->target != frame->target || assembly->sequence != frame->sequence ||
	     assembly->fragments != frame->fragments || assembly->next != frame->fragment))
		assembly_drop(assembly);
	if (!crc_cut(frame, payload, &length) || frame->flags & XY_BUNDLE) {
		assembly_drop(assembly);
		return;
	}
	if (assembly->fragments == 0 && frame->fragment != 0)
		return;
	if (assembly->fragments == 0)
		*assembly = (struct assembly){.target = frame->target,
					      .sequence = frame->sequence,
					      .fragments = frame->fragments};
	assembly->data = realloc(assembly->data, assembly->length + length + 1);
	fuzz_check(assembly->data != NULL);
	memcpy(assembly->data + assembly->length, payload, length);
	assembly->length += length;
	if (++assembly->next < assembly->fragments)
		return;
	if (subject != NULL)
		expect(frame, subject, frame->sequence, assembly->data, assembly->length);
	assembly_drop(assembly);
}

static void expect_data(const struct xy_frame *frame, const uint8_t *payload, size_t length)
{
	const char *subject = receiver_of(frame);

	if (frame->fragments > 1) {
		expect_fragment(frame, payload, length);
		return;
	}
	if (frame->source <= 255)
		assembly_drop(&model.assembly[frame->source]);
	if (subject == NULL || !crc_cut(frame, payload, &length))
		return;
	if (frame->flags & XY_BUNDLE)
		expect_bundle(frame, subject, payload, length);
	else
		expect(frame, subject, frame->sequence, payload, length);
}

static void expect_binding(const struct xy_frame *frame, const uint8_t *payload, size_t length)
{
	if (frame->target == 0 || xy_subject_check((const char *)payload, length, NULL) != 0) {
		model.ended = true;
		return;
	}
	if (frame->target > 255 || model.is_bound[frame->target])
		return;
	memcpy(model.bound[frame->target], payload, length);
	model.bound[frame->target][length] = '\0';
	model.is_bound[frame->target] = true;
}

static void expect_error(const uint8_t *payload, size_t length)
{
	struct xy_error_info info;

	if (xy_error_decode(payload, length, &info, NULL) != 0)
		model.ended = true;
	else
		model.ended = xy_error_closes(xy_error_from_text(info.code));
}

static void expect_stream(void)
{
	size_t at = 0;

	while (!model.ended && stream.end - at >= XY_HEADER_SIZE) {
		const uint8_t *payload = stream.bytes + at + XY_HEADER_SIZE;
		struct xy_frame frame;
		size_t length;

		xy_frame_decode(stream.bytes + at, &frame);
		if (frame.length < XY_HEADER_SIZE || frame.length > XY_FRAME_MAX ||
		    frame.version != XY_WIRE_VERSION || frame.length > stream.end - at)
			return;
		length = frame.length - XY_HEADER_SIZE;
		at += frame.length;
		switch (frame.type) {
		case XY_DATA:
			expect_data(&frame, payload, length);
			break;
		case XY_BINDING:
			expect_binding(&frame, payload, length);
			break;
		case XY_ERROR:
			expect_error(payload, length);
			break;
		case XY_SYNCED:
		case XY_SYNC_WANTED:
		case XY_OK:
		case XY_PING:
		case XY_PONG:
		case XY_GOODBYE:
			break;
		default:
			return;
		}
	}
}

static void got(const struct xy_message *message)
{
	const struct expected *expected = &model.message[model.got];

	if (model.got == MESSAGES_MAX)
		return;
	fuzz_check(model.got < model.count);
	model.got++;
	fuzz_check(strcmp(message->subject, expected->subject) == 0);
	fuzz_check(message->source == expected->source);
	fuzz_check(message->sequence == expected->sequence);
	fuzz_check(message->correlation == expected->correlation);
	fuzz_check(message->length == expected->length);
	fuzz_check(sum_of(message->data, message->length) == expected->sum);
}

static void on_message(struct xy_client *client, const struct xy_message *message, void *context)
{
	(void)client;
	(void)context;
	if (!lossy)
		got(message);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Type, flags, target, source, sequence, correlation, fragment, fragments, length of the payload
 * (2 bytes, of which bit 15 asks for a right CRC); what changes one byte of the header (2 bytes);
 * the payload, of which what the input does not have any more is zeros. A BINDING without a payload
 * gets the subject of its topic. */
static size_t make_frame(struct fuzz_input *input, uint8_t *to, size_t room)
{
	struct xy_frame frame = {.version = XY_WIRE_VERSION};
	uint8_t *payload = to + XY_HEADER_SIZE;
	bool crc;
	uint8_t at, value;
	size_t length, here;

	frame.type = (uint8_t)fuzz_take(input, 1);
	frame.flags = (uint16_t)fuzz_take(input, 1);
	frame.target = fuzz_take(input, 1);
	frame.source = fuzz_take(input, 1);
	frame.sequence = fuzz_take(input, 1);
	frame.correlation = fuzz_take(input, 1);
	frame.fragment = (uint16_t)fuzz_take(input, 1);
	frame.fragments = (uint16_t)fuzz_take(input, 1);
	length = fuzz_take(input, 2);
	crc = length >> 15;
	length &= 0x7fff;
	at = (uint8_t)(fuzz_take(input, 1) % XY_HEADER_SIZE);
	value = (uint8_t)fuzz_take(input, 1);
	if (XY_HEADER_SIZE + length + XY_SUBJECT_MAX > room)
		return 0;
	here = length < input->size ? length : input->size;
	memcpy(payload, input->data, here);
	memset(payload + here, 0, length - here);
	input->data += here;
	input->size -= here;
	if (crc && frame.type == XY_DATA) {
		uint32_t sum = xy_be32(xy_crc32c(0, payload, length));

		frame.flags |= XY_CRC;
		memcpy(payload + length, &sum, sizeof(sum));
		length += sizeof(sum);
	}
	if (frame.type == XY_BINDING && length == 0) {
		length = strlen(subjects[frame.target % TOPICS]);
		memcpy(payload, subjects[frame.target % TOPICS], length);
	}
	frame.length = (uint32_t)(XY_HEADER_SIZE + length);
	xy_frame_encode(&frame, to);
	to[at] ^= value;
	return frame.length;
}

static void make_stream(struct fuzz_input *input, bool as_it_is)
{
	if (as_it_is) {
		stream.end = input->size < STREAM_MAX ? input->size : STREAM_MAX;
		memcpy(stream.bytes, input->data, stream.end);
		return;
	}
	while (input->size > 0) {
		size_t length =
			make_frame(input, stream.bytes + stream.end, STREAM_MAX - stream.end);

		if (length == 0)
			return;
		stream.end += length;
	}
}

/* ---- the run --------------------------------------------------------------------------------- */

static void receive(struct xy_client *client, bool by_next)
{
	struct xy_message message;
	int r;

	stream.open = true;
	do {
		r = by_next ? xy_client_next(client, -1, &message) : xy_client_process(client);
		if (by_next && r == 0 && !lossy)
			got(&message);
	} while (r != -ENOTCONN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	unsigned ways = (unsigned)fuzz_take(&input, 1);
	bool by_next = ways & 1;
	struct xy_client_options options = {.size = sizeof(options),
					    .server = "unix:/fuzz",
					    .name = "fuzz",
					    .no_reconnect = true,
					    .inbound_max = ways & 4 ? 1 : 0,
					    .on_direct = by_next ? NULL : on_message};
	struct xy_client *client;

	model.count = model.got = 0;
	model.ended = false;
	memset(model.is_bound, 0, sizeof(model.is_bound));
	stream.answers_read = stream.answers_end = 0;
	stream.read = stream.end = stream.ids = 0;
	stream.open = false;
	stream.in_pieces = ways & 2;
	lossy = ways & 4;
	make_stream(&input, ways & 8);
	expect_stream();

	fuzz_check(xy_client_connect(&options, &client) == 0);
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		struct xy_subscribe_options subscribe = {.size = sizeof(subscribe),
							 .on_message = by_next ? NULL : on_message};
		struct xy_subscription *subscription;

		fuzz_check(xy_client_subscribe(client, patterns[i], &subscribe, &subscription) ==
			   0);
	}
	receive(client, by_next);
	fuzz_check(lossy || model.got == model.count);
	xy_client_close(client);
	for (unsigned i = 0; i < 256; i++)
		assembly_drop(&model.assembly[i]);
	return 0;
}
