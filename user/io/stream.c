/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/stream.h"

#include <errno.h>
#include <sys/socket.h>

static ssize_t result(ssize_t bytes)
{
	if (bytes >= 0)
		return bytes;
	return errno == EINTR ? -EAGAIN : -errno;
}

ssize_t xy_stream_recv(int fd, struct xy_tls *tls, void *buffer, size_t size)
{
	if (tls)
		return xy_tls_recv(tls, buffer, size);
	return result(recv(fd, buffer, size, MSG_DONTWAIT));
}

ssize_t xy_stream_send(int fd, struct xy_tls *tls, const struct iovec *iov, size_t count)
{
	const struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};

	if (tls)
		return xy_tls_send(tls, iov, (int)count);
	return result(sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int xy_stream_shut(int fd, struct xy_tls *tls)
{
	if (tls && xy_tls_close(tls) == -EAGAIN)
		return -EAGAIN;
	shutdown(fd, SHUT_WR);
	return 0;
}
