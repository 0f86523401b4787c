/* SPDX-License-Identifier: BSD-2-Clause */
/* Content that travels between pipes, and threads, by reference. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "unit/pipe_fixture.h"

/* ---- content by reference ------------------------------------------------------------------ */

static void one_copy_serves_every_subscriber(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe *pipes[100];
	struct xy_chain chain;
	uint8_t data[500];

	fill(data, sizeof(data), 3);
	put(f->pipe, data, sizeof(data));
	chain = take_chain(f->pipe, sizeof(data));
	for (int i = 0; i < 100; i++) {
		pipes[i] = pipe_new(f->pool);
		assert_int_equal(xy_pipe_append_shared(pipes[i], &chain), 0);
		assert_int_equal(xy_pipe_flush(pipes[i]), 0);
	}
	xy_chain_clear(&chain, f->pool);
	assert_int_equal(xy_pool_total_bytes(), SEGMENT);
	assert_int_equal(in_use(f), 1);
	for (int i = 0; i < 100; i++) {
		expect(pipes[i], data, sizeof(data));
		xy_pipe_free(pipes[i]);
	}
	assert_int_equal(in_use(f), 0);
}

static void append_keeps_the_order_with_writes(void **state)
{
	struct fixture *f = *state;
	uint8_t data[700];

	fill(data, sizeof(data), 4);
	for (int i = 0; i < 3; i++) {
		struct xy_chain chain;

		put(f->pipe, data, sizeof(data));
		chain = take_chain(f->pipe, sizeof(data));
		assert_int_equal(xy_pipe_write(f->to, "before", 6), 0);
		assert_int_equal(xy_pipe_append(f->to, &chain), 0);
		assert_int_equal(chain.length, 0);
		assert_int_equal(chain.count, 0);
		assert_int_equal(xy_pipe_write(f->to, "after", 5), 0);
	}
	xy_pipe_flush(f->to);
	for (int i = 0; i < 3; i++) {
		expect(f->to, "before", 6);
		expect(f->to, data, sizeof(data));
		expect(f->to, "after", 5);
	}
}

static void append_ends_a_reservation_and_its_segment_goes_back(void **state)
{
	struct fixture *f = *state;
	struct xy_chain chain;
	size_t length;

	put_zeros(f->to, 500);
	chain = take_chain(f->to, 500);
	reserve(f->pipe, SEGMENT, &length);
	assert_int_equal(in_use(f), 2);
	assert_int_equal(xy_pipe_append(f->pipe, &chain), 0);
	assert_int_equal(xy_pipe_commit(f->pipe, 1), -EINVAL);
	assert_int_equal(in_use(f), 1);
}

/* All there is, contiguous; consumes it. */
static void expect_piece(struct xy_pipe *pipe, const void *data, size_t length)
{
	struct xy_cursor cursor;
	struct xy_view view;
	const void *piece;
	size_t got;

	assert_int_equal(xy_pipe_read(pipe, &view), 0);
	cursor = xy_view_cursor(&view);
	piece = xy_cursor_chunk(&cursor, &got);
	assert_int_equal(got, length);
	assert_int_equal(view.length, length);
	assert_memory_equal(piece, data, length);
	assert_int_equal(xy_pipe_advance(pipe, length, length), 0);
}

static void touching_slices_become_one_piece_again(void **state)
{
	struct fixture *f = *state;
	struct xy_cursor cursor;
	struct xy_view view;
	size_t length;

	put_zeros(f->pipe, 900);
	for (int i = 0; i < 9; i++) {
		struct xy_chain chain = take_chain(f->pipe, 100);

		assert_int_equal(xy_pipe_append(f->to, &chain), 0);
	}
	xy_pipe_flush(f->to);
	assert_int_equal(xy_pipe_read(f->to, &view), 0);
	cursor = xy_view_cursor(&view);
	xy_cursor_chunk(&cursor, &length);
	assert_int_equal(length, 900);
}

