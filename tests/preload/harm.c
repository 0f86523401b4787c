/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loaded before libc: of the messages to a topic that a process sends one a send, the third is
 * harmed, as $XY_HARM says: "flip" changes a bit of its payload, "drop" does not send it and says
 * that it did, "twice" sends it twice.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xylem/wire.h>

#define THE_ONE 3
#define FLIPPED (XY_HEADER_SIZE + 8) /* a byte of the payload */

static bool is_the_one(const void *data, size_t length)
{
	static unsigned seen;
	struct xy_header header;

	if (length < sizeof(header))
		return false;
	memcpy(&header, data, sizeof(header));
	return header.type == XY_DATA && !(xy_be16(header.flags) & XY_DIRECT) &&
	       length == xy_be32(header.length) && ++seen == THE_ONE;
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
	const char *harm = getenv("XY_HARM");
	uint8_t copy[XY_FRAME_MAX];

	if (harm != NULL && is_the_one(data, length)) {
		memcpy(copy, data, length);
		data = copy;
		if (*harm == 'd')
			return (ssize_t)length;
		if (*harm == 'f' && length > FLIPPED)
			copy[FLIPPED] ^= 1;
		if (*harm == 't')
			syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
	}
	return syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
}
