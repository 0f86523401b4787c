/* SPDX-License-Identifier: BSD-2-Clause */
/* One client keeps the router busy; the others go on, and the kernel with them. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define TOPICS        20000
#define SUBSCRIPTIONS 40
#define AT_ONCE       200 /* requests under way */

/* Takes OKs; counts them. BINDINGs are many, and of no interest here. */
static unsigned oks_take(struct raw *raw, uint64_t timeout_ms)
{
	unsigned oks = 0;

	while (raw_read(raw, oks ? 0 : timeout_ms) == RAW_FRAME) {
		uint8_t type = raw->frame.header.type;

		if (raw->consumed - raw->acked >= raw->welcome.window / 8)
			raw_send_frame(raw, raw_header(raw, XY_ACK), NULL, 0);
		if (type == XY_PING) {
			struct xy_frame pong = raw_header(raw, XY_PONG);

			pong.correlation = raw->frame.header.correlation;
			raw_send_frame(raw, pong, raw->frame.payload, raw->frame.length);
		}
		assert_int_not_equal(type, XY_ERROR);
		oks += type == XY_OK;
	}
	return oks;
}

static void declare_many(struct raw *raw)
{
	unsigned asked = 0, answered = 0;

	while (answered < TOPICS) {
		while (asked < TOPICS && asked - answered < AT_ONCE) {
			struct xy_frame declare = raw_header(raw, XY_DECLARE);
			char subject[64];

			declare.correlation = ++asked;
			snprintf(subject, sizeof(subject), "flood.%u.%u", asked % 100, asked);
			raw_send_frame(raw, declare, subject, strlen(subject));
		}
		answered += oks_take(raw, TEST_TIMEOUT_MS);
	}
}

static void subscribe_many(struct raw *raw)
{
	for (unsigned i = 0; i < SUBSCRIPTIONS; i++) {
		struct xy_frame subscribe = raw_header(raw, XY_SUBSCRIBE);

		subscribe.correlation = i + 1;
		raw_send_frame(raw, subscribe, "{\"subject\":\">\",\"overflow\":\"drop-newest\"}",
			       strlen("{\"subject\":\">\",\"overflow\":\"drop-newest\"}"));
	}
}

static void test_a_flood_of_requests_lets_others_ask_and_the_kernel_work(void **state)
{
	struct proxy *proxy = *state;
	struct raw *flooder = raw_open(proxy), *publisher = raw_open(proxy);
	struct raw *subscriber = raw_open(proxy), *newcomer;
	bool lanes = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	unsigned answered = 0, before, rounds = 0;
	uint64_t topic;
	char text[32];

	raw_subscribe_to(subscriber, "calm");
	declare_many(flooder);
	topic = raw_declare(publisher, "calm");
	subscribe_many(flooder);
	answered += oks_take(flooder, TEST_TIMEOUT_MS);
	assert_in_range(answered, 1, SUBSCRIPTIONS / 2);

	/* Three requests of a newcomer wait for a few of the flooder, not for all that it asked. */
	newcomer = raw_open(proxy);
	raw_declare(newcomer, "calm.too");
	raw_subscribe_to(newcomer, "calm.too");
	before = answered;
	answered += oks_take(flooder, 0);
	assert_true(answered < SUBSCRIPTIONS);
	print_message("# the flooder got %u to %u of %u answers before the newcomer's three\n",
		      before, answered, SUBSCRIPTIONS);

	while (answered < SUBSCRIPTIONS) {
		snprintf(text, sizeof(text), "%u", ++rounds);
		raw_publish(publisher, topic, rounds, text);
		raw_expect_text(subscriber, text);
		answered += oks_take(flooder, 1);
	}
	/* All it has goes with it, and is as much work again. */
	raw_close(flooder);
	for (int i = 0; i < 50; i++) {
		snprintf(text, sizeof(text), "%u", ++rounds);
		raw_publish(publisher, topic, rounds, text);
		raw_expect_text(subscriber, text);
	}
	raw_request(newcomer, XY_SUBSCRIBE, 0, "{\"subject\":\"calm\"}");
	if (lanes)
		assert_int_equal(status_reason(proxy, publisher, "deadman"), 0);
}

int main(void)
{
	static const char *const arguments[] = {"--loops", "2", NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_a_flood_of_requests_lets_others_ask_and_the_kernel_work),
	};

	return proxy_run_both(tests, arguments);
}