static void small_content_is_copied_behind_what_the_pipe_may_write(void **state)
{
	struct fixture *f = *state;
	struct xy_chain chain;

	/* Apart in the source, so that slices do not touch. */
	put_zeros(f->to, 100);
	for (int i = 0; i < 10; i++) {
		put_zeros(f->pipe, 2 * SEGMENT / 32);
		chain = take_chain(f->pipe, SEGMENT / 32);
		assert_int_equal(xy_pipe_append(f->to, &chain), 0);
		consume(f->pipe, SEGMENT / 32);
	}
	/* Only what `to` wrote itself is held. */
	assert_int_equal(in_use(f), 1);
	put_zeros(f->pipe, SEGMENT / 32 + 1);
	chain = take_chain(f->pipe, SEGMENT / 32 + 1);
	assert_int_equal(xy_pipe_append(f->to, &chain), 0);
	assert_int_equal(in_use(f), 2);
}

static void backlog_of_small_content_pins_few_segments(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe *subscribers[2] = {f->to, f->pipe};
	uint8_t data[20];

	for (unsigned i = 0; i < 200; i++) {
		struct xy_pipe *source = pipe_new(f->pool);
		struct xy_chain chain;

		/* Others fill the rest of the segment, or the next source would. */
		fill(data, sizeof(data), i);
		put(source, data, sizeof(data));
		put_zeros(source, SEGMENT - sizeof(data));
		chain = take_chain(source, sizeof(data));
		xy_pipe_free(source);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(xy_pipe_append_shared(subscribers[k], &chain), 0);
			xy_pipe_flush(subscribers[k]);
		}
		xy_chain_clear(&chain, f->pool);
	}
	/* Eight are pinned by both, and each has copied 192 × 20 bytes. */
	assert_in_range(in_use(f), 8 + 2 * 4, 8 + 2 * 4 + 1);
	for (unsigned i = 0; i < 200; i++) {
		fill(data, sizeof(data), i);
		expect(f->to, data, sizeof(data));
		expect(f->pipe, data, sizeof(data));
	}
	assert_int_equal(in_use(f), 0);
}

static void small_writes_between_references_share_a_segment(void **state)
{
	struct fixture *f = *state;
	uint8_t data[SEGMENT / 4];

	for (unsigned i = 0; i < 40; i++) {
		struct xy_chain chain;

		fill(data, sizeof(data), i);
		put(f->pipe, data, sizeof(data));
		chain = take_chain(f->pipe, sizeof(data));
		assert_int_equal(xy_pipe_write(f->to, "between", 7), 0);
		assert_int_equal(xy_pipe_append(f->to, &chain), 0);
	}
	xy_pipe_flush(f->to);
	/* 10 KiB by reference, 280 bytes of its own. */
	assert_in_range(in_use(f), 10, 16);
	for (unsigned i = 0; i < 40; i++) {
		fill(data, sizeof(data), i);
		expect(f->to, "between", 7);
		expect(f->to, data, sizeof(data));
	}
	assert_int_equal(in_use(f), 0);
}

static void many_pipes_that_hold_a_little_share_segments(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe *pipes[100];
	size_t length;

	for (unsigned i = 0; i < 100; i++) {
		pipes[i] = pipe_new(f->pool);
		/* Each way to write. */
		if (i % 2 == 0) {
			put(pipes[i], &i, sizeof(i));
		} else {
			memcpy(reserve(pipes[i], sizeof(i), &length), &i, sizeof(i));
			assert_int_equal(xy_pipe_commit(pipes[i], sizeof(i)), 0);
			xy_pipe_flush(pipes[i]);
		}
	}
	assert_int_equal(in_use(f), 1);
	/* One that goes on writing where it left off has its content in one piece. */
	put(f->pipe, "abc", 3);
	put(f->pipe, "def", 3);
	expect_piece(f->pipe, "abcdef", 6);
	for (unsigned i = 0; i < 100; i++) {
		expect(pipes[i], &i, sizeof(i));
		xy_pipe_free(pipes[i]);
	}
	assert_int_equal(in_use(f), 0);
}

static void shared_segment_goes_on_being_filled(void **state)
{
	struct fixture *f = *state;
	struct xy_chain chains[8];

	/* A subscriber that does not read holds the front of the segment. */
	for (unsigned i = 0; i < 8; i++) {
		uint8_t data[100];

		fill(data, sizeof(data), i);
		put(f->pipe, data, sizeof(data));
		chains[i] = take_chain(f->pipe, sizeof(data));
		assert_int_equal(xy_pipe_length(f->pipe), 0);
		assert_int_equal(in_use(f), 1);
	}
	for (unsigned i = 0; i < 8; i++) {
		uint8_t data[100];

		assert_int_equal(xy_pipe_append(f->to, &chains[i]), 0);
		xy_pipe_flush(f->to);
		fill(data, sizeof(data), i);
		expect(f->to, data, sizeof(data));
	}
	assert_int_equal(in_use(f), 0);
}

