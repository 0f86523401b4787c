/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The policy block: nothing is lost while the subscriber makes progress, one that makes none for
 * stall_ms is closed, and nobody waits but those who feed it; what a waiting publisher receives
 * goes on.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xylem/client.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define PIECE 30000

static struct raw *slow_open(const struct proxy *proxy, const char *subject, unsigned stall_ms)
{
	struct raw *raw = raw_open(proxy);
	char json[256];

	snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"stall_ms\":%u}", subject, stall_ms);
	raw_subscribe(raw, json);
	return raw;
}

/* Or it would be closed for its silence on a slow machine; it reads nothing, and so is no progress.
 */
static void sign_of_life(struct raw *raw)
{
	raw_send_frame(raw, raw_header(raw, XY_ACK), NULL, 0);
}

struct feed {
	struct raw *raw;
	struct xy_frame data;
	uint8_t frame[XY_HEADER_SIZE + PIECE];
	size_t left;
	bool syncing;
};

static void feed_open(struct feed *feed, struct raw *raw, const char *subject)
{
	*feed = (struct feed){.raw = raw, .data = raw_header(raw, XY_DATA)};
	feed->data.target = raw_declare(raw, subject);
}

/* Sends until it must wait: for SYNCED, as it was asked to, or because its socket is full. */
static bool feed_step(struct feed *feed)
{
	struct raw *raw = feed->raw;
	struct pollfd pollfd = {.fd = raw->fd, .events = POLLOUT};
	struct xy_frame sync = raw_header(raw, XY_SYNC);
	ssize_t n;

	while (raw_read(raw, 0) == RAW_FRAME) {
		if (raw->frame.header.type == XY_PING)
			raw_answer(raw);
		else if (raw->frame.header.type == XY_SYNCED)
			feed->syncing = false;
		else if (raw->frame.header.type == XY_SYNC_WANTED && !feed->left) {
			sync.correlation = ++raw->syncs;
			raw_send_frame(raw, sync, NULL, 0);
			feed->syncing = true;
		}
	}
	if (feed->syncing)
		return false;
	if (!feed->left) {
		if (poll(&pollfd, 1, 0) <= 0)
			return false;
		feed->data.sequence++;
		feed->left = raw_put(feed->frame, feed->data, feed->frame + XY_HEADER_SIZE, PIECE);
	}
	n = raw_send_some(raw, feed->frame + sizeof(feed->frame) - feed->left, feed->left);
	assert_true(n >= 0 || errno == EAGAIN);
	feed->left -= n > 0 ? (size_t)n : 0;
	return n > 0;
}

static bool waits(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_with(proxy, raw);
	bool waiting = json_is_true(json_object_get(status_connection(status, raw), "waiting"));

	json_decref(status);
	return waiting;
}

/* Feeds until the proxy lets it wait. */
static void feed_until_blocked(const struct proxy *proxy, struct feed *feed)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	int blocked = 0;

	do {
		while (feed_step(feed))
			assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 100); /* for a proof it waits 50 ms */
		assert_true(test_now_ms() < deadline);
	} while (feed_step(feed) || !waits(proxy, feed->raw) || !blocked++);
}

static void take(struct raw *receiver, uint64_t *got)
{
	assert_int_equal(receiver->frame.header.sequence, ++*got);
	raw_send_frame(receiver, raw_header(receiver, XY_ACK), NULL, 0);
}

/* Takes in everything that the feed has begun to send, in order. */
static void drain(struct raw *receiver, struct feed *feed, uint64_t *got)
{
	while (feed->left || *got < feed->data.sequence) {
		if (feed->left)
			feed_step(feed);
		if (raw_read(receiver, feed->left ? 10 : TEST_TIMEOUT_MS) != RAW_FRAME) {
			assert_true(feed->left > 0);
			continue;
		}
		if (receiver->frame.header.type == XY_DATA)
			take(receiver, got);
		else
			raw_answer(receiver);
	}
}

/* ---- the subscriber -------------------------------------------------------------------------- */

