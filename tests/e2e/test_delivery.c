/* SPDX-License-Identifier: BSD-2-Clause */
/* Who gets a message, unchanged and in which order. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "common/proxy.h"
#include "common/raw.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* Everything of the header that the sender set, and the payload. */
static void assert_passed_unchanged(const struct raw_frame *got, const struct xy_frame *sent,
				    const void *payload, size_t length)
{
	assert_int_equal(got->header.type, XY_DATA);
	assert_int_equal(got->header.flags, sent->flags);
	assert_int_equal(got->header.target, sent->target);
	assert_int_equal(got->header.source, sent->source);
	assert_int_equal(got->header.sequence, sent->sequence);
	assert_int_equal(got->header.timestamp, sent->timestamp);
	assert_int_equal(got->header.correlation, sent->correlation);
	assert_int_equal(got->header.fragment, sent->fragment);
	assert_int_equal(got->header.fragments, sent->fragments);
	assert_int_equal(got->length, length);
	assert_memory_equal(got->payload, payload, length);
}

/* ---- topics and subscriptions ---------------------------------------------------------------- */

static void test_declaring_twice_gives_the_same_topic(void **state)
{
	struct raw *raw = raw_open(*state);
	uint64_t topic = raw_declare(raw, "twice.a");

	assert_int_equal(raw_request(raw, XY_DECLARE, 0, "twice.a"), topic);
	assert_int_not_equal(raw_declare(raw, "twice.b"), topic);
	assert_int_not_equal(raw_declare(raw, "Twice.a"), topic);
}

static void test_binding_comes_once_and_before_the_data_of_a_topic(void **state)
{
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	uint64_t early = raw_declare(publisher, "bind.early"), late;

	/* That DATA comes after its BINDING, and no BINDING twice, is checked with every frame
	 * read. */
	raw_subscribe_to(subscriber, "bind.*");
	late = raw_declare(publisher, "bind.\xc3\xa9");
	for (uint64_t i = 1; i <= 10; i++) {
		raw_publish(publisher, early, i, "early");
		raw_publish(publisher, late, i, "late");
	}
	for (uint64_t i = 1; i <= 10; i++) {
		assert_int_equal(raw_expect_data(subscriber)->header.target, early);
		assert_int_equal(raw_expect_data(subscriber)->header.target, late);
	}
	assert_int_equal(subscriber->bound_count, 2);
	assert_int_equal(subscriber->bound[0].topic, early);
	assert_string_equal(subscriber->bound[0].subject, "bind.early");
	assert_int_equal(subscriber->bound[1].topic, late);
	assert_string_equal(subscriber->bound[1].subject, "bind.\xc3\xa9");
}

static void test_patterns_match_as_the_page_says(void **state)
{
	static const struct {
		const char *pattern, *subject;
		bool match;
	} table[] = {
		{"m.a", "m.a", true},      {"m.a", "m.b", false},   {"m.a", "m.A", false},
		{"m.a", "m.a.b", false},   {"m.a.b", "m.a", false}, {"m.*", "m.a", true},
		{"m.*", "m.a.b", false},   {"m.*", "m", false},     {"m.*.c", "m.b.c", true},
		{"m.*.c", "m.b.d", false}, {"m.>", "m.a", true},    {"m.>", "m.a.b.c", true},
		{"m.>", "m", false},       {"*.a", "m.a", true},    {"*.*.>", "m.a", false},
		{"*.*.>", "m.a.b", true},  {"m.x*", "m.x*", true},  {"m.x*", "m.xy", false},
	};
	struct raw *publisher = raw_open(*state);

	for (size_t i = 0; i < LENGTH(table); i++) {
		struct raw *subscriber = raw_open(*state);
		uint64_t topic;

		/* Both orders: the topic before its subscription, and after it. */
		if (i % 2 == 0)
			raw_subscribe_to(subscriber, table[i].pattern);
		topic = raw_request(publisher, XY_DECLARE, 0, table[i].subject);
		if (i % 2 == 1)
			raw_subscribe_to(subscriber, table[i].pattern);
		raw_publish(publisher, topic, 0, table[i].subject);
		raw_sync(publisher);
		if (table[i].match)
			raw_expect_text(subscriber, table[i].subject);
		raw_expect_fence(subscriber, publisher);
		raw_close(subscriber);
	}
}