static void rest_of_a_shared_segment_has_one_writer(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe *other = pipe_new(f->pool);
	struct xy_chain first, second;
	uint8_t a[100], b[100], c[100];

	fill(a, sizeof(a), 5);
	fill(b, sizeof(b), 6);
	fill(c, sizeof(c), 7);
	put(f->pipe, a, sizeof(a));
	first = take_chain(f->pipe, sizeof(a));
	/* `pipe` is empty: `other` goes on behind its content, and `pipe` must not. */
	put(other, b, sizeof(b));
	put(f->pipe, c, sizeof(c));
	second = take_chain(other, sizeof(b));
	assert_int_equal(xy_pipe_append(f->to, &first), 0);
	assert_int_equal(xy_pipe_append(f->to, &second), 0);
	xy_pipe_flush(f->to);
	/* `to` has what it did not write itself: its own bytes go elsewhere. */
	put(f->to, c, sizeof(c));
	expect(f->pipe, c, sizeof(c));
	expect(f->to, a, sizeof(a));
	expect(f->to, b, sizeof(b));
	expect(f->to, c, sizeof(c));
	xy_pipe_free(other);
}

static void steady_traffic_creates_nothing(void **state)
{
	struct fixture *f = *state;
	struct xy_pool_stats before = {0};

	for (int i = 0; i < 10000; i++) {
		struct xy_chain chain;

		put_zeros(f->pipe, 50 + (unsigned)i % 2000);
		chain = take_chain(f->pipe, 50 + (unsigned)i % 2000);
		assert_int_equal(xy_pipe_append(f->to, &chain), 0);
		xy_pipe_flush(f->to);
		consume(f->to, xy_pipe_length(f->to));
		if (i == 2000)
			before = stats(f->pool);
	}
	assert_int_equal(stats(f->pool).created, before.created);
	assert_true(stats(f->pool).rented > before.rented);
}

static void chains_of_many_slices_survive_move_and_share(void **state)
{
	static uint8_t data[20 * SEGMENT];
	struct xy_chain chain, moved = {0}, copy = {0};
	struct fixture *f = *state;

	fill(data, sizeof(data), 8);
	put(f->pipe, data, sizeof(data));
	chain = take_chain(f->pipe, sizeof(data));
	assert_int_equal(chain.count, 20);
	xy_chain_move(&moved, &chain);
	assert_int_equal(chain.count, 0);
	assert_int_equal(chain.length, 0);
	assert_int_equal(xy_chain_share(&moved, &copy), 0);
	assert_int_equal(copy.length, sizeof(data));
	xy_chain_clear(&moved, NULL);
	assert_int_equal(xy_pool_total_bytes(), sizeof(data));
	assert_int_equal(xy_pipe_append(f->to, &copy), 0);
	xy_pipe_flush(f->to);
	expect(f->to, data, sizeof(data));
}

static void a_chain_gives_up_its_front(void **state)
{
	static const size_t sizes[] = {3 * SEGMENT, 20 * SEGMENT}; /* inside, and on the heap */
	static uint8_t data[20 * SEGMENT], bytes[sizeof(data)];
	struct fixture *f = *state;

	fill(data, sizeof(data), 9);
	for (size_t s = 0; s < 2; s++) {
		struct xy_chain chain, share = {0};
		size_t size = sizes[s], gone = 0;

		put(f->pipe, data, size);
		chain = take_chain(f->pipe, size);
		/* Within a slice, to its end, over several. */
		for (size_t step = 1; gone + step < size - SEGMENT; step += SEGMENT / 2 - 1) {
			xy_chain_advance(&chain, step, f->pool);
			gone += step;
			assert_int_equal(chain.length, size - gone);
			assert_int_equal(xy_chain_peek(&chain, bytes, size - gone), 0);
			assert_memory_equal(bytes, data + gone, size - gone);
			assert_int_equal(xy_chain_peek(&chain, bytes, size - gone + 1), -ENODATA);
		}
		/* It can still be added to, shared and moved. */
		assert_int_equal(xy_chain_share(&chain, &share), 0);
		assert_int_equal(xy_chain_share(&share, &chain), 0);
		xy_chain_clear(&share, f->pool);
		xy_chain_move(&share, &chain);
		assert_int_equal(xy_pipe_append(f->to, &share), 0);
		xy_pipe_flush(f->to);
		expect(f->to, data + gone, size - gone);
		expect(f->to, data + gone, size - gone);
	}
	assert_int_equal(in_use(f), 0);
}

