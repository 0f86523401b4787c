/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Headers and their checks, each against a second account of the protocol's rules; CRC32C against
 * the bit-by-bit definition.
 *
 * Input: max_message (4 bytes), the endpoint's last byte, a cut, then a frame.
 */
#include "fuzz/fuzz.h"

#include "proto/frame.h"

static bool is_one_of(unsigned type, const unsigned *types, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (types[i] == type)
			return true;
	return false;
}

static enum xy_error expected_check(const struct xy_frame *frame, uint64_t endpoint)
{
	static const unsigned from_clients[] = {XY_SYNC,        XY_DECLARE, XY_SUBSCRIBE,
						XY_UNSUBSCRIBE, XY_DATA,    XY_ACK,
						XY_PING,        XY_PONG,    XY_GOODBYE};

	if (frame->length < 60 || frame->length > 65536)
		return XY_E_BAD_FRAME;
	if (frame->version != 1)
		return XY_E_BAD_VERSION;
	if (!is_one_of(frame->type, from_clients, sizeof(from_clients) / sizeof(*from_clients)))
		return XY_E_BAD_TYPE;
	return frame->source == endpoint ? XY_ERROR_NONE : XY_E_BAD_SOURCE;
}

static enum xy_error expected_check_hello(const struct xy_frame *frame)
{
	if (frame->length < 60 || frame->length > 65536)
		return XY_E_BAD_FRAME;
	if (frame->version != 1)
		return XY_E_BAD_VERSION;
	if (frame->type != 1)
		return XY_E_BAD_FRAME;
	return frame->source == 0 ? XY_ERROR_NONE : XY_E_BAD_SOURCE;
}

static enum xy_error expected_check_data(const struct xy_frame *frame, uint64_t max_message)
{
	bool direct_reply_crc_bundle = (frame->flags & ~(1 | 2 | 4 | 16)) == 0;
	bool bundle = (frame->flags & 16) != 0;

	if (!direct_reply_crc_bundle || (bundle && (frame->flags & 2) != 0) ||
	    ((frame->flags & 4) != 0 && frame->length < 64))
		return XY_E_BAD_FLAGS;
	if (frame->fragments < 2)
		return frame->fragment == 0 ? XY_ERROR_NONE : XY_E_BAD_FRAGMENT;
	if (frame->fragment >= frame->fragments || frame->sequence == 0 || bundle)
		return XY_E_BAD_FRAGMENT;
	/* The rule: fragments x (max_frame - 60) is not above max_message rounded up. */
	return (uint64_t)(frame->fragments - 1) * 65476 < max_message ? XY_ERROR_NONE
								      : XY_E_TOO_LARGE;
}

static uint32_t expected_crc(uint32_t crc, const uint8_t *data, size_t length)
{
	crc = ~crc;
	for (size_t i = 0; i < length; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static void check_texts(uint8_t type, enum xy_error error)
{
	fuzz_check(xy_type_name(type) != NULL);
	if (error == XY_ERROR_NONE)
		return;
	fuzz_check(xy_error_from_text(xy_error_text(error)) == error);
	fuzz_check(xy_error_errno(error) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint64_t max_message = fuzz_take(&input, 4);
	uint64_t endpoint = 0x0102030405060700 | fuzz_take(&input, 1);
	size_t cut = fuzz_take(&input, 1);
	uint8_t header[XY_HEADER_SIZE] = {0}, again[XY_HEADER_SIZE];
	struct xy_frame frame;
	enum xy_error error;
	uint8_t *exact;

	memcpy(header, input.data, input.size < sizeof(header) ? input.size : sizeof(header));
	exact = fuzz_copy(header, sizeof(header));
	xy_frame_decode(exact, &frame);
	free(exact);
	xy_frame_encode(&frame, again);
	fuzz_check(memcmp(header, again, sizeof(header)) == 0);

	error = xy_frame_check(&frame, endpoint);
	fuzz_check(error == expected_check(&frame, endpoint));
	check_texts(frame.type, error);
	error = xy_frame_check(&frame, frame.source);
	fuzz_check(error == expected_check(&frame, frame.source));
	error = xy_frame_check_hello(&frame);
	fuzz_check(error == expected_check_hello(&frame));
	check_texts(frame.type, error);
	error = xy_frame_check_data(&frame, max_message);
	fuzz_check(error == expected_check_data(&frame, max_message));
	check_texts(frame.type, error);

	cut = cut < input.size ? cut : input.size;
	fuzz_check(xy_crc32c(xy_crc32c(0, input.data, cut), input.data + cut, input.size - cut) ==
		   expected_crc(0, input.data, input.size));
	return 0;
}
