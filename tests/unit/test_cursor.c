/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading a view: every read across every position of segment borders, against a flat buffer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <xylem/pipe.h>

#define LENGTH 24u

static uint8_t content[LENGTH];
static struct xy_pool *pool;

static int setup(void **state)
{
	struct xy_pool_options options = {.size = sizeof(options), .segment_size = 64};

	(void)state;
	for (unsigned i = 0; i < LENGTH; i++)
		content[i] = (uint8_t)(0xf1 + 29 * i);
	pool = xy_pool_new(&options);
	return pool ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	xy_pool_free(pool);
	return xy_pool_total_bytes() == 0 ? 0 : -1;
}

static struct xy_pipe *pipe_new(void)
{
	struct xy_pipe_options options = {
		.size = sizeof(options), .pool = pool, .never_pause = true};
	struct xy_pipe *pipe;

	assert_int_equal(xy_pipe_new(&options, &pipe), 0);
	return pipe;
}

/* Appends bytes as a piece of its own: by reference to a segment that nothing else is in. */
static void put_piece(struct xy_pipe *pipe, const void *data, size_t length)
{
	struct xy_pipe *source = pipe_new();
	struct xy_chain chain = {0};
	struct xy_cursor cursor;
	struct xy_view view;
	size_t room;
	/* Larger than a segment: never shared with the next piece. */
	uint8_t *memory = xy_pipe_reserve(source, 65 + length, &room);

	assert_non_null(memory);
	memcpy(memory, data, length);
	memset(memory + length, 0xee, room - length);
	assert_int_equal(xy_pipe_commit(source, room), 0);
	xy_pipe_flush(source);
	assert_int_equal(xy_pipe_read(source, &view), 0);
	cursor = xy_view_cursor(&view);
	assert_int_equal(xy_cursor_share(&cursor, length, &chain), 0);
	assert_int_equal(xy_pipe_append(pipe, &chain), 0);
	xy_pipe_free(source);
}

/* Content cut at `first` and `second`; equal or outer cuts leave empty stretches out. */
static struct xy_pipe *pipe_cut(size_t first, size_t second)
{
	struct xy_pipe *pipe = pipe_new();

	put_piece(pipe, content, first);
	put_piece(pipe, content + first, second - first);
	put_piece(pipe, content + second, LENGTH - second);
	xy_pipe_flush(pipe);
	return pipe;
}

static struct xy_cursor cursor_of(struct xy_pipe *pipe)
{
	struct xy_view view;

	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	return xy_view_cursor(&view);
}

static void each_cut(void (*check)(struct xy_cursor cursor))
{
	for (size_t first = 0; first <= LENGTH; first++) {
		for (size_t second = first; second <= LENGTH; second++) {
			struct xy_pipe *pipe = pipe_cut(first, second);

			check(cursor_of(pipe));
			xy_pipe_free(pipe);
		}
	}
}

static uint64_t value_at(size_t at, size_t size, bool big)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)content[at + i] << 8 * (big ? size - 1 - i : i);
	return value;
}

