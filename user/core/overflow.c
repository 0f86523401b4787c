/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/overflow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/connection.h"

/* Sources whose current message is being dropped. Beyond that the rest of some message is
 * delivered, and its receiver discards it. */
#define DROPS_MAX  1024
/* So long after the last drop the next one begins something new. */
#define EPISODE_MS 1000

/* ---- messages that are being dropped --------------------------------------------------------- */

static struct xy_drop *drops_find(const struct xy_drops *drops, uint64_t source)
{
	for (uint32_t d = 0; d < drops->count; d++)
		if (drops->list[d].source == source)
			return &drops->list[d];
	return NULL;
}

static void drops_put(struct xy_drops *drops, const struct xy_drop *drop)
{
	struct xy_drop *place = drops_find(drops, drop->source);

	if (!place && drops->count == drops->capacity && drops->capacity < DROPS_MAX) {
		uint32_t capacity = drops->capacity ? drops->capacity * 2 : 4;
		void *list = realloc(drops->list, capacity * sizeof(*drops->list));

		if (!list)
			return; /* as if the table were full */
		drops->list = list;
		drops->capacity = capacity;
	}
	if (!place && drops->count < drops->capacity)
		place = &drops->list[drops->count++];
	else if (!place)
		place = &drops->list[drops->evict++ % DROPS_MAX];
	*place = *drop;
}

static bool is_last(const struct xy_frame *frame)
{
	return frame->fragment + 1 >= frame->fragments;
}

static bool is_part_of(const struct xy_frame *frame, const struct xy_drop *message)
{
	return frame->fragments > 1 && frame->source == message->source &&
	       frame->target == message->target && frame->sequence == message->sequence;
}

/* Whether this frame goes on with a message that is being dropped. Anything else of its source
 * ends that message. */
static bool drops_follow(struct xy_drops *drops, const struct xy_frame *frame,
			 enum xy_delivery_policy *ret_policy)
{
	struct xy_drop *drop = drops_find(drops, frame->source);
	bool rest;

	if (!drop)
		return false;
	rest = frame->fragment > 0 && is_part_of(frame, drop);
	if (rest)
		*ret_policy = drop->policy;
	if (!rest || is_last(frame))
		/* There is one: NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		*drop = drops->list[--drops->count];
	return rest;
}

static struct xy_drop drop_of(const struct xy_frame *frame, enum xy_delivery_policy policy)
{
	return (struct xy_drop){.source = frame->source,
				.target = frame->target,
				.sequence = frame->sequence,
				.policy = policy};
}

static void drops_begin(struct xy_drops *drops, const struct xy_frame *frame,
			enum xy_delivery_policy policy)
{
	struct xy_drop drop = drop_of(frame, policy);

	if (!is_last(frame))
		drops_put(drops, &drop);
}

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

/* ---- counting -------------------------------------------------------------------------------- */

struct tally {
	size_t bytes;
	uint32_t frames, messages[XY_POLICIES], frames_by[XY_POLICIES];
};

static void tally_frame(struct tally *tally, const struct xy_frame *frame,
			enum xy_delivery_policy policy)
{
	tally->bytes += frame->length;
	tally->frames++;
	tally->frames_by[policy]++;
}

static void tally_count(struct xy_connection *connection, const struct tally *tally)
{
	static const enum xy_counter counter[XY_POLICIES] = {
		[XY_DELIVER_BLOCK] = XY_COUNT_OVERFLOW, /* never: it drops nothing */
		[XY_DELIVER_DROP_OLDEST] = XY_COUNT_OVERFLOW_OLDEST,
		[XY_DELIVER_DROP_NEWEST] = XY_COUNT_OVERFLOW_NEWEST,
		[XY_DELIVER_DISCONNECT] = XY_COUNT_OVERFLOW_DISCONNECT,
	};
	struct xy_dropping *overflow = connection->overflow;
	const struct xy_peer *peer = connection->peer;
	struct xy_core *core = connection->worker->core;
	uint64_t now = xy_loop_now_ms(connection->worker->loop);
	unsigned named = 0;

	if (!tally->frames)
		return;
	for (unsigned p = 0; p < XY_POLICIES; p++) {
		if (!tally->frames_by[p])
			continue;
		named = p;
		overflow->frames[p] += tally->frames_by[p];
		overflow->messages[p] += tally->messages[p];
		xy_count(core, counter[p], tally->messages[p]);
	}
	xy_count(core, XY_COUNT_OVERFLOW, tally->frames);
	if (!overflow->dropped_ms || now - overflow->dropped_ms > EPISODE_MS)
		xy_log(XY_LOG_WARN, "slow-receiver",
		       "endpoint=%016lx name=%s overflow=%s held=%zu outstanding=%lu",
		       peer->endpoint, xy_log_quoted(peer->name),
		       xy_overflow_text((enum xy_overflow)named), xy_pipe_length(connection->data),
		       xy_peer_outstanding(peer));
	overflow->dropped_ms = now;
}

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

/* ---- what is held ---------------------------------------------------------------------------- */

/* A walk over `data`. */
struct sift {
	struct xy_connection *connection;
	size_t need;                 /* bytes still to be dropped, oldest first */
	const struct xy_drop *whole; /* … and what is held of this message, NULL = none */
	struct xy_drops open;        /* messages dropped whose last fragment was not met yet */
	struct tally tally;
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
	if (sift->whole && is_part_of(frame, sift->whole)) {
		*ret_policy = sift->whole->policy;
		return true;
	}
	if (drops_follow(&sift->open, frame, ret_policy))
		return true;
	if (!sift->need || !sift_loose(sift))
		return false;
	*ret_policy = XY_DELIVER_DROP_OLDEST;
	sift->tally.messages[XY_DELIVER_DROP_OLDEST]++;
	drops_begin(&sift->open, frame, XY_DELIVER_DROP_OLDEST);
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
			tally_frame(&sift->tally, &frame, policy);
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
		tally_count(connection, &sift.tally);
		/* A source that has a newer one there has ended this one. */
		for (uint32_t d = 0; d < sift.open.count; d++)
			if (!drops_find(&overflow->drops, sift.open.list[d].source))
				drops_put(&overflow->drops, &sift.open.list[d]);
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

/* Drops the frames at the front of the chain that continue what is being dropped; with `all` every
 * one of them. */
static void arrival_drop(struct xy_connection *connection, struct xy_chain *chain, uint32_t *frames,
			 enum xy_delivery_policy policy, bool all)
{
	struct xy_dropping *overflow = connection->overflow;
	struct xy_pipe *sieve = connection->worker->sieve;
	struct tally tally = {0};
	struct xy_cursor cursor;
	struct xy_view view;

