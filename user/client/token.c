/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

int xy_token_read(const char *path, char ret_token[XY_TOKEN_MAX + 1])
{
	/* Not for ever, if it is a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char buffer[XY_TOKEN_MAX + 3]; /* "\r\n" and one too many */
	ssize_t length;
	bool whole;
	int r = 0;

	if (fd < 0)
		return -errno;
	length = read(fd, buffer, sizeof(buffer));
	if (length < 0)
		r = -errno;
	close(fd);
	if (r)
		return r;
	whole = (size_t)length < sizeof(buffer);
	while (length && (buffer[length - 1] == '\n' || buffer[length - 1] == '\r'))
		length--;
	if (!whole || !length || length > XY_TOKEN_MAX || memchr(buffer, 0, (size_t)length) ||
	    memchr(buffer, '\n', (size_t)length)) {
		r = -EBADMSG;
	} else {
		memcpy(ret_token, buffer, (size_t)length);
		ret_token[length] = '\0';
	}
	explicit_bzero(buffer, sizeof(buffer));
	return r;
}
