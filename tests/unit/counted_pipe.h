/* SPDX-License-Identifier: BSD-2-Clause */
/* One pipe on a pool of tiny segments, with callbacks that count. */
#ifndef XY_TESTS_COUNTED_PIPE_H
#define XY_TESTS_COUNTED_PIPE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <xylem/pipe.h>

#define PAUSE  64
#define RESUME 32

struct fixture {
	struct xy_pool *pool;
	struct xy_pipe *pipe;
	unsigned readable, resumed;
	size_t refill; /* on_resume writes and flushes so much, once */
};

static inline void count_readable(struct xy_pipe *pipe, void *context)
{
	(void)pipe;
	((struct fixture *)context)->readable++;
}

static inline void put(struct xy_pipe *pipe, size_t length)
{
	void *zeros = calloc(1, length + 1);

	assert_non_null(zeros);
	assert_int_equal(xy_pipe_write(pipe, zeros, length), 0);
	free(zeros);
}

static inline void count_resume(struct xy_pipe *pipe, void *context)
{
	struct fixture *f = context;
	size_t refill = f->refill;

	f->resumed++;
	f->refill = 0;
	if (refill > 0) {
		put(pipe, refill);
		xy_pipe_flush(pipe);
	}
}

static inline int setup_with(void **state, size_t pause, size_t resume, bool never_pause)
{
	struct xy_pool_options pool = {.size = sizeof(pool), .segment_size = 16};
	struct fixture *f = calloc(1, sizeof(*f));
	struct xy_pipe_options options = {
		.size = sizeof(options),
		.pause = pause,
		.resume = resume,
		.never_pause = never_pause,
		.on_readable = count_readable,
		.on_resume = count_resume,
		.context = f,
	};

	if (!f || !(f->pool = xy_pool_new(&pool)))
		return -1;
	options.pool = f->pool;
	*state = f;
	return xy_pipe_new(&options, &f->pipe);
}

static inline int setup(void **state)
{
	return setup_with(state, PAUSE, RESUME, false);
}

static inline int setup_never_pause(void **state)
{
	return setup_with(state, 0, 0, true);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	xy_pipe_free(f->pipe);
	xy_pool_free(f->pool);
	free(f);
	return xy_pool_total_bytes() == 0 ? 0 : -1;
}

/* Writes and flushes; what flush says. */
static inline int send_bytes(struct fixture *f, size_t length)
{
	put(f->pipe, length);
	return xy_pipe_flush(f->pipe);
}

static inline size_t take_view(struct fixture *f)
{
	struct xy_view view;

	assert_int_equal(xy_pipe_read(f->pipe, &view), 0);
	return view.length;
}

static inline void advance(struct fixture *f, size_t consumed, size_t examined)
{
	assert_int_equal(xy_pipe_advance(f->pipe, consumed, examined), 0);
}

static inline void consume(struct fixture *f, size_t length)
{
	take_view(f);
	advance(f, length, length);
}

static inline void assert_waits(struct fixture *f)
{
	struct xy_view view;

	assert_int_equal(xy_pipe_read(f->pipe, &view), -EAGAIN);
}

#define PIPE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define FREE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_never_pause, teardown)

#endif
