/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/overflow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/connection.h"

/* ---- what may be dropped of what is held ----------------------------------------------------- */

static int stretches_add(struct xy_stretches *stretches, size_t bytes, bool loose)
{
	uint32_t end = stretches->first + stretches->count;

	if (!bytes)
		return 0;
	if (stretches->count && stretches->list[end - 1].loose == loose) {
		stretches->list[end - 1].bytes += bytes;
		return 0;
	}
	if (stretches->first && end == stretches->capacity) {
		memmove(stretches->list, stretches->list + stretches->first,
			stretches->count * sizeof(*stretches->list));
		stretches->first = 0;
	}
	if (stretches->count == stretches->capacity) {
		uint32_t capacity = stretches->capacity ? stretches->capacity * 2 : 4;
		void *list = realloc(stretches->list, capacity * sizeof(*stretches->list));

		if (!list)
			return -ENOMEM;
		stretches->list = list;
		stretches->capacity = capacity;
	}
	stretches->list[stretches->first + stretches->count++] =
		(struct xy_stretch){.bytes = bytes, .loose = loose};
	return 0;
}

/* The first `bytes`, or all. Without any everything is firm. */
static void stretches_take(struct xy_stretches *stretches, size_t bytes)
{
	while (bytes && stretches->count) {
		struct xy_stretch *front = &stretches->list[stretches->first];
		size_t part = xy_min(bytes, front->bytes);

		bytes -= part;
		front->bytes -= part;
		if (front->bytes)
			return;
		stretches->first++;
		stretches->count--;
	}
	if (!stretches->count)
		stretches->first = 0;
}

/* ---- what is held ---------------------------------------------------------------------------- */

static struct xy_dropping *overflow_of(struct xy_connection *connection)
{
	if (!connection->overflow)
		connection->overflow = calloc(1, sizeof(*connection->overflow));
	return connection->overflow;
}

static void frame_at(const struct xy_cursor *cursor, struct xy_frame *frame)
{
	uint8_t header[XY_HEADER_SIZE];

	xy_cursor_peek(cursor, header, sizeof(header));
	xy_frame_decode(header, frame);
}

/* A walk over `data`. */
struct sift {
	struct xy_connection *connection;
	size_t need;                 /* bytes still to be dropped, oldest first */
	const struct xy_drop *whole; /* … and what is held of this message, NULL = none */
	struct xy_drops open;        /* messages dropped whose last fragment was not met yet */
	struct xy_tally tally;
	struct xy_stretch stretch; /* what is left of the one that the walk is in … */
	uint32_t next;             /* … and the next one's index */
	struct xy_stretches held;  /* as it will be */
	struct xy_chain kept;
	struct xy_cursor run; /* what is kept and not yet in the chain begins here … */
	size_t run_bytes;     /* … and has so many bytes */
	bool gap;             /* something was dropped behind something that is kept */
};

static bool sift_loose(const struct sift *sift)
{
	return sift->stretch.loose;
}

static void stretch_next(struct sift *sift)
{
	const struct xy_stretches *held = &sift->connection->overflow->held;

	if (!sift->stretch.bytes && sift->next < held->count)
		sift->stretch = held->list[held->first + sift->next++];
}

static int sift_keep(struct sift *sift, const struct xy_cursor *cursor, size_t bytes)
{
	size_t left = bytes;

	if (!sift->run_bytes)
		sift->run = *cursor;
	sift->run_bytes += bytes;
	while (left) {
		size_t part;

		stretch_next(sift);
		part = sift->stretch.bytes ? xy_min(left, sift->stretch.bytes) : left;
		if (stretches_add(&sift->held, part, sift_loose(sift)))
			return -ENOMEM;
		sift->stretch.bytes -= xy_min(part, sift->stretch.bytes);
		left -= part;
	}
	return 0;
}

static int sift_run_end(struct sift *sift)
{
	int error = sift->run_bytes ? xy_cursor_share(&sift->run, sift->run_bytes, &sift->kept) : 0;

	sift->run_bytes = 0;
	return error;
}

