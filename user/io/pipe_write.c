/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "io/pipe_internal.h"

/* Slices up to this share of a segment are copied rather than pin a whole segment … */
#define COPY_SHARE   32
/* … but a segment is rented for copies only when so many slices are waiting already: a pipe that is
 * drained every turn does better with references to what all the subscribers share. */
#define PINNED_LINKS 8

/* Ends the reservation. 0 when the writer may write. */
static int writer_begin(struct xy_pipe *pipe)
{
	pipe->reserved = 0;
	if (pipe->reader_done) {
		xy_pipe_strip(pipe);
		return -EPIPE;
	}
	return pipe->writer_done ? -EINVAL : 0;
}

void *xy_pipe_reserve(struct xy_pipe *pipe, size_t hint, size_t *ret_length)
{
	size_t need = hint ? hint : pipe->minimum;
	struct xy_link *tail;
	uint32_t room;
	int r;

	r = writer_begin(pipe);
	if (r < 0) {
		errno = -r;
		return NULL;
	}
	tail = pipe->tail;
	/* What a larger reservation left unused is not kept for a smaller one. */
	if (tail && tail->start == tail->end &&
	    tail->segment->size > xy_max(need, (size_t)pipe->pool->segment_size))
		xy_pipe_strip(pipe);
	room = xy_pipe_room(pipe);
	if (room < need) {
		xy_pipe_strip(pipe);
		tail = xy_link_rent(pipe->pool, need);
		if (!tail)
			return NULL;
		xy_pipe_push(pipe, tail);
		room = tail->segment->size - tail->end;
	}
	pipe->reserved = room;
	*ret_length = room;
	return pipe->tail->segment->data + pipe->tail->end;
}

int xy_pipe_commit(struct xy_pipe *pipe, size_t length)
{
	if (length > pipe->reserved)
		return -EINVAL;
	pipe->reserved = 0;
	if (length > 0 && !pipe->reader_done) {
		pipe->tail->end += (uint32_t)length;
		pipe->committed += length;
	} else {
		xy_pipe_strip(pipe);
	}
	return 0;
}

/* Puts the content back to `committed` bytes behind the published ones, ending at `end` of `tail`
 * (NULL: the pipe was empty). */
static void write_undo(struct xy_pipe *pipe, struct xy_link *tail, uint32_t end)
{
	struct xy_link *link;

	if (tail) {
		link = tail->next;
		tail->next = NULL;
		tail->end = end;
	} else {
		link = pipe->head;
		pipe->head = NULL;
	}
	pipe->tail = tail;
	while (link) {
		struct xy_link *next = link->next;

		pipe->links--;
		xy_link_release(pipe->pool, link);
		xy_link_put(pipe->pool, link);
		link = next;
	}
}

int xy_pipe_write(struct xy_pipe *pipe, const void *data, size_t length)
{
	const uint8_t *from = data;
	size_t left = length;
	struct xy_link *tail;
	uint32_t end;
	int r;

	r = writer_begin(pipe);
	if (r < 0)
		return r;
	xy_pipe_strip(pipe);
	tail = pipe->tail;
	end = tail ? tail->end : 0;
	while (left > 0) {
		size_t room = xy_pipe_room(pipe), part;

		if (room == 0) {
			struct xy_link *link = xy_link_rent(
				pipe->pool, xy_min(left, (size_t)pipe->pool->segment_size));

			if (!link) {
				r = -errno;
				write_undo(pipe, tail, end);
				return r;
			}
			xy_pipe_push(pipe, link);
			room = link->segment->size - link->end;
		}
		part = xy_min(room, left);
		memcpy(pipe->tail->segment->data + pipe->tail->end, from, part);
		pipe->tail->end += (uint32_t)part;
		from += part;
		left -= part;
	}
	pipe->committed += length;
	return 0;
}

/* ---- by reference -------------------------------------------------------------------------- */

