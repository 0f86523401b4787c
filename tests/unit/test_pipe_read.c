/* SPDX-License-Identifier: BSD-2-Clause */
/* The pipe as its reader sees it: visibility, views, the end, the length. */
#include "unit/counted_pipe.h"

/* ---- reading ------------------------------------------------------------------------------- */

static void only_flushed_bytes_are_visible(void **state)
{
	struct fixture *f = *state;

	put(f->pipe, 7);
	assert_int_equal(xy_pipe_length(f->pipe), 0);
	assert_waits(f);
	xy_pipe_flush(f->pipe);
	put(f->pipe, 3);
	assert_int_equal(xy_pipe_length(f->pipe), 7);
	assert_int_equal(take_view(f), 7);
	advance(f, 7, 7);
	assert_waits(f);
	xy_pipe_flush(f->pipe);
	assert_int_equal(take_view(f), 3);
}

static void what_is_committed_is_visible_after_the_flush_only(void **state)
{
	struct fixture *f = *state;
	size_t length;

	assert_non_null(xy_pipe_reserve(f->pipe, 5, &length));
	assert_int_equal(xy_pipe_commit(f->pipe, 5), 0);
	assert_int_equal(xy_pipe_length(f->pipe), 0);
	assert_waits(f);
	assert_int_equal(f->readable, 0);
	xy_pipe_flush(f->pipe);
	assert_int_equal(f->readable, 1);
	assert_int_equal(take_view(f), 5);
}

static void reader_is_called_once_until_it_has_looked(void **state)
{
	struct fixture *f = *state;

	send_bytes(f, 1);
	send_bytes(f, 1);
	assert_int_equal(f->readable, 1);
	consume(f, 2);
	send_bytes(f, 1);
	assert_int_equal(f->readable, 2);
	take_view(f);
	send_bytes(f, 1);
	assert_int_equal(f->readable, 2);
	/* What came while the view was out is not examined: no call, the next read has it. */
	advance(f, 1, 1);
	assert_int_equal(take_view(f), 1);
}

static void messages_over_any_number_of_segments_are_whole(void **state)
{
	struct fixture *f = *state;

	/* Segments hold 16 bytes. */
	for (size_t length = 1; length <= 200; length += 7) {
		uint8_t out[200], in[200];
		struct xy_cursor cursor;
		struct xy_view view;

		for (size_t i = 0; i < length; i++)
			out[i] = (uint8_t)(length + i);
		assert_int_equal(xy_pipe_write(f->pipe, out, length), 0);
		xy_pipe_flush(f->pipe);
		assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
		assert_int_equal(view.length, length);
		cursor = xy_view_cursor(&view);
		assert_int_equal(xy_cursor_read(&cursor, in, length), 0);
		assert_memory_equal(in, out, length);
		advance(f, length, length);
	}
}

static void advance_without_a_view_is_an_error(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xy_pipe_advance(f->pipe, 0, 0), -ENOENT);
	send_bytes(f, 10);
	assert_int_equal(xy_pipe_advance(f->pipe, 1, 1), -ENOENT);
	consume(f, 4);
	assert_int_equal(xy_pipe_advance(f->pipe, 1, 1), -ENOENT);
	assert_int_equal(xy_pipe_length(f->pipe), 6);
}

static void second_read_without_advance_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;
	size_t written = 1;

	send_bytes(f, 10);
	assert_int_equal(take_view(f), 10);
	assert_int_equal(xy_pipe_read(f->pipe, &view), -EBUSY);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 1, &view), -EBUSY);
	assert_int_equal(xy_pipe_copy_to_fd(f->pipe, -1, 1, &written), -EBUSY);
	assert_int_equal(written, 0);
	assert_int_equal(xy_pipe_copy_to_pipe(f->pipe, f->pipe, 1), -EBUSY);
	advance(f, 10, 10);
}

static void advance_beyond_the_view_changes_nothing(void **state)
{
	struct fixture *f = *state;

	send_bytes(f, 10);
	take_view(f);
	send_bytes(f, 10);
	assert_int_equal(xy_pipe_advance(f->pipe, 0, 11), -EINVAL);
	assert_int_equal(xy_pipe_advance(f->pipe, 11, 11), -EINVAL);
	assert_int_equal(xy_pipe_advance(f->pipe, 5, 4), -EINVAL);
	assert_int_equal(xy_pipe_advance(f->pipe, SIZE_MAX, SIZE_MAX), -EINVAL);
	assert_int_equal(xy_pipe_length(f->pipe), 20);
	advance(f, 10, 10);
}

