/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long the messages of a TLS handshake say they are: in pieces as in one piece, and as a second
 * account finds it, which takes the records apart first.
 *
 * Input: how many bytes a piece has (1 byte; 0 = all), then what has come.
 */
#include "fuzz/fuzz.h"

#include "io/tls_messages.h"

#define RECORD_HEADER  5
#define MESSAGE_HEADER 4

/* Whether the messages that come in the clear are all short enough. */
static bool messages_are_short(const uint8_t *bytes, size_t length, size_t *ret_messages)
{
	size_t at = 0;

	for (*ret_messages = 0; at + MESSAGE_HEADER <= length; ++*ret_messages) {
		size_t message =
			(size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | bytes[at + 3];

		if (message > XY_TLS_MESSAGE_MAX)
			return false;
		at += MESSAGE_HEADER + message;
	}
	return true;
}

/* Takes the bodies of handshake records out, up to what is encrypted. */
static bool expected(struct fuzz_input input)
{
	uint8_t *bytes = malloc(input.size + 1);
	size_t length = 0, record, messages;
	bool fine;

	fuzz_check(bytes != NULL);
	while (input.size >= RECORD_HEADER) {
		uint8_t type = (uint8_t)fuzz_take(&input, 1);

		fuzz_take(&input, 2);
		record = fuzz_take(&input, 2);
		if (type != 20 && type != 22)
			break;
		/* Two messages, or what has begun of a third, and 1.2 is encrypted. */
		if (type == 20 && (!messages_are_short(bytes, length, &messages) || messages > 1))
			break;
		record = record < input.size ? record : input.size;
		if (type == 22) {
			memcpy(bytes + length, input.data, record);
			length += record;
		}
		input.data += record;
		input.size -= record;
	}
	fine = messages_are_short(bytes, length, &messages);
	free(bytes);
	return fine;
}

static bool look(struct fuzz_input input, size_t piece, struct xy_tls_messages *messages)
{
	bool fine = true;

	while (input.size > 0 && fine) {
		size_t length = piece == 0 || piece > input.size ? input.size : piece;
		uint8_t *exact = fuzz_copy(input.data, length);

		fine = xy_tls_messages_look(messages, exact, length);
		free(exact);
		input.data += length;
		input.size -= length;
	}
	return fine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	size_t piece = fuzz_take(&input, 1);
	struct xy_tls_messages whole = {0}, pieces = {0};
	bool fine = look(input, 0, &whole);

	fuzz_check(look(input, piece, &pieces) == fine);
	if (fine)
		fuzz_check(memcmp(&whole, &pieces, sizeof(whole)) == 0);
	fuzz_check(fine == expected(input));
	return 0;
}