/* ---- across threads, and at random --------------------------------------------------------- */

#define HANDED    2000
#define RECEIVERS 3

/* What one thread hands to another. */
struct hand_over {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct xy_chain chain[64];
	unsigned in, out;
	bool failed;
};

/* Nothing of the others' may show in memory that is used again here. */
static bool scribble(struct xy_pipe *pipe)
{
	uint8_t junk[SEGMENT / 2], got[sizeof(junk)];
	struct xy_cursor cursor;
	struct xy_view view;

	memset(junk, 0xdd, sizeof(junk));
	if (xy_pipe_write(pipe, junk, sizeof(junk)) != 0 || xy_pipe_flush(pipe) != 0 ||
	    xy_pipe_read(pipe, &view) != 0)
		return false;
	cursor = xy_view_cursor(&view);
	return xy_cursor_read(&cursor, got, sizeof(got)) == 0 &&
	       memcmp(got, junk, sizeof(got)) == 0 &&
	       xy_pipe_advance(pipe, view.length, view.length) == 0;
}

static void *receive_chains(void *argument)
{
	struct hand_over *h = argument;
	struct xy_pool_options options = {.size = sizeof(options), .segment_size = SEGMENT};
	struct xy_pool *pool = xy_pool_new(&options);
	struct xy_pipe_options pipe_options = {
		.size = sizeof(pipe_options), .pool = pool, .never_pause = true};
	struct xy_pipe *pipe = NULL, *own = NULL;
	uint8_t next = 0;

	h->failed = xy_pipe_new(&pipe_options, &pipe) != 0 || xy_pipe_new(&pipe_options, &own) != 0;
	for (unsigned i = 0; i < HANDED; i++) {
		struct xy_chain chain = {0};
		struct xy_cursor cursor;
		struct xy_view view;

		pthread_mutex_lock(&h->lock);
		while (h->in == h->out)
			pthread_cond_wait(&h->changed, &h->lock);
		xy_chain_move(&chain, &h->chain[h->out++ % 64]);
		pthread_cond_signal(&h->changed);
		pthread_mutex_unlock(&h->lock);

		h->failed |= xy_pipe_append(pipe, &chain) != 0 || xy_pipe_flush(pipe) != 0;
		/* Several wait in the pipe, so that segments are given back late and here. */
		if (i % 16 != 15 && i != HANDED - 1)
			continue;
		h->failed |= xy_pipe_read(pipe, &view) != 0;
		cursor = xy_view_cursor(&view);
		while (cursor.remaining > 0) {
			uint8_t byte;

			xy_cursor_read(&cursor, &byte, 1);
			h->failed |= byte != next++;
		}
		xy_pipe_advance(pipe, view.length, view.length);
		h->failed |= !scribble(own);
	}
	xy_pipe_free(pipe);
	xy_pipe_free(own);
	xy_pool_free(pool);
	return NULL;
}

