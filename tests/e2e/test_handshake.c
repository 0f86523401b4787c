/* SPDX-License-Identifier: BSD-2-Clause */
/* From connect to the first SYNCED, and how a conversation ends. */
#include <string.h>

#include "common/proxy.h"
#include "common/raw.h"

static const uint8_t not_hello[] = {
	0,          XY_WELCOME, XY_SYNC,      XY_SYNCED,      XY_SYNC_WANTED,
	XY_DECLARE, XY_BINDING, XY_SUBSCRIBE, XY_UNSUBSCRIBE, XY_OK,
	XY_ERROR,   XY_DATA,    XY_ACK,       XY_PING,        XY_PONG,
	XY_GOODBYE, 17,         255};

static void test_welcome_has_every_member(void **state)
{
	const struct proxy *proxy = *state;
	struct raw *raw = raw_connect(proxy);

	raw_hello(raw, RAW_HELLO);
	assert_int_not_equal(raw->endpoint, 0);
	assert_int_equal(raw->frame.header.source, 0);
	assert_int_equal(raw->frame.header.flags, 0);
	assert_int_equal(raw->welcome.max_frame, 65536);
	assert_int_equal(raw->welcome.max_message, 64 << 20);
	assert_int_equal(raw->welcome.heartbeat_ms, 10000);
	assert_in_range(raw->welcome.window, 256 << 10, 1 << 20);
	assert_int_not_equal(strlen(raw->welcome.server), 0);
	assert_int_not_equal(strlen(raw->welcome.version), 0);
	assert_int_equal(raw->welcome.lane, proxy_kernel_path(proxy) == KERNEL_PATH_ON);
}

static void test_endpoints_differ(void **state)
{
	struct raw *raw[8];

	for (int i = 0; i < 8; i++) {
		raw[i] = raw_open(*state);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(raw[i]->endpoint, raw[j]->endpoint);
	}
}

static void test_hello_with_unknown_members_is_taken(void **state)
{
	struct raw *raw = raw_connect(*state);

	raw_hello(
		raw,
		"{\"later\":[{\"x\":1}],\"name\":\"\\u00e9\",\"library\":\"raw/1\",\"ack\":true}");
	raw_sync(raw);
}

static void test_hello_byte_by_byte_is_taken(void **state)
{
	struct raw *raw = raw_connect(*state);
	struct xy_frame hello = {.version = 1, .type = XY_HELLO};
	uint8_t bytes[XY_HEADER_SIZE + sizeof(RAW_HELLO)];
	size_t size = raw_put(bytes, hello, RAW_HELLO, strlen(RAW_HELLO));

	for (size_t i = 0; i < size; i++)
		raw_send(raw, bytes + i, 1);
	raw_expect(raw, XY_WELCOME);
}

static void test_hello_that_is_bad_json_is_refused_and_closed(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"null",
		"[]",
		"{}",
		"{\"name\":\"x\"}",
		"{\"ack\":true}",
		"{\"name\":1,\"ack\":true}",
		"{\"name\":\"x\",\"ack\":1}",
		"{\"name\":\"a\\u0000b\",\"ack\":true}",
		"{\"name\":\"\xff\",\"ack\":true}",
		"{\"name\":\"x\",\"ack\":true,\"token\":null}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct raw *raw = raw_connect(*state);
		struct xy_frame hello = {.version = 1, .type = XY_HELLO, .correlation = 7};

		raw_send_frame(raw, hello, bad[i], strlen(bad[i]));
		raw_expect_error(raw, XY_E_BAD_JSON);
		assert_int_equal(raw->frame.header.correlation, 7);
	}
}

static void test_anything_but_hello_first_is_bad_frame(void **state)
{
	for (size_t i = 0; i < sizeof(not_hello); i++) {
		struct raw *raw = raw_connect(*state);

		raw_send_frame(raw, raw_header(raw, not_hello[i]), NULL, 0);
		raw_expect_error(raw, XY_E_BAD_FRAME);
	}
}

static void test_hello_is_checked_in_the_order_of_the_protocol(void **state)
{
	struct xy_frame hello = {.length = 59, .version = 2, .type = XY_SYNC, .source = 1};
	uint8_t bytes[XY_HEADER_SIZE];
	struct raw *raw = raw_connect(*state);

	xy_frame_encode(&hello, bytes);
	raw_send(raw, bytes, sizeof(bytes));
	raw_expect_error(raw, XY_E_BAD_FRAME);

	raw = raw_connect(*state);
	raw_send_frame(raw, hello, NULL, 0);
	raw_expect_error(raw, XY_E_BAD_VERSION);

	hello.version = 1;
	raw = raw_connect(*state);
	raw_send_frame(raw, hello, NULL, 0);
	raw_expect_error(raw, XY_E_BAD_FRAME);

	hello.type = XY_HELLO;
	raw = raw_connect(*state);
	raw_send_frame(raw, hello, RAW_HELLO, strlen(RAW_HELLO));
	raw_expect_error(raw, XY_E_BAD_SOURCE);
}

static void test_silence_before_hello_times_out(void **state)
{
	struct raw *silent = raw_connect(*state), *slow = raw_connect(*state);

	/* One that has sent half a HELLO has not said it either. */
	raw_send(slow, "\0\0\0\x60\1\1", 6);
	raw_expect_error(silent, XY_E_HELLO_TIMEOUT);
	raw_expect_error(slow, XY_E_HELLO_TIMEOUT);
}

static void test_second_hello_is_bad_type(void **state)
{
	struct raw *raw = raw_open(*state);
	struct xy_frame hello = {.version = 1, .type = XY_HELLO};

	raw_send_frame(raw, hello, RAW_HELLO, strlen(RAW_HELLO));
	raw_expect_error(raw, XY_E_BAD_TYPE);
}

