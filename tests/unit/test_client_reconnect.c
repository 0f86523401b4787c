/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: what survives the end of a connection. */
#include "unit/fake_proxy.h"

#include <poll.h>

#include "client/internal.h"

static struct fake fake;

struct seen {
	unsigned events[8];
	char text[256];
	unsigned replies;
};

static struct seen seen;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	memset(&seen, 0, sizeof(seen));
	return 0;
}

static void note(struct xy_client *client, enum xy_event event, void *context)
{
	(void)context;
	seen.events[event]++;
	if (event == XY_EVENT_ERROR)
		snprintf(seen.text, sizeof(seen.text), "%s", xy_client_error(client));
}

static struct xy_client *connected(struct xy_client_options options)
{
	fake_start(&fake);
	options.on_event = note;
	return fake_connect(&fake, options);
}

static struct xy_client_stats stats_of(struct xy_client *client)
{
	struct xy_client_stats stats;

	xy_client_stats(client, &stats);
	return stats;
}

static void await_event(struct xy_client *client, enum xy_event event)
{
	struct xy_message message;

	while (seen.events[event] == 0) {
		int error = xy_client_next(client, 10, &message);

		assert_true(error == -ETIMEDOUT || error == -ENOTCONN);
	}
}

static void declarations_and_subscriptions_are_restored_before_anything_is_sent(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){0});
	struct xy_topic *a, *b;
	struct fake_frame data;

	(void)state;
	assert_int_equal(xy_client_declare(client, "a", &a), 0);
	assert_int_equal(xy_client_declare(client, "b", &b), 0);
	assert_int_equal(xy_client_subscribe(client, "x", NULL, NULL), 0);
	/* The new proxy has other ids. */
	fake_renumber(&fake, 1000);
	fake_hang_up(&fake);
	await_event(client, XY_EVENT_RECONNECTED);
	assert_int_equal(seen.events[XY_EVENT_DISCONNECTED], 1);
	assert_int_equal(stats_of(client).reconnects, 1);
	assert_int_equal(fake_count(&fake, XY_DECLARE), 4);
	assert_int_equal(fake_count(&fake, XY_SUBSCRIBE), 2);
	assert_int_equal(fake_frame(&fake, XY_SYNC, 1).header.correlation, 1);
	assert_int_equal(xy_topic_id(b), fake_topic_id("b") + 1000);
	assert_int_equal(xy_client_endpoint(client), FAKE_ENDPOINT + 2);
	assert_int_equal(xy_client_publish(client, b, "to b", 4), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 1);
	data = fake_frame(&fake, XY_DATA, 0);
	assert_int_equal(data.header.target, fake_topic_id("b") + 1000);
	assert_int_equal(data.header.source, FAKE_ENDPOINT + 2);
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_BINDING, .target = fake_topic_id("x") + 1000}, "x",
		    1);
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_DATA,
				      .target = fake_topic_id("x") + 1000,
				      .source = FAKE_PEER},
		    "on", 2);
	expect_text(client, "on");
	fake_close(&fake, client);
}

static void queued_messages_are_sent_to_the_new_connection_with_its_ids(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){0});
	struct xy_topic *a, *b;
	uint8_t *large = calloc(1, 200000);

	(void)state;
	assert_int_equal(xy_client_declare(client, "a", &a), 0);
	assert_int_equal(xy_client_declare(client, "b", &b), 0);
	fake_renumber(&fake, 1000);
	/* The brake keeps everything in the queue. */
	fake_set(&fake, &fake.hold_synced, true);
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNC_WANTED}, NULL, 0);
	while (fake_count(&fake, XY_SYNC) < 2)
		assert_int_equal(xy_client_process(client), 0);
	assert_int_equal(xy_client_publish(client, a, "1", 1), 0);
	assert_int_equal(xy_client_publish(client, b, "2", 1), 0);
	assert_int_equal(xy_client_publish(client, b, "3", 1), 0);
	assert_int_equal(xy_client_publish(client, a, large, 200000), 0);
	assert_int_equal(xy_client_send(client, FAKE_PEER, "5", 1), 0);
	fake_set(&fake, &fake.hold_synced, false);
	fake_hang_up(&fake);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 3 + 4);
	assert_int_equal(fake_frame(&fake, XY_DATA, 0).header.target, fake_topic_id("a") + 1000);
	assert_int_equal(fake_frame(&fake, XY_DATA, 1).header.target, fake_topic_id("b") + 1000);
	assert_int_equal(fake_frame(&fake, XY_DATA, 1).header.flags, XY_BUNDLE);
	for (uint16_t i = 0; i < 4; i++) {
		struct xy_frame header = fake_frame(&fake, XY_DATA, 2 + i).header;

		assert_int_equal(header.target, fake_topic_id("a") + 1000);
		assert_int_equal(header.fragment, i);
	}
	assert_int_equal(fake_frame(&fake, XY_DATA, 6).header.target, FAKE_PEER);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(fake_frame(&fake, XY_DATA, i).header.source, FAKE_ENDPOINT + 2);
	assert_int_equal(stats_of(client).lost, 0);
	fake_close(&fake, client);
	free(large);
}