	if (xy_pipe_append(sieve, chain)) {
		arrival_lost(connection, chain, *frames, policy);
		return;
	}
	xy_pipe_flush(sieve);
	xy_pipe_read(sieve, &view);
	cursor = xy_view_cursor(&view);
	while (cursor.remaining) {
		enum xy_delivery_policy by = policy;
		struct xy_frame frame;

		frame_at(&cursor, &frame);
		if (!drops_follow(&overflow->drops, &frame, &by)) {
			struct xy_drop message = drop_of(&frame, policy);

			if (!all)
				break;
			if (frame.fragment)
				held_drop(connection, 0, &message);
			tally.messages[policy]++;
			drops_begin(&overflow->drops, &frame, policy);
		}
		tally_frame(&tally, &frame, by);
		xy_cursor_skip(&cursor, frame.length);
	}
	if (cursor.remaining && xy_cursor_share(&cursor, cursor.remaining, chain))
		xy_outbound_lost(connection, cursor.remaining, *frames - tally.frames, policy);
	*frames -= tally.frames;
	xy_pipe_advance(sieve, view.length, view.length);
	xy_outbound_gone(connection, tally.bytes, tally.frames);
	tally_count(connection, &tally);
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
	if (!full && !(overflow && drops_find(&overflow->drops, sender->endpoint)))
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
	if (full || drops_find(&connection->overflow->drops, sender->endpoint))
		arrival_drop(connection, chain, frames, policy, full);
	if (full && policy == XY_DELIVER_DISCONNECT) {
		xy_count(connection->worker->core, XY_COUNT_SLOW_CONSUMERS, 1);
		xy_connection_fail(connection, XY_E_SLOW_CONSUMER, NULL,
				   "buffer full, and a subscription says disconnect");
	}
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

uint64_t xy_overflow_frames(const struct xy_connection *connection)
{
	const struct xy_dropping *overflow = connection->overflow;
	uint64_t frames = atomic_load_explicit(&connection->peer->unposted, memory_order_relaxed);

	for (unsigned p = 0; overflow && p < XY_POLICIES; p++)
		frames += overflow->frames[p];
	return frames;
}
