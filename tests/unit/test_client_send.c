/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: the rules of a lane client's sends, batches, bundles, fragments, the brake. Rule 7 is
 * checked for every send of every test by fake_stop(). */
#include "unit/fake_proxy.h"

#include "client/internal.h"

#define SPOKEN 256 /* frames of 64 KiB: four times what sockets hold */

static struct fake fake;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	return 0;
}

/* Every message carries its number in its first 4 bytes, and the rest follows from it. */
static void fill(uint8_t *data, size_t length, uint32_t number)
{
	for (size_t i = 4; i < length; i++)
		data[i] = (uint8_t)(number + i);
	memcpy(data, &number, sizeof(number));
}

static void check_filled(const uint8_t *data, size_t length, uint32_t number)
{
	uint8_t expected[XY_PAYLOAD_MAX];

	fill(expected, length, number);
	assert_memory_equal(data, expected, length);
}

/* All messages that the proxy has got, bundled or not: `count` of them, in order from 0, numbered
 * by `sequence` from 1, each `length` bytes. */
static void check_all(size_t count, size_t length)
{
	size_t at = 0;

	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < fake.count; i++) {
		struct fake_frame frame = fake.frames[i];
		size_t left = frame.header.length - XY_HEADER_SIZE;
		const uint8_t *data = frame.payload;

		if (frame.header.type != XY_DATA)
			continue;
		assert_int_equal(frame.header.sequence, at + 1);
		if ((frame.header.flags & XY_BUNDLE) == 0) {
			assert_int_equal(left, length);
			check_filled(data, length, (uint32_t)at++);
			continue;
		}
		while (left > 0) {
			uint32_t item;

			memcpy(&item, data, sizeof(item));
			assert_int_equal(xy_be32(item), length);
			check_filled(data + XY_BUNDLE_PREFIX, length, (uint32_t)at++);
			data += XY_BUNDLE_PREFIX + length;
			left -= XY_BUNDLE_PREFIX + length;
		}
	}
	pthread_mutex_unlock(&fake.lock);
	assert_int_equal(at, count);
}

static size_t messages_received(void)
{
	size_t count = 0;

	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < fake.count; i++) {
		const struct fake_frame *frame = &fake.frames[i];
		const uint8_t *data = frame->payload;
		const uint8_t *end = data + frame->header.length - XY_HEADER_SIZE;

		if (frame->header.type != XY_DATA)
			continue;
		if ((frame->header.flags & XY_BUNDLE) == 0) {
			count++;
			continue;
		}
		while (data < end) {
			uint32_t item;

			memcpy(&item, data, sizeof(item));
			data += XY_BUNDLE_PREFIX + xy_be32(item);
			count++;
		}
	}
	pthread_mutex_unlock(&fake.lock);
	return count;
}

/* After a SYNC everything is recorded: the proxy reads in order. */
static void await_messages(struct xy_client *client, size_t count)
{
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_int_equal(messages_received(), count);
}

static struct xy_topic *declare(struct xy_client *client, const char *subject)
{
	struct xy_topic *topic;

	assert_int_equal(xy_client_declare(client, subject, &topic), 0);
	return topic;
}

static void publish(struct xy_client *client, struct xy_topic *topic, size_t length, uint32_t first,
		    uint32_t count)
{
	uint8_t *data = malloc(length);

	for (uint32_t i = first; i < first + count; i++) {
		fill(data, length, i);
		assert_int_equal(xy_client_publish(client, topic, data, length), 0);
	}
	free(data);
}

static void one_message_alone_is_a_plain_frame_and_queued_ones_are_a_bundle(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	topic = declare(client, "a");
	publish(client, topic, 64, 0, 1);
	assert_int_equal(xy_client_flush(client, -1), 0);
	publish(client, topic, 64, 1, 3);
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, 4);
	assert_int_equal(fake_count(&fake, XY_DATA), 2);
	assert_int_equal(fake_frame(&fake, XY_DATA, 0).header.flags, 0);
	assert_int_equal(fake_frame(&fake, XY_DATA, 1).header.flags, XY_BUNDLE);
	assert_int_equal(fake_frame(&fake, XY_DATA, 1).header.length,
			 XY_HEADER_SIZE + 3 * (XY_BUNDLE_PREFIX + 64));
	check_all(4, 64);
	fake_close(&fake, client);
}

