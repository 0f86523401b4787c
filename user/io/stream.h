/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connected, non-blocking stream socket, with TLS or without: tls NULL. What calls mean is said
 * in io/tls.h; -EINTR is told as -EAGAIN. One thread at a time.
 */
#ifndef XY_IO_STREAM_H
#define XY_IO_STREAM_H

#include <stdbool.h>

#include "io/tls.h"

/* Bytes; 0: the end; -errno. -EAGAIN: none for now, readiness will tell. */
ssize_t xy_stream_recv(int fd, struct xy_tls *tls, void *buffer, size_t size);
/* Bytes taken, with TLS of one record at most; -errno. */
ssize_t xy_stream_send(int fd, struct xy_tls *tls, const struct iovec *iov, size_t count);
/* Whether bytes may be received that readiness does not tell of / were taken and not sent. */
static inline bool xy_stream_pending(const struct xy_tls *tls)
{
	return tls && xy_tls_pending(tls);
}
static inline bool xy_stream_unsent(const struct xy_tls *tls)
{
	return tls && xy_tls_unsent(tls);
}
/* Whether sending waits for something to be received. */
static inline bool xy_stream_stalled(const struct xy_tls *tls)
{
	return tls && xy_tls_stalled(tls);
}
/* Nothing more will be sent; 0, or -EAGAIN: once more when it is writable. */
int xy_stream_shut(int fd, struct xy_tls *tls);

#endif
