/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pipes, chains and cursors against flat memory: whatever is written, appended, shared, read,
 * examined and consumed, the content of a pipe is what plain buffers say it is.
 *
 * Input: operations on two pipes of one pool with small segments, a byte each with their arguments
 * behind it (run()).
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <unistd.h>

#include <xylem/pipe.h>

#define SEGMENT     64u
#define CONTENT_MAX 16384u

/* A pipe and what must be in it. */
struct side {
	struct xy_pipe *pipe;
	uint8_t content[2 * CONTENT_MAX];
	size_t published, written; /* bytes of content: flushed ones, and all */
};

struct world {
	struct xy_pool *pool;
	struct side side[2];
	struct xy_chain chain;
	uint8_t chained[CONTENT_MAX];
	uint8_t next; /* the byte that is written next */
};

static bool has_room(const struct side *side, size_t length)
{
	return side->written + length <= CONTENT_MAX;
}

static void make_bytes(struct world *world, uint8_t *to, size_t length)
{
	for (size_t i = 0; i < length; i++)
		to[i] = world->next++;
}

static void note_written(struct side *side, const uint8_t *bytes, size_t length)
{
	memcpy(side->content + side->written, bytes, length);
	side->written += length;
}

static void note_consumed(struct side *side, size_t length)
{
	side->published -= length;
	side->written -= length;
	memmove(side->content, side->content + length, side->written);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void do_write(struct world *world, struct side *side, size_t length)
{
	uint8_t bytes[CONTENT_MAX];

	if (!has_room(side, length))
		return;
	make_bytes(world, bytes, length);
	fuzz_check(xy_pipe_write(side->pipe, bytes, length) == 0);
	note_written(side, bytes, length);
}

static void do_reserve(struct world *world, struct side *side, size_t hint, size_t length)
{
	size_t given;
	uint8_t *memory;

	if (!has_room(side, hint > length ? hint : length))
		return;
	memory = xy_pipe_reserve(side->pipe, hint, &given);
	fuzz_check(memory != NULL && given >= hint && given > 0);
	if (length > given) {
		fuzz_check(xy_pipe_commit(side->pipe, length) == -EINVAL);
		length = given;
	}
	if (!has_room(side, length))
		length = 0;
	make_bytes(world, memory, length);
	note_written(side, memory, length);
	fuzz_check(xy_pipe_commit(side->pipe, length) == 0);
}

static void do_flush(struct side *side)
{
	int r = xy_pipe_flush(side->pipe);

	fuzz_check(r == 0);
	side->published = side->written;
}

static void do_append(struct world *world, struct side *side, bool shared)
{
	size_t length = world->chain.length;

	if (!has_room(side, length))
		return;
	if (shared)
		fuzz_check(xy_pipe_append_shared(side->pipe, &world->chain) == 0);
	else
		fuzz_check(xy_pipe_append(side->pipe, &world->chain) == 0);
	fuzz_check(world->chain.length == (shared ? length : 0));
	note_written(side, world->chained, length);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void check_number(struct xy_cursor cursor, const uint8_t *at, size_t left)
{
	uint64_t big = 0, small = 0, read64 = 0;
	uint32_t read32 = 0;
	uint16_t read16 = 0;

	for (size_t i = 0; i < 8 && i < left; i++) {
		big = big << 8 | at[i];
		small |= (uint64_t)at[i] << 8 * i;
	}
	if (left >= 8) {
		struct xy_cursor copy = cursor;

		fuzz_check(xy_cursor_be64(&copy, &read64) == 0 && read64 == big);
		copy = cursor;
		fuzz_check(xy_cursor_le64(&copy, &read64) == 0 && read64 == small);
		copy = cursor;
		fuzz_check(xy_cursor_be32(&copy, &read32) == 0 && read32 == big >> 32);
		copy = cursor;
		fuzz_check(xy_cursor_le32(&copy, &read32) == 0 && read32 == (uint32_t)small);
		copy = cursor;
		fuzz_check(xy_cursor_be16(&copy, &read16) == 0 && read16 == big >> 48);
		fuzz_check(xy_cursor_le16(&cursor, &read16) == 0 && read16 == (uint16_t)small);
	} else {
		size_t remaining = cursor.remaining;

		fuzz_check(xy_cursor_be64(&cursor, &read64) == -ENODATA);
		fuzz_check(xy_cursor_le64(&cursor, &read64) == -ENODATA);
		fuzz_check(cursor.remaining == remaining);
	}
}

static void check_find(const struct xy_cursor *cursor, const uint8_t *at, size_t left, uint8_t byte,
		       size_t delimiter_at, size_t delimiter_length)
{
	const uint8_t *found = left > 0 ? memchr(at, byte, left) : NULL;
	size_t distance = 0;
	uint8_t delimiter[8];

	if (found != NULL)
		fuzz_check(xy_cursor_find(cursor, byte, &distance) == 0 &&
			   distance == (size_t)(found - at));
	else
		fuzz_check(xy_cursor_find(cursor, byte, &distance) == -ENODATA);

	/* Bytes that are there, of which the last may be changed. */
	if (delimiter_length == 0 || delimiter_length > sizeof(delimiter) ||
	    delimiter_at + delimiter_length > left)
		return;
	memcpy(delimiter, at + delimiter_at, delimiter_length);
	delimiter[delimiter_length - 1] ^= byte & 1;
	found = memmem(at, left, delimiter, delimiter_length);
	if (found != NULL)
		fuzz_check(xy_cursor_find_delimiter(cursor, delimiter, delimiter_length,
						    &distance) == 0 &&
			   distance == (size_t)(found - at));
	else
		fuzz_check(xy_cursor_find_delimiter(cursor, delimiter, delimiter_length,
						    &distance) == -ENODATA);
}

static void check_iov(const struct xy_cursor *cursor, const uint8_t *at, size_t left, size_t length,
		      int maximum)
{
	struct iovec iov[8];
	size_t covered, seen = 0, chunk;
	int count = xy_cursor_iov(cursor, length, iov, maximum, &covered);
	const void *first = xy_cursor_chunk(cursor, &chunk);

	fuzz_check(count >= 0 && count <= maximum && covered <= length && covered <= left);
	for (int i = 0; i < count; i++) {
		fuzz_check(iov[i].iov_len > 0);
		fuzz_check(memcmp(iov[i].iov_base, at + seen, iov[i].iov_len) == 0);
		seen += iov[i].iov_len;
	}
	fuzz_check(seen == covered);
	if (count < maximum)
		fuzz_check(covered == (length < left ? length : left));
	fuzz_check(chunk <= left && (chunk > 0) == (left > 0));
	if (chunk > 0)
		fuzz_check(memcmp(first, at, chunk) == 0);
}

static void check_copy(struct xy_cursor *cursor, const uint8_t *at, size_t left, size_t length)
{
	uint8_t bytes[CONTENT_MAX];

	if (length > left) {
		fuzz_check(xy_cursor_peek(cursor, bytes, length) == -ENODATA);
		fuzz_check(xy_cursor_skip(cursor, length) == -ENODATA);
		return;
	}
	fuzz_check(xy_cursor_peek(cursor, bytes, length) == 0);
	fuzz_check(memcmp(bytes, at, length) == 0);
	fuzz_check(xy_cursor_read(cursor, bytes, length) == 0);
	fuzz_check(memcmp(bytes, at, length) == 0 && cursor->remaining == left - length);
}

/* A view, everything that can be asked of it at one position, its end. */
static void do_read(struct side *side, struct fuzz_input *input)
{
	size_t at = fuzz_take(input, 2), consumed = fuzz_take(input, 2), left;
	struct xy_cursor cursor;
	struct xy_view view;
	int r = xy_pipe_read(side->pipe, &view);

	if (side->published == 0) {
		fuzz_check(r == -EAGAIN);
		return;
	}
	if (r == -EAGAIN) {
		/* What was examined is not shown again before there is more. */
		r = xy_pipe_read_at_least(side->pipe, side->published + 1, &view);
		fuzz_check(r == -EAGAIN);
		return;
	}
	fuzz_check(r == 0 && view.length == side->published && !view.completed);
	fuzz_check(xy_pipe_read(side->pipe, &view) == -EBUSY);
	at %= side->published + 1;
	left = side->published - at;
	cursor = xy_view_cursor(&view);
	fuzz_check(xy_cursor_skip(&cursor, at) == 0);
	fuzz_check(cursor.position == at && cursor.remaining == left);
	check_number(cursor, side->content + at, left);
	check_find(&cursor, side->content + at, left, (uint8_t)fuzz_take(input, 1),
		   fuzz_take(input, 1), fuzz_take(input, 1) % 9);
	check_iov(&cursor, side->content + at, left, fuzz_take(input, 2),
		  (int)(fuzz_take(input, 1) % 9));
	check_copy(&cursor, side->content + at, left, fuzz_take(input, 2) % CONTENT_MAX);

	fuzz_check(xy_pipe_advance(side->pipe, side->published + 1, side->published + 1) ==
		   -EINVAL);
	consumed %= side->published + 1;
	fuzz_check(xy_pipe_advance(side->pipe, consumed,
				   fuzz_take(input, 1) & 1 ? side->published : consumed) == 0);
	fuzz_check(xy_pipe_advance(side->pipe, 0, 0) == -ENOENT);
	note_consumed(side, consumed);
}

/* Content to the chain, behind what it has. */
static void do_share(struct world *world, struct side *side, size_t at, size_t length)
{
	struct xy_cursor cursor;
	struct xy_view view;

	if (xy_pipe_read(side->pipe, &view) != 0)
		return;
	at %= side->published + 1;
	length %= side->published - at + 1;
	cursor = xy_view_cursor(&view);
	fuzz_check(xy_cursor_skip(&cursor, at) == 0);
	if (world->chain.length + length <= CONTENT_MAX) {
		memcpy(world->chained + world->chain.length, side->content + at, length);
		fuzz_check(xy_cursor_share(&cursor, length, &world->chain) == 0);
		fuzz_check(xy_cursor_share(&cursor, side->published - at + 1, &world->chain) ==
			   -ENODATA);
	}
	fuzz_check(xy_pipe_advance(side->pipe, 0, 0) == 0);
}

static void do_copy_to_pipe(struct side *from, struct side *to, size_t length)
{
	size_t expected = length < from->published ? length : from->published;

	if (!has_room(to, expected))
		return;
	fuzz_check(xy_pipe_copy_to_pipe(from->pipe, to->pipe, length) == 0);
	note_written(to, from->content, expected);
	note_consumed(from, expected);
	to->published = to->written;
}

static void do_copy_to_fd(struct side *side, size_t length)
{
	size_t expected = length < side->published ? length : side->published, written = 0;
	uint8_t bytes[CONTENT_MAX];
	int fd[2];

	fuzz_check(pipe(fd) == 0);
	fuzz_check(xy_pipe_copy_to_fd(side->pipe, fd[1], length, &written) == 0);
	fuzz_check(written == expected);
	close(fd[1]);
	fuzz_check(read(fd[0], bytes, sizeof(bytes)) == (ssize_t)expected);
	fuzz_check(memcmp(bytes, side->content, expected) == 0);
	close(fd[0]);
	note_consumed(side, expected);
}

static void do_chain(struct world *world, bool keep)
{
	struct xy_chain copy = {0}, moved = {0};

	fuzz_check(xy_chain_share(&world->chain, &copy) == 0);
	fuzz_check(copy.length == world->chain.length);
	xy_chain_move(&moved, &world->chain);
	fuzz_check(world->chain.length == 0 && moved.length == copy.length);
	xy_chain_clear(keep ? &moved : &copy, world->pool);
	xy_chain_move(&world->chain, keep ? &copy : &moved);
}

static void do_front(struct world *world, size_t length)
{
	size_t gone = length < world->chain.length ? length : world->chain.length;
	size_t left = world->chain.length - gone;
	uint8_t bytes[CONTENT_MAX];

	xy_chain_advance(&world->chain, length, world->pool);
	fuzz_check(world->chain.length == left);
	memmove(world->chained, world->chained + gone, left);
	fuzz_check(xy_chain_peek(&world->chain, bytes, left) == 0);
	fuzz_check(memcmp(bytes, world->chained, left) == 0);
	fuzz_check(xy_chain_peek(&world->chain, bytes, left + 1) == -ENODATA);
}

/* ---- the run --------------------------------------------------------------------------------- */

static void run(struct world *world, struct fuzz_input *input)
{
	unsigned operation = (unsigned)fuzz_take(input, 1);
	struct side *side = &world->side[operation & 1], *other = &world->side[~operation & 1];
	size_t first;

	switch (operation >> 1 & 15) {
	case 0:
		do_write(world, side, fuzz_take(input, 1));
		break;
	case 1:
		do_write(world, side, fuzz_take(input, 2) % 4096);
		break;
	case 2:
		first = fuzz_take(input, 1);
		do_reserve(world, side, first, fuzz_take(input, 1));
		break;
	case 3:
	case 4:
		do_flush(side);
		break;
	case 5:
		do_append(world, side, false);
		break;
	case 6:
		do_append(world, side, true);
		break;
	case 7:
		first = fuzz_take(input, 2);
		do_share(world, side, first, fuzz_take(input, 2));
		break;
	case 8:
		do_copy_to_pipe(side, other, fuzz_take(input, 2));
		break;
	case 9:
		do_copy_to_fd(side, fuzz_take(input, 2));
		break;
	case 10:
		do_chain(world, fuzz_take(input, 1) & 1);
		break;
	case 11:
		xy_chain_clear(&world->chain, world->pool);
		break;
	case 12:
		xy_pool_trim(world->pool, (uint32_t)fuzz_take(input, 1) % 4);
		break;
	case 13:
		do_front(world, fuzz_take(input, 2));
		break;
	default:
		do_read(side, input);
		break;
	}
	fuzz_check(xy_pipe_length(side->pipe) == side->published);
	fuzz_check(xy_pipe_length(other->pipe) == other->published);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	struct xy_pool_options pool = {
		.size = sizeof(pool), .segment_size = SEGMENT, .cached_max = 4};
	struct fuzz_input input = {data, size};

	world.pool = xy_pool_new(&pool);
	world.next = 0;
	fuzz_check(world.pool != NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct xy_pipe_options options = {.size = sizeof(options),
						  .pool = world.pool,
						  .never_pause = true,
						  .minimum_segment = i == 0 ? 1 : SEGMENT / 2};

		fuzz_check(xy_pipe_new(&options, &world.side[i].pipe) == 0);
		world.side[i].published = world.side[i].written = 0;
	}
	while (input.size > 0)
		run(&world, &input);
	xy_chain_clear(&world.chain, world.pool);
	xy_pipe_free(world.side[0].pipe);
	xy_pipe_free(world.side[1].pipe);
	xy_pool_free(world.pool);
	fuzz_check(xy_pool_total_bytes() == 0);
	return 0;
}
