/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The JSON payloads: any bytes are decoded or refused with a sentence, a refusal leaves the record
 * alone, and what was decoded is the same after encoding and decoding it again.
 *
 * Input: the codec (1 byte: h, w, s or e, any other is taken modulo 4), then the payload.
 */
#include "fuzz/fuzz.h"

#include <errno.h>

#include "proto/json.h"
#include "proto/utf8.h"

#define ENCODED_MAX 8192 /* of the longest record, every byte of it escaped */
#define POISON      0xa5

union record {
	struct xy_hello hello;
	struct xy_welcome welcome;
	struct xy_subscribe subscribe;
	struct xy_error_info error;
};

static void check_utf8(const char *text, size_t size)
{
	size_t length = strnlen(text, size);
	uint32_t character;

	fuzz_check(length < size);
	for (size_t at = 0; at < length;) {
		size_t bytes = xy_utf8_decode(text + at, length - at, &character);

		fuzz_check(bytes > 0);
		at += bytes;
	}
}
#define CHECK_UTF8(field) check_utf8(field, sizeof(field))

static int decode(unsigned codec, const void *data, size_t size, union record *ret, char *why)
{
	switch (codec) {
	case 0:
		return xy_hello_decode(data, size, &ret->hello, why);
	case 1:
		return xy_welcome_decode(data, size, &ret->welcome, why);
	case 2:
		return xy_subscribe_decode(data, size, &ret->subscribe, why);
	default:
		return xy_error_decode(data, size, &ret->error, why);
	}
}

static ssize_t encode(unsigned codec, const union record *record, void *to, size_t size)
{
	switch (codec) {
	case 0:
		return xy_hello_encode(&record->hello, to, size);
	case 1:
		return xy_welcome_encode(&record->welcome, to, size);
	case 2:
		return xy_subscribe_encode(&record->subscribe, to, size);
	default:
		return xy_error_encode(xy_error_from_text(record->error.code),
				       record->error.message, to, size);
	}
}

static void check_record(unsigned codec, const union record *record)
{
	switch (codec) {
	case 0:
		CHECK_UTF8(record->hello.name);
		CHECK_UTF8(record->hello.token);
		CHECK_UTF8(record->hello.library);
		break;
	case 1:
		CHECK_UTF8(record->welcome.server);
		CHECK_UTF8(record->welcome.version);
		fuzz_check(record->welcome.endpoint != 0 && record->welcome.max_message > 0 &&
			   record->welcome.heartbeat_ms > 0);
		fuzz_check(record->welcome.max_frame > XY_HEADER_SIZE &&
			   record->welcome.max_frame <= XY_FRAME_MAX);
		break;
	case 2:
		CHECK_UTF8(record->subscribe.subject);
		CHECK_UTF8(record->subscribe.group);
		fuzz_check(*xy_overflow_text(record->subscribe.overflow) != '\0');
		fuzz_check(record->subscribe.stall_ms >= 1 &&
			   record->subscribe.stall_ms <= 3600000);
		break;
	default:
		CHECK_UTF8(record->error.code);
		CHECK_UTF8(record->error.message);
	}
}

static void check_again(unsigned codec, const union record *record)
{
	union record again;
	uint8_t *encoded = malloc(ENCODED_MAX), *exact;
	ssize_t length;

	fuzz_check(encoded != NULL);
	length = encode(codec, record, encoded, ENCODED_MAX);
	fuzz_check(length > 0 && length <= ENCODED_MAX);
	exact = malloc((size_t)length);
	fuzz_check(exact != NULL);
	fuzz_check(encode(codec, record, exact, (size_t)length - 1) == -ENOSPC);
	fuzz_check(encode(codec, record, exact, (size_t)length) == length);
	memset(&again, POISON, sizeof(again));
	fuzz_check(decode(codec, exact, (size_t)length, &again, NULL) == 0);
	/* An unknown code has no number to be encoded by. */
	if (codec == 3)
		fuzz_check(strcmp(again.error.message, record->error.message) == 0);
	else
		fuzz_check(encode(codec, &again, encoded, ENCODED_MAX) == length &&
			   memcmp(encoded, exact, (size_t)length) == 0);
	free(encoded);
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char names[] = "hwse";
	struct fuzz_input input = {data, size};
	int letter = (int)fuzz_take(&input, 1);
	const char *name = letter != 0 ? strchr(names, letter) : NULL;
	unsigned codec = name != NULL ? (unsigned)(name - names) : (unsigned)letter % 4;
	void *exact = fuzz_copy(input.data, input.size);
	union record record, before;
	char why[XY_WHY_SIZE] = "";
	int r;

	memset(&record, POISON, sizeof(record));
	memcpy(&before, &record, sizeof(before));
	r = decode(codec, exact, input.size, &record, why);
	if (r == 0) {
		check_record(codec, &record);
		check_again(codec, &record);
	} else {
		fuzz_check(r == -EBADMSG);
		fuzz_check(why[0] != '\0' && memchr(why, '\0', sizeof(why)) != NULL);
		fuzz_check(memcmp(&record, &before, sizeof(record)) == 0);
		fuzz_check(decode(codec, exact, input.size, &record, NULL) == r);
	}
	free(exact);
	return 0;
}
