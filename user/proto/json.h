/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The JSON payloads of the protocol, by jansson. Pure: bytes in, records out, and back.
 *
 * Decoders take any bytes of any length, refuse what is not one UTF-8 object with the right types
 * (-EBADMSG, with a sentence in why), and ignore unknown members. Also refused: a member given
 * twice, \u0000 in a string, a string longer than its record's field, a number out of its range.
 * why may be NULL; it never quotes the payload. Encoders write at most `size` bytes without a
 * terminating zero and return the length, or -ENOSPC, -EINVAL (a string that is not UTF-8, an
 * integer above INT64_MAX), -ENOMEM. Strings that are "" and optional are left out.
 */
#ifndef XY_PROTO_JSON_H
#define XY_PROTO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/frame.h"

#define XY_NAME_MAX  128 /* bytes of a client's name, a library's name, a group's name */
#define XY_TOKEN_MAX 512 /* bytes of a token */
#define XY_WHY_SIZE  160

struct xy_hello {
	char name[XY_NAME_MAX + 1];
	char token[XY_TOKEN_MAX + 1]; /* "" = none */
	char library[XY_NAME_MAX + 1];
	bool ack; /* required member */
};

struct xy_welcome {
	uint64_t endpoint; /* 16 lower-case hex digits on the wire */
	char server[XY_NAME_MAX + 1];
	char version[XY_NAME_MAX + 1];
	uint32_t max_frame;
	uint64_t max_message;
	uint64_t window;
	uint32_t heartbeat_ms;
	bool lane;
};

/* In the order of precedence when several subscriptions of a connection match. */
enum xy_overflow {
	XY_OVERFLOW_BLOCK = 0,
	XY_OVERFLOW_DROP_OLDEST = 1,
	XY_OVERFLOW_DROP_NEWEST = 2,
	XY_OVERFLOW_DISCONNECT = 3,
};
const char *xy_overflow_text(enum xy_overflow overflow);
int xy_overflow_from_text(const char *text, enum xy_overflow *ret_overflow); /* -EINVAL */

struct xy_subscribe {
	char subject[XY_SUBJECT_MAX + 1]; /* as given; not checked here */
	char group[XY_NAME_MAX + 1];      /* "" = plain */
	enum xy_overflow overflow;
	uint32_t stall_ms; /* default XY_STALL_MS_DEFAULT; 1 … 3,600,000 */
	bool echo;
};

struct xy_error_info {
	char code[XY_NAME_MAX + 1];
	char message[256]; /* cut when longer */
};

/* The whole process's jansson: decoders tell -ENOMEM from -EBADMSG from now on. For a program, not
 * for a library in somebody else's; before threads start. */
void xy_json_watch_memory(void);

/* -EBADMSG with a sentence in why; -ENOMEM, if it is watched. */
int xy_hello_decode(const void *data, size_t length, struct xy_hello *ret, char why[XY_WHY_SIZE]);
int xy_welcome_decode(const void *data, size_t length, struct xy_welcome *ret,
		      char why[XY_WHY_SIZE]);
int xy_subscribe_decode(const void *data, size_t length, struct xy_subscribe *ret,
			char why[XY_WHY_SIZE]);
int xy_error_decode(const void *data, size_t length, struct xy_error_info *ret,
		    char why[XY_WHY_SIZE]);

ssize_t xy_hello_encode(const struct xy_hello *hello, void *buffer, size_t size);
ssize_t xy_welcome_encode(const struct xy_welcome *welcome, void *buffer, size_t size);
ssize_t xy_subscribe_encode(const struct xy_subscribe *subscribe, void *buffer, size_t size);
/* message: any bytes; what is not UTF-8 becomes `?`, what is too long for xy_error_info is cut.
 * Out of memory it says so instead of the message. */
ssize_t xy_error_encode(enum xy_error error, const char *message, void *buffer, size_t size);

#endif
