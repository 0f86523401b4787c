/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/message.h"

#include <isa-l/crc.h>
#include <string.h>

#define BODIES (8u << 20)

static uint8_t body[BODIES];
static uint8_t buffer[MESSAGE_MAX];

/* Random bytes for all messages; one of them is a window into these. */
static void body_fill(void)
{
	struct dice dice = {.state = 1};

	for (size_t at = 0; at < BODIES; at += sizeof(uint64_t)) {
		uint64_t word = dice_roll(&dice);

		memcpy(body + at, &word, sizeof(word));
	}
}

static uint8_t bare_byte(uint64_t counter, size_t at)
{
	return (uint8_t)(counter * 151 + at * 7 + (counter >> 8));
}

size_t message_length(struct dice *dice, uint32_t maximum)
{
	static const struct {
		uint32_t parts; /* of 10,000 */
		uint32_t from, to;
	} class[] = {
		{200, 0, 0},
		{5000, 1, 128},
		{4300, 129, 1024},
		{420, 1025, 8192},
		{70, 8193, 65536},
		{9, 65537, 1u << 20},
		{1, (1u << 20) + 1, MESSAGE_MAX},
	};
	uint64_t draw = dice_below(dice, 10000);
	size_t length = 0;

	for (size_t i = 0; i < sizeof(class) / sizeof(class[0]); i++) {
		if (draw < class[i].parts) {
			length = class[i].from + dice_below(dice, class[i].to - class[i].from + 1);
			break;
		}
		draw -= class[i].parts;
	}
	return length < maximum ? length : maximum;
}

const void *message_make(struct stamp stamp, size_t length)
{
	if (body[0] == 0 && body[1] == 0 && body[2] == 0 && body[3] == 0)
		body_fill();
	if (length < STAMP_SIZE) {
		for (size_t i = 0; i < length; i++)
			buffer[i] = bare_byte(stamp.counter, i);
		return buffer;
	}
	stamp.magic = STAMP_MAGIC;
	stamp.length = (uint32_t)length;
	stamp.sum = 0;
	memcpy(buffer, &stamp, STAMP_SIZE);
	memcpy(buffer + STAMP_SIZE,
	       body + (stamp.counter * 4099 + stamp.worker * 65537) % (BODIES - MESSAGE_MAX),
	       length - STAMP_SIZE);
	stamp.sum = crc32_gzip_refl(0, buffer, length);
	memcpy(buffer, &stamp, STAMP_SIZE);
	return buffer;
}

const char *message_check(const void *data, size_t length, uint64_t sequence,
			  struct stamp *ret_stamp)
{
	struct stamp stamp, plain;
	uint32_t sum;

	if (length < STAMP_SIZE) {
		for (size_t i = 0; i < length; i++)
			if (((const uint8_t *)data)[i] != bare_byte(sequence, i))
				return "bytes of a short message";
		*ret_stamp = (struct stamp){.length = (uint32_t)length, .counter = sequence};
		return NULL;
	}
	memcpy(&stamp, data, STAMP_SIZE);
	if (stamp.magic != STAMP_MAGIC)
		return "no stamp";
	if (stamp.length != length)
		return "length";
	plain = stamp;
	plain.sum = 0;
	sum = crc32_gzip_refl(0, (const uint8_t *)&plain, STAMP_SIZE);
	if (crc32_gzip_refl(sum, (const uint8_t *)data + STAMP_SIZE, length - STAMP_SIZE) !=
	    stamp.sum)
		return "checksum";
	*ret_stamp = stamp;
	return NULL;
}
