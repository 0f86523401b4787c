/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/frame.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <isa-l.h>

void xy_frame_decode(const void *header, struct xy_frame *ret_frame)
{
	struct xy_header wire;

	memcpy(&wire, header, sizeof(wire));
	*ret_frame = (struct xy_frame){
		.length = xy_be32(wire.length),
		.version = wire.version,
		.type = wire.type,
		.flags = xy_be16(wire.flags),
		.target = xy_be64(wire.target),
		.source = xy_be64(wire.source),
		.sequence = xy_be64(wire.sequence),
		.timestamp = xy_be64(wire.timestamp),
		.ack = xy_be64(wire.ack),
		.correlation = xy_be64(wire.correlation),
		.fragment = xy_be16(wire.fragment),
		.fragments = xy_be16(wire.fragments),
	};
}

void xy_frame_encode(const struct xy_frame *frame, void *header)
{
	struct xy_header wire = {
		.length = xy_be32(frame->length),
		.version = frame->version,
		.type = frame->type,
		.flags = xy_be16(frame->flags),
		.target = xy_be64(frame->target),
		.source = xy_be64(frame->source),
		.sequence = xy_be64(frame->sequence),
		.timestamp = xy_be64(frame->timestamp),
		.ack = xy_be64(frame->ack),
		.correlation = xy_be64(frame->correlation),
		.fragment = xy_be16(frame->fragment),
		.fragments = xy_be16(frame->fragments),
	};

	memcpy(header, &wire, sizeof(wire));
}

void xy_frame_compose(const struct xy_frame *frame, const void *payload, size_t length, void *to)
{
	struct xy_frame whole = *frame;

	whole.length = (uint32_t)(XY_HEADER_SIZE + length);
	whole.version = XY_WIRE_VERSION;
	xy_frame_encode(&whole, to);
	if (length)
		memcpy((uint8_t *)to + XY_HEADER_SIZE, payload, length);
}

struct xy_frame xy_frame_error(const struct xy_frame *cause)
{
	struct xy_frame frame = {.type = XY_ERROR};

	if (cause) {
		frame.target = cause->target;
		frame.sequence = cause->sequence;
		frame.correlation = cause->correlation;
	}
	return frame;
}

const char *xy_type_name(uint8_t type)
{
	static const char *const names[] = {
		[XY_HELLO] = "HELLO",
		[XY_WELCOME] = "WELCOME",
		[XY_SYNC] = "SYNC",
		[XY_SYNCED] = "SYNCED",
		[XY_SYNC_WANTED] = "SYNC_WANTED",
		[XY_DECLARE] = "DECLARE",
		[XY_BINDING] = "BINDING",
		[XY_SUBSCRIBE] = "SUBSCRIBE",
		[XY_UNSUBSCRIBE] = "UNSUBSCRIBE",
		[XY_OK] = "OK",
		[XY_ERROR] = "ERROR",
		[XY_DATA] = "DATA",
		[XY_ACK] = "ACK",
		[XY_PING] = "PING",
		[XY_PONG] = "PONG",
		[XY_GOODBYE] = "GOODBYE",
	};

	if (type >= sizeof(names) / sizeof(names[0]) || names[type] == NULL)
		return "unknown";
	return names[type];
}

static const struct {
	const char *text;
	bool closes;
} errors[XY_ERROR_COUNT] = {[XY_ERROR_NONE] = {"", false},
#define X(name, text, closes) [XY_E_##name] = {text, closes},
			    XY_ERRORS(X)
#undef X
};

const char *xy_error_text(enum xy_error error)
{
	return (unsigned)error < XY_ERROR_COUNT ? errors[error].text : "";
}

enum xy_error xy_error_from_text(const char *text)
{
	for (int i = XY_ERROR_NONE + 1; i < XY_ERROR_COUNT; i++)
		if (strcmp(errors[i].text, text) == 0)
			return (enum xy_error)i;
	return XY_ERROR_NONE;
}

bool xy_error_closes(enum xy_error error)
{
	return (unsigned)error < XY_ERROR_COUNT && errors[error].closes;
}

