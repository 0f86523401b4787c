/* SPDX-License-Identifier: BSD-2-Clause */
/* Two pipes on one pool of small segments, and what the tests of their memory do with them. */
#ifndef XY_TESTS_PIPE_FIXTURE_H
#define XY_TESTS_PIPE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <xylem/pipe.h>

#define SEGMENT 1024u
#define CACHED  4u

static inline struct xy_pool *pool_new(uint32_t segment_size)
{
	struct xy_pool_options options = {
		.size = sizeof(options), .segment_size = segment_size, .cached_max = CACHED};
	struct xy_pool *pool = xy_pool_new(&options);

	assert_non_null(pool);
	return pool;
}

static inline struct xy_pipe *pipe_new(struct xy_pool *pool)
{
	struct xy_pipe_options options = {
		.size = sizeof(options), .pool = pool, .never_pause = true};
	struct xy_pipe *pipe;

	assert_int_equal(xy_pipe_new(&options, &pipe), 0);
	return pipe;
}

struct fixture {
	struct xy_pool *pool;
	struct xy_pipe *pipe, *to;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->pool = pool_new(SEGMENT);
	f->pipe = pipe_new(f->pool);
	f->to = pipe_new(f->pool);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	xy_pipe_free(f->pipe);
	xy_pipe_free(f->to);
	xy_pool_free(f->pool);
	free(f);
	return xy_pool_total_bytes() == 0 ? 0 : -1;
}

static inline struct xy_pool_stats stats(const struct xy_pool *pool)
{
	struct xy_pool_stats now;

	xy_pool_stats(pool, &now);
	return now;
}

/* Segments of the pool's size that are in use now. */
static inline size_t in_use(struct fixture *f)
{
	return xy_pool_total_bytes() / SEGMENT - stats(f->pool).cached;
}

static inline uint8_t *reserve(struct xy_pipe *pipe, size_t hint, size_t *ret_length)
{
	uint8_t *memory = xy_pipe_reserve(pipe, hint, ret_length);

	assert_non_null(memory);
	assert_true(*ret_length >= hint && *ret_length > 0);
	return memory;
}

static inline void put(struct xy_pipe *pipe, const void *data, size_t length)
{
	assert_int_equal(xy_pipe_write(pipe, data, length), 0);
	assert_int_equal(xy_pipe_flush(pipe), 0);
}

static inline void put_zeros(struct xy_pipe *pipe, size_t length)
{
	void *zeros = calloc(1, length + 1);

	assert_non_null(zeros);
	put(pipe, zeros, length);
	free(zeros);
}

static inline void consume(struct xy_pipe *pipe, size_t length)
{
	struct xy_view view;

	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	assert_int_equal(xy_pipe_advance(pipe, length, length), 0);
}

/* The next `length` bytes must be these; consumes them. */
static inline void expect(struct xy_pipe *pipe, const void *data, size_t length)
{
	uint8_t *got = malloc(length + 1);
	struct xy_cursor cursor;
	struct xy_view view;

	assert_non_null(got);
	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	cursor = xy_view_cursor(&view);
	assert_int_equal(xy_cursor_read(&cursor, got, length), 0);
	assert_memory_equal(got, data, length);
	assert_int_equal(xy_pipe_advance(pipe, length, length), 0);
	free(got);
}

/* A chain of the next `length` bytes, which are consumed. */
static inline struct xy_chain take_chain(struct xy_pipe *pipe, size_t length)
{
	struct xy_chain chain = {0};
	struct xy_cursor cursor;
	struct xy_view view;

	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	cursor = xy_view_cursor(&view);
	assert_int_equal(xy_cursor_share(&cursor, length, &chain), 0);
	assert_int_equal(xy_pipe_advance(pipe, length, length), 0);
	return chain;
}

static inline void fill(uint8_t *data, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		data[i] = (uint8_t)(seed * 31 + i * 7 + i / 251);
}

#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
