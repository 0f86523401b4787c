/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules of a conversation: requests and their answers, every error, PING, ACK, SYNC. */
#include <stdio.h>
#include <string.h>

#include "common/proxy.h"
#include "common/raw.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* A publisher and a subscriber of its topic: whatever else happens, this pair goes on. */
struct pair {
	struct raw *publisher, *subscriber;
	uint64_t topic, sequence;
};

static struct pair pair_open(const struct proxy *proxy, const char *subject)
{
	struct pair pair = {.publisher = raw_open(proxy), .subscriber = raw_open(proxy)};

	raw_subscribe_to(pair.subscriber, subject);
	pair.topic = raw_declare(pair.publisher, subject);
	return pair;
}

static struct xy_frame pair_data(struct pair *pair)
{
	struct xy_frame data = raw_header(pair->publisher, XY_DATA);

	data.target = pair->topic;
	data.sequence = ++pair->sequence;
	return data;
}

static void pair_exchange(struct pair *pair, const char *text)
{
	raw_publish(pair->publisher, pair->topic, ++pair->sequence, text);
	raw_expect_text(pair->subscriber, text);
}

/* ---- errors that close ----------------------------------------------------------------------- */

static void test_types_that_are_not_a_clients_close(void **state)
{
	static const uint8_t types[] = {0,          XY_WELCOME, XY_SYNCED, XY_SYNC_WANTED,
					XY_BINDING, XY_OK,      XY_ERROR,  17,
					128,        255};

	for (size_t i = 0; i < LENGTH(types); i++) {
		struct raw *raw = raw_open(*state);

		raw_send_frame(raw, raw_header(raw, types[i]), NULL, 0);
		raw_expect_error(raw, XY_E_BAD_TYPE);
	}
}

static void test_other_versions_close(void **state)
{
	static const uint8_t versions[] = {0, 2, 255};

	for (size_t i = 0; i < LENGTH(versions); i++) {
		struct raw *raw = raw_open(*state);
		struct xy_frame ping = raw_header(raw, XY_PING);

		ping.version = versions[i];
		raw_send_frame(raw, ping, NULL, 0);
		raw_expect_error(raw, XY_E_BAD_VERSION);
	}
}

static void test_wrong_source_closes_and_the_frame_goes_nowhere(void **state)
{
	static const uint8_t types[] = {XY_DATA,      XY_PING,    XY_ACK,
					XY_SYNC,      XY_PONG,    XY_DECLARE,
					XY_SUBSCRIBE, XY_GOODBYE, XY_UNSUBSCRIBE};

	for (size_t i = 0; i < LENGTH(types); i++) {
		struct pair pair = pair_open(*state, "source.a");
		struct raw *forger = pair.publisher;
		struct xy_frame frame = raw_header(forger, types[i]);

		pair_exchange(&pair, "honest");
		raw_sync(forger);
		frame.source = pair.subscriber->endpoint;
		frame.target = pair.topic;
		frame.correlation = 5;
		raw_send_frame(forger, frame, "source.a", 8);
		raw_expect_error(forger, XY_E_BAD_SOURCE);
		assert_int_equal(forger->frame.header.correlation, 5);
		assert_int_equal(forger->frame.header.target, pair.topic);
		raw_expect_silence(pair.subscriber);
	}
}

static void test_checks_come_in_the_order_of_the_protocol(void **state)
{
	struct raw *raw = raw_open(*state);
	struct xy_frame frame = {.length = 59, .version = 9, .type = XY_OK, .source = 1};
	uint8_t bytes[XY_HEADER_SIZE];

	xy_frame_encode(&frame, bytes);
	raw_send(raw, bytes, sizeof(bytes));
	raw_expect_error(raw, XY_E_BAD_FRAME);
	raw = raw_open(*state);
	raw_send_frame(raw, frame, NULL, 0);
	raw_expect_error(raw, XY_E_BAD_VERSION);
	frame.version = 1;
	raw = raw_open(*state);
	raw_send_frame(raw, frame, NULL, 0);
	raw_expect_error(raw, XY_E_BAD_TYPE);
	frame.type = XY_DATA;
	frame.flags = 0x8000;
	raw = raw_open(*state);
	raw_send_frame(raw, frame, NULL, 0);
	raw_expect_error(raw, XY_E_BAD_SOURCE);
}

