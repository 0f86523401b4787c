/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: unbundling, reassembly, checks, credit, bounded memory, heartbeats. */
#include <poll.h>

#include "unit/fake_proxy.h"

static struct fake fake;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	return 0;
}

static struct xy_client *subscribed(struct xy_client_options options, const char *pattern,
				    const char *group)
{
	struct xy_subscribe_options with = {.size = sizeof(with), .group = group};
	struct xy_client *client;

	client = fake_open(&fake, options);
	assert_int_equal(xy_client_subscribe(client, pattern, &with, NULL), 0);
	return client;
}

static struct xy_client_stats stats_of(struct xy_client *client)
{
	struct xy_client_stats stats;

	xy_client_stats(client, &stats);
	return stats;
}

static struct xy_frame data_frame(uint16_t flags, uint64_t sequence)
{
	return (struct xy_frame){.type = XY_DATA,
				 .flags = flags,
				 .target = fake_topic_id("x"),
				 .source = FAKE_PEER,
				 .sequence = sequence};
}

static void inject_fragment(uint64_t source, uint64_t sequence, uint16_t index, uint16_t count,
			    const void *data, size_t length)
{
	struct xy_frame frame = data_frame(0, sequence);

	frame.source = source;
	frame.fragment = index;
	frame.fragments = count;
	fake_inject(&fake, frame, data, length);
}

static void a_bundle_is_taken_apart(void **state)
{
	static const uint8_t bundle[] = "\0\0\0\3one\0\0\0\0\0\0\0\5three";
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);
	struct xy_message message;

	(void)state;
	fake_bind(&fake, "x");
	fake_inject(&fake, data_frame(XY_BUNDLE, 5), bundle, sizeof(bundle) - 1);
	fake_text(&fake, "x", 8, "four");
	expect_text(client, "one");
	assert_int_equal(xy_client_next(client, -1, &message), 0);
	assert_int_equal(message.length, 0);
	assert_int_equal(message.sequence, 6);
	assert_string_equal(message.subject, "x");
	expect_text(client, "three");
	expect_text(client, "four");
	assert_int_equal(stats_of(client).gaps, 0);
	assert_int_equal(stats_of(client).messages_in, 4);
	fake_close(&fake, client);
}

static void a_bundle_whose_lengths_do_not_add_up_is_dropped_whole(void **state)
{
	static const struct {
		const char *data;
		size_t length;
	} bad[] = {{"\0\0\0\1a\0\0\0", 8},
		   {"\0\0\0\1a\0\0\0\2b", 10},
		   {"\xff\xff\xff\xff", 4},
		   {"", 0}};
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);

	(void)state;
	fake_bind(&fake, "x");
	for (size_t i = 0; i < 4; i++)
		fake_inject(&fake, data_frame(XY_BUNDLE, 0), bad[i].data, bad[i].length);
	fake_text(&fake, "x", 0, "good");
	expect_text(client, "good");
	assert_int_equal(stats_of(client).corrupt, 4);
	fake_close(&fake, client);
}

static void a_bundle_in_fragments_is_dropped(void **state)
{
	static const uint8_t bundle[] = "\0\0\0\3one";
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);

	(void)state;
	fake_bind(&fake, "x");
	for (uint16_t i = 0; i < 2; i++) {
		struct xy_frame frame = data_frame(XY_BUNDLE, 5);

		frame.fragment = i;
		frame.fragments = 2;
		fake_inject(&fake, frame, bundle, sizeof(bundle) - 1);
	}
	fake_text(&fake, "x", 0, "good");
	expect_text(client, "good");
	assert_int_equal(stats_of(client).corrupt, 2);
	fake_close(&fake, client);
}

static void a_wrong_crc_drops_the_message_and_a_right_one_is_cut_off(void **state)
{
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);
	uint8_t data[] = "good....";
	uint32_t crc = xy_be32(xy_crc32c(0, data, 4));

	(void)state;
	fake_bind(&fake, "x");
	fake_inject(&fake, data_frame(XY_CRC, 0), "bad.1234", 8);
	fake_inject(&fake, data_frame(XY_CRC, 0), "abc", 3);
	memcpy(data + 4, &crc, 4);
	fake_inject(&fake, data_frame(XY_CRC, 0), data, 8);
	expect_text(client, "good");
	assert_int_equal(stats_of(client).corrupt, 2);
	fake_close(&fake, client);
}

