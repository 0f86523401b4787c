/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/silence.h"

void xy_silence(char *text, size_t length)
{
	unsigned char *at = (unsigned char *)text, *end = at + length;

	for (; at < end; at++) {
		if (*at < 0x20 || *at == 0x7f)
			*at = '?';
		else if (*at == 0xc2 && at + 1 < end && at[1] >= 0x80 && at[1] < 0xa0)
			at[0] = at[1] = '?';
	}
}