static void slow_but_moving(const struct proxy *proxy, struct raw *publisher)
{
	enum { STALL_MS = 1500 };
	struct raw *receiver = slow_open(proxy, "block.moving", STALL_MS);
	uint64_t closed = status_counter(proxy, "slow_consumers"), got = 0;
	uint64_t until = test_now_ms() + 2 * STALL_MS + 200;
	struct feed feed;

	feed_open(&feed, publisher, "block.moving");
	feed_until_blocked(proxy, &feed);
	while (test_now_ms() < until) {
		while (feed_step(&feed))
			;
		assert_int_equal(raw_read(receiver, TEST_TIMEOUT_MS), RAW_FRAME);
		if (receiver->frame.header.type == XY_DATA)
			take(receiver, &got);
		else
			raw_answer(receiver);
		poll(NULL, 0, 20);
	}
	assert_true(feed.data.sequence > got); /* it was the slower one all the time */
	drain(receiver, &feed, &got);
	assert_int_equal(status_counter(proxy, "slow_consumers"), closed);
	raw_close(receiver);
}

static void test_nothing_is_lost_while_the_subscriber_makes_progress(void **state)
{
	slow_but_moving(*state, raw_open(*state));
	slow_but_moving(*state, raw_open_unix(*state));
}

static void stalled(const struct proxy *proxy, struct raw *publisher)
{
	enum { STALL_MS = 700, MORE = 100 };
	struct raw *receiver = slow_open(proxy, "block.stalled", STALL_MS);
	struct raw *healthy = slow_open(proxy, "block.stalled", 600000);
	uint64_t closed = status_counter(proxy, "slow_consumers"), got = 0, began = test_now_ms();
	struct feed feed;

	feed_open(&feed, publisher, "block.stalled");
	/* The healthy one takes all there is; it waits with the publisher, and goes on with it. */
	while (status_counter(proxy, "slow_consumers") == closed) {
		for (int i = 0; i < 100 && feed_step(&feed); i++)
			;
		while (raw_read(healthy, 0) == RAW_FRAME) {
			if (healthy->frame.header.type == XY_DATA)
				take(healthy, &got);
			else
				raw_answer(healthy);
		}
		assert_true(test_now_ms() < began + TEST_TIMEOUT_MS);
	}
	assert_in_range(test_now_ms() - began, STALL_MS, TEST_TIMEOUT_MS);
	for (int i = 0; i < MORE;) {
		i += feed_step(&feed);
		drain(healthy, &feed, &got);
	}
	raw_drain(receiver);
	raw_close(receiver);
	raw_close(healthy);
}

static void test_one_that_makes_no_progress_for_stall_ms_is_closed(void **state)
{
	stalled(*state, raw_open(*state));
	stalled(*state, raw_open_unix(*state));
}

/* What another of its subscriptions drops is no progress of the subscriber. */
static void test_drops_are_no_progress(void **state)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct raw *receiver = slow_open(*state, "block.and.drop", 500);
	uint64_t slow = status_counter(*state, "slow_consumers");
	struct feed blocked, dropped;
	bool connected = true;

	raw_subscribe(receiver, "{\"subject\":\"drop.and.block\",\"overflow\":\"drop-newest\"}");
	feed_open(&blocked, raw_open_unix(*state), "block.and.drop");
	feed_open(&dropped, raw_open_unix(*state), "drop.and.block");
	while (connected) {
		json_t *status = status_take_whole(*state);

		connected = status_connection(status, receiver) != NULL;
		json_decref(status);
		for (unsigned step = 0; step < 20; step++) {
			feed_step(&blocked);
			feed_step(&dropped);
		}
		assert_true(test_now_ms() < deadline);
	}
	/* And not for its silence, later. */
	assert_int_equal(status_counter(*state, "slow_consumers"), slow + 1);
}

/* ---- the others ------------------------------------------------------------------------------ */

static struct raw *open_beside(const struct proxy *proxy, const struct raw *raw)
{
	for (int i = 0; i < 64; i++) {
		struct raw *beside = raw_open(proxy);
		json_t *status = status_take_with(proxy, raw), *one, *two;
		bool found;

		one = json_object_get(status_connection(status, raw), "loop");
		two = json_object_get(status_connection(status, beside), "loop");
		found = one && two && json_equal(one, two);
		json_decref(status);
		if (found)
			return beside;
	}
	fail_msg("no connection has the loop of another one");
	return NULL;
}