static bool sift_drops(struct sift *sift, const struct xy_frame *frame,
		       enum xy_delivery_policy *ret_policy)
{
	if (sift->whole && frame->source == sift->whole->key && xy_drop_has(sift->whole, frame)) {
		*ret_policy = sift->whole->policy;
		return true;
	}
	if (xy_drops_follow(&sift->open, frame->source, frame, ret_policy))
		return true;
	if (!sift->need || !sift_loose(sift))
		return false;
	*ret_policy = XY_DELIVER_DROP_OLDEST;
	sift->tally.messages[XY_DELIVER_DROP_OLDEST]++;
	xy_drops_begin(&sift->open, frame->source, frame, XY_DELIVER_DROP_OLDEST);
	return true;
}

static int sift_walk(struct sift *sift, struct xy_cursor cursor)
{
	int error = 0;

	while (!error && cursor.remaining && (sift->need || sift->whole || sift->open.count)) {
		enum xy_delivery_policy policy;
		struct xy_frame frame;

		frame_at(&cursor, &frame);
		stretch_next(sift);
		if (sift_drops(sift, &frame, &policy)) {
			sift->gap = sift->gap || sift->held.count;
			error = sift_run_end(sift);
			xy_tally_frame(&sift->tally, &frame, policy);
			sift->stretch.bytes -= xy_min(sift->stretch.bytes, (size_t)frame.length);
			sift->need -= xy_min(sift->need, (size_t)frame.length);
		} else {
			error = sift_keep(sift, &cursor, frame.length);
		}
		xy_cursor_skip(&cursor, frame.length);
	}
	if (!error && cursor.remaining)
		error = sift_keep(sift, &cursor, cursor.remaining);
	return error ? error : sift_run_end(sift);
}

/* The pipe gives up from its front only: what is kept behind a gap is appended once more, by
 * reference. */
static int sift_replace(struct sift *sift, const struct xy_view *view)
{
	struct xy_pipe *data = sift->connection->data;
	size_t gone = sift->tally.bytes;
	int error = 0;

	if (sift->gap) {
		gone = view->length;
		error = xy_pipe_append(data, &sift->kept);
		if (!error)
			xy_pipe_flush(data);
	}
	if (!error)
		xy_pipe_advance(data, gone, gone);
	return error;
}

/* Drops of what is held, and has not begun to leave: loose messages until `need` bytes are free,
 * and all of `whole`. What cannot be done for want of memory is not done. */
static void held_drop(struct xy_connection *connection, size_t need, const struct xy_drop *whole)
{
	struct xy_dropping *overflow = connection->overflow;
	size_t begun = connection->partial_control ? 0 : connection->partial;
	struct sift sift = {.connection = connection, .need = need, .whole = whole};
	struct xy_cursor cursor;
	struct xy_view view;
	int error = 0;

	if (xy_pipe_read(connection->data, &view))
		return;
	cursor = xy_view_cursor(&view);
	if (begun)
		error = sift_keep(&sift, &cursor, begun);
	xy_cursor_skip(&cursor, begun);
	if (!error)
		error = sift_walk(&sift, cursor);
	if (!error && sift.tally.frames)
		error = sift_replace(&sift, &view);
	if (error || !sift.tally.frames) {
		xy_pipe_advance(connection->data, 0, 0);
		free(sift.held.list);
	} else {
		free(overflow->held.list);
		overflow->held = sift.held;
		connection->held_data -= sift.tally.frames;
		xy_outbound_gone(connection, sift.tally.bytes, sift.tally.frames);
		xy_tally_count(connection->worker, connection->peer, &sift.tally);
		/* A source that has a newer one there has ended this one. */
		for (uint32_t d = 0; d < sift.open.count; d++)
			if (!xy_drops_find(&overflow->drops, sift.open.list[d].key))
				xy_drops_put(&overflow->drops, &sift.open.list[d]);
	}
	free(sift.open.list);
	xy_chain_clear(&sift.kept, connection->worker->pool);
}

/* ---- what arrives ---------------------------------------------------------------------------- */

/* Without memory nothing can be looked at. */
static void arrival_lost(struct xy_connection *connection, struct xy_chain *chain, uint32_t frames,
			 enum xy_delivery_policy policy)
{
	xy_outbound_lost(connection, chain->length, frames, policy);
	xy_chain_clear(chain, connection->worker->pool);
}

/* Drops frames at the front of the chain: those that go on with what is being dropped; with `all`
 * every one. */