static void test_synced_echoes_each_correlation(void **state)
{
	struct raw *raw = raw_open(*state);
	bool lane = raw->lane;

	for (int i = 0; i < 20; i++) {
		raw_sync(raw);
		assert_int_equal(raw->lane, lane);
	}
}

static void test_client_that_does_not_ack_has_no_lane(void **state)
{
	struct raw *raw = raw_connect(*state);

	raw_hello(raw, "{\"name\":\"raw\",\"ack\":false}");
	assert_false(raw->welcome.lane);
	raw_sync(raw);
	assert_false(raw->lane);
	raw_sync(raw);
	assert_false(raw->lane);
}

static void test_client_that_does_not_sync_first_works_without_lane(void **state)
{
	struct raw *raw = raw_connect(*state), *other = raw_open(*state);
	uint64_t topic;

	raw_hello(raw, RAW_HELLO);
	topic = raw_declare(raw, "nosync.a");
	raw_subscribe_to(other, "nosync.a");
	raw_publish(raw, topic, 1, "works");
	raw_expect_text(other, "works");
	raw_sync(raw);
	assert_false(raw->lane);
}

static void test_unix_socket_works_without_lane(void **state)
{
	struct raw *local = raw_connect_unix(*state), *tcp = raw_open(*state);
	uint64_t out, in = raw_declare(tcp, "local.in");

	raw_hello(local, RAW_HELLO);
	assert_false(local->welcome.lane);
	raw_sync(local);
	assert_false(local->lane);
	raw_subscribe_to(local, "local.in");
	raw_subscribe_to(tcp, "local.out");
	out = raw_declare(local, "local.out");
	raw_publish(local, out, 1, "out");
	raw_publish(tcp, in, 1, "in");
	raw_expect_text(tcp, "out");
	raw_expect_text(local, "in");
}

static void test_nothing_is_sent_between_welcome_and_first_frame(void **state)
{
	struct raw *raw = raw_connect(*state), *sender = raw_open(*state);
	struct xy_frame data = raw_header(sender, XY_DATA);
	bool refused;

	raw_hello(raw, RAW_HELLO);
	data.flags = XY_DIRECT;
	data.target = raw->endpoint;
	raw_send_frame(sender, data, "early", 5);
	/* Whether an endpoint exists before its client has spoken is the proxy's choice. A PING
	 * behind the message tells which one it made. */
	data = raw_header(sender, XY_PING);
	raw_send_frame(sender, data, NULL, 0);
	refused = raw_read(sender, TEST_TIMEOUT_MS) == RAW_FRAME &&
		  sender->frame.header.type == XY_ERROR;
	raw_sync(raw);
	if (!refused)
		raw_expect_text(raw, "early");
	raw_expect_silence(raw);
}

static void test_goodbye_of_a_client_ends_its_connection_after_what_is_under_way(void **state)
{
	struct raw *leaving = raw_open(*state), *staying = raw_open(*state);
	uint64_t there, back;

	raw_subscribe_to(staying, "bye.there");
	raw_subscribe_to(leaving, "bye.back");
	there = raw_declare(leaving, "bye.there");
	back = raw_declare(staying, "bye.back");
	raw_publish(staying, back, 1, "last word");
	raw_sync(staying);
	raw_publish(leaving, there, 1, "farewell");
	raw_send_frame(leaving, raw_header(leaving, XY_GOODBYE), NULL, 0);
	raw_expect_text(staying, "farewell");
	raw_expect_text(leaving, "last word");
	while (raw_read(leaving, TEST_TIMEOUT_MS) == RAW_FRAME)
		assert_int_equal(leaving->frame.header.type, XY_GOODBYE);
	raw_expect_closed(leaving);
	raw_sync(staying);
}

static void test_client_that_closes_without_goodbye_disturbs_nobody(void **state)
{
	struct raw *publisher = raw_open(*state), *subscriber = raw_open(*state);
	struct raw *leaving = raw_open(*state), *broken = raw_open(*state);
	uint64_t topic = raw_declare(publisher, "leave.a");

	raw_subscribe_to(subscriber, "leave.a");
	raw_subscribe_to(leaving, "leave.a");
	raw_subscribe_to(broken, "leave.a");
	raw_publish(publisher, topic, 1, "one");
	raw_expect_text(subscriber, "one");
	raw_expect_text(leaving, "one");
	raw_close(leaving);
	raw_reset(broken);
	raw_publish(publisher, topic, 2, "two");
	raw_expect_text(subscriber, "two");
	raw_sync(publisher);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_welcome_has_every_member),
		proxy_test(test_endpoints_differ),
		proxy_test(test_hello_with_unknown_members_is_taken),
		proxy_test(test_hello_byte_by_byte_is_taken),
		proxy_test(test_hello_that_is_bad_json_is_refused_and_closed),
		proxy_test(test_anything_but_hello_first_is_bad_frame),
		proxy_test(test_hello_is_checked_in_the_order_of_the_protocol),
		proxy_test(test_silence_before_hello_times_out),
		proxy_test(test_second_hello_is_bad_type),
		proxy_test(test_synced_echoes_each_correlation),
		proxy_test(test_client_that_does_not_ack_has_no_lane),
		proxy_test(test_client_that_does_not_sync_first_works_without_lane),
		proxy_test(test_unix_socket_works_without_lane),
		proxy_test(test_nothing_is_sent_between_welcome_and_first_frame),
		proxy_test(test_goodbye_of_a_client_ends_its_connection_after_what_is_under_way),
		proxy_test(test_client_that_closes_without_goodbye_disturbs_nobody),
	};

	return proxy_run_both(tests, NULL);
}