static void test_several_matching_subscriptions_give_one_delivery(void **state)
{
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	uint64_t topic = raw_declare(publisher, "over.lap");

	raw_subscribe_to(subscriber, "over.lap");
	raw_subscribe_to(subscriber, "over.*");
	raw_subscribe_to(subscriber, "over.>");
	raw_subscribe(subscriber, "{\"subject\":\"over.lap\",\"group\":\"g\"}");
	for (uint64_t i = 1; i <= 5; i++)
		raw_publish(publisher, topic, i, "once");
	raw_sync(publisher);
	for (int i = 0; i < 5; i++)
		raw_expect_text(subscriber, "once");
	raw_expect_fence(subscriber, publisher);
}

static void test_every_plain_subscriber_gets_every_message_in_order(void **state)
{
	enum { SUBSCRIBERS = 8, MESSAGES = 200 };
	struct raw *publisher = raw_open(*state), *subscriber[SUBSCRIBERS];
	uint64_t topic = raw_declare(publisher, "fan.out");
	char text[32];

	for (int i = 0; i < SUBSCRIBERS; i++) {
		subscriber[i] = raw_open(*state);
		raw_subscribe_to(subscriber[i], i % 2 == 0 ? "fan.out" : "fan.>");
	}
	for (int m = 1; m <= MESSAGES; m++) {
		snprintf(text, sizeof(text), "message %d", m);
		raw_publish(publisher, topic, (uint64_t)m, text);
	}
	for (int i = 0; i < SUBSCRIBERS; i++) {
		for (int m = 1; m <= MESSAGES; m++) {
			snprintf(text, sizeof(text), "message %d", m);
			raw_expect_text(subscriber[i], text);
		}
	}
}

/* While two receivers have no credit, the proxy holds small frames for them that came by turns: in
 * its memory those of one lie between those of the other, and no send takes so many pieces. */
static void test_frames_held_for_two_by_turns_reach_each_in_order(void **state)
{
	enum { LARGE = 16, SMALL = 500 };
	static const uint8_t zeros[XY_PAYLOAD_MAX];
	struct raw *publisher = raw_open(*state), *subscriber[2];
	uint64_t topic[2], large = publisher->lane ? LARGE : 0;

	for (unsigned i = 0; i < 2; i++) {
		subscriber[i] = raw_open(*state);
		raw_subscribe(subscriber[i],
			      i == 0 ? "{\"subject\":\"turns.0\",\"stall_ms\":60000}"
				     : "{\"subject\":\"turns.1\",\"stall_ms\":60000}");
		topic[i] = raw_declare(publisher, i == 0 ? "turns.0" : "turns.1");
	}
	for (uint64_t sequence = 1; sequence <= large + SMALL; sequence++) {
		for (unsigned i = 0; i < 2; i++) {
			struct xy_frame frame = raw_header(publisher, XY_DATA);

			frame.target = topic[i];
			frame.sequence = sequence;
			raw_send_frame(publisher, frame, zeros,
				       sequence <= large ? sizeof(zeros) : 1);
		}
		/* The answer: what was sent before has been handed over, and not all at once. */
		raw_declare(publisher, "turns.0");
	}
	for (uint64_t sequence = 1; sequence <= large + SMALL; sequence++)
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(raw_expect_data(subscriber[i])->header.sequence, sequence);
}

static void test_unsubscribe_ends_delivery_of_that_subscription_only(void **state)
{
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	uint64_t a = raw_declare(publisher, "end.a"), b = raw_declare(publisher, "end.b");
	uint64_t one = raw_subscribe_to(subscriber, "end.a"), two;

	two = raw_subscribe_to(subscriber, "end.b");
	assert_int_not_equal(one, two);
	raw_publish(publisher, a, 1, "a1");
	raw_expect_text(subscriber, "a1");
	raw_publish(publisher, b, 1, "b1");
	raw_expect_text(subscriber, "b1");
	raw_sync(publisher);
	raw_request(subscriber, XY_UNSUBSCRIBE, one, "");
	raw_publish(publisher, a, 2, "a2");
	raw_publish(publisher, b, 2, "b2");
	raw_expect_text(subscriber, "b2");
	raw_sync(publisher);
	raw_expect_fence(subscriber, publisher);
}

