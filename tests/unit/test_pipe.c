/* SPDX-License-Identifier: BSD-2-Clause */
/* The pipe as a contract between writer and reader: back-pressure, and how waiting is cancelled. */
#include "unit/counted_pipe.h"

/* ---- options ------------------------------------------------------------------------------- */

static void options_that_could_never_resume_are_refused(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe_options options = {.size = sizeof(options), .pool = f->pool};
	struct xy_pipe *pipe;

	options.pause = 10;
	options.resume = 11;
	assert_int_equal(xy_pipe_new(&options, &pipe), -EINVAL);
	options.resume = 10;
	assert_int_equal(xy_pipe_new(&options, &pipe), 0);
	xy_pipe_free(pipe);
	/* The default resume gives way to a small pause. */
	options.resume = 0;
	assert_int_equal(xy_pipe_new(&options, &pipe), 0);
	xy_pipe_free(pipe);
	options.never_pause = true;
	assert_int_equal(xy_pipe_new(&options, &pipe), -EINVAL);
	options = (struct xy_pipe_options){.size = sizeof(options)};
	assert_int_equal(xy_pipe_new(&options, &pipe), -EINVAL);
	options = (struct xy_pipe_options){.pool = f->pool};
	assert_int_equal(xy_pipe_new(&options, &pipe), -EINVAL);
}

static void default_thresholds_are_64_and_32_kib(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe_options options = {.size = sizeof(options), .pool = f->pool};
	struct xy_pipe *pipe;

	assert_int_equal(xy_pipe_new(&options, &pipe), 0);
	put(pipe, 64 * 1024 - 1);
	assert_int_equal(xy_pipe_flush(pipe), 0);
	put(pipe, 1);
	assert_int_equal(xy_pipe_flush(pipe), 1);
	for (int resumed = 0; resumed < 2; resumed++) {
		struct xy_view view;
		size_t length = resumed ? 1 : 32 * 1024;

		assert_int_equal(xy_pipe_read(pipe, &view), 0);
		assert_int_equal(xy_pipe_advance(pipe, length, length), 0);
		assert_int_equal(xy_pipe_paused(pipe), !resumed);
	}
	xy_pipe_free(pipe);
}

/* ---- back-pressure ------------------------------------------------------------------------- */

static void pauses_at_pause_and_not_below(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_bytes(f, PAUSE - 1), 0);
	assert_false(xy_pipe_paused(f->pipe));
	assert_int_equal(send_bytes(f, 1), 1);
	assert_true(xy_pipe_paused(f->pipe));
	assert_int_equal(xy_pipe_flush(f->pipe), 1);
}

static void resumes_strictly_under_resume(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	consume(f, PAUSE - RESUME);
	assert_true(xy_pipe_paused(f->pipe));
	assert_int_equal(f->resumed, 0);
	consume(f, 1);
	assert_false(xy_pipe_paused(f->pipe));
	assert_int_equal(f->resumed, 1);
	assert_int_equal(xy_pipe_flush(f->pipe), 0);
	consume(f, 1);
	assert_int_equal(f->resumed, 1);
}

static void progress_by_examining_alone_resumes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	take_view(f);
	advance(f, 0, PAUSE - RESUME);
	assert_int_equal(f->resumed, 0);
	take_view(f);
	advance(f, 0, PAUSE - RESUME + 1);
	assert_int_equal(f->resumed, 1);
	assert_int_equal(xy_pipe_length(f->pipe), PAUSE);
}

static void examining_less_than_before_does_not_resume(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_bytes(f, PAUSE - 1), 0);
	take_view(f);
	advance(f, 0, 10);
	take_view(f);
	advance(f, 0, 0);
	/* 10 examined and 11 more: 64 press. */
	assert_int_equal(send_bytes(f, 10), 0);
	assert_int_equal(send_bytes(f, 1), 1);
	take_view(f);
	advance(f, 0, 5);
	assert_true(xy_pipe_paused(f->pipe));
	take_view(f);
	advance(f, 5, 10);
	assert_true(xy_pipe_paused(f->pipe));
	assert_int_equal(f->resumed, 0);
	/* 69 are left, of which 5 are examined. */
	take_view(f);
	advance(f, 0, 69 - RESUME);
	assert_int_equal(f->resumed, 0);
	take_view(f);
	advance(f, 0, 69 - RESUME + 1);
	assert_int_equal(f->resumed, 1);
}

static void pauses_again_at_the_next_commit(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	consume(f, PAUSE - RESUME + 1);
	assert_int_equal(f->resumed, 1);
	assert_int_equal(send_bytes(f, PAUSE), 1);
	consume(f, PAUSE - 1);
	assert_int_equal(f->resumed, 1);
	consume(f, 1);
	assert_int_equal(f->resumed, 2);
}

static void completion_of_the_reader_releases_a_paused_writer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	xy_pipe_complete_reader(f->pipe);
	assert_int_equal(f->resumed, 1);
	assert_false(xy_pipe_paused(f->pipe));
	assert_int_equal(xy_pipe_flush(f->pipe), -EPIPE);
	assert_int_equal(xy_pipe_write(f->pipe, "x", 1), -EPIPE);
}

static void reader_that_needs_more_than_pause_gets_it(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 3 * PAUSE, &view), -EAGAIN);
	assert_int_equal(f->resumed, 1);
	assert_int_equal(f->readable, 1);
	assert_int_equal(send_bytes(f, PAUSE), 0);
	assert_int_equal(f->readable, 1);
	/* Enough now, and again more than the pipe is for. */
	assert_int_equal(send_bytes(f, PAUSE), 1);
	assert_int_equal(f->readable, 2);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 3 * PAUSE, &view), 0);
	assert_int_equal(view.length, 3 * PAUSE);
	advance(f, 3 * PAUSE, 3 * PAUSE);
	assert_int_equal(f->resumed, 2);
}