/* ---- errors that do not close ---------------------------------------------------------------- */

struct bad_data {
	enum xy_error error;
	uint16_t flags, fragment, fragments;
	bool uncounted; /* sequence 0 */
	size_t length;
};

static const struct bad_data bad_data[] = {
	{XY_E_BAD_FLAGS, .flags = 1 << 5},
	{XY_E_BAD_FLAGS, .flags = 1 << 15},
	{XY_E_BAD_FLAGS, .flags = 0xffff},
	{XY_E_BAD_FLAGS, .flags = XY_LANE},
	{XY_E_BAD_FLAGS, .flags = XY_BUNDLE | XY_REPLY_WANTED, .length = 8},
	{XY_E_BAD_FLAGS, .flags = XY_CRC},
	{XY_E_BAD_FLAGS, .flags = XY_CRC, .length = 3},
	{XY_E_BAD_FRAGMENT, .fragment = 1},
	{XY_E_BAD_FRAGMENT, .fragment = 1, .fragments = 1},
	{XY_E_BAD_FRAGMENT, .fragment = 2, .fragments = 2},
	{XY_E_BAD_FRAGMENT, .fragment = 65535, .fragments = 2},
	{XY_E_BAD_FRAGMENT, .fragments = 2, .uncounted = true},
	{XY_E_BAD_FRAGMENT, .flags = XY_BUNDLE, .fragments = 2},
	{XY_E_TOO_LARGE, .fragments = 1026},
	{XY_E_TOO_LARGE, .fragments = 65535},
	/* Flags come before fragments, and those before the size. */
	{XY_E_BAD_FLAGS, .flags = 1 << 5, .fragment = 1},
	{XY_E_BAD_FRAGMENT, .fragments = 65535, .uncounted = true},
};

/* Good, bad and good again in one send: the good ones arrive in order, the bad one is answered. */
static void test_bad_data_is_answered_and_its_neighbours_arrive(void **state)
{
	struct pair pair = pair_open(*state, "bad.data");

	for (int pass = 0; pass < 3; pass++) {
		for (size_t i = 0; i < LENGTH(bad_data); i++) {
			const struct bad_data *bad = &bad_data[i];
			uint8_t bytes[1024];
			struct xy_frame frame = pair_data(&pair);
			size_t size = raw_put(bytes, frame, "before", 6);
			const struct raw_frame *error;

			frame = pair_data(&pair);
			frame.flags = bad->flags;
			frame.fragment = bad->fragment;
			frame.fragments = bad->fragments;
			frame.correlation = 77;
			if (bad->uncounted)
				frame.sequence = 0;
			size += raw_put(bytes + size, frame, "evil bad", bad->length);
			size += raw_put(bytes + size, pair_data(&pair), "behind", 6);
			raw_send(pair.publisher, bytes, size);
			error = raw_expect_error(pair.publisher, bad->error);
			assert_int_equal(error->header.target, pair.topic);
			assert_int_equal(error->header.sequence, frame.sequence);
			assert_int_equal(error->header.correlation, 77);
			raw_expect_text(pair.subscriber, "before");
			raw_expect_text(pair.subscriber, "behind");
		}
		raw_sync(pair.publisher);
	}
}

/* Alone in its send: the shape that a kernel path could redirect, and must not. */
static void test_bad_data_alone_never_arrives(void **state)
{
	struct pair pair = pair_open(*state, "bad.alone");

	for (int pass = 0; pass < 3; pass++) {
		for (size_t i = 0; i < LENGTH(bad_data); i++) {
			const struct bad_data *bad = &bad_data[i];
			struct xy_frame frame;

			pair_exchange(&pair, "good");
			raw_sync(pair.publisher);
			frame = pair_data(&pair);
			frame.flags = bad->flags;
			frame.fragment = bad->fragment;
			frame.fragments = bad->fragments;
			if (bad->uncounted)
				frame.sequence = 0;
			raw_send_frame(pair.publisher, frame, "evil bad", bad->length);
			raw_expect_error(pair.publisher, bad->error);
			raw_expect_fence(pair.subscriber, pair.publisher);
		}
	}
}