static void a_stream_of_small_messages_goes_in_full_bundles_without_a_flush(void **state)
{
	struct xy_client_stats stats;
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	topic = declare(client, "a");
	publish(client, topic, 100, 0, 20000);
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, 20000);
	check_all(20000, 100);
	xy_client_stats(client, &stats);
	assert_int_equal(stats.messages_out, 20000);
	assert_int_equal(stats.bytes_out, 2000000);
	/* 629 messages of 104 bytes fit into a frame. */
	assert_in_range(fake_count(&fake, XY_DATA), 32, 40);
	fake_close(&fake, client);
}

static void without_bundles_a_send_holds_at_most_64_frames(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;
	size_t full = 0;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.no_bundle = true});
	topic = declare(client, "a");
	publish(client, topic, 8, 0, 640);
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, 640);
	check_all(640, 8);
	for (size_t i = 0; i < sends.count; i++)
		full += sends.log[i].length == 64 * (XY_HEADER_SIZE + 8);
	assert_int_equal(full, 10);
	fake_close(&fake, client);
}

static void a_send_holds_at_most_64_kib(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	topic = declare(client, "a");
	publish(client, topic, 10000, 0, 60);
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, 60);
	check_all(60, 10000);
	/* Six frames of 10,060 bytes. */
	for (size_t i = 0; i < sends.count; i++)
		if (fake_send_is_data(sends.log[i].data, sends.log[i].length))
			assert_int_equal(sends.log[i].length, 60360);
	fake_close(&fake, client);
}

static void a_change_of_target_sends_what_was_queued_before_it(void **state)
{
	struct xy_client *client;
	struct xy_topic *a, *b;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	a = declare(client, "a");
	b = declare(client, "b");
	assert_int_equal(xy_client_publish(client, a, "1", 1), 0);
	assert_int_equal(xy_client_publish(client, b, "2", 1), 0);
	fake_await(&fake, XY_DATA, 1);
	assert_int_equal(xy_client_send(client, FAKE_PEER, "3", 1), 0);
	fake_await(&fake, XY_DATA, 2);
	assert_int_equal(xy_client_send(client, FAKE_PEER, "4", 1), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 3);
	assert_memory_equal(fake_frame(&fake, XY_DATA, 0).payload, "1", 1);
	assert_memory_equal(fake_frame(&fake, XY_DATA, 1).payload, "2", 1);
	assert_int_equal(fake_frame(&fake, XY_DATA, 2).header.flags, XY_DIRECT | XY_BUNDLE);
	assert_int_equal(fake_frame(&fake, XY_DATA, 2).header.target, FAKE_PEER);
	assert_int_equal(fake_frame(&fake, XY_DATA, 2).header.sequence, 0);
	fake_close(&fake, client);
}

static void a_crc_covers_the_payload_of_plain_frames_bundles_and_fragments(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.crc = true});
	topic = declare(client, "a");
	publish(client, topic, 100, 0, 1);
	assert_int_equal(xy_client_flush(client, -1), 0);
	publish(client, topic, 100, 1, 2);
	publish(client, topic, 5000, 3, 1);
	publish(client, topic, 100000, 4, 1);
	publish(client, topic, 100, 5, 5000);
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_true(fake_count(&fake, XY_DATA) > 10);
	for (size_t i = 0; i < fake_count(&fake, XY_DATA); i++) {
		struct fake_frame frame = fake_frame(&fake, XY_DATA, i);
		size_t length = frame.header.length - XY_HEADER_SIZE - XY_CRC_SIZE;
		uint32_t crc;

		assert_true(frame.header.flags & XY_CRC);
		memcpy(&crc, frame.payload + length, sizeof(crc));
		assert_int_equal(xy_be32(crc), xy_crc32c(0, frame.payload, length));
	}
	fake_close(&fake, client);
}