static void what_one_client_sends_another_gets_byte_for_byte(void **state)
{
	/* Frames as the library makes them, given back to it: bundles, fragments, CRC. */
	static const size_t lengths[] = {0, 1, 60, 4096, 4097, 65476, 65477, 300000, 1, 2, 3};
	struct xy_client *client = subscribed((struct xy_client_options){.crc = true}, "x", NULL);
	struct xy_topic *topic;
	uint8_t *data = malloc(300000);
	size_t n = sizeof(lengths) / sizeof(lengths[0]);

	(void)state;
	fake_bind(&fake, "x");
	assert_int_equal(xy_client_declare(client, "x", &topic), 0);
	for (size_t i = 0; i < n; i++) {
		memset(data, (int)i, lengths[i]);
		assert_int_equal(xy_client_publish(client, topic, data, lengths[i]), 0);
	}
	assert_int_equal(xy_client_sync(client, -1), 0);
	for (size_t i = 0; i < fake_count(&fake, XY_DATA); i++) {
		struct fake_frame frame = fake_frame(&fake, XY_DATA, i);

		fake_inject(&fake, frame.header, frame.payload,
			    frame.header.length - XY_HEADER_SIZE);
	}
	for (size_t i = 0; i < n; i++) {
		struct xy_message message;

		assert_int_equal(xy_client_next(client, -1, &message), 0);
		assert_int_equal(message.length, lengths[i]);
		assert_int_equal(message.sequence, i + 1);
		for (size_t at = 0; at < message.length; at++)
			assert_int_equal(((const uint8_t *)message.data)[at], i);
	}
	assert_int_equal(stats_of(client).gaps, 0);
	assert_int_equal(stats_of(client).corrupt, 0);
	fake_close(&fake, client);
	free(data);
}

static void fragments_of_several_sources_may_interleave(void **state)
{
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);

	(void)state;
	fake_bind(&fake, "x");
	inject_fragment(1, 1, 0, 3, "aaa", 3);
	inject_fragment(2, 1, 0, 2, "bb", 2);
	inject_fragment(1, 1, 1, 3, "ccc", 3);
	fake_text(&fake, "x", 1, "between");
	inject_fragment(2, 1, 1, 2, "d", 1);
	fake_inject(&fake, (struct xy_frame){.type = XY_PING}, NULL, 0);
	inject_fragment(1, 1, 2, 3, "e", 1);
	expect_text(client, "between");
	expect_text(client, "bbd");
	expect_text(client, "aaaccce");
	assert_int_equal(stats_of(client).corrupt, 0);
	fake_close(&fake, client);
}

static void anything_but_the_next_fragment_of_a_source_discards_what_it_had(void **state)
{
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);

	(void)state;
	fake_bind(&fake, "x");
	inject_fragment(FAKE_PEER, 1, 0, 3, "aaa", 3); /* then a whole message */
	fake_text(&fake, "x", 2, "whole");
	inject_fragment(FAKE_PEER, 1, 1, 3, "bbb", 3); /* the rest belongs to nothing */
	inject_fragment(FAKE_PEER, 3, 0, 3, "ccc", 3); /* then one is missing */
	inject_fragment(FAKE_PEER, 3, 2, 3, "ddd", 3);
	inject_fragment(FAKE_PEER, 4, 0, 2, "eee", 3); /* then the beginning of another */
	inject_fragment(FAKE_PEER, 5, 0, 2, "fff", 3);
	inject_fragment(FAKE_PEER, 5, 1, 2, "g", 1);
	inject_fragment(FAKE_PEER, 6, 0, 2, "h", 1); /* of any sizes */
	inject_fragment(FAKE_PEER, 6, 1, 2, "iiiiiiii", 8);
	fake_text(&fake, "x", 7, "end");
	expect_text(client, "whole");
	expect_text(client, "fffg");
	expect_text(client, "hiiiiiiii");
	expect_text(client, "end");
	assert_int_equal(stats_of(client).corrupt, 3);
	fake_close(&fake, client);
}