static void test_largest_message_may_begin(void **state)
{
	struct pair pair = pair_open(*state, "large.begin");
	struct xy_frame frame = pair_data(&pair);

	frame.fragments = 1025;
	raw_send_frame(pair.publisher, frame, "first of 1025", 13);
	raw_expect_text(pair.subscriber, "first of 1025");
}

static void test_data_on_an_undeclared_topic_is_unknown_topic(void **state)
{
	struct pair pair = pair_open(*state, "declared.here");
	struct raw *stranger = raw_open(*state);
	uint64_t topics[] = {pair.topic, pair.topic ^ 1, 0, UINT64_MAX};

	for (size_t i = 0; i < LENGTH(topics); i++) {
		struct xy_frame data = raw_header(stranger, XY_DATA);

		data.target = topics[i];
		data.sequence = 3;
		raw_send_frame(stranger, data, "x", 1);
		raw_expect_error(stranger, XY_E_UNKNOWN_TOPIC);
		assert_int_equal(stranger->frame.header.target, topics[i]);
		assert_int_equal(stranger->frame.header.sequence, 3);
	}
	raw_expect_fence(pair.subscriber, stranger);
	pair_exchange(&pair, "declared");
}

static void test_direct_to_nobody_is_unknown_endpoint(void **state)
{
	struct raw *raw = raw_open(*state), *gone = raw_open(*state);
	uint64_t targets[] = {0, 1, raw->endpoint ^ 1, gone->endpoint, UINT64_MAX};

	raw_leave(gone);
	for (size_t i = 0; i < LENGTH(targets); i++) {
		struct xy_frame data = raw_header(raw, XY_DATA);

		data.flags = XY_DIRECT;
		data.target = targets[i];
		data.correlation = i + 1;
		raw_send_frame(raw, data, "x", 1);
		raw_expect_error(raw, XY_E_UNKNOWN_ENDPOINT);
		assert_int_equal(raw->frame.header.target, targets[i]);
		assert_int_equal(raw->frame.header.correlation, i + 1);
	}
	raw_sync(raw);
}

static void test_subscription_that_is_not_there_cannot_be_ended(void **state)
{
	struct raw *raw = raw_open(*state), *other = raw_open(*state);
	uint64_t mine = raw_subscribe_to(raw, "unsub.a");
	uint64_t foreign = raw_subscribe_to(other, "unsub.a");
	uint64_t targets[] = {0, mine ^ 0x55, UINT64_MAX, mine, foreign};

	raw_request(raw, XY_UNSUBSCRIBE, mine, "");
	for (size_t i = 0; i < LENGTH(targets); i++) {
		struct xy_frame unsubscribe = raw_header(raw, XY_UNSUBSCRIBE);

		/* Ids need only differ within a connection. */
		if (targets[i] == foreign && foreign == mine)
			continue;
		unsubscribe.target = targets[i];
		unsubscribe.correlation = 100 + i;
		raw_send_frame(raw, unsubscribe, NULL, 0);
		raw_expect_error(raw, XY_E_UNKNOWN_SUBSCRIPTION);
		assert_int_equal(raw->frame.header.correlation, 100 + i);
	}
	raw_request(other, XY_UNSUBSCRIBE, foreign, "");
}

static const char *const bad_subjects[] = {"",
					   ".",
					   "a.",
					   ".a",
					   "a..b",
					   "a b",
					   "a\tb",
					   "a\x7f",
					   "\xff",
					   "a.\xc3",
					   ">.a",
					   "a.>.b",
					   "a.\xe2\x80\xa8.b"};