static void a_message_that_waits_for_room_meanwhile_has_the_new_ids(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){.outbound_max = 4096});
	uint8_t data[1024] = {0};
	struct xy_topic *topic;
	size_t frames;

	(void)state;
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	fake_renumber(&fake, 1000);
	fake_set(&fake, &fake.hold_synced, true);
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNC_WANTED}, NULL, 0);
	while (fake_count(&fake, XY_SYNC) < 2)
		assert_int_equal(xy_client_process(client), 0);
	while (xy_client_try_publish(client, topic, data, sizeof(data)) == 0)
		continue;
	fake_set(&fake, &fake.hold_synced, false);
	fake_hang_up(&fake);
	assert_int_equal(xy_client_publish(client, topic, data, sizeof(data)), 0);
	assert_int_equal(stats_of(client).reconnects, 1);
	assert_int_equal(xy_client_sync(client, -1), 0);
	frames = fake_count(&fake, XY_DATA);
	assert_int_not_equal(frames, 0);
	for (size_t i = 0; i < frames; i++)
		assert_int_equal(fake_frame(&fake, XY_DATA, i).header.target,
				 fake_topic_id("a") + 1000);
	fake_close(&fake, client);
}

/* Fills the connection until a frame is torn, then ends it. */
static void tear(struct xy_client *client, struct xy_topic *topic, const void *data, size_t length)
{
	fake_set(&fake, &fake.paused, true);
	while (sends.count == 0 ||
	       sends.log[sends.count - 1].result == (ssize_t)sends.log[sends.count - 1].length)
		if (xy_client_try_publish(client, topic, data, length) != 0)
			break;
	fake_hang_up(&fake);
	fake_set(&fake, &fake.paused, false);
}

static void a_torn_message_is_lost_and_told_and_the_next_begin_on_a_border(void **state)
{
	struct xy_client *client;
	struct xy_topic *a;
	uint8_t *large = calloc(1, 300000);
	uint64_t last;
	size_t n;

	(void)state;
	fake.receive_buffer = 4096;
	client = connected((struct xy_client_options){.outbound_max = 4u << 20});
	assert_int_equal(xy_client_declare(client, "a", &a), 0);
	tear(client, a, large, 300000);
	assert_int_equal(xy_client_publish(client, a, "end", 3), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_int_equal(stats_of(client).reconnects, 1);
	assert_in_range(stats_of(client).lost, 1, 2);
	assert_int_equal(seen.events[XY_EVENT_ERROR], 1);
	assert_non_null(strstr(seen.text, "lost"));
	/* On the new connection: whole messages only, and the last one. */
	n = fake_count(&fake, XY_DATA);
	last = fake_frame(&fake, XY_DATA, n - 1).header.sequence;
	assert_memory_equal(fake_frame(&fake, XY_DATA, n - 1).payload, "end", 3);
	for (size_t i = 0, expect = 0; i + 1 < n; i++) {
		struct fake_frame frame = fake_frame(&fake, XY_DATA, i);

		if (frame.connection == 1)
			continue;
		assert_int_equal(frame.header.fragments, 5);
		assert_int_equal(frame.header.fragment, expect);
		assert_true(frame.header.sequence < last);
		expect = (expect + 1) % 5;
	}
	/* The send log spans both connections: its rests do not continue. */
	fake_sends_clear();
	fake_close(&fake, client);
	free(large);
}

/* Nothing of it is left in the queue to be counted later. */
static void a_message_whose_last_fragment_is_torn_is_lost(void **state)
{
	const size_t length = XY_PAYLOAD_MAX + 1000;
	uint8_t *large = calloc(1, length);
	struct xy_client *client;
	struct xy_topic *a, *b;

	(void)state;
	/* On a lane a SYNC would go before the second fragment. */
	fake.no_lane = true;
	client = connected((struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "a", &a), 0);
	assert_int_equal(xy_client_declare(client, "b", &b), 0);
	assert_int_equal(xy_client_publish(client, a, large, length), 0);
	/* Another target sends what was queued before it. */
	sends.cut = 500;
	assert_int_equal(xy_client_publish(client, b, "b", 1), 0);
	assert_int_equal(sends.log[sends.count - 1].result, 500);
	fake_hang_up(&fake);
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_int_equal(stats_of(client).reconnects, 1);
	assert_int_equal(stats_of(client).lost, 1);
	assert_int_equal(seen.events[XY_EVENT_ERROR], 1);
	/* The send log spans both connections: its rests do not continue. */
	fake_sends_clear();
	fake_close(&fake, client);
	free(large);
}

static void count_reply(struct xy_client *client, const struct xy_message *message, void *context)
{
	(void)context;
	assert_null(message);
	assert_non_null(strstr(xy_client_error(client), "closed"));
	seen.replies++;
}

static void a_proxy_that_says_goodbye_is_left_without_loss(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){0});
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	assert_int_equal(xy_client_publish(client, topic, "1", 1), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 1);
	fake_set(&fake, &fake.hold_synced, true);
	fake_inject(&fake, (struct xy_frame){.type = XY_GOODBYE}, NULL, 0);
	/* It asks whether all it has sent is handed on, and sends nothing more. */
	while (fake_count(&fake, XY_SYNC) < 2)
		assert_int_equal(xy_client_process(client), 0);
	assert_int_equal(xy_client_publish(client, topic, "2", 1), 0);
	assert_int_equal(xy_client_flush(client, 20), -ETIMEDOUT);
	assert_int_equal(fake_count(&fake, XY_DATA), 1);
	assert_int_equal(seen.events[XY_EVENT_DRAINING], 1);
	assert_int_equal(seen.events[XY_EVENT_DISCONNECTED], 0);
	fake_set(&fake, &fake.hold_synced, false);
	fake_inject(
		&fake,
		(struct xy_frame){.type = XY_SYNCED,
				  .correlation = fake_frame(&fake, XY_SYNC, 1).header.correlation},
		NULL, 0);
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_int_equal(seen.events[XY_EVENT_RECONNECTED], 1);
	assert_int_equal(fake_count(&fake, XY_DATA), 2);
	assert_int_equal(fake_frame(&fake, XY_DATA, 1).header.source, FAKE_ENDPOINT + 2);
	assert_int_equal(stats_of(client).lost, 0);
	fake_close(&fake, client);
}