int xy_error_errno(enum xy_error error)
{
	switch (error) {
	case XY_ERROR_NONE:
		return 0;
	case XY_E_BAD_VERSION:
		return -EPROTONOSUPPORT;
	case XY_E_HELLO_TIMEOUT:
		return -ETIMEDOUT;
	case XY_E_UNAUTHORIZED:
	case XY_E_FORBIDDEN:
		return -EACCES;
	case XY_E_SLOW_CONSUMER:
		return -ECONNABORTED;
	case XY_E_SHUTTING_DOWN:
		return -ESHUTDOWN;
	case XY_E_BAD_SUBJECT:
	case XY_E_BAD_FLAGS:
	case XY_E_BAD_FRAGMENT:
		return -EINVAL;
	case XY_E_BAD_JSON:
		return -EBADMSG;
	case XY_E_TOO_LARGE:
		return -EMSGSIZE;
	case XY_E_UNKNOWN_ENDPOINT:
		return -EHOSTUNREACH;
	case XY_E_UNKNOWN_TOPIC:
	case XY_E_UNKNOWN_SUBSCRIPTION:
	case XY_E_NO_RESPONDERS:
		return -ENOENT;
	case XY_E_OVERLOADED:
		return -ENOBUFS;
	case XY_E_BAD_FRAME:
	case XY_E_BAD_TYPE:
	case XY_E_BAD_SOURCE:
	case XY_ERROR_COUNT:
		break;
	}
	return -EPROTO;
}

static enum xy_error check_envelope(const struct xy_frame *frame)
{
	if (frame->length < XY_HEADER_SIZE || frame->length > XY_FRAME_MAX)
		return XY_E_BAD_FRAME;
	if (frame->version != XY_WIRE_VERSION)
		return XY_E_BAD_VERSION;
	return XY_ERROR_NONE;
}

enum xy_error xy_frame_check_hello(const struct xy_frame *frame)
{
	enum xy_error error = check_envelope(frame);

	if (error != XY_ERROR_NONE)
		return error;
	if (frame->type != XY_HELLO)
		return XY_E_BAD_FRAME;
	return frame->source == 0 ? XY_ERROR_NONE : XY_E_BAD_SOURCE;
}

enum xy_error xy_frame_check(const struct xy_frame *frame, uint64_t endpoint)
{
	enum xy_error error = check_envelope(frame);

	if (error != XY_ERROR_NONE)
		return error;
	switch (frame->type) {
	case XY_SYNC:
	case XY_DECLARE:
	case XY_SUBSCRIBE:
	case XY_UNSUBSCRIBE:
	case XY_DATA:
	case XY_ACK:
	case XY_PING:
	case XY_PONG:
	case XY_GOODBYE:
		break;
	default:
		return XY_E_BAD_TYPE;
	}
	return frame->source == endpoint ? XY_ERROR_NONE : XY_E_BAD_SOURCE;
}

enum xy_error xy_frame_check_data(const struct xy_frame *frame, uint64_t max_message)
{
	uint64_t fragments_max =
		max_message / XY_PAYLOAD_MAX + (max_message % XY_PAYLOAD_MAX != 0 ? 1 : 0);

	if ((frame->flags & ~XY_DATA_FLAGS) != 0)
		return XY_E_BAD_FLAGS;
	if ((frame->flags & XY_BUNDLE) != 0 && (frame->flags & XY_REPLY_WANTED) != 0)
		return XY_E_BAD_FLAGS;
	if ((frame->flags & XY_CRC) != 0 && frame->length < XY_HEADER_SIZE + XY_CRC_SIZE)
		return XY_E_BAD_FLAGS;

	if (frame->fragments <= 1)
		return frame->fragment == 0 ? XY_ERROR_NONE : XY_E_BAD_FRAGMENT;
	if (frame->fragment >= frame->fragments || frame->sequence == 0 ||
	    (frame->flags & XY_BUNDLE) != 0)
		return XY_E_BAD_FRAGMENT;
	return frame->fragments <= fragments_max ? XY_ERROR_NONE : XY_E_TOO_LARGE;
}

uint32_t xy_crc32c(uint32_t crc, const void *data, size_t length)
{
	/* isa-l does not modify the buffer, although its prototype says that it may; and it leaves
	 * the customary inversion before and after to its caller. */
	unsigned char *at = (unsigned char *)(uintptr_t)data;

	crc = ~crc;
	while (length > 0) {
		int piece = length > INT_MAX ? INT_MAX : (int)length;

		crc = crc32_iscsi(at, piece, crc);
		at += piece;
		length -= (size_t)piece;
	}
	return ~crc;
}