static void test_bad_subjects_are_refused(void **state)
{
	static const char *const wildcards[] = {"*", ">", "a.*", "*.a", "a.>"};
	struct raw *raw = raw_open(*state);
	char longest[XY_SUBJECT_MAX + 2];

	for (size_t i = 0; i < LENGTH(bad_subjects) + LENGTH(wildcards); i++) {
		const char *subject = i < LENGTH(bad_subjects)
					      ? bad_subjects[i]
					      : wildcards[i - LENGTH(bad_subjects)];
		struct xy_frame declare = raw_header(raw, XY_DECLARE);

		declare.correlation = i + 1;
		raw_send_frame(raw, declare, subject, strlen(subject));
		raw_expect_error(raw, XY_E_BAD_SUBJECT);
		assert_int_equal(raw->frame.header.correlation, i + 1);
	}
	raw_send_frame(raw, raw_header(raw, XY_DECLARE), "a\0b", 3);
	raw_expect_error(raw, XY_E_BAD_SUBJECT);
	memset(longest, 'x', sizeof(longest));
	raw_send_frame(raw, raw_header(raw, XY_DECLARE), longest, 256);
	raw_expect_error(raw, XY_E_BAD_SUBJECT);
	longest[255] = '\0';
	raw_declare(raw, longest);
}

static void expect_refused(struct raw *raw, const char *const *subscribes, size_t count,
			   enum xy_error error)
{
	for (size_t i = 0; i < count; i++) {
		struct xy_frame subscribe = raw_header(raw, XY_SUBSCRIBE);

		subscribe.correlation = i + 1;
		raw_send_frame(raw, subscribe, subscribes[i], strlen(subscribes[i]));
		raw_expect_error(raw, error);
		assert_int_equal(raw->frame.header.correlation, i + 1);
	}
}

static void test_bad_patterns_are_refused(void **state)
{
	static const char *const bad[] = {
		"{\"subject\":\"\"}",      "{\"subject\":\".\"}",         "{\"subject\":\"a..b\"}",
		"{\"subject\":\"a.>.b\"}", "{\"subject\":\">.a\"}",       "{\"subject\":\"a b\"}",
		"{\"subject\":\"a\\nb\"}", "{\"subject\":\"a\\u2003b\"}", "{\"subject\":\"a.\"}",
	};
	struct raw *raw = raw_open(*state);

	expect_refused(raw, bad, LENGTH(bad), XY_E_BAD_SUBJECT);
	raw_subscribe_to(raw, "fine");
}

static void test_subscribe_that_is_bad_json_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"x",
		"{}",
		"[]",
		"{\"subject\":1}",
		"{\"subject\":\"a\\u0000b\"}",
		"{\"subject\":\"\xff\"}",
		"{\"subject\":\"a\",\"overflow\":\"explode\"}",
		"{\"subject\":\"a\",\"stall_ms\":\"2000\"}",
		"{\"subject\":\"a\",\"stall_ms\":-5}",
		"{\"subject\":\"a\",\"echo\":1}",
		"{\"subject\":\"a\",\"group\":[]}",
		"{\"subject\":\"a\"",
	};
	struct raw *raw = raw_open(*state);

	expect_refused(raw, bad, LENGTH(bad), XY_E_BAD_JSON);
	raw_subscribe(raw, "{\"subject\":\"fine\",\"later\":{}}");
}

static void test_request_without_subscribers_has_no_responders(void **state)
{
	struct raw *raw = raw_open(*state);
	uint64_t topic = raw_declare(raw, "nobody.home");
	struct xy_frame data = raw_header(raw, XY_DATA);

	data.target = topic;
	data.sequence = 1;
	data.correlation = 42;
	data.flags = XY_REPLY_WANTED;
	raw_send_frame(raw, data, "?", 1);
	raw_expect_error(raw, XY_E_NO_RESPONDERS);
	assert_int_equal(raw->frame.header.correlation, 42);
	assert_int_equal(raw->frame.header.sequence, 1);
	assert_int_equal(raw->frame.header.target, topic);
	/* Without the flag it is dropped in silence. */
	raw_publish(raw, topic, 2, "!");
	raw_sync(raw);
	raw_expect_silence(raw);
}

/* ---- the rest of the conversation ------------------------------------------------------------ */

static void test_ping_is_answered_with_its_payload(void **state)
{
	struct raw *raw = raw_open(*state);
	uint8_t payload[XY_PING_MAX];

	for (size_t length = 0; length <= sizeof(payload); length += 16) {
		struct xy_frame ping = raw_header(raw, XY_PING);
		const struct raw_frame *pong;

		memset(payload, (int)(length + 1), sizeof(payload));
		ping.correlation = 1000 + length;
		raw_send_frame(raw, ping, payload, length);
		pong = raw_expect(raw, XY_PONG);
		assert_int_equal(pong->header.correlation, 1000 + length);
		assert_int_equal(pong->header.source, 0);
		assert_int_equal(pong->length, length);
		assert_memory_equal(pong->payload, payload, length);
	}
}