static void test_a_new_subscriber_gets_what_is_sent_after_its_ok(void **state)
{
	struct raw *publisher = raw_open(*state), *first = raw_open(*state);
	uint64_t topic = raw_declare(publisher, "late.a"), sequence = 0;

	raw_subscribe_to(first, "late.a");
	for (int round = 0; round < 20; round++) {
		struct raw *late = raw_open(*state);

		raw_publish(publisher, topic, ++sequence, "before");
		raw_sync(publisher);
		raw_subscribe_to(late, round % 2 == 0 ? "late.a" : "late.*");
		raw_publish(publisher, topic, ++sequence, "after");
		raw_expect_text(late, "after");
		raw_expect_text(first, "before");
		raw_expect_text(first, "after");
		raw_close(late);
	}
}

static void test_echo_is_given_unless_it_is_declined(void **state)
{
	struct raw *raw = raw_open(*state), *declines = raw_open(*state);
	uint64_t own = raw_declare(declines, "echo.b");

	raw_subscribe_to(raw, "echo.a");
	raw_publish(raw, raw_declare(raw, "echo.a"), 1, "mine");
	raw_expect_text(raw, "mine");
	/* Alone on the subject, and with others. */
	raw_subscribe(declines, "{\"subject\":\"echo.b\",\"echo\":false}");
	raw_publish(declines, own, 1, "to nobody");
	raw_expect_fence(declines, declines);
	raw_subscribe_to(raw, "echo.b");
	for (uint64_t i = 2; i <= 20; i++) {
		raw_publish(declines, own, i, "to others");
		raw_expect_text(raw, "to others");
	}
	raw_expect_fence(declines, declines);
	raw_publish(raw, raw_declare(raw, "echo.b"), 1, "not mine");
	raw_expect_text(declines, "not mine");
}

static void test_a_group_passes_over_a_member_that_declines_its_own(void **state)
{
	struct raw *declines = raw_open(*state), *member = raw_open(*state);
	uint64_t topic = raw_declare(declines, "echo.group");

	raw_subscribe(declines, "{\"subject\":\"echo.group\",\"group\":\"g\",\"echo\":false}");
	raw_subscribe(member, "{\"subject\":\"echo.group\",\"group\":\"g\"}");
	for (uint64_t i = 1; i <= 20; i++) {
		raw_publish(declines, topic, i, "to the other");
		raw_expect_text(member, "to the other");
	}
	raw_expect_fence(declines, declines);
}

/* ---- queue groups ---------------------------------------------------------------------------- */

/* Reads what the publisher has sent to each; returns how many messages in all. Marks every sequence
 * seen. */
static unsigned collect(struct raw *publisher, struct raw **members, unsigned count, uint8_t *seen)
{
	unsigned total = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct raw_frame *data;
		uint64_t last = 0;

		raw_send_fence(members[i], publisher);
		for (; !raw_is_fence(data = raw_expect_data(members[i])); total++) {
			assert_true(data->header.sequence > last);
			last = data->header.sequence;
			seen[last]++;
		}
	}
	return total;
}

static void test_a_group_gives_each_message_to_one_member(void **state)
{
	enum { MESSAGES = 300 };
	struct raw *publisher = raw_open(*state), *members[3], *other[2];
	uint64_t topic = raw_declare(publisher, "group.a");
	uint8_t seen[MESSAGES + 1] = {0}, seen_other[MESSAGES + 1] = {0};

	/* One name is one group, whatever the patterns; another name is another group. */
	for (int i = 0; i < 3; i++) {
		members[i] = raw_open(*state);
		raw_subscribe(members[i], i == 0 ? "{\"subject\":\"group.*\",\"group\":\"g\"}"
						 : "{\"subject\":\"group.a\",\"group\":\"g\"}");
	}
	for (int i = 0; i < 2; i++) {
		other[i] = raw_open(*state);
		raw_subscribe(other[i], "{\"subject\":\"group.a\",\"group\":\"h\"}");
	}
	for (uint64_t m = 1; m <= MESSAGES; m++)
		raw_publish(publisher, topic, m, "to one");
	raw_sync(publisher);
	assert_int_equal(collect(publisher, members, 3, seen), MESSAGES);
	assert_int_equal(collect(publisher, other, 2, seen_other), MESSAGES);
	for (int m = 1; m <= MESSAGES; m++) {
		assert_int_equal(seen[m], 1);
		assert_int_equal(seen_other[m], 1);
	}
}

