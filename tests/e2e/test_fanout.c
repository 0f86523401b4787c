/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What several receive is sent to their lanes by the proxy itself, so that no verdict of a client
 * says when half a window is to be proven: the loop that sends it sees that. Nobody reads while it
 * is sent, so that nothing depends on how fast anybody is.
 */
#include "common/proxy.h"
#include "common/raw.h"

#define PAYLOAD 1000

/* Reads so many DATA; whether a PING was among them. */
static bool is_asked(struct raw *raw, uint64_t data)
{
	bool asked = false;

	while (data > 0) {
		assert_int_equal(raw_read(raw, TEST_TIMEOUT_MS), RAW_FRAME);
		asked |= raw->frame.header.type == XY_PING;
		data -= raw->frame.header.type == XY_DATA;
	}
	return asked;
}

static void test_half_a_window_sent_by_the_proxy_is_to_be_proven(void **state)
{
	struct raw *one = raw_open(*state), *two = raw_open(*state), *publisher = raw_open(*state);
	static const char payload[PAYLOAD + 1] = {[0 ... PAYLOAD - 1] = 'x'};
	uint64_t topic, sequence = 0;
	bool asked_one, asked_two;

	if (!one->lane)
		return; /* sockets hold less, and have nothing to prove */
	raw_subscribe(one, "{\"subject\":\"fan.both\",\"stall_ms\":600000}");
	raw_subscribe(two, "{\"subject\":\"fan.both\",\"stall_ms\":600000}");
	topic = raw_declare(publisher, "fan.both");
	while (sequence * PAYLOAD < one->welcome.window / 4 * 3)
		raw_publish(publisher, topic, ++sequence, payload);
	asked_one = is_asked(one, sequence);
	asked_two = is_asked(two, sequence);
	/* It is asked for behind what is to be proven, and before what comes after that. */
	raw_publish(publisher, topic, ++sequence, payload);
	assert_true(is_asked(one, 1) || asked_one);
	assert_true(is_asked(two, 1) || asked_two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_half_a_window_sent_by_the_proxy_is_to_be_proven),
	};

	return proxy_run_both(tests, NULL);
}