static void a_large_message_goes_in_fragments_that_agree(void **state)
{
	const size_t length = 1000000;
	struct xy_client *client;
	struct xy_topic *topic;
	uint8_t *data = malloc(length), *whole = malloc(length);
	size_t at = 0, fragments = (length + XY_PAYLOAD_MAX - 1) / XY_PAYLOAD_MAX;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	topic = declare(client, "a");
	fill(data, length, 7);
	assert_int_equal(xy_client_publish(client, topic, "before", 6), 0);
	assert_int_equal(xy_client_publish(client, topic, data, length), 0);
	assert_int_equal(xy_client_publish(client, topic, "after", 5), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, fragments + 2);
	for (size_t i = 0; i < fragments; i++) {
		struct fake_frame frame = fake_frame(&fake, XY_DATA, i + 1);

		assert_int_equal(frame.header.sequence, 2);
		assert_int_equal(frame.header.fragment, i);
		assert_int_equal(frame.header.fragments, fragments);
		assert_int_equal(xy_frame_check_data(&frame.header, XY_MESSAGE_MAX_DEFAULT),
				 XY_ERROR_NONE);
		memcpy(whole + at, frame.payload, frame.header.length - XY_HEADER_SIZE);
		at += frame.header.length - XY_HEADER_SIZE;
	}
	assert_int_equal(at, length);
	assert_memory_equal(whole, data, length);
	assert_int_equal(fake_frame(&fake, XY_DATA, fragments + 1).header.sequence, 3);
	fake_close(&fake, client);
	free(data);
	free(whole);
}

static void a_fragmented_message_to_an_endpoint_is_counted(void **state)
{
	struct xy_client *client;
	uint8_t *data = calloc(1, 100000);

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_send(client, FAKE_PEER, data, 100000), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 2);
	assert_true(fake_frame(&fake, XY_DATA, 0).header.sequence != 0);
	fake_close(&fake, client);
	free(data);
}

static void a_message_above_the_limit_is_refused(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;
	uint8_t *data = calloc(1, 200001);

	(void)state;
	fake.max_message = 200000;
	client = fake_open(&fake, (struct xy_client_options){0});
	topic = declare(client, "a");
	assert_int_equal(xy_client_publish(client, topic, data, 200001), -EMSGSIZE);
	assert_int_equal(xy_client_publish(client, topic, data, 200000), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_close(&fake, client);
	free(data);
}

static void after_a_short_send_the_rest_goes_alone(void **state)
{
	static const size_t cuts[] = {1, 59, 60, 61, 1000, 60060, 65535};
	struct xy_client *client;
	struct xy_topic *topic;
	uint32_t number = 0;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.no_bundle = true});
	topic = declare(client, "a");
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		sends.cut = cuts[i];
		publish(client, topic, 1000, number, 100);
		number += 100;
		assert_int_equal(xy_client_flush(client, -1), 0);
	}
	await_messages(client, number);
	check_all(number, 1000);
	fake_close(&fake, client);
}

static void after_a_send_that_would_block_the_same_bytes_go_again(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	topic = declare(client, "a");
	publish(client, topic, 100, 0, 3);
	sends.would_block = true;
	fake_inject(&fake, (struct xy_frame){.type = XY_PING}, NULL, 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	publish(client, topic, 100, 3, 3);
	assert_int_equal(xy_client_sync(client, -1), 0);
	check_all(6, 100);
	fake_close(&fake, client);
}

static void a_proxy_that_reads_slowly_gets_everything_in_order(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	fake.receive_buffer = 4096;
	client = fake_open(&fake, (struct xy_client_options){0});
	topic = declare(client, "a");
	publish(client, topic, 3000, 0, 6000);
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, 6000);
	check_all(6000, 3000);
	fake_close(&fake, client);
}

static void try_publish_never_waits_and_loses_nothing_that_it_took(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;
	uint8_t data[5000];
	uint32_t taken = 0;

	(void)state;
	fake.receive_buffer = 4096;
	client = fake_open(&fake, (struct xy_client_options){.outbound_max = 200000});
	topic = declare(client, "a");
	fake_set(&fake, &fake.paused, true);
	for (;;) {
		int error;

		fill(data, sizeof(data), taken);
		error = xy_client_try_publish(client, topic, data, sizeof(data));
		if (error) {
			assert_int_equal(error, -EAGAIN);
			break;
		}
		taken++;
	}
	assert_true(taken > 200000 / 5000 - 1);
	assert_int_equal(xy_client_flush(client, 1), -ETIMEDOUT);
	fake_set(&fake, &fake.paused, false);
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, taken);
	check_all(taken, sizeof(data));
	fake_close(&fake, client);
}