static void stale_view_gives_an_empty_cursor(void **state)
{
	struct fixture *f = *state;
	struct xy_cursor cursor;
	struct xy_view view;
	uint8_t byte;
	size_t length;

	send_bytes(f, 40);
	assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
	advance(f, 40, 40);
	send_bytes(f, 40);
	cursor = xy_view_cursor(&view);
	assert_int_equal(xy_cursor_read(&cursor, &byte, 1), -ENODATA);
	assert_int_equal(xy_cursor_skip(&cursor, 1), -ENODATA);
	xy_cursor_chunk(&cursor, &length);
	assert_int_equal(length, 0);

	assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
	xy_pipe_complete_reader(f->pipe);
	cursor = xy_view_cursor(&view);
	assert_int_equal(cursor.remaining, 0);
}

static void after_examining_all_a_read_waits(void **state)
{
	struct fixture *f = *state;

	send_bytes(f, 10);
	take_view(f);
	advance(f, 3, 10);
	assert_waits(f);
	assert_int_equal(f->readable, 1);
	send_bytes(f, 1);
	assert_int_equal(f->readable, 2);
	assert_int_equal(take_view(f), 8);
}

static void after_examining_part_a_read_returns_at_once(void **state)
{
	struct fixture *f = *state;

	send_bytes(f, 10);
	take_view(f);
	advance(f, 3, 9);
	assert_int_equal(take_view(f), 7);
	advance(f, 0, 0);
	assert_int_equal(take_view(f), 7);
}

static void after_the_writer_completed_the_rest_is_read_and_then_the_end(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	send_bytes(f, 10);
	take_view(f);
	advance(f, 4, 10);
	xy_pipe_complete_writer(f->pipe, 0);
	assert_int_equal(f->readable, 2);
	assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
	assert_int_equal(view.length, 6);
	assert_true(view.completed);
	advance(f, 6, 6);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
		assert_int_equal(view.length, 0);
		assert_true(view.completed);
		advance(f, 0, 0);
	}
}

static void data_comes_before_the_error_and_the_error_every_time(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	send_bytes(f, 10);
	xy_pipe_complete_writer(f->pipe, -ECONNRESET);
	assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
	assert_int_equal(view.length, 10);
	/* Part of a message that will never be whole must not hide the error. */
	advance(f, 4, 10);
	for (int i = 0; i < 3; i++)
		assert_int_equal(xy_pipe_read(f->pipe, &view), -ECONNRESET);
}

static void completing_wakes_a_reader_that_waits(void **state)
{
	struct fixture *f = *state;

	assert_waits(f);
	xy_pipe_complete_writer(f->pipe, 0);
	assert_int_equal(f->readable, 1);
}

/* ---- completion ---------------------------------------------------------------------------- */

static void complete_with_unflushed_data_flushes_it(void **state)
{
	struct fixture *f = *state;

	put(f->pipe, 9);
	xy_pipe_complete_writer(f->pipe, 0);
	assert_int_equal(f->readable, 1);
	assert_int_equal(take_view(f), 9);
}

static void second_complete_is_ignored(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	assert_waits(f);
	xy_pipe_complete_writer(f->pipe, -EIO);
	xy_pipe_complete_writer(f->pipe, 0);
	xy_pipe_complete_writer(f->pipe, -ENOENT);
	assert_int_equal(f->readable, 1);
	assert_int_equal(xy_pipe_read(f->pipe, &view), -EIO);
	xy_pipe_complete_reader(f->pipe);
	xy_pipe_complete_reader(f->pipe);
	assert_int_equal(xy_pipe_read(f->pipe, &view), -EINVAL);
}

static void completed_writer_cannot_write(void **state)
{
	struct fixture *f = *state;
	size_t length;

	xy_pipe_complete_writer(f->pipe, 0);
	errno = 0;
	assert_null(xy_pipe_reserve(f->pipe, 1, &length));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(xy_pipe_write(f->pipe, "x", 1), -EINVAL);
	assert_int_equal(xy_pipe_commit(f->pipe, 1), -EINVAL);
}

