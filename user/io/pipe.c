/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "io/pipe_internal.h"

#define PAUSE_DEFAULT   (64 * 1024)
#define RESUME_DEFAULT  (32 * 1024)
#define MINIMUM_DEFAULT (4 * 1024)

int xy_pipe_new(const struct xy_pipe_options *options, struct xy_pipe **ret_pipe)
{
	struct xy_pipe_options given = {0};
	struct xy_pipe *pipe;

	if (!options || options->size < offsetof(struct xy_pipe_options, pause))
		return -EINVAL;
	memcpy(&given, options, xy_min(options->size, sizeof(given)));
	if (!given.pool || (given.never_pause && given.pause != 0))
		return -EINVAL;
	if (given.pause == 0 && !given.never_pause)
		given.pause = PAUSE_DEFAULT;
	if (given.resume == 0)
		given.resume = xy_min(given.pause, (size_t)RESUME_DEFAULT);
	/* A writer paused at less than it takes to resume could never go on. */
	if (!given.never_pause && given.resume > given.pause)
		return -EINVAL;
	if (given.minimum_segment == 0)
		given.minimum_segment =
			xy_min((size_t)MINIMUM_DEFAULT, (size_t)given.pool->segment_size);

	pipe = calloc(1, sizeof(*pipe));
	if (!pipe)
		return -ENOMEM;
	pipe->pool = given.pool;
	pipe->pause = given.pause;
	pipe->resume = given.resume;
	pipe->minimum = given.minimum_segment;
	pipe->on_readable = given.on_readable;
	pipe->on_resume = given.on_resume;
	pipe->context = given.context;
	pipe->waiting = true;
	*ret_pipe = pipe;
	return 0;
}

void xy_pipe_free(struct xy_pipe *pipe)
{
	if (!pipe)
		return;
	pipe->reserved = 0;
	xy_pipe_drop(pipe);
	free(pipe);
}

int xy_pipe_reset(struct xy_pipe *pipe)
{
	if (!pipe->writer_done || !pipe->reader_done)
		return -EBUSY;
	/* Not paused: the reader's completion released the writer. */
	xy_pipe_drop(pipe);
	pipe->wanted = 0;
	pipe->stamp++;
	pipe->error = 0;
	pipe->waiting = true;
	pipe->read_cancelled = pipe->flush_cancelled = false;
	pipe->writer_done = pipe->reader_done = false;
	return 0;
}

size_t xy_pipe_length(const struct xy_pipe *pipe)
{
	return pipe->length;
}

bool xy_pipe_paused(const struct xy_pipe *pipe)
{
	return pipe->paused;
}

/* ---- links --------------------------------------------------------------------------------- */

uint32_t xy_pipe_room(struct xy_pipe *pipe)
{
	struct xy_link *tail = pipe->tail;

	if (!tail)
		return 0;
	if (!tail->owned)
		xy_link_reown(pipe->pool, tail);
	return tail->owned ? tail->segment->size - tail->end : 0;
}

void xy_pipe_push(struct xy_pipe *pipe, struct xy_link *link)
{
	link->next = NULL;
	pipe->before = pipe->tail;
	if (pipe->tail)
		pipe->tail->next = link;
	else
		pipe->head = link;
	pipe->tail = link;
	pipe->links++;
}

static void pipe_pop(struct xy_pipe *pipe)
{
	struct xy_link *link = pipe->head;

	pipe->head = link->next;
	if (!pipe->head)
		pipe->tail = NULL;
	pipe->links--;
	xy_link_release(pipe->pool, link);
	xy_link_put(pipe->pool, link);
}

void xy_pipe_tidy(struct xy_pipe *pipe)
{
	while (pipe->head && pipe->head->start == pipe->head->end &&
	       !(pipe->head == pipe->tail && pipe->reserved > 0))
		pipe_pop(pipe);
}

void xy_pipe_strip(struct xy_pipe *pipe)
{
	struct xy_link *tail = pipe->tail;

	if (!tail || tail->start != tail->end)
		return;
	if (tail == pipe->head) {
		pipe_pop(pipe);
		return;
	}
	pipe->tail = pipe->before;
	pipe->tail->next = NULL;
	pipe->links--;
	xy_link_release(pipe->pool, tail);
	xy_link_put(pipe->pool, tail);
}

void xy_pipe_drop(struct xy_pipe *pipe)
{
	for (struct xy_link *link = pipe->head; link; link = link->next)
		link->start = link->end;
	pipe->length = pipe->committed = 0;
	pipe->examined = pipe->examined_most = 0;
	xy_pipe_tidy(pipe);
}