static void test_a_lone_group_on_its_own_route_gives_each_message_to_one_member(void **state)
{
	enum { MESSAGES = 600 };
	struct raw *publisher = raw_open(*state), *members[4];
	uint64_t topic = raw_declare(publisher, "group.alone");
	uint8_t seen[MESSAGES + 1] = {0};

	for (int i = 0; i < 4; i++) {
		members[i] = raw_open(*state);
		raw_subscribe(members[i], "{\"subject\":\"group.alone\",\"group\":\"g\"}");
	}
	for (uint64_t m = 1; m <= MESSAGES; m++) {
		raw_publish(publisher, topic, m, "to one");
		if (m % 50 == 0)
			raw_sync(publisher);
	}
	assert_int_equal(collect(publisher, members, 4, seen), MESSAGES);
	for (int m = 1; m <= MESSAGES; m++)
		assert_int_equal(seen[m], 1);
}

static void test_a_member_that_gets_it_anyway_satisfies_its_group(void **state)
{
	struct raw *publisher = raw_open(*state), *both = raw_open(*state);
	struct raw *member = raw_open(*state);
	uint64_t topic = raw_declare(publisher, "group.plain");

	raw_subscribe(member, "{\"subject\":\"group.plain\",\"group\":\"g\"}");
	raw_subscribe(both, "{\"subject\":\"group.plain\",\"group\":\"g\"}");
	raw_subscribe_to(both, "group.>");
	for (uint64_t m = 1; m <= 20; m++)
		raw_publish(publisher, topic, m, "satisfied");
	raw_sync(publisher);
	for (int m = 1; m <= 20; m++)
		raw_expect_text(both, "satisfied");
	raw_expect_fence(both, publisher);
	raw_expect_fence(member, publisher);
}

static void test_a_group_goes_on_when_a_member_leaves(void **state)
{
	struct raw *publisher = raw_open(*state), *stays = raw_open(*state);
	struct raw *leaves = raw_open(*state);
	uint64_t topic = raw_declare(publisher, "group.leave");

	raw_subscribe(stays, "{\"subject\":\"group.leave\",\"group\":\"g\"}");
	raw_subscribe(leaves, "{\"subject\":\"group.leave\",\"group\":\"g\"}");
	raw_publish(publisher, topic, 1, "one");
	raw_sync(publisher);
	raw_leave(leaves);
	for (uint64_t m = 2; m <= 30; m++)
		raw_publish(publisher, topic, m, "rest");
	raw_sync(publisher);
	for (uint64_t m = 2; m <= 30; m++) {
		const struct raw_frame *data = raw_expect_data(stays);

		if (data->header.sequence == 1)
			data = raw_expect_data(stays);
		assert_int_equal(data->header.sequence, m);
	}
}

/* ---- direct, requests ------------------------------------------------------------------------ */

static void test_direct_reaches_its_endpoint_only(void **state)
{
	struct raw *sender = raw_open(*state), *receiver = raw_open(*state);
	struct raw *bystander = raw_open(*state);
	struct xy_frame data = raw_header(sender, XY_DATA);

	raw_subscribe_to(bystander, ">");
	data.flags = XY_DIRECT;
	data.target = receiver->endpoint;
	data.timestamp = 123456789;
	for (uint64_t i = 1; i <= 20; i++) {
		data.sequence = i;
		raw_send_frame(sender, data, "direct", 6);
		assert_passed_unchanged(raw_expect_data(receiver), &data, "direct", 6);
	}
	/* To oneself, too. */
	data.target = sender->endpoint;
	raw_send_frame(sender, data, "self", 4);
	assert_passed_unchanged(raw_expect_data(sender), &data, "self", 4);
	raw_sync(sender);
	raw_expect_fence(bystander, sender);
}

static void test_request_and_reply(void **state)
{
	struct raw *asks = raw_open(*state), *answers = raw_open(*state);
	uint64_t topic = raw_declare(asks, "ask.a");

	raw_subscribe(answers, "{\"subject\":\"ask.a\",\"group\":\"responders\"}");
	for (uint64_t i = 1; i <= 50; i++) {
		struct xy_frame request = raw_header(asks, XY_DATA), reply;
		const struct raw_frame *got;

		request.target = topic;
		request.flags = XY_REPLY_WANTED;
		request.sequence = i;
		request.correlation = 7000 + i;
		raw_send_frame(asks, request, "how much?", 9);
		got = raw_expect_data(answers);
		assert_passed_unchanged(got, &request, "how much?", 9);
		reply = raw_header(answers, XY_DATA);
		reply.flags = XY_DIRECT;
		reply.target = got->header.source;
		reply.correlation = got->header.correlation;
		raw_send_frame(answers, reply, "42", 2);
		assert_passed_unchanged(raw_expect_data(asks), &reply, "42", 2);
	}
}

