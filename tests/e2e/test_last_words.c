/* SPDX-License-Identifier: BSD-2-Clause */
/* A subscriber that is closed for not reading learns why, although its socket was full, and behind
 * nothing but whole frames. */
#include <string.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define PAYLOAD 16000

static bool is_there(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_whole(proxy);
	bool there = status_connection(status, raw) != NULL;

	json_decref(status);
	return there;
}

/* Publishes until the subscriber, which reads nothing, is closed. */
static void flood(const struct proxy *proxy, const struct raw *subscriber)
{
	static char text[PAYLOAD + 1];
	struct raw *publisher = raw_open(proxy);
	uint64_t topic = raw_declare(publisher, "last.words"), sequence = 0;
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	memset(text, 'x', PAYLOAD);
	while (is_there(proxy, subscriber)) {
		assert_true(test_now_ms() < deadline);
		for (int i = 0; i < 16; i++)
			raw_publish(publisher, topic, ++sequence, text);
		raw_sync(publisher);
	}
}

/* Whole frames in order, then the reason, then the end. */
static void read_to_the_end(struct raw *subscriber)
{
	uint64_t sequence = 0;

	while (raw_read(subscriber, TEST_TIMEOUT_MS) == RAW_FRAME &&
	       subscriber->frame.header.type != XY_ERROR) {
		if (subscriber->frame.header.type != XY_DATA)
			continue;
		assert_int_equal(subscriber->frame.header.sequence, ++sequence);
		assert_int_equal(subscriber->frame.length, PAYLOAD);
	}
	assert_true(sequence > 0);
	assert_int_equal(subscriber->frame.header.type, XY_ERROR);
	assert_non_null(strstr((const char *)subscriber->frame.payload, "\"slow-consumer\""));
	raw_expect_closed(subscriber);
}

static void closed_while_full(struct proxy *proxy, struct raw *subscriber, const char *subscription)
{
	raw_hello(subscriber, "{\"name\":\"subscriber\",\"ack\":false}");
	raw_sync(subscriber);
	raw_subscribe(subscriber, subscription);
	flood(proxy, subscriber);
	read_to_the_end(subscriber);
}

#define DISCONNECT "{\"subject\":\"last.words\",\"overflow\":\"disconnect\"}"
#define BLOCK      "{\"subject\":\"last.words\",\"stall_ms\":200}"

static void test_disconnect_tells_why_over_tcp(void **state)
{
	closed_while_full(*state, raw_connect(*state), DISCONNECT);
}

static void test_disconnect_tells_why_over_unix(void **state)
{
	closed_while_full(*state, raw_connect_unix(*state), DISCONNECT);
}

static void test_block_tells_why_over_tcp(void **state)
{
	closed_while_full(*state, raw_connect(*state), BLOCK);
}

static void test_block_tells_why_over_unix(void **state)
{
	closed_while_full(*state, raw_connect_unix(*state), BLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_disconnect_tells_why_over_tcp),
		proxy_test(test_disconnect_tells_why_over_unix),
		proxy_test(test_block_tells_why_over_tcp),
		proxy_test(test_block_tells_why_over_unix),
	};

	return proxy_run_both(tests, NULL);
}