static void reset_needs_both_sides_completed_and_starts_anew(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	assert_int_equal(xy_pipe_reset(f->pipe), -EBUSY);
	xy_pipe_complete_writer(f->pipe, -EIO);
	assert_int_equal(xy_pipe_reset(f->pipe), -EBUSY);
	xy_pipe_complete_reader(f->pipe);
	assert_int_equal(xy_pipe_reset(f->pipe), 0);
	assert_int_equal(xy_pipe_reset(f->pipe), -EBUSY);
	assert_int_equal(xy_pipe_length(f->pipe), 0);
	assert_false(xy_pipe_paused(f->pipe));
	assert_waits(f);
	assert_int_equal(send_bytes(f, 3), 0);
	assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
	assert_int_equal(view.length, 3);
	assert_false(view.completed);
}

/* ---- length -------------------------------------------------------------------------------- */

static void length_is_exact_byte_by_byte_up_to_a_mebibyte_and_down(void **state)
{
	struct fixture *f = *state;
	size_t most = 1024 * 1024;

	for (size_t i = 1; i <= most; i++) {
		assert_int_equal(xy_pipe_write(f->pipe, &i, 1), 0);
		xy_pipe_flush(f->pipe);
		if (xy_pipe_length(f->pipe) != i)
			fail();
	}
	for (size_t i = most; i-- > 0;) {
		consume(f, 1);
		if (xy_pipe_length(f->pipe) != i)
			fail();
	}
}

static void length_falls_by_what_is_newly_consumed_only(void **state)
{
	struct fixture *f = *state;

	send_bytes(f, 60);
	take_view(f);
	advance(f, 0, 60);
	assert_int_equal(xy_pipe_length(f->pipe), 60);
	send_bytes(f, 1);
	consume(f, 16);
	assert_int_equal(xy_pipe_length(f->pipe), 45);
	consume(f, 0);
	assert_int_equal(xy_pipe_length(f->pipe), 45);
}

static void advance_to_every_segment_border_leaves_the_right_bytes(void **state)
{
	struct fixture *f = *state;
	uint8_t data[64];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t cut = 0; cut <= sizeof(data); cut++) {
		struct xy_cursor cursor;
		struct xy_view view;
		uint8_t rest[64];

		assert_int_equal(xy_pipe_write(f->pipe, data, sizeof(data)), 0);
		xy_pipe_flush(f->pipe);
		consume(f, cut);
		if (cut < sizeof(data)) {
			assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
			cursor = xy_view_cursor(&view);
			assert_int_equal(view.length, sizeof(data) - cut);
			assert_int_equal(xy_cursor_read(&cursor, rest, view.length), 0);
			assert_memory_equal(rest, data + cut, view.length);
			advance(f, view.length, view.length);
		}
		assert_int_equal(xy_pipe_length(f->pipe), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIPE_TEST(only_flushed_bytes_are_visible),
		PIPE_TEST(what_is_committed_is_visible_after_the_flush_only),
		PIPE_TEST(reader_is_called_once_until_it_has_looked),
		FREE_TEST(messages_over_any_number_of_segments_are_whole),
		PIPE_TEST(advance_without_a_view_is_an_error),
		PIPE_TEST(second_read_without_advance_is_an_error),
		PIPE_TEST(advance_beyond_the_view_changes_nothing),
		FREE_TEST(stale_view_gives_an_empty_cursor),
		PIPE_TEST(after_examining_all_a_read_waits),
		PIPE_TEST(after_examining_part_a_read_returns_at_once),
		PIPE_TEST(after_the_writer_completed_the_rest_is_read_and_then_the_end),
		PIPE_TEST(data_comes_before_the_error_and_the_error_every_time),
		PIPE_TEST(completing_wakes_a_reader_that_waits),
		PIPE_TEST(complete_with_unflushed_data_flushes_it),
		PIPE_TEST(second_complete_is_ignored),
		PIPE_TEST(completed_writer_cannot_write),
		PIPE_TEST(reset_needs_both_sides_completed_and_starts_anew),
		FREE_TEST(length_is_exact_byte_by_byte_up_to_a_mebibyte_and_down),
		FREE_TEST(length_falls_by_what_is_newly_consumed_only),
		FREE_TEST(advance_to_every_segment_border_leaves_the_right_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
