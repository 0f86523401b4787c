/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One loop, one connection that floods it: how much of the flood is handled before a neighbour's
 * message. Both go to one subscriber, so that its stream tells, in messages and not in time. The
 * loop stands still until everything is in the sockets.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"
#include "common/thread.h"

#define TURN   (256u << 10) /* bytes of one connection that a turn takes … */
#define READ   (64u << 10)  /* … and what the last read of it may be more */
#define SHARES 8192         /* the same in copies to receivers */

static pid_t stopped, stopped_router;

static void router_go(void)
{
	pid_t thread = stopped_router;

	stopped_router = 0;
	if (thread != 0)
		thread_go(thread);
}

static int teardown(void **state)
{
	if (stopped != 0)
		thread_go(stopped);
	stopped = 0;
	router_go();
	return proxy_test_teardown(state);
}

static struct raw *open_plain(const struct proxy *proxy)
{
	struct raw *raw = raw_connect(proxy);

	raw_hello(raw, "{\"name\":\"plain\",\"ack\":false}");
	raw_sync(raw);
	return raw;
}

static void roomy(struct raw *raw, int option)
{
	int size = 16 << 20;

	assert_int_equal(setsockopt(raw->fd, SOL_SOCKET, option, &size, sizeof(size)), 0);
}

/* Frames of `size` bytes to the two topics in turn until the socket takes no more, at most `most`.
 * Returns how many went whole. */
static uint64_t flood(struct raw *raw, const uint64_t topic[2], size_t size, uint64_t most)
{
	static uint8_t bytes[XY_FRAME_MAX], payload[XY_PAYLOAD_MAX];
	uint64_t whole = 0;
	size_t at = 0;

	while (whole < most) {
		struct xy_frame data = raw_header(raw, XY_DATA);
		ssize_t sent;

		data.target = topic[whole % 2];
		data.sequence = whole + 1;
		raw_put(bytes, data, payload, size - XY_HEADER_SIZE);
		sent = raw_send_some(raw, bytes + at, size - at);
		if (sent < 0) {
			assert_int_equal(errno, EAGAIN);
			break;
		}
		at += (size_t)sent;
		whole += at == size;
		at %= size;
	}
	return whole;
}

static void loop_stop(const struct proxy *proxy)
{
	stopped = thread_stop(proxy_pid(proxy), "loop-0");
}

static void loop_go(void)
{
	pid_t thread = stopped;

	stopped = 0;
	thread_go(thread);
}

/* The first message of the flood that the subscriber gets after the neighbour's. */
static uint64_t flood_after(struct raw *subscriber, const struct raw *flooder,
			    const struct raw *neighbour)
{
	bool seen = false;

	for (;;) {
		const struct raw_frame *data = raw_expect_data(subscriber);

		if (data->header.source == neighbour->endpoint)
			seen = true;
		else if (seen && data->header.source == flooder->endpoint)
			return data->header.sequence;
	}
}

static void test_a_turn_takes_so_many_bytes_of_one_connection(void **state)
{
	enum { SIZE = 1024 };
	struct proxy *proxy = *state;
	struct raw *subscriber = raw_open(proxy), *flooder = open_plain(proxy);
	struct raw *neighbour = open_plain(proxy);
	uint64_t topic[2], own, sent, after;

	roomy(subscriber, SO_RCVBUFFORCE);
	roomy(flooder, SO_SNDBUFFORCE);
	raw_subscribe(subscriber, "{\"subject\":\"flood\",\"overflow\":\"drop-newest\"}");
	raw_subscribe_to(subscriber, "calm");
	topic[0] = topic[1] = raw_declare(flooder, "flood");
	own = raw_declare(neighbour, "calm");

	loop_stop(proxy);
	sent = flood(flooder, topic, SIZE, UINT64_MAX);
	assert_true(sent * SIZE > 8 * TURN);
	raw_publish(neighbour, own, 1, "calm");
	loop_go();
	/* The turn before it, the one that it shares, and a turn that found the subscriber's buffer
	 * still full. */
	after = flood_after(subscriber, flooder, neighbour);
	assert_true(after * SIZE <= 3 * (TURN + READ));
}

/* Changing targets with many receivers: few bytes, much work. */
static void test_a_turn_gives_so_many_shares_of_one_connection(void **state)
{
	enum { RECEIVERS = 64, FRAMES = 2000 };
	struct proxy *proxy = *state;
	struct raw *subscriber = raw_open(proxy), *flooder = open_plain(proxy);
	struct raw *neighbour = open_plain(proxy);
	uint64_t topic[2], own, sent, after;

	for (int i = 0; i < RECEIVERS; i++) {
		struct raw *receiver = open_plain(proxy);

		raw_subscribe(receiver, "{\"subject\":\"flood.*\",\"overflow\":\"drop-newest\"}");
	}
	raw_subscribe(subscriber, "{\"subject\":\"flood.*\"}");
	raw_subscribe_to(subscriber, "calm");
	topic[0] = raw_declare(flooder, "flood.0");
	topic[1] = raw_declare(flooder, "flood.1");
	own = raw_declare(neighbour, "calm");

	loop_stop(proxy);
	sent = flood(flooder, topic, XY_HEADER_SIZE, FRAMES);
	assert_int_equal(sent, FRAMES);
	raw_publish(neighbour, own, 1, "calm");
	loop_go();
	after = flood_after(subscriber, flooder, neighbour);
	assert_true(after <= 2 * (SHARES / RECEIVERS + 1));
	for (uint64_t i = after + 1; i <= sent; i++)
		assert_int_equal(raw_expect_data(subscriber)->header.sequence, i);
}