/* Somebody must read it. Only then the proxy reads, too. */
static void *speak_then_read(void *context)
{
	static const uint8_t payload[XY_PAYLOAD_MAX];

	for (int i = 0; i < SPOKEN; i++)
		fake_inject(&fake,
			    (struct xy_frame){.type = XY_DATA,
					      .flags = XY_DIRECT,
					      .target = FAKE_ENDPOINT + 1,
					      .source = FAKE_PEER},
			    payload, sizeof(payload));
	fake_set(&fake, &fake.paused, false);
	return context;
}

/* By itself, and not because a timer wakes it. */
static void who_waits_to_send_reads(void **state)
{
	const int small = 64 << 10;
	struct xy_client_stats stats;
	struct xy_client *client;
	struct xy_topic *topic;
	uint32_t taken = 0;
	uint8_t data[5000];
	pthread_t thread;

	(void)state;
	fake.receive_buffer = 4096;
	fake.heartbeat_ms = 3600000;
	fake.no_lane = true; /* nor because a SYNC is answered */
	client = fake_open(&fake, (struct xy_client_options){.outbound_max = 200000});
	assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	topic = declare(client, "a");
	fake_set(&fake, &fake.paused, true);
	for (fill(data, sizeof(data), taken);
	     xy_client_try_publish(client, topic, data, sizeof(data)) == 0;
	     fill(data, sizeof(data), taken))
		taken++;
	assert_int_equal(pthread_create(&thread, NULL, speak_then_read, NULL), 0);
	assert_int_equal(xy_client_flush(client, FAKE_TIMEOUT_S * 1000), 0);
	pthread_join(thread, NULL);
	xy_client_stats(client, &stats);
	assert_true(stats.frames_in >= SPOKEN / 2);
	await_messages(client, taken);
	check_all(taken, sizeof(data));
	fake_close(&fake, client);
}

static void sync_wanted_is_answered_within_a_loop_that_only_publishes(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;
	uint8_t data[1000];
	size_t before;
	uint32_t number = 0;

	(void)state;
	fake_start(&fake);
	fake.hold_synced = true;
	client = fake_connect(&fake, (struct xy_client_options){.outbound_max = 500000});
	topic = declare(client, "a");
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNC_WANTED}, NULL, 0);
	for (;; number++) {
		int error;

		fill(data, sizeof(data), number);
		error = xy_client_try_publish(client, topic, data, sizeof(data));
		if (error == -EAGAIN)
			break;
		assert_int_equal(error, 0);
	}
	/* The brake holds: SYNC is out, and no DATA comes behind it. */
	fake_await(&fake, XY_SYNC, 2);
	assert_int_equal(fake_frame(&fake, XY_SYNC, 1).header.correlation, 2);
	assert_int_equal(xy_client_flush(client, 20), -ETIMEDOUT);
	pthread_mutex_lock(&fake.lock);
	assert_int_equal(fake.frames[fake.count - 1].header.type, XY_SYNC);
	pthread_mutex_unlock(&fake.lock);
	before = messages_received();
	assert_true(before < number);
	/* A second one while the SYNC is in flight is answered by it. */
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNC_WANTED}, NULL, 0);
	fake_set(&fake, &fake.hold_synced, false);
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNCED, .correlation = 2}, NULL, 0);
	while (xy_client_on_lane(client))
		assert_int_equal(xy_client_process(client), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, number);
	check_all(number, sizeof(data));
	fake_close(&fake, client);
}

static void a_publish_that_waits_for_the_brake_goes_on_when_it_is_released(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.outbound_max = 100000});
	topic = declare(client, "a");
	for (int i = 0; i < 20; i++) {
		fake_inject(&fake, (struct xy_frame){.type = XY_SYNC_WANTED}, NULL, 0);
		publish(client, topic, 1000, (uint32_t)i * 300, 300);
	}
	assert_int_equal(xy_client_flush(client, -1), 0);
	await_messages(client, 6000);
	check_all(6000, 1000);
	assert_true(fake_count(&fake, XY_SYNC) > 2);
	fake_close(&fake, client);
}

struct events {
	unsigned count[8];
};

static void note(struct xy_client *client, enum xy_event event, void *context)
{
	(void)client;
	((struct events *)context)->count[event]++;
}

