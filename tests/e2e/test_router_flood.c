/* SPDX-License-Identifier: BSD-2-Clause */
/* One client keeps the router busy; the others go on, and the kernel with them. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"
#include "common/thread.h"

#define TOPICS        20000
#define SUBSCRIPTIONS 30
#define AT_ONCE       200 /* requests under way */

static pid_t stopped;

static void router_go(void)
{
	pid_t thread = stopped;

	stopped = 0;
	if (thread != 0)
		thread_go(thread);
}

static int teardown(void **state)
{
	router_go();
	return proxy_test_teardown(state);
}

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

static void declare_many(struct raw *raw, unsigned topics)
{
	unsigned asked = 0, answered = 0;

	while (answered < topics) {
		while (asked < topics && asked - answered < AT_ONCE) {
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

/* What was sent before has been read: PONG comes from the loop, whatever the router does. */
static void await_read(struct raw *raw)
{
	struct xy_frame ping = raw_header(raw, XY_PING);

	raw_send_frame(raw, ping, NULL, 0);
	raw_expect(raw, XY_PONG);
}

static uint64_t router_rounds(const struct proxy *proxy)
{
	json_t *status = status_take_whole(proxy);
	uint64_t rounds = status_number(status_loop(status, "router"), "rounds");

	json_decref(status);
	return rounds;
}

/* The flooder hears of the newcomer's topic, and its stream tells what it was answered before. */
static void test_connections_take_turns_at_the_router(void **state)
{
	struct proxy *proxy = *state;
	struct raw *flooder = raw_open(proxy), *newcomer = raw_connect(proxy);
	struct xy_frame sync, declare;
	unsigned oks = 0;

	/* So that one of its requests takes more than one round. */
	declare_many(flooder, 3000);
	raw_hello(newcomer, RAW_HELLO);
	stopped = thread_stop(proxy_pid(proxy), "router");
	subscribe_many(flooder);
	await_read(flooder);
	sync = raw_header(newcomer, XY_SYNC);
	sync.correlation = ++newcomer->syncs;
	raw_send_frame(newcomer, sync, NULL, 0);
	declare = raw_header(newcomer, XY_DECLARE);
	declare.correlation = ++newcomer->correlation;
	raw_send_frame(newcomer, declare, "calm.newcomer", strlen("calm.newcomer"));
	await_read(newcomer);
	router_go();
	for (;;) {
		assert_int_equal(raw_read(flooder, TEST_TIMEOUT_MS), RAW_FRAME);
		oks += flooder->frame.header.type == XY_OK;
		if (flooder->frame.header.type == XY_BINDING &&
		    strcmp((char *)flooder->frame.payload, "calm.newcomer") == 0)
			break;
	}
	/* The newcomer asks twice; of the flooder one is in between, and one before. */
	assert_in_range(oks, 1, 3);
	while (oks < SUBSCRIPTIONS)
		oks += oks_take(flooder, TEST_TIMEOUT_MS);
}

static void test_a_flood_of_requests_lets_the_kernel_work(void **state)
{
	struct proxy *proxy = *state;
	struct raw *flooder = raw_open(proxy), *publisher = raw_open(proxy);
	struct raw *subscriber = raw_open(proxy);
	unsigned answered = 0, rounds = 0;
	uint64_t topic;
	char text[32];

	raw_subscribe_to(subscriber, "calm");
	declare_many(flooder, TOPICS);
	topic = raw_declare(publisher, "calm");
	subscribe_many(flooder);
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
	raw_request(subscriber, XY_SUBSCRIBE, 0, "{\"subject\":\"calm.too\"}");
	if (proxy_kernel_path(proxy) == KERNEL_PATH_ON)
		assert_int_equal(status_reason(proxy, publisher, "deadman"), 0);
}

/* Returns when nobody subscribes to anything. */
static void await_no_subscriptions(const struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	bool gone = false;

	while (!gone) {
		json_t *status = status_take_whole(proxy);

		gone = json_array_size(json_object_get(status, "subscriptions")) == 0;
		json_decref(status);
		assert_true(gone || test_now_ms() < deadline);
		poll(NULL, 0, gone ? 0 : 100);
	}
}

/* One that goes leaves many behind on which nothing was ever published. */
static void test_what_a_client_leaves_takes_its_part_of_a_round(void **state)
{
	enum { LEFT = 20000, WORTH = 16 };
	struct proxy *proxy = *state;
	struct raw *client = raw_open(proxy);
	unsigned asked = 0, oks = 0;
	uint64_t before;

	while (oks < LEFT) {
		while (asked < LEFT && asked - oks < AT_ONCE) {
			struct xy_frame subscribe = raw_header(client, XY_SUBSCRIBE);
			char wish[64];

			subscribe.correlation = ++asked;
			snprintf(wish, sizeof(wish), "{\"subject\":\"left.%u\"}", asked);
			raw_send_frame(client, subscribe, wish, strlen(wish));
		}
		oks += oks_take(client, TEST_TIMEOUT_MS);
	}
	before = router_rounds(proxy);
	raw_close(client);
	await_no_subscriptions(proxy);
	assert_true(router_rounds(proxy) - before >= WORTH);
}

/* Patterns that match nothing, and take a look at every topic to find that out. */
static void test_looking_in_vain_takes_its_part_of_a_round(void **state)
{
	enum { LOOKED_AT = 3000, ASKED = 200, WORTH = 30 };
	static const char wish[] = "{\"subject\":\"flood.*.*.none\"}";
	struct proxy *proxy = *state;
	struct raw *flooder = raw_open(proxy);
	uint64_t before;
	unsigned oks = 0;

	declare_many(flooder, LOOKED_AT);
	before = router_rounds(proxy);
	stopped = thread_stop(proxy_pid(proxy), "router");
	for (unsigned i = 0; i < ASKED; i++) {
		struct xy_frame subscribe = raw_header(flooder, XY_SUBSCRIBE);

		subscribe.correlation = i + 1;
		raw_send_frame(flooder, subscribe, wish, strlen(wish));
	}
	await_read(flooder);
	router_go();
	while (oks < ASKED)
		oks += oks_take(flooder, TEST_TIMEOUT_MS);
	/* All of them were there at once: they could be one round's. */
	assert_true(router_rounds(proxy) - before >= WORTH);
}

int main(void)
{
	static const char *const arguments[] = {"--loops", "2", NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_connections_take_turns_at_the_router, teardown),
		proxy_test(test_a_flood_of_requests_lets_the_kernel_work),
		cmocka_unit_test_teardown(test_what_a_client_leaves_takes_its_part_of_a_round,
					  teardown),
		cmocka_unit_test_teardown(test_looking_in_vain_takes_its_part_of_a_round, teardown),
	};

	return proxy_run_both(tests, arguments);
}
