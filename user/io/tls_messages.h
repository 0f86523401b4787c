/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long the messages of a handshake say they are, as far as they come in the clear: OpenSSL has
 * room for all of a message as soon as its header is there, and believes 128 KiB. Pure.
 */
#ifndef XY_IO_TLS_MESSAGES_H
#define XY_IO_TLS_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XY_TLS_MESSAGE_MAX (16u << 10) /* bytes */

/* Zeroed at the beginning. */
struct xy_tls_messages {
	uint8_t record_header[5], message_header[4];
	uint8_t record_got, message_got; /* bytes of these */
	uint32_t record, message;        /* bytes that are still to come */
	uint32_t count;                  /* of messages */
	bool skips;                      /* what the record holds is no message */
	bool over;                       /* what follows is encrypted */
};

/* What has come. False: a message says that it is longer than XY_TLS_MESSAGE_MAX. */
bool xy_tls_messages_look(struct xy_tls_messages *messages, const uint8_t *bytes, size_t length);

#endif