static void a_failed_send_loses_that_send_only(void **state)
{
	static const int errors[] = {EPIPE, ENOMEM, EACCES};
	struct events events = {0};
	struct xy_client_stats stats;
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.on_event = note, .context = &events});
	topic = declare(client, "a");
	for (size_t i = 0; i < 3; i++) {
		sends.error = errors[i];
		sends.fail = 1;
		assert_int_equal(xy_client_publish(client, topic, "lost", 4), 0);
		assert_int_equal(xy_client_publish(client, topic, "lost", 4), 0);
		assert_int_equal(xy_client_flush(client, -1), 0);
		assert_int_equal(xy_client_publish(client, topic, "kept", 4), 0);
		assert_int_equal(xy_client_flush(client, -1), 0);
	}
	fake_await(&fake, XY_DATA, 3);
	xy_client_stats(client, &stats);
	assert_int_equal(stats.lost, 6);
	assert_int_equal(events.count[XY_EVENT_ERROR], 3);
	assert_int_equal(events.count[XY_EVENT_DISCONNECTED], 0);
	assert_int_equal(fake_frame(&fake, XY_DATA, 2).header.sequence, 9);
	assert_memory_equal(fake_frame(&fake, XY_DATA, 2).payload, "kept", 4);
	fake_close(&fake, client);
}

/* Whichever of its fragments is given up, and however many. */
static void a_message_in_fragments_is_lost_once(void **state)
{
	static const unsigned fail[] = {1 << 0, 1 << 1, 1 << 4, 1 << 1 | 1 << 3, 0x1f};
	const size_t length = 300000; /* five sends of one frame each */
	uint8_t *data = calloc(1, length);
	struct xy_client_stats stats;
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.no_bundle = true});
	topic = declare(client, "a");
	for (size_t i = 0; i < sizeof(fail) / sizeof(fail[0]); i++) {
		sends.error = ENOMEM;
		sends.fail = fail[i];
		assert_int_equal(xy_client_publish(client, topic, data, length), 0);
		assert_int_equal(xy_client_flush(client, -1), 0);
		assert_int_equal(sends.fail, 0);
		assert_int_equal(xy_client_publish(client, topic, "kept", 4), 0);
		assert_int_equal(xy_client_flush(client, -1), 0);
		xy_client_stats(client, &stats);
		assert_int_equal(stats.lost, i + 1);
	}
	fake_close(&fake, client);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			one_message_alone_is_a_plain_frame_and_queued_ones_are_a_bundle, setup),
		cmocka_unit_test_setup(
			a_stream_of_small_messages_goes_in_full_bundles_without_a_flush, setup),
		cmocka_unit_test_setup(without_bundles_a_send_holds_at_most_64_frames, setup),
		cmocka_unit_test_setup(a_send_holds_at_most_64_kib, setup),
		cmocka_unit_test_setup(a_change_of_target_sends_what_was_queued_before_it, setup),
		cmocka_unit_test_setup(
			a_crc_covers_the_payload_of_plain_frames_bundles_and_fragments, setup),
		cmocka_unit_test_setup(a_large_message_goes_in_fragments_that_agree, setup),
		cmocka_unit_test_setup(a_fragmented_message_to_an_endpoint_is_counted, setup),
		cmocka_unit_test_setup(a_message_above_the_limit_is_refused, setup),
		cmocka_unit_test_setup(after_a_short_send_the_rest_goes_alone, setup),
		cmocka_unit_test_setup(after_a_send_that_would_block_the_same_bytes_go_again,
				       setup),
		cmocka_unit_test_setup(a_proxy_that_reads_slowly_gets_everything_in_order, setup),
		cmocka_unit_test_setup(try_publish_never_waits_and_loses_nothing_that_it_took,
				       setup),
		cmocka_unit_test_setup(who_waits_to_send_reads, setup),
		cmocka_unit_test_setup(sync_wanted_is_answered_within_a_loop_that_only_publishes,
				       setup),
		cmocka_unit_test_setup(
			a_publish_that_waits_for_the_brake_goes_on_when_it_is_released, setup),
		cmocka_unit_test_setup(a_failed_send_loses_that_send_only, setup),
		cmocka_unit_test_setup(a_message_in_fragments_is_lost_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