static void hand_over(struct hand_over *h, struct xy_chain *chain)
{
	pthread_mutex_lock(&h->lock);
	while (h->in - h->out == 64)
		pthread_cond_wait(&h->changed, &h->lock);
	xy_chain_move(&h->chain[h->in++ % 64], chain);
	pthread_cond_signal(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static void chains_end_in_pipes_of_other_threads_at_once(void **state)
{
	struct hand_over receivers[RECEIVERS] = {0};
	struct fixture *f = *state;
	uint8_t next = 0;

	for (int k = 0; k < RECEIVERS; k++) {
		pthread_mutex_init(&receivers[k].lock, NULL);
		pthread_cond_init(&receivers[k].changed, NULL);
		assert_int_equal(
			pthread_create(&receivers[k].thread, NULL, receive_chains, &receivers[k]),
			0);
	}
	for (unsigned i = 0; i < HANDED; i++) {
		size_t length, fill = 1 + i * 37 % 500;
		uint8_t *memory = reserve(f->pipe, fill, &length);
		struct xy_chain chain;

		for (size_t k = 0; k < fill; k++)
			memory[k] = next++;
		assert_int_equal(xy_pipe_commit(f->pipe, fill), 0);
		xy_pipe_flush(f->pipe);
		/* One copy for all of them; this thread goes on writing behind it. */
		chain = take_chain(f->pipe, fill);
		for (int k = 0; k < RECEIVERS; k++) {
			struct xy_chain share = {0};

			assert_int_equal(xy_chain_share(&chain, &share), 0);
			hand_over(&receivers[k], &share);
		}
		xy_chain_clear(&chain, f->pool);
	}
	for (int k = 0; k < RECEIVERS; k++) {
		pthread_join(receivers[k].thread, NULL);
		assert_false(receivers[k].failed);
	}
}

static void random_traffic_through_three_pipes_keeps_every_byte(void **state)
{
	struct fixture *f = *state;
	struct xy_pipe *middle = pipe_new(f->pool);
	uint8_t next_in = 0, next_out = 0;
	size_t in = 0, out = 0;

	srand(1);
	while (out < 4 * 1024 * 1024) {
		size_t length, part = 0;
		uint8_t *memory =
			reserve(f->pipe, (size_t)(rand() % 3 ? 0 : rand() % 3000), &length);
		struct xy_cursor cursor;
		struct xy_view view;

		if (in - out < 20 * SEGMENT)
			part = (size_t)rand() % (length + 1);
		for (size_t i = 0; i < part; i++)
			memory[i] = next_in++;
		in += part;
		assert_int_equal(xy_pipe_commit(f->pipe, part), 0);
		xy_pipe_flush(f->pipe);
		if (xy_pipe_read(f->pipe, &view) == 0) {
			struct xy_chain chain = {0};
			size_t taken = (size_t)rand() % (view.length + 1);

			cursor = xy_view_cursor(&view);
			assert_int_equal(xy_cursor_share(&cursor, taken, &chain), 0);
			assert_int_equal(xy_pipe_append_shared(middle, &chain), 0);
			xy_chain_clear(&chain, f->pool);
			assert_int_equal(xy_pipe_advance(f->pipe, taken, taken), 0);
		}
		xy_pipe_flush(middle);
		if (rand() % 4 == 0)
			xy_pipe_copy_to_pipe(middle, f->to, (size_t)rand() % 5000);
		if (xy_pipe_read(f->to, &view) == 0) {
			size_t taken = (size_t)rand() % (view.length + 1);

			cursor = xy_view_cursor(&view);
			for (size_t i = 0; i < taken; i += length) {
				const uint8_t *piece = xy_cursor_chunk(&cursor, &length);

				if (length > taken - i)
					length = taken - i;
				for (size_t k = 0; k < length; k++) {
					if (piece[k] != next_out++)
						fail();
				}
				assert_int_equal(xy_cursor_skip(&cursor, length), 0);
			}
			out += taken;
			assert_int_equal(xy_pipe_advance(f->to, taken, taken), 0);
		}
	}
	xy_pipe_free(middle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(one_copy_serves_every_subscriber),
		POOL_TEST(append_keeps_the_order_with_writes),
		POOL_TEST(append_ends_a_reservation_and_its_segment_goes_back),
		POOL_TEST(touching_slices_become_one_piece_again),
		POOL_TEST(small_content_is_copied_behind_what_the_pipe_may_write),
		POOL_TEST(backlog_of_small_content_pins_few_segments),
		POOL_TEST(small_writes_between_references_share_a_segment),
		POOL_TEST(many_pipes_that_hold_a_little_share_segments),
		POOL_TEST(shared_segment_goes_on_being_filled),
		POOL_TEST(rest_of_a_shared_segment_has_one_writer),
		POOL_TEST(steady_traffic_creates_nothing),
		POOL_TEST(chains_of_many_slices_survive_move_and_share),
		POOL_TEST(a_chain_gives_up_its_front),
		POOL_TEST(chains_end_in_pipes_of_other_threads_at_once),
		POOL_TEST(random_traffic_through_three_pipes_keeps_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