#define CHECK_INTEGER(name, type, big)                                                       \
	do {                                                                                 \
		for (size_t at = 0; at <= LENGTH; at++) {                                    \
			struct xy_cursor copy = cursor;                                      \
			type value = 0x5a;                                                   \
                                                                                             \
			assert_int_equal(xy_cursor_skip(&copy, at), 0);                      \
			if (at + sizeof(type) <= LENGTH) {                                   \
				assert_int_equal(xy_cursor_##name(&copy, &value), 0);        \
				assert_true(value == (type)value_at(at, sizeof(type), big)); \
				assert_int_equal(copy.position, at + sizeof(type));          \
			} else {                                                             \
				assert_int_equal(xy_cursor_##name(&copy, &value), -ENODATA); \
				assert_int_equal(value, 0x5a);                               \
				assert_int_equal(copy.position, at);                         \
			}                                                                    \
			assert_int_equal(copy.position + copy.remaining, LENGTH);            \
		}                                                                            \
	} while (0)

static void check_integers(struct xy_cursor cursor)
{
	CHECK_INTEGER(be16, uint16_t, true);
	CHECK_INTEGER(be32, uint32_t, true);
	CHECK_INTEGER(be64, uint64_t, true);
	CHECK_INTEGER(le16, uint16_t, false);
	CHECK_INTEGER(le32, uint32_t, false);
	CHECK_INTEGER(le64, uint64_t, false);
}

static void integers_of_both_orders_at_every_border(void **state)
{
	(void)state;
	each_cut(check_integers);
}

static void check_bytes(struct xy_cursor cursor)
{
	for (size_t at = 0; at <= LENGTH; at++) {
		for (size_t length = 0; length <= LENGTH + 1; length++) {
			bool fits = at + length <= LENGTH;
			struct xy_cursor copy = cursor;
			uint8_t got[LENGTH + 1] = {0};

			assert_int_equal(xy_cursor_skip(&copy, at), 0);
			assert_int_equal(xy_cursor_peek(&copy, got, length), fits ? 0 : -ENODATA);
			assert_int_equal(copy.position, at);
			if (fits)
				assert_memory_equal(got, content + at, length);
			memset(got, 0, sizeof(got));
			assert_int_equal(xy_cursor_read(&copy, got, length), fits ? 0 : -ENODATA);
			assert_int_equal(copy.position, fits ? at + length : at);
			if (fits)
				assert_memory_equal(got, content + at, length);
		}
	}
}

static void reads_peeks_and_skips_of_every_length_at_every_border(void **state)
{
	(void)state;
	each_cut(check_bytes);
}

static void check_find(struct xy_cursor cursor)
{
	for (size_t at = 0; at < LENGTH; at++) {
		struct xy_cursor copy = cursor;
		size_t distance = 99;

		assert_int_equal(xy_cursor_skip(&copy, at), 0);
		for (size_t wanted = 0; wanted < LENGTH; wanted++) {
			const uint8_t *found = memchr(content + at, content[wanted], LENGTH - at);
			int r = xy_cursor_find(&copy, content[wanted], &distance);

			assert_int_equal(r, found ? 0 : -ENODATA);
			if (found)
				assert_int_equal(distance, found - content - at);
		}
		for (size_t length = 1; at + length <= LENGTH; length++) {
			assert_int_equal(
				xy_cursor_find_delimiter(&cursor, content + at, length, &distance),
				0);
			assert_int_equal(distance, at);
		}
	}
	assert_int_equal(cursor.position, 0);
}

static void bytes_and_delimiters_are_found_across_every_border(void **state)
{
	(void)state;
	each_cut(check_find);
}

static void delimiter_after_false_starts_is_found(void **state)
{
	static const char text[] = "aabaabaaab\r\r\n\rx";
	size_t distance = 0;

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		struct xy_pipe *pipe = pipe_new();
		struct xy_cursor cursor;

		for (size_t at = 0; at < sizeof(text) - 1; at += step) {
			size_t left = sizeof(text) - 1 - at;

			put_piece(pipe, text + at, left < step ? left : step);
		}
		xy_pipe_flush(pipe);
		cursor = cursor_of(pipe);
		assert_int_equal(xy_cursor_find_delimiter(&cursor, "aaab", 4, &distance), 0);
		assert_int_equal(distance, 6);
		assert_int_equal(xy_cursor_find_delimiter(&cursor, "\r\n", 2, &distance), 0);
		assert_int_equal(distance, 11);
		assert_int_equal(xy_cursor_find_delimiter(&cursor, "x\r", 2, &distance), -ENODATA);
		assert_int_equal(xy_cursor_find_delimiter(&cursor, "aaaa", 4, &distance), -ENODATA);
		assert_int_equal(xy_cursor_find_delimiter(&cursor, "", 0, &distance), -EINVAL);
		assert_int_equal(distance, 11);
		xy_pipe_free(pipe);
	}
}

static void check_pieces(struct xy_cursor cursor)
{
	struct xy_cursor copy = cursor;
	struct iovec iov[4];
	size_t length, covered, seen = 0;
	int count;

	while (copy.remaining > 0) {
		const void *piece = xy_cursor_chunk(&copy, &length);

		assert_true(length > 0);
		assert_memory_equal(piece, content + seen, length);
		assert_int_equal(xy_cursor_skip(&copy, length), 0);
		seen += length;
	}
	assert_int_equal(seen, LENGTH);
	xy_cursor_chunk(&copy, &length);
	assert_int_equal(length, 0);

	for (size_t wanted = 0; wanted <= LENGTH + 1; wanted++) {
		count = xy_cursor_iov(&cursor, wanted, iov, 4, &covered);
		assert_int_equal(covered, wanted < LENGTH ? wanted : LENGTH);
		seen = 0;
		for (int i = 0; i < count; i++) {
			assert_memory_equal(iov[i].iov_base, content + seen, iov[i].iov_len);
			seen += iov[i].iov_len;
		}
		assert_int_equal(seen, covered);
	}
	count = xy_cursor_iov(&cursor, LENGTH, iov, 1, &covered);
	assert_int_equal(count, 1);
	assert_int_equal(covered, iov[0].iov_len);
}

static void pieces_and_iovecs_cover_the_content_in_order(void **state)
{
	(void)state;
	each_cut(check_pieces);
}

static void check_share(struct xy_cursor cursor)
{
	for (size_t at = 0; at <= LENGTH; at += 3) {
		struct xy_pipe *to = pipe_new();
		struct xy_chain chain = {0};
		struct xy_cursor copy = cursor;
		uint8_t got[LENGTH];

		assert_int_equal(xy_cursor_share(&cursor, at, &chain), 0);
		assert_int_equal(chain.length, at);
		assert_int_equal(xy_cursor_skip(&copy, at), 0);
		assert_int_equal(xy_cursor_share(&copy, LENGTH - at + 1, &chain), -ENODATA);
		assert_int_equal(chain.length, at);
		assert_int_equal(xy_cursor_share(&copy, LENGTH - at, &chain), 0);
		assert_int_equal(chain.length, LENGTH);
		/* The second half joins the first: no more slices than pieces. */
		assert_true(chain.count <= 3);
		assert_int_equal(xy_pipe_append(to, &chain), 0);
		xy_pipe_flush(to);
		copy = cursor_of(to);
		assert_int_equal(xy_cursor_read(&copy, got, LENGTH), 0);
		assert_memory_equal(got, content, LENGTH);
		xy_pipe_free(to);
	}
}

static void sharing_takes_exactly_the_bytes_and_joins_what_touches(void **state)
{
	(void)state;
	each_cut(check_share);
}

static void empty_segments_are_legal(void **state)
{
	struct xy_pipe *pipe = pipe_new();
	struct xy_cursor cursor;
	struct xy_view view;
	uint8_t got[LENGTH];
	size_t length;

	(void)state;
	/* A cursor of nothing, with and without a segment behind it. */
	xy_pipe_cancel_read(pipe);
	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	cursor = xy_view_cursor(&view);
	assert_int_equal(xy_cursor_skip(&cursor, 0), 0);
	assert_int_equal(xy_cursor_skip(&cursor, 1), -ENODATA);
	assert_int_equal(xy_pipe_advance(pipe, 0, 0), 0);
	assert_non_null(xy_pipe_reserve(pipe, 1, &length));
	xy_pipe_cancel_read(pipe);
	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	cursor = xy_view_cursor(&view);
	assert_int_equal(xy_cursor_read(&cursor, got, 1), -ENODATA);
	assert_int_equal(xy_pipe_advance(pipe, 0, 0), 0);
	/* An emptied, still reserved segment before the content. */
	assert_int_equal(xy_pipe_write(pipe, content, 4), 0);
	xy_pipe_flush(pipe);
	assert_non_null(xy_pipe_reserve(pipe, 1, &length));
	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	assert_int_equal(xy_pipe_advance(pipe, 4, 4), 0);
	put_piece(pipe, content, LENGTH);
	xy_pipe_flush(pipe);
	cursor = cursor_of(pipe);
	assert_int_equal(xy_cursor_read(&cursor, got, LENGTH), 0);
	assert_memory_equal(got, content, LENGTH);
	xy_pipe_free(pipe);
}

static void cursor_at_the_end_survives_later_writes(void **state)
{
	struct xy_pipe *pipe = pipe_new();
	struct xy_cursor cursor;
	uint8_t byte;

	(void)state;
	assert_int_equal(xy_pipe_write(pipe, content, 4), 0);
	xy_pipe_flush(pipe);
	cursor = cursor_of(pipe);
	assert_int_equal(xy_cursor_skip(&cursor, 4), 0);
	assert_int_equal(xy_pipe_write(pipe, content, LENGTH), 0);
	put_piece(pipe, content, LENGTH);
	xy_pipe_flush(pipe);
	assert_int_equal(xy_cursor_read(&cursor, &byte, 1), -ENODATA);
	xy_pipe_free(pipe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_of_both_orders_at_every_border),
		cmocka_unit_test(reads_peeks_and_skips_of_every_length_at_every_border),
		cmocka_unit_test(bytes_and_delimiters_are_found_across_every_border),
		cmocka_unit_test(delimiter_after_false_starts_is_found),
		cmocka_unit_test(pieces_and_iovecs_cover_the_content_in_order),
		cmocka_unit_test(sharing_takes_exactly_the_bytes_and_joins_what_touches),
		cmocka_unit_test(empty_segments_are_legal),
		cmocka_unit_test(cursor_at_the_end_survives_later_writes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