/* ---- content --------------------------------------------------------------------------------- */

static void test_headers_and_payloads_pass_unchanged(void **state)
{
	static const size_t lengths[] = {0, 1, 3, 4, 5, 64, 4095, 4096, 4097, 40000, 65475, 65476};
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	uint64_t topic = raw_declare(publisher, "same.a");
	uint8_t *payload = malloc(XY_PAYLOAD_MAX);

	assert_non_null(payload);
	for (size_t i = 0; i < XY_PAYLOAD_MAX; i++)
		payload[i] = (uint8_t)(i * 7 + i / 256);
	raw_subscribe_to(subscriber, "same.a");
	for (uint64_t pass = 0; pass < 4; pass++) {
		for (size_t i = 0; i < LENGTH(lengths); i++) {
			struct xy_frame data = raw_header(publisher, XY_DATA);

			data.target = topic;
			data.sequence = UINT64_MAX - pass * 100 + i;
			data.timestamp = 0x0123456789abcdef;
			data.correlation = 0xfedcba9876543210;
			data.flags = (uint16_t)(i % 2 == 0 ? 0 : XY_REPLY_WANTED);
			data.fragments = (uint16_t)(i % 3 == 0);
			raw_send_frame(publisher, data, payload, lengths[i]);
			assert_passed_unchanged(raw_expect_data(subscriber), &data, payload,
						lengths[i]);
		}
		raw_sync(publisher);
	}
	free(payload);
}

static void test_wrong_crc_and_wrong_bundles_pass_unchanged(void **state)
{
	static const char bundle[] = "\0\0\0\2ab\0\0\0\0\0\0\0\1c";
	static const char broken[] = "\xff\xff\xff\xff"
				     "ab";
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	struct xy_frame data;

	raw_subscribe_to(subscriber, "crc.a");
	data = raw_header(publisher, XY_DATA);
	data.target = raw_declare(publisher, "crc.a");
	data.sequence = 1;
	data.flags = XY_CRC;
	raw_send_frame(publisher, data, "payload wrong", 13);
	assert_passed_unchanged(raw_expect_data(subscriber), &data, "payload wrong", 13);
	data.flags = XY_BUNDLE;
	raw_send_frame(publisher, data, bundle, sizeof(bundle) - 1);
	assert_passed_unchanged(raw_expect_data(subscriber), &data, bundle, sizeof(bundle) - 1);
	raw_send_frame(publisher, data, broken, sizeof(broken) - 1);
	assert_passed_unchanged(raw_expect_data(subscriber), &data, broken, sizeof(broken) - 1);
	raw_send_frame(publisher, data, NULL, 0);
	assert_passed_unchanged(raw_expect_data(subscriber), &data, "", 0);
}

static void test_fragments_arrive_as_sent(void **state)
{
	enum { FRAGMENTS = 12 };
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	struct xy_frame data;
	uint8_t *payload = malloc(XY_PAYLOAD_MAX);

	assert_non_null(payload);
	raw_subscribe_to(subscriber, "fragment.a");
	data = raw_header(publisher, XY_DATA);
	data.target = raw_declare(publisher, "fragment.a");
	data.fragments = FRAGMENTS;
	for (data.sequence = 1; data.sequence <= 10; data.sequence++) {
		for (data.fragment = 0; data.fragment < FRAGMENTS; data.fragment++) {
			memset(payload, data.fragment + (int)data.sequence, XY_PAYLOAD_MAX);
			data.ack = publisher->consumed;
			raw_send_frame(publisher, data, payload,
				       data.fragment < FRAGMENTS - 1 ? XY_PAYLOAD_MAX : 100);
			assert_passed_unchanged(raw_expect_data(subscriber), &data, payload,
						data.fragment < FRAGMENTS - 1 ? XY_PAYLOAD_MAX
									      : 100);
		}
	}
	free(payload);
}