static void requests_under_way_fail_with_the_connection(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;
	struct xy_message message;

	(void)state;
	fake.silent_requests = true;
	client = connected((struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	assert_int_equal(xy_client_request_async(client, topic, "q", 1, -1, count_reply, NULL), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_hang_up(&fake);
	assert_int_equal(xy_client_request(client, topic, "q", 1, -1, &message), -ECONNRESET);
	assert_int_equal(xy_client_next(client, 0, &message), -ETIMEDOUT);
	assert_int_equal(seen.replies, 1);
	fake_close(&fake, client);
}

static void a_declare_waits_for_the_next_connection(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){0});
	struct xy_subscription *subscription;
	struct xy_topic *topic;

	(void)state;
	for (unsigned i = 1; i <= 5; i++) {
		char subject[] = "a.0";

		subject[2] = (char)('0' + i);
		fake_hang_up(&fake);
		assert_int_equal(xy_client_declare(client, subject, &topic), 0);
		assert_int_equal(xy_client_subscribe(client, subject, NULL, &subscription), 0);
		if (i % 2)
			assert_int_equal(xy_client_unsubscribe(client, subscription), 0);
	}
	fake_close(&fake, client);
}

static void a_sync_under_way_fails_with_the_connection(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){0});

	(void)state;
	fake_set(&fake, &fake.hold_synced, true);
	assert_int_equal(xy_client_sync(client, 1), -ETIMEDOUT);
	fake_hang_up(&fake);
	assert_int_equal(xy_client_sync(client, -1), -ECONNRESET);
	fake_set(&fake, &fake.hold_synced, false);
	assert_int_equal(xy_client_sync(client, -1), 0);
	fake_close(&fake, client);
}

static void a_topic_that_is_refused_later_fails_its_publishers(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){0});
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	fake_set(&fake, &fake.refuse_declare, true);
	fake_hang_up(&fake);
	await_event(client, XY_EVENT_RECONNECTED);
	assert_int_equal(seen.events[XY_EVENT_ERROR], 1);
	assert_int_equal(xy_client_publish(client, topic, "x", 1), -EACCES);
	fake_close(&fake, client);
}

static void without_reconnection_the_client_is_closed_for_good(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){.no_reconnect = true});
	struct xy_message message;
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_subscribe(client, "x", NULL, NULL), 0);
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	fake_bind(&fake, "x");
	fake_text(&fake, "x", 1, "last");
	fake_hang_up(&fake);
	expect_text(client, "last");
	assert_int_equal(xy_client_next(client, -1, &message), -ENOTCONN);
	assert_int_equal(seen.events[XY_EVENT_CLOSED], 1);
	assert_int_equal(xy_client_publish(client, topic, "x", 1), -ENOTCONN);
	assert_int_equal(xy_client_flush(client, -1), -ENOTCONN);
	assert_int_equal(xy_client_declare(client, "b", &topic), -ENOTCONN);
	assert_int_equal(xy_client_process(client), -ENOTCONN);
	fake_close(&fake, client);
}