static bool slice_copy(struct xy_pipe *pipe, const struct xy_slice *slice)
{
	struct xy_link *link;

	if (slice->length > pipe->pool->segment_size / COPY_SHARE)
		return false;
	if (xy_pipe_room(pipe) < slice->length) {
		link = pipe->links < PINNED_LINKS ? NULL : xy_link_rent(pipe->pool, slice->length);
		if (!link)
			return false;
		xy_pipe_push(pipe, link);
	}
	memcpy(pipe->tail->segment->data + pipe->tail->end, slice->segment->data + slice->offset,
	       slice->length);
	pipe->tail->end += slice->length;
	return true;
}

/* Puts one slice behind the tail. Takes over the slice's reference, or leaves it to `keep`. */
static void slice_append(struct xy_pipe *pipe, const struct xy_slice *slice, bool keep)
{
	struct xy_link *tail = pipe->tail;

	if (tail && tail->segment == slice->segment && tail->end == slice->offset) {
		tail->end += slice->length;
	} else if (!slice_copy(pipe, slice)) {
		struct xy_link *link = xy_link_get(pipe->pool);

		*link = (struct xy_link){.segment = slice->segment,
					 .start = slice->offset,
					 .end = slice->offset + slice->length};
		if (tail)
			xy_link_disown(pipe->pool, tail);
		xy_pipe_push(pipe, link);
		if (keep)
			xy_segment_hold(slice->segment);
		return;
	}
	if (!keep)
		xy_segment_release(slice->segment, pipe->pool);
}

static int pipe_append(struct xy_pipe *pipe, const struct xy_chain *chain, bool keep)
{
	const struct xy_slice *slice = xy_chain_slices_const(chain);
	int r;

	r = writer_begin(pipe);
	if (r < 0)
		return r;
	xy_pipe_strip(pipe);
	r = xy_links_prepare(pipe->pool, chain->count);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < chain->count; i++)
		slice_append(pipe, &slice[i], keep);
	pipe->committed += chain->length;
	return 0;
}

int xy_pipe_append(struct xy_pipe *pipe, struct xy_chain *chain)
{
	int r = pipe_append(pipe, chain, false);

	if (r < 0)
		return r;
	free(chain->heap);
	*chain = (struct xy_chain){0};
	return 0;
}

int xy_pipe_append_shared(struct xy_pipe *pipe, const struct xy_chain *chain)
{
	return pipe_append(pipe, chain, true);
}

/* ---- flow control -------------------------------------------------------------------------- */

static size_t pipe_publish(struct xy_pipe *pipe)
{
	size_t newly = pipe->committed;

	pipe->length += newly;
	pipe->committed = 0;
	return newly;
}

int xy_pipe_flush(struct xy_pipe *pipe)
{
	bool cancelled = pipe->flush_cancelled;
	size_t newly;

	pipe->flush_cancelled = false;
	newly = pipe_publish(pipe);
	/* Many pipes that hold a little each share segments, unless this one writes on first. */
	if (newly > 0 && pipe->tail && pipe->reserved == 0)
		xy_link_disown(pipe->pool, pipe->tail);
	if (newly > 0)
		xy_pipe_wake_reader(pipe);
	if (pipe->reader_done)
		return -EPIPE;
	/* A reader that waits for more than it was given must get it, whatever the threshold. */
	if (newly > 0 && pipe->pause > 0 && pipe->length >= pipe->wanted &&
	    pipe->length - pipe->examined_most >= pipe->pause)
		pipe->paused = true;
	pipe->flush_waiting = pipe->paused && !cancelled;
	return pipe->flush_waiting;
}

void xy_pipe_cancel_flush(struct xy_pipe *pipe)
{
	if (!pipe->flush_waiting) {
		pipe->flush_cancelled = true;
		return;
	}
	pipe->flush_waiting = false;
	if (pipe->on_resume)
		pipe->on_resume(pipe, pipe->context);
}

void xy_pipe_complete_writer(struct xy_pipe *pipe, int error)
{
	if (pipe->writer_done)
		return;
	pipe->reserved = 0;
	xy_pipe_strip(pipe);
	pipe->writer_done = true;
	pipe->error = error > 0 ? -error : error;
	pipe_publish(pipe);
	xy_pipe_wake_reader(pipe);
}
