/* SPDX-License-Identifier: BSD-2-Clause */
/* Silence: who answers PINGs stays, who does not is closed. One wait of three heartbeats serves
 * both kinds of proxy at once. */
#include <poll.h>
#include <string.h>

#include "common/proxy.h"
#include "common/raw.h"

#define PROXIES            2
#define HEARTBEATS_ALLOWED 6 /* of waiting for what is due after three */

struct clients {
	struct proxy *proxy;
	struct raw *dead, *quiet, *publisher, *subscriber;
	uint64_t topic, sequence;
	unsigned dead_pings, quiet_pings;
	bool dead_closed;
};

static void clients_open(struct clients *clients)
{
	clients->dead = raw_open(clients->proxy);
	clients->quiet = raw_open(clients->proxy);
	clients->publisher = raw_open(clients->proxy);
	clients->subscriber = raw_open(clients->proxy);
	raw_subscribe_to(clients->subscriber, "beat.a");
	clients->topic = raw_declare(clients->publisher, "beat.a");
}

/* Takes what has come to a client that sends nothing by itself. */
static enum raw_result take(struct raw *raw, unsigned *pings, bool answer)
{
	enum raw_result result;

	while ((result = raw_read(raw, 0)) == RAW_FRAME) {
		struct xy_frame pong = raw_header(raw, XY_PONG);

		if (raw->frame.header.type == XY_ERROR)
			continue;
		assert_int_equal(raw->frame.header.type, XY_PING);
		assert_in_range(raw->frame.length, 0, XY_PING_MAX);
		(*pings)++;
		pong.correlation = raw->frame.header.correlation;
		if (answer)
			raw_send_frame(raw, pong, raw->frame.payload, raw->frame.length);
	}
	return result;
}

static void clients_turn(struct clients *clients)
{
	clients->dead_closed = clients->dead_closed ||
			       take(clients->dead, &clients->dead_pings, false) == RAW_CLOSED;
	assert_int_equal(take(clients->quiet, &clients->quiet_pings, true), RAW_TIMEOUT);
	raw_publish(clients->publisher, clients->topic, ++clients->sequence, "tick");
	raw_expect_text(clients->subscriber, "tick");
	if (clients->sequence % 8 == 0)
		raw_sync(clients->publisher);
}

static void test_who_answers_pings_stays_and_who_does_not_is_closed(void **state)
{
	static struct clients clients[PROXIES];
	uint64_t deadline;
	bool waiting = true;

	(void)state;
	for (int i = 0; i < PROXIES; i++) {
		clients[i].proxy = proxy_start(i == 0 ? KERNEL_PATH_OFF : KERNEL_PATH_ON, NULL);
		if (clients[i].proxy == NULL)
			skip();
		clients_open(&clients[i]);
	}
	deadline = test_now_ms() +
		   HEARTBEATS_ALLOWED * (uint64_t)clients[0].dead->welcome.heartbeat_ms;
	while (waiting) {
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 200);
		waiting = false;
		for (int i = 0; i < PROXIES; i++) {
			clients_turn(&clients[i]);
			waiting = waiting || !clients[i].dead_closed;
		}
	}
	for (int i = 0; i < PROXIES; i++) {
		assert_int_not_equal(clients[i].dead_pings, 0);
		assert_int_not_equal(clients[i].quiet_pings, 0);
		raw_sync(clients[i].quiet);
	}
	raw_close_all();
	for (int i = 0; i < PROXIES; i++)
		proxy_stop(clients[i].proxy);
}

static int teardown(void **state)
{
	(void)state;
	raw_close_all();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_who_answers_pings_stays_and_who_does_not_is_closed,
					  teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