static void a_gap_is_counted_after_the_first_message_of_each_source(void **state)
{
	struct xy_client *client = subscribed((struct xy_client_options){0}, "*", NULL);
	struct xy_message message;

	(void)state;
	fake_bind(&fake, "x");
	fake_bind(&fake, "y");
	fake_text(&fake, "x", 10, "first");
	fake_text(&fake, "x", 11, "next");
	fake_text(&fake, "y", 3, "another topic");
	fake_text(&fake, "x", 15, "three are missing");
	fake_text(&fake, "y", 5, "one is missing");
	fake_text(&fake, "x", 0, "not counted");
	for (int i = 0; i < 6; i++)
		assert_int_equal(xy_client_next(client, -1, &message), 0);
	assert_int_equal(stats_of(client).gaps, 4);
	fake_close(&fake, client);
}

static void a_member_of_a_group_counts_no_gaps(void **state)
{
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", "group");

	(void)state;
	fake_bind(&fake, "x");
	fake_text(&fake, "x", 1, "a");
	fake_text(&fake, "x", 9, "b");
	expect_text(client, "a");
	expect_text(client, "b");
	assert_int_equal(stats_of(client).gaps, 0);
	fake_close(&fake, client);
}

static void credit_comes_back_by_acks_at_the_latest_after_a_quarter_of_the_window(void **state)
{
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);
	uint8_t data[1000] = {0};
	const size_t frame = XY_HEADER_SIZE + sizeof(data), per_round = FAKE_WINDOW / 4 / frame + 1;
	struct xy_message message;
	uint64_t last = 0;

	(void)state;
	fake_bind(&fake, "x");
	for (size_t round = 0; round < 16; round++) {
		/* Not one message more is needed for the ACK to come. */
		for (size_t i = 0; i < per_round; i++)
			fake_data(&fake, "x", 0, data, sizeof(data));
		for (size_t i = 0; i < per_round; i++)
			assert_int_equal(xy_client_next(client, -1, &message), 0);
		fake_await(&fake, XY_ACK, round + 1);
		assert_true(fake_frame(&fake, XY_ACK, round).header.ack > last);
		last = fake_frame(&fake, XY_ACK, round).header.ack;
	}
	/* The ack is exact: all frames since WELCOME, and nothing else. */
	assert_int_equal(xy_client_sync(client, -1), 0);
	fake_await(&fake, XY_SYNC, 2);
	assert_int_equal(fake_frame(&fake, XY_SYNC, 1).header.ack,
			 XY_HEADER_SIZE +         /* SYNCED */
				 XY_HEADER_SIZE + /* OK of SUBSCRIBE */
				 XY_HEADER_SIZE + 1 /* BINDING */ + 16 * per_round * frame);
	fake_close(&fake, client);
}

static void pings_are_answered_in_order_with_their_payload(void **state)
{
	struct xy_client *client = subscribed((struct xy_client_options){0}, "x", NULL);
	struct xy_message message;

	(void)state;
	for (uint64_t i = 1; i <= 8; i++)
		fake_inject(&fake, (struct xy_frame){.type = XY_PING, .correlation = i}, &i, 8);
	while (fake_count(&fake, XY_PONG) < 8)
		assert_int_equal(xy_client_next(client, 1, &message), -ETIMEDOUT);
	for (uint64_t i = 1; i <= 8; i++) {
		struct fake_frame pong = fake_frame(&fake, XY_PONG, i - 1);

		assert_int_equal(pong.header.correlation, i);
		assert_int_equal(pong.header.length, XY_HEADER_SIZE + 8);
		assert_memory_equal(pong.payload, &i, 8);
	}
	fake_close(&fake, client);
}