static void declare_many(struct raw *raw, unsigned topics, uint64_t *ret_ids)
{
	unsigned asked = 0, answered = 0;
	char subject[32];

	while (answered < topics) {
		while (asked < topics && asked - answered < 100) {
			struct xy_frame declare = raw_header(raw, XY_DECLARE);

			declare.correlation = ++asked;
			snprintf(subject, sizeof(subject), "many.%u", asked);
			raw_send_frame(raw, declare, subject, strlen(subject));
		}
		ret_ids[answered++] = raw_expect(raw, XY_OK)->header.target;
	}
}

/* Until what was sent before has been read. */
static void await_read(struct raw *raw)
{
	raw_send_frame(raw, raw_header(raw, XY_PING), NULL, 0);
	raw_expect(raw, XY_PONG);
}

static void publish_on_all(struct raw *raw, const uint64_t *topics, unsigned count,
			   uint64_t sequence)
{
	for (unsigned t = 0; t < count; t++)
		raw_publish(raw, topics[t], sequence, "x");
}

/* A SYNC that is not answered is looked at anew with the next one: few bytes, much work. Without
 * lanes nobody asks for flows, and each is answered. */
static void test_a_turn_looks_at_so_many_targets_for_syncs(void **state)
{
	enum { TOPICS = 1000, SYNCS = 400, LOOKS_A_SHARE = 8 };
	static uint8_t bytes[2 * SYNCS * XY_HEADER_SIZE];
	struct proxy *proxy = *state;
	struct raw *flooder, *subscriber, *neighbour;
	struct xy_frame sync, ping;
	/* Each of a target and of its receiver. */
	unsigned pongs = 0, most = SHARES / (2 * TOPICS / LOOKS_A_SHARE) + 1;
	uint64_t own, topics[TOPICS];
	bool seen = false;

	if (proxy_kernel_path(proxy) != KERNEL_PATH_ON)
		return;
	flooder = raw_open(proxy);
	subscriber = raw_open(proxy);
	neighbour = open_plain(proxy);
	raw_subscribe_to(flooder, "calm");
	raw_subscribe_to(subscriber, "many.*");
	own = raw_declare(neighbour, "calm");
	declare_many(flooder, TOPICS, topics);
	/* Flows that are asked for, and not answered, keep SYNCED back. */
	stopped_router = thread_stop(proxy_pid(proxy), "router");
	publish_on_all(flooder, topics, TOPICS, 1);
	await_read(flooder);

	sync = raw_header(flooder, XY_SYNC);
	ping = raw_header(flooder, XY_PING);
	for (size_t i = 0; i < SYNCS; i++) {
		sync.correlation = ++flooder->syncs;
		raw_put(bytes + 2 * i * XY_HEADER_SIZE, sync, NULL, 0);
		raw_put(bytes + (2 * i + 1) * XY_HEADER_SIZE, ping, NULL, 0);
	}
	loop_stop(proxy);
	raw_send(flooder, bytes, sizeof(bytes));
	raw_publish(neighbour, own, 1, "calm");
	loop_go();
	/* The turn before it, and the one that it shares. */
	while (!seen) {
		assert_int_equal(raw_read(flooder, TEST_TIMEOUT_MS), RAW_FRAME);
		pongs += flooder->frame.header.type == XY_PONG;
		seen = flooder->frame.header.type == XY_DATA;
	}
	assert_in_range(pongs, 0, 2 * most);
	router_go();
	while (flooder->frame.header.type != XY_SYNCED ||
	       flooder->frame.header.correlation != flooder->syncs)
		assert_int_equal(raw_read(flooder, TEST_TIMEOUT_MS), RAW_FRAME);
}

static uint64_t looks_of_syncs(const struct proxy *proxy, struct raw *raw, unsigned syncs)
{
	uint64_t before = status_counter(proxy, "sync_looks");

	for (unsigned i = 0; i < syncs; i++)
		raw_sync(raw);
	return status_counter(proxy, "sync_looks") - before;
}

/* SYNC looks at what was sent to since the last one, whatever else its sender has declared, or has
 * flows for. */
static void test_a_sync_looks_at_what_was_used(void **state)
{
	enum { TOPICS = 200, SYNCS = 20 };
	struct proxy *proxy = *state;
	struct raw *publisher = raw_open(proxy), *subscriber = raw_open(proxy);
	bool lanes = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	uint64_t topics[TOPICS];

	raw_subscribe_to(subscriber, "many.*");
	declare_many(publisher, TOPICS, topics);
	assert_int_equal(looks_of_syncs(proxy, publisher, SYNCS), 0);
	raw_publish(publisher, topics[7], 1, "x");
	assert_int_equal(looks_of_syncs(proxy, publisher, SYNCS), 2);
	publish_on_all(publisher, topics, TOPICS, 2);
	assert_int_equal(looks_of_syncs(proxy, publisher, SYNCS), 2 * TOPICS);
	/* By now all have flows, and what the kernel has moved may be of any; on a machine that
	 * lets the heartbeat wait it has moved nothing. */
	publish_on_all(publisher, topics, 2, 3);
	assert_in_range(looks_of_syncs(proxy, publisher, SYNCS), 4, lanes ? 2 * TOPICS : 4);
}

int main(void)
{
	static const char *const arguments[] = {"--loops", "1", NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_turn_takes_so_many_bytes_of_one_connection,
					  teardown),
		cmocka_unit_test_teardown(test_a_turn_gives_so_many_shares_of_one_connection,
					  teardown),
		cmocka_unit_test_teardown(test_a_turn_looks_at_so_many_targets_for_syncs, teardown),
		cmocka_unit_test_teardown(test_a_sync_looks_at_what_was_used, teardown),
	};

	return proxy_run_both(tests, arguments);
}
