/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/utf8.h"

size_t xy_utf8_decode(const char *text, size_t length, uint32_t *ret_character)
{
	const uint8_t *bytes = (const uint8_t *)text;
	uint32_t character, smallest;
	size_t size;

	if (length == 0)
		return 0;
	if (bytes[0] < 0x80) {
		*ret_character = bytes[0];
		return 1;
	}
	if ((bytes[0] & 0xe0) == 0xc0) {
		size = 2;
		smallest = 0x80;
		character = bytes[0] & 0x1f;
	} else if ((bytes[0] & 0xf0) == 0xe0) {
		size = 3;
		smallest = 0x800;
		character = bytes[0] & 0x0f;
	} else if ((bytes[0] & 0xf8) == 0xf0) {
		size = 4;
		smallest = 0x10000;
		character = bytes[0] & 0x07;
	} else {
		return 0;
	}
	if (length < size)
		return 0;
	for (size_t i = 1; i < size; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		character = character << 6 | (bytes[i] & 0x3f);
	}
	if (character < smallest || character > 0x10ffff ||
	    (character >= 0xd800 && character <= 0xdfff))
		return 0;
	*ret_character = character;
	return size;
}