static void full_inbound_memory_stops_reading_and_tells_the_publisher(void **state)
{
	struct xy_client *client = subscribed(
		(struct xy_client_options){.inbound_max = 256u << 10, .outbound_max = 100000}, "x",
		NULL);
	struct xy_topic *topic;
	struct xy_message message;
	uint8_t data[1000] = {0};
	unsigned injected = 0, taken = 0, published = 0;
	int error = 0;

	(void)state;
	fake_bind(&fake, "x");
	assert_int_equal(xy_client_declare(client, "x", &topic), 0);
	fake_set(&fake, &fake.hold_synced, true);
	/* More than fits, then the brake, and nobody takes anything. */
	for (; injected < 50; injected++)
		fake_data(&fake, "x", injected + 1, data, sizeof(data));
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNC_WANTED}, NULL, 0);
	for (; injected < 400; injected++)
		fake_data(&fake, "x", injected + 1, data, sizeof(data));
	while (error == 0) {
		error = xy_client_publish(client, topic, data, sizeof(data));
		published += error == 0;
	}
	assert_int_equal(error, -EAGAIN);
	assert_int_equal(xy_client_flush(client, -1), -EAGAIN);
	fake_await(&fake, XY_SYNC, 2);
	/* What is not read is not acked. */
	assert_true(stats_of(client).frames_in < 400);
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNCED, .correlation = 2}, NULL, 0);
	/* Taking messages is the way on. */
	while ((error = xy_client_flush(client, -1)) == -EAGAIN) {
		assert_int_equal(xy_client_next(client, -1, &message), 0);
		assert_int_equal(message.sequence, ++taken);
	}
	assert_int_equal(error, 0);
	while (taken < injected) {
		assert_int_equal(xy_client_next(client, -1, &message), 0);
		assert_int_equal(message.sequence, ++taken);
	}
	assert_true(published > 0);
	assert_int_equal(stats_of(client).gaps, 0);
	fake_close(&fake, client);
}

/* More than the sockets hold: the test reads meanwhile. */
static void *feed_unfinished(void *data)
{
	for (uint64_t source = 1; source <= 30; source++) {
		inject_fragment(source, 1, 0, 10, data, XY_PAYLOAD_MAX);
		inject_fragment(source, 1, 1, 10, data, XY_PAYLOAD_MAX);
	}
	for (uint16_t i = 2; i < 10; i++)
		inject_fragment(30, 1, i, 10, data, XY_PAYLOAD_MAX);
	return NULL;
}

static void *feed_whole(void *data)
{
	for (uint64_t sequence = 1; sequence <= 12; sequence++)
		for (uint16_t i = 0; i < 4; i++)
			inject_fragment(FAKE_PEER, sequence, i, 4, data, XY_PAYLOAD_MAX);
	return NULL;
}

static void unfinished_messages_make_room_for_others_when_memory_ends(void **state)
{
	struct xy_client *client =
		subscribed((struct xy_client_options){.inbound_max = 1u << 20}, "x", NULL);
	uint8_t *data = calloc(1, XY_PAYLOAD_MAX);
	struct xy_message message;
	pthread_t feeder;

	(void)state;
	fake_bind(&fake, "x");
	/* 30 sources, 10 × 64 KiB each announced, 128 KiB each begun; the last one ends. */
	assert_int_equal(pthread_create(&feeder, NULL, feed_unfinished, data), 0);
	assert_int_equal(xy_client_next(client, -1, &message), 0);
	assert_int_equal(message.source, 30);
	assert_int_equal(message.length, 10 * XY_PAYLOAD_MAX);
	assert_true(stats_of(client).corrupt > 0);
	pthread_join(feeder, NULL);
	fake_close(&fake, client);
	free(data);
}

static void whole_large_messages_wait_without_loss_when_memory_ends(void **state)
{
	struct xy_client *client =
		subscribed((struct xy_client_options){.inbound_max = 1u << 20}, "x", NULL);
	uint8_t *data = calloc(1, XY_PAYLOAD_MAX);
	struct xy_message message;
	pthread_t feeder;

	(void)state;
	fake_bind(&fake, "x");
	assert_int_equal(pthread_create(&feeder, NULL, feed_whole, data), 0);
	for (uint64_t sequence = 1; sequence <= 12; sequence++) {
		/* process() takes in as much as it may without giving anything out. */
		assert_int_equal(xy_client_process(client), 0);
		assert_int_equal(xy_client_next(client, -1, &message), 0);
		assert_int_equal(message.sequence, sequence);
		assert_int_equal(message.length, 4 * XY_PAYLOAD_MAX);
	}
	pthread_join(feeder, NULL);
	assert_int_equal(stats_of(client).corrupt, 0);
	fake_close(&fake, client);
	free(data);
}

static void silence_is_broken_by_a_ping(void **state)
{
	struct xy_client *client;
	struct xy_message message;

	(void)state;
	fake.heartbeat_ms = 250;
	client = fake_open(&fake, (struct xy_client_options){0});
	while (fake_count(&fake, XY_PING) < 4)
		assert_int_equal(xy_client_next(client, 20, &message), -ETIMEDOUT);
	assert_int_equal(stats_of(client).reconnects, 0);
	fake_close(&fake, client);
}

