/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames: the header in host order, and the checks that the proxy makes on every frame.
 *
 * Pure functions, no I/O, no allocation. What a check answers is part of the protocol
 * (docs/PROTOCOL.md, Errors); client_verdict refuses to redirect exactly what
 * xy_frame_check_data() refuses to route.
 */
#ifndef XY_PROTO_FRAME_H
#define XY_PROTO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xylem/wire.h>

struct xy_frame {
	uint32_t length; /* whole frame */
	uint8_t version;
	uint8_t type;
	uint16_t flags;
	uint64_t target, source, sequence, timestamp, ack, correlation;
	uint16_t fragment, fragments;
};

void xy_frame_decode(const void *header,
		     struct xy_frame *ret_frame);                 /* reads XY_HEADER_SIZE bytes */
void xy_frame_encode(const struct xy_frame *frame, void *header); /* writes XY_HEADER_SIZE bytes */
/* Header and payload, with length and version filled in: writes XY_HEADER_SIZE + length bytes. */
void xy_frame_compose(const struct xy_frame *frame, const void *payload, size_t length, void *to);
/* The header of an ERROR; `cause`: the frame that it answers, or NULL. */
struct xy_frame xy_frame_error(const struct xy_frame *cause);
const char *xy_type_name(uint8_t type); /* "DATA"; "unknown" */

/* Error codes of the protocol. Text and closing follow from the code alone. */
#define XY_ERRORS(X)                                           \
	X(BAD_FRAME, "bad-frame", true)                        \
	X(BAD_VERSION, "bad-version", true)                    \
	X(BAD_TYPE, "bad-type", true)                          \
	X(BAD_SOURCE, "bad-source", true)                      \
	X(HELLO_TIMEOUT, "hello-timeout", true)                \
	X(UNAUTHORIZED, "unauthorized", true)                  \
	X(SLOW_CONSUMER, "slow-consumer", true)                \
	X(SHUTTING_DOWN, "shutting-down", true)                \
	X(BAD_SUBJECT, "bad-subject", false)                   \
	X(BAD_JSON, "bad-json", false)                         \
	X(BAD_FLAGS, "bad-flags", false)                       \
	X(BAD_FRAGMENT, "bad-fragment", false)                 \
	X(TOO_LARGE, "too-large", false)                       \
	X(FORBIDDEN, "forbidden", false)                       \
	X(UNKNOWN_TOPIC, "unknown-topic", false)               \
	X(UNKNOWN_ENDPOINT, "unknown-endpoint", false)         \
	X(UNKNOWN_SUBSCRIPTION, "unknown-subscription", false) \
	X(NO_RESPONDERS, "no-responders", false)               \
	X(OVERLOADED, "overloaded", false)

enum xy_error {
	XY_ERROR_NONE = 0,
#define X(name, text, closes) XY_E_##name,
	XY_ERRORS(X)
#undef X
		XY_ERROR_COUNT,
};

const char *xy_error_text(enum xy_error error);     /* "bad-frame"; "" for none */
enum xy_error xy_error_from_text(const char *text); /* NONE when unknown */
bool xy_error_closes(enum xy_error error);
int xy_error_errno(enum xy_error error); /* the -errno by which the library reports it */

/* The first frame of a connection, in the protocol's order: length (bad-frame), version
 * (bad-version), anything but HELLO (bad-frame), source not 0 (bad-source). */
enum xy_error xy_frame_check_hello(const struct xy_frame *frame);
/* Every later frame, in the protocol's order: length below XY_HEADER_SIZE or above XY_FRAME_MAX
 * (bad-frame), version (bad-version), types that are not a client's to send and a second HELLO
 * (bad-type), source other than `endpoint`, the sender's own (bad-source). */
enum xy_error xy_frame_check(const struct xy_frame *frame, uint64_t endpoint);
/*
 * The rest, of DATA that passed xy_frame_check(). The rules in the order in which they are checked;
 * client_verdict refuses exactly these frames:
 *
 *   bad-flags     a flag outside XY_DATA_FLAGS
 *   bad-flags     BUNDLE together with REPLY_WANTED
 *   bad-flags     CRC and length < XY_HEADER_SIZE + XY_CRC_SIZE (no room for the CRC)
 *   bad-fragment  fragments is 0 or 1, and fragment is not 0
 *   bad-fragment  fragments >= 2, and fragment >= fragments, or sequence == 0, or BUNDLE
 *   too-large     fragments >= 2, and fragments > max_message / XY_PAYLOAD_MAX, rounded up
 *
 * The payload is never looked at: whether CRC and bundle are right is the receiver's to check.
 */
enum xy_error xy_frame_check_data(const struct xy_frame *frame, uint64_t max_message);

/* CRC32C (Castagnoli) of a buffer, continuing from `crc` (0 to start): the CRC of A followed by B
 * is xy_crc32c(xy_crc32c(0, A), B). */
uint32_t xy_crc32c(uint32_t crc, const void *data, size_t length);

#endif
