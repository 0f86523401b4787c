/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include <errno.h>

#include "base/bytes.h"
#include "io/pipe_internal.h"

#define IOV_BATCH 64

static bool pipe_has(const struct xy_pipe *pipe, size_t length)
{
	return pipe->length > pipe->examined && pipe->length >= length;
}

void xy_pipe_wake_reader(struct xy_pipe *pipe)
{
	if (!pipe->waiting || pipe->view_out || pipe->reader_done)
		return;
	if (!pipe->read_cancelled && !pipe->writer_done && !pipe_has(pipe, pipe->wanted))
		return;
	pipe->waiting = false;
	if (pipe->on_readable)
		pipe->on_readable(pipe, pipe->context);
}

static void writer_resume(struct xy_pipe *pipe)
{
	pipe->paused = pipe->flush_waiting = false;
	if (pipe->on_resume)
		pipe->on_resume(pipe, pipe->context);
}

int xy_pipe_read_at_least(struct xy_pipe *pipe, size_t length, struct xy_view *ret_view)
{
	bool cancelled;

	if (pipe->reader_done)
		return -EINVAL;
	if (pipe->view_out)
		return -EBUSY;
	pipe->wanted = length;
	if (pipe->paused && pipe->length < length && !pipe->read_cancelled) {
		/* The writer may fill the pipe from within: what it says then is answered here. */
		pipe->waiting = false;
		writer_resume(pipe);
	}
	cancelled = pipe->read_cancelled;
	if (!cancelled && pipe->writer_done && pipe->error && pipe->length <= pipe->examined)
		return pipe->error;
	if (!cancelled && !pipe->writer_done && !pipe_has(pipe, length)) {
		pipe->waiting = true;
		return -EAGAIN;
	}
	pipe->wanted = 0;
	pipe->waiting = false;
	pipe->read_cancelled = false;
	pipe->view_out = true;
	pipe->viewed = pipe->length;
	*ret_view = (struct xy_view){
		.pipe = pipe,
		.length = pipe->length,
		.stamp = ++pipe->stamp,
		.cancelled = cancelled,
		.completed = pipe->writer_done,
	};
	return 0;
}

int xy_pipe_read(struct xy_pipe *pipe, struct xy_view *ret_view)
{
	return xy_pipe_read_at_least(pipe, 0, ret_view);
}

/* Removes the first `consumed` bytes; `examined` counts from there. */
static void pipe_remove(struct xy_pipe *pipe, size_t consumed, size_t examined)
{
	size_t left = consumed;

	pipe->length -= consumed;
	pipe->examined = examined;
	pipe->examined_most -= xy_min(pipe->examined_most, consumed);
	pipe->examined_most = xy_max(pipe->examined_most, examined);
	pipe->waiting = pipe->length <= pipe->examined;
	for (struct xy_link *link = pipe->head; left > 0; link = link->next) {
		size_t part = xy_min(left, (size_t)(link->end - link->start));

		link->start += (uint32_t)part;
		left -= part;
	}
	xy_pipe_tidy(pipe);
	if (pipe->paused && pipe->length - pipe->examined_most < pipe->resume)
		writer_resume(pipe);
}

int xy_pipe_advance(struct xy_pipe *pipe, size_t consumed, size_t examined)
{
	if (!pipe->view_out)
		return -ENOENT;
	if (consumed > examined || examined > pipe->viewed)
		return -EINVAL;
	pipe->view_out = false;
	pipe->stamp++;
	pipe_remove(pipe, consumed, examined - consumed);
	return 0;
}

void xy_pipe_consume(struct xy_pipe *pipe, size_t length)
{
	pipe_remove(pipe, length, pipe->examined - xy_min(pipe->examined, length));
}

void xy_pipe_cancel_read(struct xy_pipe *pipe)
{
	pipe->read_cancelled = true;
	xy_pipe_wake_reader(pipe);
}

void xy_pipe_complete_reader(struct xy_pipe *pipe)
{
	if (pipe->reader_done)
		return;
	pipe->reader_done = true;
	pipe->view_out = false;
	pipe->stamp++;
	xy_pipe_drop(pipe);
	if (pipe->paused)
		writer_resume(pipe);
}

/* ---- whole content elsewhere --------------------------------------------------------------- */

int xy_pipe_copy_to_fd(struct xy_pipe *pipe, int fd, size_t length, size_t *ret_written)
{
	size_t written = 0;
	int r = 0;

	if (pipe->view_out) {
		*ret_written = 0;
		return -EBUSY;
	}
	/* A writer that is resumed may let the reader take a view. */
	while (written < length && pipe->length > 0 && !pipe->view_out) {
		struct xy_cursor cursor = xy_pipe_cursor(pipe, pipe->length);
		struct iovec iov[IOV_BATCH];
		size_t covered;
		ssize_t n;
		int count = xy_cursor_iov(&cursor, length - written, iov, IOV_BATCH, &covered);

		n = writev(fd, iov, count);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			break;
		}
		written += (size_t)n;
		xy_pipe_consume(pipe, (size_t)n);
	}
	*ret_written = written;
	return r;
}

int xy_pipe_copy_to_pipe(struct xy_pipe *pipe, struct xy_pipe *to, size_t length)
{
	struct xy_chain chain = {0};
	struct xy_cursor cursor;
	int r;

	if (pipe->view_out)
		return -EBUSY;
	length = xy_min(length, pipe->length);
	cursor = xy_pipe_cursor(pipe, length);
	r = xy_cursor_share(&cursor, length, &chain);
	if (r < 0)
		return r;
	r = xy_pipe_append(to, &chain);
	if (r < 0) {
		xy_chain_clear(&chain, pipe->pool);
		return r;
	}
	xy_pipe_consume(pipe, length);
	return xy_pipe_flush(to);
}