/* An application that polls and then only calls next() must come to rest between two timers. */
static void next_takes_back_what_made_the_descriptor_readable(void **state)
{
	struct xy_client *client;
	struct xy_message message;
	struct pollfd polled = {.events = POLLIN};

	(void)state;
	fake.heartbeat_ms = 250;
	client = fake_open(&fake, (struct xy_client_options){0});
	polled.fd = xy_client_fd(client);
	while (fake_count(&fake, XY_PING) < 2) {
		unsigned calls = 0;

		assert_int_equal(poll(&polled, 1, 10000), 1);
		do
			assert_int_equal(xy_client_next(client, 0, &message), -ETIMEDOUT);
		while (poll(&polled, 1, 0) == 1 && ++calls < 100);
		assert_true(calls < 100);
	}
	fake_close(&fake, client);
}

static void a_proxy_that_is_silent_for_too_long_is_given_up(void **state)
{
	struct xy_client *client;
	struct xy_message message;
	int error;

	(void)state;
	fake.heartbeat_ms = 20;
	client = fake_open(&fake, (struct xy_client_options){.no_reconnect = true});
	fake_set(&fake, &fake.paused, true);
	/* The frame that the proxy is reading is answered still. */
	do
		error = xy_client_next(client, 20, &message);
	while (error == -ETIMEDOUT);
	assert_int_equal(error, -ENOTCONN);
	fake_close(&fake, client);
}

static void bytes_that_are_no_frame_end_the_connection(void **state)
{
	static const struct xy_frame bad[] = {{.type = 77}, {.type = XY_WELCOME}};
	struct xy_message message;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct xy_client *client;
		uint8_t zeros[XY_HEADER_SIZE] = {0, 0, 0, 60, 2};

		setup(NULL);
		fake_start(&fake);
		client = fake_connect(&fake, (struct xy_client_options){.no_reconnect = true});
		pthread_mutex_lock(&fake.lock);
		if (i < 2) {
			fake_put(&fake, bad[i], NULL, 0);
		} else {
			zeros[3] = i == 2 ? 60 : 59;
			zeros[4] = i == 2 ? 2 : 1;
			fake_write(fake.fd, zeros, sizeof(zeros));
		}
		pthread_mutex_unlock(&fake.lock);
		assert_int_equal(xy_client_next(client, -1, &message), -ENOTCONN);
		assert_true(strlen(xy_client_error(client)) > 0);
		xy_client_close(client);
		fake_stop(&fake);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_bundle_is_taken_apart, setup),
		cmocka_unit_test_setup(a_bundle_whose_lengths_do_not_add_up_is_dropped_whole,
				       setup),
		cmocka_unit_test_setup(a_bundle_in_fragments_is_dropped, setup),
		cmocka_unit_test_setup(a_wrong_crc_drops_the_message_and_a_right_one_is_cut_off,
				       setup),
		cmocka_unit_test_setup(what_one_client_sends_another_gets_byte_for_byte, setup),
		cmocka_unit_test_setup(fragments_of_several_sources_may_interleave, setup),
		cmocka_unit_test_setup(
			anything_but_the_next_fragment_of_a_source_discards_what_it_had, setup),
		cmocka_unit_test_setup(a_gap_is_counted_after_the_first_message_of_each_source,
				       setup),
		cmocka_unit_test_setup(a_member_of_a_group_counts_no_gaps, setup),
		cmocka_unit_test_setup(
			credit_comes_back_by_acks_at_the_latest_after_a_quarter_of_the_window,
			setup),
		cmocka_unit_test_setup(pings_are_answered_in_order_with_their_payload, setup),
		cmocka_unit_test_setup(full_inbound_memory_stops_reading_and_tells_the_publisher,
				       setup),
		cmocka_unit_test_setup(unfinished_messages_make_room_for_others_when_memory_ends,
				       setup),
		cmocka_unit_test_setup(whole_large_messages_wait_without_loss_when_memory_ends,
				       setup),
		cmocka_unit_test_setup(silence_is_broken_by_a_ping, setup),
		cmocka_unit_test_setup(next_takes_back_what_made_the_descriptor_readable, setup),
		cmocka_unit_test_setup(a_proxy_that_is_silent_for_too_long_is_given_up, setup),
		cmocka_unit_test_setup(bytes_that_are_no_frame_end_the_connection, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