static void test_all_fragments_of_a_message_go_to_one_member(void **state)
{
	enum { MESSAGES = 60, FRAGMENTS = 5 };
	struct raw *publisher = raw_open(*state), *members[3];
	struct xy_frame data = raw_header(publisher, XY_DATA);
	unsigned total = 0;

	for (int i = 0; i < 3; i++) {
		members[i] = raw_open(*state);
		raw_subscribe(members[i], "{\"subject\":\"fragment.group\",\"group\":\"g\"}");
	}
	data.target = raw_declare(publisher, "fragment.group");
	data.fragments = FRAGMENTS;
	for (data.sequence = 1; data.sequence <= MESSAGES; data.sequence++)
		for (data.fragment = 0; data.fragment < FRAGMENTS; data.fragment++)
			raw_send_frame(publisher, data, "piece", 5);
	raw_sync(publisher);
	for (int i = 0; i < 3; i++) {
		const struct raw_frame *piece;
		uint16_t next = 0;

		raw_send_fence(members[i], publisher);
		for (; !raw_is_fence(piece = raw_expect_data(members[i])); total++) {
			assert_int_equal(piece->header.fragment, next);
			next = (uint16_t)((next + 1) % FRAGMENTS);
		}
		assert_int_equal(next, 0);
	}
	assert_int_equal(total, MESSAGES * FRAGMENTS);
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Messages of many sizes, in sends of one or of many frames, with control frames between them, read
 * in step so that the window is never used up. */
static void test_order_over_every_shape_of_send(void **state)
{
	enum { ROUNDS = 400, FRAMES = 8 };
	static uint8_t bytes[FRAMES * (XY_HEADER_SIZE + 8192)];
	static uint8_t payload[8192];
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	struct xy_frame data = raw_header(publisher, XY_DATA);
	uint64_t sent = 0, got = 0;

	raw_subscribe_to(subscriber, "order.a");
	data.target = raw_declare(publisher, "order.a");
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned frames = 1 + round * 7 % FRAMES;
		size_t size = 0;

		for (unsigned i = 0; i < frames; i++) {
			size_t length = 8 + (round * 131 + i * 977) % (sizeof(payload) - 8);

			data.sequence = ++sent;
			memset(payload, (int)sent, length);
			size += raw_put(bytes + size, data, payload, length);
		}
		raw_send(publisher, bytes, size);
		if (round % 10 == 3)
			raw_sync(publisher);
		if (round % 10 == 7)
			raw_send_frame(publisher, raw_header(publisher, XY_ACK), NULL, 0);
		while (got < sent) {
			const struct raw_frame *frame = raw_expect_data(subscriber);

			assert_int_equal(frame->header.sequence, ++got);
			assert_int_equal(frame->payload[0], (uint8_t)got);
			assert_int_equal(frame->payload[frame->length - 1], (uint8_t)got);
		}
		raw_send_frame(subscriber, raw_header(subscriber, XY_ACK), NULL, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_declaring_twice_gives_the_same_topic),
		proxy_test(test_binding_comes_once_and_before_the_data_of_a_topic),
		proxy_test(test_patterns_match_as_the_page_says),
		proxy_test(test_several_matching_subscriptions_give_one_delivery),
		proxy_test(test_every_plain_subscriber_gets_every_message_in_order),
		proxy_test(test_frames_held_for_two_by_turns_reach_each_in_order),
		proxy_test(test_unsubscribe_ends_delivery_of_that_subscription_only),
		proxy_test(test_a_new_subscriber_gets_what_is_sent_after_its_ok),
		proxy_test(test_echo_is_given_unless_it_is_declined),
		proxy_test(test_a_group_passes_over_a_member_that_declines_its_own),
		proxy_test(test_a_group_gives_each_message_to_one_member),
		proxy_test(test_a_lone_group_on_its_own_route_gives_each_message_to_one_member),
		proxy_test(test_a_member_that_gets_it_anyway_satisfies_its_group),
		proxy_test(test_a_group_goes_on_when_a_member_leaves),
		proxy_test(test_direct_reaches_its_endpoint_only),
		proxy_test(test_request_and_reply),
		proxy_test(test_headers_and_payloads_pass_unchanged),
		proxy_test(test_wrong_crc_and_wrong_bundles_pass_unchanged),
		proxy_test(test_fragments_arrive_as_sent),
		proxy_test(test_all_fragments_of_a_message_go_to_one_member),
		proxy_test(test_order_over_every_shape_of_send),
	};

	return proxy_run_both(tests, NULL);
}