static void arrival_drop(struct xy_connection *connection, uint64_t source, struct xy_chain *chain,
			 uint32_t *frames, enum xy_delivery_policy policy, bool all)
{
	struct xy_front front = xy_drops_front(&connection->overflow->drops, source, chain,
					       connection->worker->pool, policy, all);

	if (front.begun) {
		held_drop(connection, 0, &front.message);
		front.tally.messages[policy]++;
	}
	*frames -= front.tally.frames;
	xy_outbound_gone(connection, front.tally.bytes, front.tally.frames);
	xy_tally_count(connection->worker, connection->peer, &front.tally);
}

void xy_overflow_cut(struct xy_peer *peer, const struct xy_drop *message)
{
	struct xy_connection *connection = peer->connection;
	struct xy_dropping *overflow = connection ? overflow_of(connection) : NULL;
	const struct xy_drop *drop =
		overflow ? xy_drops_find(&overflow->drops, message->key) : NULL;
	struct xy_tally tally = {0};

	if (drop && drop->target == message->target && drop->sequence == message->sequence)
		return; /* it is being dropped here, too, and has been counted */
	tally.messages[message->policy] = 1;
	xy_tally_count(peer->worker, peer, &tally);
	if (overflow)
		held_drop(connection, 0, message);
}

void xy_overflow_disconnect(struct xy_connection *connection, const char *why)
{
	if (connection->state >= XY_CONNECTION_LINGER)
		return;
	xy_count(connection->worker->core, XY_COUNT_SLOW_CONSUMERS, 1);
	xy_connection_fail(connection, XY_E_SLOW_CONSUMER, NULL, why);
}

static bool is_full(const struct xy_connection *connection)
{
	return xy_pipe_length(connection->data) >= XY_BUFFER_PAUSE;
}

bool xy_overflow_admit(struct xy_connection *connection, const struct xy_peer *sender,
		       struct xy_chain *chain, uint32_t *frames, enum xy_delivery_policy policy)
{
	struct xy_dropping *overflow = connection->overflow;
	bool may_drop = policy != XY_DELIVER_BLOCK && policy != XY_DELIVER_DIRECT, full;

	/* What came in this turn has not been sent yet: only what the receiver does not take now
	 * makes it a slow one. */
	if (may_drop && is_full(connection) && !connection->writing) {
		xy_outbound_send(connection);
		if (connection->state >= XY_CONNECTION_LINGER || connection->deaf) {
			xy_outbound_gone(connection, chain->length, *frames);
			xy_chain_clear(chain, connection->worker->pool);
			xy_count(connection->worker->core, XY_COUNT_GONE, *frames);
			return false;
		}
	}
	full = may_drop && is_full(connection);
	if (!full && !(overflow && xy_drops_find(&overflow->drops, sender->endpoint)))
		return true;
	if (!overflow_of(connection)) {
		arrival_lost(connection, chain, *frames, policy);
		return false;
	}
	if (full && policy == XY_DELIVER_DROP_OLDEST) {
		held_drop(connection,
			  xy_pipe_length(connection->data) + chain->length - XY_BUFFER_PAUSE, NULL);
		full = is_full(connection);
	}
	if (full || xy_drops_find(&connection->overflow->drops, sender->endpoint))
		arrival_drop(connection, sender->endpoint, chain, frames, policy, full);
	if (full && policy == XY_DELIVER_DISCONNECT)
		xy_overflow_disconnect(connection,
				       "buffer full, and a subscription says disconnect");
	return chain->length > 0;
}

void xy_overflow_kept(struct xy_connection *connection, size_t bytes,
		      enum xy_delivery_policy policy)
{
	bool loose = policy == XY_DELIVER_DROP_OLDEST;
	size_t before = xy_pipe_length(connection->data) - bytes;
	struct xy_dropping *overflow = loose ? overflow_of(connection) : connection->overflow;

	if (!overflow || (!loose && !overflow->held.count))
		return;
	if (!overflow->held.count && stretches_add(&overflow->held, before, false))
		return;
	/* Without memory it joins its neighbour: a policy acts on it that is not its own. */
	if (stretches_add(&overflow->held, bytes, loose) && overflow->held.count)
		overflow->held.list[overflow->held.first + overflow->held.count - 1].bytes += bytes;
}

void xy_overflow_left(struct xy_connection *connection, size_t bytes)
{
	if (connection->overflow)
		stretches_take(&connection->overflow->held, bytes);
}

void xy_overflow_free(struct xy_connection *connection)
{
	struct xy_dropping *overflow = connection->overflow;

	if (!overflow)
		return;
	free(overflow->drops.list);
	free(overflow->held.list);
	free(overflow);
}
