/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "io/pipe_internal.h"

struct xy_cursor xy_pipe_cursor(const struct xy_pipe *pipe, size_t length)
{
	return (struct xy_cursor){
		.pipe = pipe,
		.link = pipe->head,
		.at = pipe->head ? pipe->head->start : 0,
		.remaining = length,
	};
}

struct xy_cursor xy_view_cursor(const struct xy_view *view)
{
	bool stale = view->stamp != view->pipe->stamp;

	return xy_pipe_cursor(view->pipe, stale ? 0 : view->length);
}

/* Content at the cursor, in one piece, at most `most` bytes. Enters the next link lazily, because
 * the link that ends here may still grow, or go when nothing remains. Links that others follow have
 * content. */
static const uint8_t *cursor_piece(struct xy_cursor *cursor, size_t most, size_t *ret_length)
{
	const struct xy_link *link = cursor->link;

	most = xy_min(most, cursor->remaining);
	if (most == 0) {
		*ret_length = 0;
		return NULL;
	}
	if (cursor->at == link->end) {
		link = link->next;
		cursor->link = link;
		cursor->at = link->start;
	}
	*ret_length = xy_min(most, (size_t)(link->end - cursor->at));
	return link->segment->data + cursor->at;
}

static void cursor_move(struct xy_cursor *cursor, size_t length)
{
	cursor->at += (uint32_t)length;
	cursor->position += length;
	cursor->remaining -= length;
}

/* The length is there. */
static void cursor_take(struct xy_cursor *cursor, void *to, size_t length)
{
	uint8_t *out = to;

	while (length > 0) {
		size_t part;
		const uint8_t *piece = cursor_piece(cursor, length, &part);

		if (out) {
			memcpy(out, piece, part);
			out += part;
		}
		cursor_move(cursor, part);
		length -= part;
	}
}

int xy_cursor_skip(struct xy_cursor *cursor, size_t length)
{
	if (length > cursor->remaining)
		return -ENODATA;
	cursor_take(cursor, NULL, length);
	return 0;
}

int xy_cursor_read(struct xy_cursor *cursor, void *to, size_t length)
{
	if (length > cursor->remaining)
		return -ENODATA;
	cursor_take(cursor, to, length);
	return 0;
}

int xy_cursor_peek(const struct xy_cursor *cursor, void *to, size_t length)
{
	struct xy_cursor copy = *cursor;

	return xy_cursor_read(&copy, to, length);
}

#define DEFINE_READ(name, type, convert)                                \
	int xy_cursor_##name(struct xy_cursor *cursor, type *ret_value) \
	{                                                               \
		type raw;                                               \
                                                                        \
		if (cursor->remaining < sizeof(raw))                    \
			return -ENODATA;                                \
		cursor_take(cursor, &raw, sizeof(raw));                 \
		*ret_value = convert(raw);                              \
		return 0;                                               \
	}

DEFINE_READ(be16, uint16_t, be16toh)
DEFINE_READ(be32, uint32_t, be32toh)
DEFINE_READ(be64, uint64_t, be64toh)
DEFINE_READ(le16, uint16_t, le16toh)
DEFINE_READ(le32, uint32_t, le32toh)
DEFINE_READ(le64, uint64_t, le64toh)

int xy_cursor_find(const struct xy_cursor *cursor, uint8_t byte, size_t *ret_distance)
{
	struct xy_cursor at = *cursor;

	while (at.remaining > 0) {
		size_t length;
		const uint8_t *piece = cursor_piece(&at, at.remaining, &length);
		const uint8_t *found = memchr(piece, byte, length);

		if (found) {
			*ret_distance = at.position - cursor->position + (size_t)(found - piece);
			return 0;
		}
		cursor_move(&at, length);
	}
	return -ENODATA;
}

static bool cursor_equal(struct xy_cursor at, const uint8_t *data, size_t length)
{
	while (length > 0) {
		size_t part;
		const uint8_t *piece = cursor_piece(&at, length, &part);

		if (memcmp(piece, data, part) != 0)
			return false;
		cursor_move(&at, part);
		data += part;
		length -= part;
	}
	return true;
}

int xy_cursor_find_delimiter(const struct xy_cursor *cursor, const void *delimiter, size_t length,
			     size_t *ret_distance)
{
	const uint8_t *data = delimiter;
	struct xy_cursor at = *cursor;
	size_t distance;

	if (length == 0)
		return -EINVAL;
	while (at.remaining >= length && xy_cursor_find(&at, data[0], &distance) == 0 &&
	       at.remaining - distance >= length) {
		cursor_take(&at, NULL, distance);
		if (cursor_equal(at, data, length)) {
			*ret_distance = at.position - cursor->position;
			return 0;
		}
		cursor_take(&at, NULL, 1);
	}
	return -ENODATA;
}

const void *xy_cursor_chunk(const struct xy_cursor *cursor, size_t *ret_length)
{
	struct xy_cursor copy = *cursor;

	return cursor_piece(&copy, copy.remaining, ret_length);
}

int xy_cursor_iov(const struct xy_cursor *cursor, size_t length, struct iovec *iov, int maximum,
		  size_t *ret_length)
{
	struct xy_cursor at = *cursor;
	int count = 0;

	length = xy_min(length, at.remaining);
	while (length > 0) {
		size_t part;
		const uint8_t *piece = cursor_piece(&at, length, &part);

		if (count > 0 &&
		    (const uint8_t *)iov[count - 1].iov_base + iov[count - 1].iov_len == piece) {
			iov[count - 1].iov_len += part;
		} else if (count < maximum) {
			iov[count++] = (struct iovec){.iov_base = (void *)piece, .iov_len = part};
		} else {
			break;
		}
		cursor_move(&at, part);
		length -= part;
	}
	*ret_length = at.position - cursor->position;
	return count;
}

int xy_cursor_share(const struct xy_cursor *cursor, size_t length, struct xy_chain *chain)
{
	struct xy_cursor at = *cursor;
	uint32_t pieces = 0;
	size_t left, part;
	int r;

	if (length > cursor->remaining)
		return -ENODATA;
	for (left = length; left > 0; left -= part) {
		cursor_piece(&at, left, &part);
		cursor_move(&at, part);
		pieces++;
	}
	r = xy_chain_prepare(chain, pieces);
	if (r < 0)
		return r;
	at = *cursor;
	for (left = length; left > 0; left -= part) {
		const struct xy_link *link;

		cursor_piece(&at, left, &part);
		link = at.link;
		xy_chain_add(chain, link->segment, at.at, (uint32_t)part);
		cursor_move(&at, part);
	}
	return 0;
}