static void read_at_least_sees_what_the_resumed_writer_adds_at_once(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	f->refill = PAUSE;
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 2 * PAUSE, &view), 0);
	assert_int_equal(view.length, 2 * PAUSE);
	advance(f, view.length, view.length);
}

static void read_at_least_takes_less_at_the_end(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	send_bytes(f, 5);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 6, &view), -EAGAIN);
	xy_pipe_complete_writer(f->pipe, 0);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 6, &view), 0);
	assert_int_equal(view.length, 5);
	assert_true(view.completed);
}

static void plain_read_after_a_short_read_at_least_takes_what_is_there(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	send_bytes(f, 5);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 6, &view), -EAGAIN);
	assert_int_equal(take_view(f), 5);
}

static void pause_zero_never_pauses(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 100; i++)
		assert_int_equal(send_bytes(f, 4096), 0);
	assert_int_equal(xy_pipe_length(f->pipe), 100 * 4096);
}

static void empty_flush_wakes_nobody(void **state)
{
	struct fixture *f = *state;

	assert_waits(f);
	assert_int_equal(xy_pipe_flush(f->pipe), 0);
	assert_int_equal(xy_pipe_write(f->pipe, "", 0), 0);
	assert_int_equal(xy_pipe_flush(f->pipe), 0);
	assert_int_equal(f->readable, 0);
	assert_waits(f);
	send_bytes(f, 1);
	assert_int_equal(f->readable, 1);
}

/* ---- cancel -------------------------------------------------------------------------------- */

static void assert_cancelled(struct fixture *f, bool cancelled, size_t length)
{
	struct xy_view view;

	assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
	assert_int_equal(view.cancelled, cancelled);
	assert_int_equal(view.length, length);
}

static void cancel_wakes_a_waiting_read_once(void **state)
{
	struct fixture *f = *state;

	assert_waits(f);
	xy_pipe_cancel_read(f->pipe);
	xy_pipe_cancel_read(f->pipe);
	assert_int_equal(f->readable, 1);
	assert_cancelled(f, true, 0);
	advance(f, 0, 0);
	assert_waits(f);
}

static void cancel_without_a_waiting_read_cancels_the_next_one_only(void **state)
{
	struct fixture *f = *state;

	send_bytes(f, 5);
	assert_int_equal(f->readable, 1);
	xy_pipe_cancel_read(f->pipe);
	assert_int_equal(f->readable, 1);
	assert_cancelled(f, true, 5);
	advance(f, 0, 0);
	assert_cancelled(f, false, 5);
}

static void cancel_of_a_short_read_at_least_keeps_the_data(void **state)
{
	struct fixture *f = *state;
	struct xy_view view;

	send_bytes(f, 5);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 10, &view), -EAGAIN);
	xy_pipe_cancel_read(f->pipe);
	assert_int_equal(f->readable, 2);
	assert_int_equal(xy_pipe_read_at_least(f->pipe, 10, &view), 0);
	assert_true(view.cancelled);
	assert_int_equal(view.length, 5);
	advance(f, 0, 5);
	assert_int_equal(xy_pipe_length(f->pipe), 5);
}

static void cancel_wakes_a_paused_writer_once_and_it_stays_paused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_bytes(f, PAUSE), 1);
	xy_pipe_cancel_flush(f->pipe);
	assert_int_equal(f->resumed, 1);
	assert_true(xy_pipe_paused(f->pipe));
	assert_int_equal(xy_pipe_length(f->pipe), PAUSE);
	assert_int_equal(xy_pipe_flush(f->pipe), 1);
	consume(f, PAUSE);
	assert_int_equal(f->resumed, 2);
}

static void cancel_without_a_paused_writer_cancels_the_next_flush_only(void **state)
{
	struct fixture *f = *state;

	xy_pipe_cancel_flush(f->pipe);
	assert_int_equal(f->resumed, 0);
	assert_int_equal(send_bytes(f, PAUSE), 0);
	assert_int_equal(xy_pipe_flush(f->pipe), 1);
	consume(f, PAUSE);

	xy_pipe_cancel_flush(f->pipe);
	assert_int_equal(send_bytes(f, 1), 0);
	assert_int_equal(send_bytes(f, PAUSE), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIPE_TEST(options_that_could_never_resume_are_refused),
		PIPE_TEST(default_thresholds_are_64_and_32_kib),
		PIPE_TEST(pauses_at_pause_and_not_below),
		PIPE_TEST(resumes_strictly_under_resume),
		PIPE_TEST(progress_by_examining_alone_resumes),
		PIPE_TEST(examining_less_than_before_does_not_resume),
		PIPE_TEST(pauses_again_at_the_next_commit),
		PIPE_TEST(completion_of_the_reader_releases_a_paused_writer),
		PIPE_TEST(reader_that_needs_more_than_pause_gets_it),
		PIPE_TEST(read_at_least_sees_what_the_resumed_writer_adds_at_once),
		PIPE_TEST(read_at_least_takes_less_at_the_end),
		PIPE_TEST(plain_read_after_a_short_read_at_least_takes_what_is_there),
		FREE_TEST(pause_zero_never_pauses),
		PIPE_TEST(empty_flush_wakes_nobody),
		PIPE_TEST(cancel_wakes_a_waiting_read_once),
		PIPE_TEST(cancel_without_a_waiting_read_cancels_the_next_one_only),
		PIPE_TEST(cancel_of_a_short_read_at_least_keeps_the_data),
		PIPE_TEST(cancel_wakes_a_paused_writer_once_and_it_stays_paused),
		PIPE_TEST(cancel_without_a_paused_writer_cancels_the_next_flush_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