static void a_closing_error_gives_its_reason(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){.no_reconnect = true});
	struct xy_message message;

	(void)state;
	fake_inject_error(&fake, XY_E_SLOW_CONSUMER, 0);
	assert_int_equal(xy_client_next(client, -1, &message), -ENOTCONN);
	assert_string_equal(xy_client_error(client), "slow-consumer: scripted");
	fake_close(&fake, client);
}

static void a_client_in_the_event_style_comes_back_by_process_alone(void **state)
{
	struct xy_client *client = connected((struct xy_client_options){0});

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		fake_hang_up(&fake);
		while (seen.events[XY_EVENT_RECONNECTED] < i) {
			struct pollfd p = {.fd = xy_client_fd(client), .events = POLLIN};

			assert_int_equal(poll(&p, 1, FAKE_TIMEOUT_S * 1000), 1);
			assert_int_equal(xy_client_process(client), 0);
		}
	}
	fake_close(&fake, client);
}

/* When the next attempt is due, seen from a moment. */
static double next_attempt_ms(const struct xy_client *client, uint64_t before)
{
	return (double)(client->due_ns - before) / XY_NS_PER_MS;
}

static void clients_come_back_at_different_times(void **state)
{
	enum { CLIENTS = 16 };
	double earliest = 1e9, latest = 0;

	(void)state;
	for (int i = 0; i < CLIENTS; i++) {
		struct xy_client *client = connected((struct xy_client_options){
			.reconnect_min_ms = 100000, .reconnect_max_ms = 100000});
		uint64_t before = xy_clock_ns();
		double delay;

		fake_hang_up(&fake);
		while (client->state != XY_CLIENT_BACKOFF)
			assert_int_equal(xy_client_process(client), 0);
		delay = next_attempt_ms(client, before);
		assert_true(delay >= 50000);
		assert_true(next_attempt_ms(client, xy_clock_ns()) <= 100000);
		earliest = delay < earliest ? delay : earliest;
		latest = delay > latest ? delay : latest;
		xy_client_close(client);
		fake_stop(&fake);
	}
	/* All within a fifth of the range: less likely than 1 in 10^9. */
	assert_true(latest - earliest > 10000);
}

static void attempts_become_rarer_up_to_a_bound(void **state)
{
	struct xy_client *client = connected(
		(struct xy_client_options){.reconnect_min_ms = 4, .reconnect_max_ms = 32});
	double most[] = {4, 8, 16, 32, 32, 32};

	(void)state;
	/* Nobody listens any more. */
	fake_stop(&fake);
	while (client->state != XY_CLIENT_BACKOFF)
		assert_int_equal(xy_client_process(client), 0);
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		unsigned attempts = client->attempts;
		uint64_t before;

		do {
			before = xy_clock_ns();
			assert_int_equal(xy_client_process(client), 0);
		} while (client->attempts == attempts);
		/* The first delay came with the end. */
		if (i + 1 < sizeof(most) / sizeof(most[0]))
			assert_true(next_attempt_ms(client, before) >= most[i + 1] / 2);
		assert_true(client->due_ns <= xy_clock_ns() + (uint64_t)(32 * XY_NS_PER_MS));
	}
	xy_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			declarations_and_subscriptions_are_restored_before_anything_is_sent, setup),
		cmocka_unit_test_setup(queued_messages_are_sent_to_the_new_connection_with_its_ids,
				       setup),
		cmocka_unit_test_setup(a_message_that_waits_for_room_meanwhile_has_the_new_ids,
				       setup),
		cmocka_unit_test_setup(
			a_torn_message_is_lost_and_told_and_the_next_begin_on_a_border, setup),
		cmocka_unit_test_setup(a_message_whose_last_fragment_is_torn_is_lost, setup),
		cmocka_unit_test_setup(a_proxy_that_says_goodbye_is_left_without_loss, setup),
		cmocka_unit_test_setup(requests_under_way_fail_with_the_connection, setup),
		cmocka_unit_test_setup(a_declare_waits_for_the_next_connection, setup),
		cmocka_unit_test_setup(a_sync_under_way_fails_with_the_connection, setup),
		cmocka_unit_test_setup(a_topic_that_is_refused_later_fails_its_publishers, setup),
		cmocka_unit_test_setup(without_reconnection_the_client_is_closed_for_good, setup),
		cmocka_unit_test_setup(a_closing_error_gives_its_reason, setup),
		cmocka_unit_test_setup(clients_come_back_at_different_times, setup),
		cmocka_unit_test_setup(attempts_become_rarer_up_to_a_bound, setup),
		cmocka_unit_test_setup(a_client_in_the_event_style_comes_back_by_process_alone,
				       setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