/* Both publish, and all readers get it. */
static void others_publish(struct raw *const other[2], const uint64_t topic[2],
			   struct raw *const reader[4], uint64_t sequence)
{
	for (int o = 0; o < 2; o++) {
		raw_publish(other[o], topic[o], sequence, "not for the slow one");
		for (int r = 0; r < 4; r++)
			assert_int_equal(raw_expect_data(reader[r])->header.sequence, sequence);
	}
}

/* The others are in the middle of it when the publisher has to wait; one shares its loop. */
static void others_go_on(const struct proxy *proxy, struct raw *publisher)
{
	struct raw *receiver = slow_open(proxy, "block.slow", 600000), *reader[4];
	struct raw *other[] = {open_beside(proxy, publisher), raw_open(proxy)};
	uint64_t topic[2], got = 0;
	struct feed feed;

	for (int o = 0; o < 2; o++)
		topic[o] = raw_declare(other[o], "block.other");
	for (int r = 0; r < 4; r++)
		reader[r] = slow_open(proxy, "block.other", 600000);
	feed_open(&feed, publisher, "block.slow");
	others_publish(other, topic, reader, 1);
	feed_until_blocked(proxy, &feed);
	for (uint64_t i = 2; i <= 300; i++) {
		others_publish(other, topic, reader, i);
		if (i % 20)
			continue;
		assert_true(waits(proxy, feed.raw));
		sign_of_life(receiver);
		for (int o = 0; o < 2; o++) {
			raw_sync(other[o]);
			assert_false(waits(proxy, other[o]));
		}
	}
	assert_true(waits(proxy, feed.raw));
	drain(receiver, &feed, &got);
	raw_close_all();
}

static void test_publishers_that_do_not_feed_the_slow_one_never_wait(void **state)
{
	others_go_on(*state, raw_open(*state));
	others_go_on(*state, raw_open_unix(*state));
}

static void blocked_receives(const struct proxy *proxy, struct raw *publisher)
{
	static uint8_t payload[PIECE];
	struct raw *receiver = slow_open(proxy, "block.here", 600000), *other = raw_open(proxy);
	struct xy_frame data = raw_header(other, XY_DATA);
	uint64_t got = 0;
	struct feed feed;

	raw_subscribe(publisher, "{\"subject\":\"block.there\",\"stall_ms\":600000}");
	data.target = raw_declare(other, "block.there");
	feed_open(&feed, publisher, "block.here");
	feed_until_blocked(proxy, &feed);
	/* More than a window, sockets and buffers hold. */
	for (data.sequence = 1; data.sequence <= 200; data.sequence++) {
		data.ack = other->consumed;
		raw_send_frame(other, data, payload, sizeof(payload));
		while (raw_read(publisher, TEST_TIMEOUT_MS) == RAW_FRAME &&
		       publisher->frame.header.type != XY_DATA)
			if (publisher->frame.header.type == XY_PING)
				raw_answer(publisher);
		assert_int_equal(publisher->frame.header.sequence, data.sequence);
		if (publisher->lane)
			raw_send_frame(publisher, raw_header(publisher, XY_ACK), NULL, 0);
		if (data.sequence % 10 == 0)
			sign_of_life(receiver);
	}
	assert_true(waits(proxy, publisher));
	assert_int_equal(raw_read(receiver, 0), RAW_FRAME);
	feed.syncing = false; /* it may have come while the other messages were read */
	raw_reset(publisher);
	raw_reset(receiver);
	(void)got;
}

static void test_what_a_waiting_publisher_receives_goes_on(void **state)
{
	blocked_receives(*state, raw_open(*state));
	blocked_receives(*state, raw_open_unix(*state));
}

/* ---- the library ----------------------------------------------------------------------------- */

