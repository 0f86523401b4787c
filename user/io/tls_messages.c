/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/tls_messages.h"

#include "base/bytes.h"

enum { CHANGE_CIPHER_SPEC = 20, HANDSHAKE = 22 }; /* types of records */

/* With 1.2 everything behind ChangeCipherSpec is encrypted, and two messages have come before it.
 * With 1.3 it means nothing, and may stand between two ClientHellos. */
static void record_begin(struct xy_tls_messages *messages)
{
	const uint8_t *header = messages->record_header;

	messages->record_got = 0;
	messages->record = (uint32_t)header[3] << 8 | header[4];
	messages->skips = header[0] == CHANGE_CIPHER_SPEC;
	messages->over = messages->skips ? messages->count > 1 : header[0] != HANDSHAKE;
}

static bool message_begin(struct xy_tls_messages *messages)
{
	const uint8_t *header = messages->message_header;

	messages->message_got = 0;
	messages->count++;
	messages->message = (uint32_t)header[1] << 16 | (uint32_t)header[2] << 8 | header[3];
	return messages->message <= XY_TLS_MESSAGE_MAX;
}

bool xy_tls_messages_look(struct xy_tls_messages *messages, const uint8_t *bytes, size_t length)
{
	const uint8_t *end = bytes + length;
	uint32_t part;

	while (bytes < end && !messages->over) {
		if (!messages->record) {
			messages->record_header[messages->record_got++] = *bytes++;
			if (messages->record_got == sizeof(messages->record_header))
				record_begin(messages);
			continue;
		}
		part = (uint32_t)xy_min((size_t)(end - bytes), (size_t)messages->record);
		if (messages->skips) {
			;
		} else if (messages->message) {
			part = xy_min(part, messages->message);
			messages->message -= part;
		} else {
			part = 1;
			messages->message_header[messages->message_got++] = *bytes;
			if (messages->message_got == sizeof(messages->message_header) &&
			    !message_begin(messages))
				return false;
		}
		messages->record -= part;
		bytes += part;
	}
	return true;
}
