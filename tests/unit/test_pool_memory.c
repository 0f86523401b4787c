/* SPDX-License-Identifier: BSD-2-Clause */
/* Pipes when there is no memory: an error, nothing changed, and on it goes. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "unit/pipe_fixture.h"

/* Segments of this size are mapped, and mmap() is wrapped (see Makefile). */
#define LARGE (64u * 1024)

static int maps_left = INT_MAX;

void *__real_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (maps_left == 0) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	maps_left--;
	return __real_mmap(address, length, protection, flags, fd, offset);
}

static int setup_large(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->pool = pool_new(LARGE);
	f->pipe = pipe_new(f->pool);
	f->to = pipe_new(f->pool);
	maps_left = INT_MAX;
	*state = f;
	return 0;
}

static void reserve_says_that_there_is_no_memory(void **state)
{
	struct fixture *f = *state;
	size_t length = 77;

	put(f->pipe, "content", 7);
	maps_left = 0;
	errno = 0;
	assert_null(xy_pipe_reserve(f->pipe, LARGE, &length));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(length, 77);
	assert_int_equal(xy_pipe_commit(f->pipe, 1), -EINVAL);
	/* What there is room for can still be written. */
	put(f->pipe, "more", 4);
	expect(f->pipe, "contentmore", 11);
	maps_left = INT_MAX;
	reserve(f->pipe, LARGE, &length);
}

static void write_is_all_or_nothing(void **state)
{
	static uint8_t data[10 * LARGE];
	struct fixture *f = *state;

	fill(data, sizeof(data), 3);
	for (int content = 0; content < 2; content++) {
		size_t before;

		if (content)
			put(f->pipe, "content", 7);
		before = xy_pool_total_bytes();
		maps_left = 4;
		assert_int_equal(xy_pipe_write(f->pipe, data, sizeof(data)), -ENOMEM);
		maps_left = INT_MAX;
		assert_int_equal(xy_pipe_flush(f->pipe), 0);
		assert_int_equal(xy_pipe_length(f->pipe), content ? 7 : 0);
		/* What it had taken is in the cache, not in the pipe. */
		xy_pool_trim(f->pool, 0);
		assert_true(xy_pool_total_bytes() <= before);
	}
	put(f->pipe, data, sizeof(data));
	expect(f->pipe, "content", 7);
	expect(f->pipe, data, sizeof(data));
}

static void small_content_is_referred_to_when_it_cannot_be_copied(void **state)
{
	struct fixture *f = *state;
	uint8_t data[100];
	size_t room;

	/* Enough slices wait in `to` for copies to be worth a segment. */
	for (unsigned i = 0; i < 20; i++) {
		struct xy_chain chain;

		fill(data, sizeof(data), i);
		put(f->pipe, data, sizeof(data));
		put_zeros(f->pipe, 1);
		if (i > 0)
			consume(f->pipe, 1);
		chain = take_chain(f->pipe, sizeof(data));
		/* The rest of the segment is not for `to`. */
		reserve(f->pipe, 1, &room);
		maps_left = 0;
		assert_int_equal(xy_pipe_append(f->to, &chain), 0);
		maps_left = INT_MAX;
		assert_int_equal(xy_pipe_commit(f->pipe, 0), 0);
		assert_int_equal(xy_pool_total_bytes(), LARGE);
	}
	xy_pipe_flush(f->to);
	for (unsigned i = 0; i < 20; i++) {
		fill(data, sizeof(data), i);
		expect(f->to, data, sizeof(data));
	}
}

#define LARGE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_large, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LARGE_TEST(reserve_says_that_there_is_no_memory),
		LARGE_TEST(write_is_all_or_nothing),
		LARGE_TEST(small_content_is_referred_to_when_it_cannot_be_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