struct library {
	const char *server;
	struct xy_client *client;
	uint64_t endpoint;
	pthread_t thread;
	_Atomic(bool) ready, stop;
	_Atomic(uint64_t) sent;
	int error;
};

static void *library_run(void *context)
{
	struct library *library = context;
	const struct xy_client_options options = {.size = sizeof(options),
						  .server = library->server,
						  .no_reconnect = true,
						  .name = "library",
						  .connect_timeout_ms = TEST_TIMEOUT_MS};
	const struct xy_subscribe_options subscribe = {.size = sizeof(subscribe),
						       .stall_ms = 600000};
	struct xy_subscription *subscription;
	struct xy_topic *topic;
	static uint8_t payload[PIECE];

	library->error = xy_client_connect(&options, &library->client);
	if (!library->error)
		library->error = xy_client_subscribe(library->client, "library.there", &subscribe,
						     &subscription);
	if (!library->error)
		library->error = xy_client_declare(library->client, "library.here", &topic);
	atomic_store(&library->ready, true);
	while (!library->error && !atomic_load(&library->stop)) {
		library->error =
			xy_client_publish(library->client, topic, payload, sizeof(payload));
		if (!library->error)
			atomic_fetch_add(&library->sent, 1);
	}
	if (!library->error)
		library->error = xy_client_sync(library->client, TEST_TIMEOUT_MS);
	return NULL;
}

static bool named_waits(const struct proxy *proxy, const char *name)
{
	json_t *status = status_take(proxy), *connection;
	bool waiting = false;
	size_t i;

	json_array_foreach(json_object_get(status, "connections"), i, connection)
	{
		const char *text = json_string_value(json_object_get(connection, "name"));

		if (text && !strcmp(text, name))
			waiting = json_is_true(json_object_get(connection, "waiting"));
	}
	json_decref(status);
	return waiting;
}

static void library_receives(const struct proxy *proxy, const char *server)
{
	static uint8_t payload[PIECE];
	struct raw *receiver = slow_open(proxy, "library.here", 600000), *other = raw_open(proxy);
	static struct library library; /* outlives a test that fails */
	struct xy_frame data = raw_header(other, XY_DATA);
	uint64_t got = 0, deadline = test_now_ms() + TEST_TIMEOUT_MS, sent;

	library = (struct library){.server = server};
	assert_int_equal(pthread_create(&library.thread, NULL, library_run, &library), 0);
	/* Blocked inside publish: nothing more goes in. */
	do {
		sent = atomic_load(&library.sent);
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 50);
	} while (!atomic_load(&library.ready) || !named_waits(proxy, "library") ||
		 sent != atomic_load(&library.sent));
	data.target = raw_declare(other, "library.there");
	for (data.sequence = 1; data.sequence <= 300; data.sequence++) {
		data.ack = other->consumed;
		raw_send_frame(other, data, payload, sizeof(payload));
		/* SYNCED: the waiting publisher has room. */
		if (data.sequence % 10 == 0) {
			raw_sync(other);
			sign_of_life(receiver);
		}
	}
	assert_true(named_waits(proxy, "library"));
	atomic_store(&library.stop, true);
	/* It may be in the middle of one more. */
	for (sent++; got < sent; sent = atomic_load(&library.sent)) {
		raw_expect_data(receiver);
		assert_int_equal(receiver->frame.header.sequence, ++got);
	}
	pthread_join(library.thread, NULL);
	assert_int_equal(library.error, 0);
	xy_client_close(library.client);
	raw_close_all();
}

static void test_the_library_reads_while_it_waits_to_send(void **state)
{
	library_receives(*state, proxy_server(*state));
	library_receives(*state, proxy_unix(*state));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_nothing_is_lost_while_the_subscriber_makes_progress),
		proxy_test(test_one_that_makes_no_progress_for_stall_ms_is_closed),
		proxy_test(test_drops_are_no_progress),
		proxy_test(test_publishers_that_do_not_feed_the_slow_one_never_wait),
		proxy_test(test_what_a_waiting_publisher_receives_goes_on),
		proxy_test(test_the_library_reads_while_it_waits_to_send),
	};

	return proxy_run_both(tests, NULL);
}