static void test_acks_and_unasked_pongs_are_taken_in_silence(void **state)
{
	struct raw *raw = raw_open(*state);
	static const uint64_t acks[] = {0, UINT64_MAX, 1, 0};

	for (size_t i = 0; i < LENGTH(acks); i++) {
		struct xy_frame ack = raw_header(raw, XY_ACK);

		/* Backwards, or beyond what was sent: legal to send, and believed by nobody. */
		ack.ack = acks[i];
		raw_send_frame(raw, ack, NULL, 0);
		raw_send_frame(raw, raw_header(raw, XY_PONG), "unasked", 7);
	}
	raw_expect_silence(raw);
	raw_sync(raw);
}

static void test_many_control_frames_in_one_send_are_answered_in_order(void **state)
{
	struct raw *raw = raw_open(*state);
	static uint8_t bytes[300 * (XY_HEADER_SIZE + 8)];
	size_t size = 0;

	for (uint64_t i = 1; i <= 300; i++) {
		struct xy_frame ping = raw_header(raw, XY_PING);

		ping.correlation = i;
		size += raw_put(bytes + size, ping, "12345678", 8);
	}
	raw_send(raw, bytes, size);
	for (uint64_t i = 1; i <= 300; i++)
		assert_int_equal(raw_expect(raw, XY_PONG)->header.correlation, i);
}

/* Handed on means that it arrives whatever becomes of its sender. */
static void test_synced_means_everything_before_is_handed_on(void **state)
{
	enum { MESSAGES = 50 };
	char text[32];

	for (int round = 0; round < 20; round++) {
		struct pair pair = pair_open(*state, "sync.all");

		for (int i = 0; i < MESSAGES; i++) {
			snprintf(text, sizeof(text), "%d.%d", round, i);
			raw_publish(pair.publisher, pair.topic, ++pair.sequence, text);
		}
		raw_sync(pair.publisher);
		raw_reset(pair.publisher);
		for (int i = 0; i < MESSAGES; i++) {
			snprintf(text, sizeof(text), "%d.%d", round, i);
			raw_expect_text(pair.subscriber, text);
		}
		raw_close(pair.subscriber);
	}
}

static void test_sync_between_two_fragments_is_taken(void **state)
{
	struct pair pair = pair_open(*state, "sync.fragment");
	struct xy_frame frame = pair_data(&pair);

	frame.fragments = 2;
	raw_send_frame(pair.publisher, frame, "one", 3);
	raw_sync(pair.publisher);
	frame.fragment = 1;
	raw_send_frame(pair.publisher, frame, "two", 3);
	raw_expect_text(pair.subscriber, "one");
	raw_expect_text(pair.subscriber, "two");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_types_that_are_not_a_clients_close),
		proxy_test(test_other_versions_close),
		proxy_test(test_wrong_source_closes_and_the_frame_goes_nowhere),
		proxy_test(test_checks_come_in_the_order_of_the_protocol),
		proxy_test(test_bad_data_is_answered_and_its_neighbours_arrive),
		proxy_test(test_bad_data_alone_never_arrives),
		proxy_test(test_largest_message_may_begin),
		proxy_test(test_data_on_an_undeclared_topic_is_unknown_topic),
		proxy_test(test_direct_to_nobody_is_unknown_endpoint),
		proxy_test(test_subscription_that_is_not_there_cannot_be_ended),
		proxy_test(test_bad_subjects_are_refused),
		proxy_test(test_bad_patterns_are_refused),
		proxy_test(test_subscribe_that_is_bad_json_is_refused),
		proxy_test(test_request_without_subscribers_has_no_responders),
		proxy_test(test_ping_is_answered_with_its_payload),
		proxy_test(test_acks_and_unasked_pongs_are_taken_in_silence),
		proxy_test(test_many_control_frames_in_one_send_are_answered_in_order),
		proxy_test(test_synced_means_everything_before_is_handed_on),
		proxy_test(test_sync_between_two_fragments_is_taken),
	};

	return proxy_run_both(tests, NULL);
}
