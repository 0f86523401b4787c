/* SPDX-License-Identifier: BSD-2-Clause */
/* A pipe that goes on to a descriptor, or to another pipe. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "unit/pipe_fixture.h"

static void copy_to_pipe_moves_references(void **state)
{
	static uint8_t data[3 * SEGMENT];
	struct fixture *f = *state;

	fill(data, sizeof(data), 9);
	put(f->pipe, data, sizeof(data));
	assert_int_equal(xy_pipe_copy_to_pipe(f->pipe, f->to, 2000), 0);
	assert_int_equal(xy_pipe_length(f->pipe), sizeof(data) - 2000);
	assert_int_equal(xy_pool_total_bytes(), sizeof(data));
	assert_int_equal(xy_pipe_copy_to_pipe(f->pipe, f->to, SIZE_MAX), 0);
	assert_int_equal(xy_pipe_length(f->pipe), 0);
	expect(f->to, data, sizeof(data));
	put(f->pipe, data, 10);
	xy_pipe_complete_reader(f->to);
	assert_int_equal(xy_pipe_copy_to_pipe(f->pipe, f->to, 10), -EPIPE);
	assert_int_equal(xy_pipe_length(f->pipe), 10);
}

static void copy_to_fd_writes_and_consumes(void **state)
{
	static uint8_t data[3 * SEGMENT], got[sizeof(data)];
	struct fixture *f = *state;
	size_t written;
	int fds[2];

	fill(data, sizeof(data), 10);
	put(f->pipe, data, sizeof(data));
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(xy_pipe_copy_to_fd(f->pipe, fds[1], 100, &written), 0);
	assert_int_equal(written, 100);
	assert_int_equal(xy_pipe_copy_to_fd(f->pipe, fds[1], SIZE_MAX, &written), 0);
	assert_int_equal(written, sizeof(data) - 100);
	assert_int_equal(xy_pipe_length(f->pipe), 0);
	assert_int_equal(read(fds[0], got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, data, sizeof(data));
	close(fds[0]);
	close(fds[1]);
	put(f->pipe, data, 10);
	assert_int_equal(xy_pipe_copy_to_fd(f->pipe, fds[1], 10, &written), -EBADF);
	assert_int_equal(written, 0);
	assert_int_equal(xy_pipe_length(f->pipe), 10);
}

static void copy_to_fd_keeps_what_the_descriptor_does_not_take(void **state)
{
	static uint8_t data[100 * SEGMENT], got[sizeof(data)];
	struct fixture *f = *state;
	size_t written, in = 0, out = 0;
	int fds[2];

	fill(data, sizeof(data), 11);
	put(f->pipe, data, sizeof(data));
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	while (out < sizeof(data)) {
		int r = xy_pipe_copy_to_fd(f->pipe, fds[1], SIZE_MAX, &written);
		ssize_t n;

		in += written;
		assert_int_equal(r, in < sizeof(data) ? -EAGAIN : 0);
		assert_int_equal(xy_pipe_length(f->pipe), sizeof(data) - in);
		/* Not all of it, so that there is room for a part of what waits. */
		n = read(fds[0], got + out, 5000 < in - out ? 5000 : in - out);
		assert_true(n > 0);
		out += (size_t)n;
	}
	assert_memory_equal(got, data, sizeof(data));
	close(fds[0]);
	close(fds[1]);
}

/* A writer that is told to go on hands the pipe to its reader, who keeps the view. */
static void take_view_and_keep_it(struct xy_pipe *pipe, void *context)
{
	struct xy_view *view = context;

	if (view->length == 0)
		assert_int_equal(xy_pipe_read(pipe, view), 0);
}

static void copy_to_fd_leaves_a_view_alone_that_is_taken_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct xy_view view = {0};
	struct xy_pipe_options options = {.size = sizeof(options),
					  .pool = f->pool,
					  .pause = 100 * SEGMENT,
					  .resume = 99 * SEGMENT,
					  .on_resume = take_view_and_keep_it,
					  .context = &view};
	struct xy_pipe *pipe;
	int fd = open("/dev/null", O_WRONLY);
	size_t written;

	assert_int_equal(xy_pipe_new(&options, &pipe), 0);
	for (int i = 0; i < 100; i++) {
		void *zeros = calloc(1, SEGMENT);

		assert_int_equal(xy_pipe_write(pipe, zeros, SEGMENT), 0);
		free(zeros);
	}
	assert_int_equal(xy_pipe_flush(pipe), 1);
	/* One writev takes 64 segments; then the writer is resumed. */
	assert_int_equal(xy_pipe_copy_to_fd(pipe, fd, SIZE_MAX, &written), 0);
	assert_int_equal(view.length, 100 * SEGMENT - written);
	assert_int_equal(xy_pipe_length(pipe), view.length);
	assert_int_equal(xy_pipe_advance(pipe, view.length, view.length), 0);
	close(fd);
	xy_pipe_free(pipe);
}

static void copy_to_pipe_tells_when_the_other_one_pauses(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe_options options = {.size = sizeof(options), .pool = f->pool, .pause = 100};
	struct xy_pipe *to;

	assert_int_equal(xy_pipe_new(&options, &to), 0);
	put_zeros(f->pipe, 200);
	assert_int_equal(xy_pipe_copy_to_pipe(f->pipe, to, 99), 0);
	assert_int_equal(xy_pipe_copy_to_pipe(f->pipe, to, 1), 1);
	consume(to, 100);
	assert_int_equal(xy_pipe_copy_to_pipe(f->pipe, to, 99), 0);
	xy_pipe_free(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(copy_to_pipe_moves_references),
		POOL_TEST(copy_to_fd_writes_and_consumes),
		POOL_TEST(copy_to_fd_keeps_what_the_descriptor_does_not_take),
		POOL_TEST(copy_to_fd_leaves_a_view_alone_that_is_taken_meanwhile),
		POOL_TEST(copy_to_pipe_tells_when_the_other_one_pauses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
