/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stalled neighbour: a subscriber that never reads costs the others nothing but what its
 * overflow policy promises. What a publisher waits for is told by the proxy's own count of
 * publishers that had to wait, not by a clock.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define SIZE    1024
#define BATCH   32  /* messages at a time: a reader of so few is never slow; one send of a lane */
#define BATCHES 640 /* 20 MiB: more than everything between holds for one that never reads */

struct trio {
	struct proxy *proxy;
	struct raw *healthy, *stalled, *publisher;
	uint64_t topic, sequence, expected;
};

static struct trio trio_open(struct proxy *proxy, const char *overflow)
{
	struct trio trio = {.proxy = proxy,
			    .healthy = raw_open(proxy),
			    .stalled = raw_open(proxy),
			    .publisher = raw_open(proxy)};
	const int buffer = SIZE * BATCH; /* or the kernel lets it grow as long as nobody reads */
	char json[128];

	setsockopt(trio.stalled->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	raw_subscribe_to(trio.healthy, "stalled.neighbour");
	snprintf(json, sizeof(json), "{\"subject\":\"stalled.*\",\"overflow\":\"%s\"}", overflow);
	raw_subscribe(trio.stalled, json);
	trio.topic = raw_declare(trio.publisher, "stalled.neighbour");
	return trio;
}

/* One batch to both; the healthy one has read it, in order and whole, before the next. */
static void trio_batch(struct trio *trio)
{
	static uint8_t batch[BATCH * (XY_HEADER_SIZE + SIZE)];
	const struct raw_frame *frame;
	uint8_t payload[SIZE], sign[XY_HEADER_SIZE];
	size_t length = 0;

	for (unsigned m = 0; m < BATCH; m++) {
		struct xy_frame header = raw_header(trio->publisher, XY_DATA);

		header.target = trio->topic;
		header.sequence = ++trio->sequence;
		memset(payload, (int)(header.sequence % 251), sizeof(payload));
		length += raw_put(batch + length, header, payload, sizeof(payload));
	}
	raw_send(trio->publisher, batch, length);
	/* A sign of life, or it would be closed for its silence on a slow machine. */
	raw_try_send(trio->stalled, sign,
		     raw_put(sign, raw_header(trio->stalled, XY_ACK), NULL, 0));
	for (unsigned m = 0; m < BATCH; m++) {
		frame = raw_expect_data(trio->healthy);
		assert_int_equal(frame->header.sequence, ++trio->expected);
		assert_int_equal(frame->length, SIZE);
		memset(payload, (int)(trio->expected % 251), sizeof(payload));
		assert_memory_equal(frame->payload, payload, sizeof(payload));
	}
}

static bool is_connected(const struct trio *trio, const struct raw *raw)
{
	json_t *status = status_take_whole(trio->proxy);
	bool connected = status_connection(status, raw) != NULL;

	json_decref(status);
	return connected;
}

/* By the proxy, of the publisher. */
static uint64_t frames_read(const struct trio *trio)
{
	json_t *status = status_take_with(trio->proxy, trio->publisher);
	const json_t *in = json_object_get(status_connection(status, trio->publisher), "in");
	uint64_t frames = status_number(in, "frames");

	assert_int_not_equal(frames, 0);

	json_decref(status);
	return frames;
}

static uint64_t dropped_of(const struct trio *trio, const struct raw *raw)
{
	json_t *status = status_take_whole(trio->proxy);
	uint64_t dropped = status_number(status_connection(status, raw), "dropped");

	json_decref(status);
	return dropped;
}

static void trio_run(struct trio *trio)
{
	for (unsigned b = 0; b < BATCHES; b++)
		trio_batch(trio);
}

/* What the mechanisms of the policies count. */
static const char *const names[] = {"braked", "slow_consumers", "overflow_newest",
				    "overflow_oldest", "overflow_disconnect"};
enum { BRAKED, SLOW_CONSUMERS, NEWEST, OLDEST, DISCONNECT, COUNTERS };

struct counts {
	uint64_t of[COUNTERS];
};

static struct counts counts_take(const struct trio *trio)
{
	json_t *status = status_take(trio->proxy);
	struct counts counts;

	for (int c = 0; c < COUNTERS; c++)
		counts.of[c] = status_number(json_object_get(status, "counters"), names[c]);
	json_decref(status);
	return counts;
}

/* Each of these, and nothing else, has counted. */
static void expect_counted(const struct trio *trio, const struct counts *before, unsigned which)
{
	struct counts now = counts_take(trio);

	for (int c = 0; c < COUNTERS; c++)
		if ((now.of[c] != before->of[c]) != (which >> c & 1))
			fail_msg("%s: %lu before, %lu now", names[c], (unsigned long)before->of[c],
				 (unsigned long)now.of[c]);
}

/* As if the stalled one had never been: the publisher does not wait, and the kernel moves what it
 * sends to the healthy one. */
static void expect_nothing_left_of_it(struct trio *trio)
{
	struct counts before;
	uint64_t by_proxy;

	assert_false(is_connected(trio, trio->stalled));
	assert_true(is_connected(trio, trio->healthy));
	trio_batch(trio); /* asks for the flow, if there is none yet */
	raw_sync(trio->publisher);
	before = counts_take(trio);
	by_proxy = frames_read(trio);
	trio_run(trio);
	expect_counted(trio, &before, 0);
	if (proxy_kernel_path(trio->proxy) == KERNEL_PATH_ON)
		assert_true(frames_read(trio) - by_proxy < BATCHES * BATCH / 100);
}

static void drops_cost_the_neighbours_nothing(struct proxy *proxy, const char *overflow,
					      unsigned counter)
{
	struct trio trio = trio_open(proxy, overflow);
	struct counts before = counts_take(&trio);

	trio_run(&trio);
	expect_counted(&trio, &before, 1u << counter);
	assert_true(is_connected(&trio, trio.stalled));
	assert_true(dropped_of(&trio, trio.stalled) > 0);
	assert_int_equal(dropped_of(&trio, trio.healthy), 0);
}

static void test_drop_newest_costs_the_neighbours_nothing(void **state)
{
	drops_cost_the_neighbours_nothing(*state, "drop-newest", NEWEST);
}

static void test_drop_oldest_costs_the_neighbours_nothing(void **state)
{
	drops_cost_the_neighbours_nothing(*state, "drop-oldest", OLDEST);
}

static void test_disconnect_costs_the_neighbours_nothing(void **state)
{
	struct trio trio = trio_open(*state, "disconnect");
	struct counts before = counts_take(&trio);

	trio_run(&trio);
	expect_counted(&trio, &before, 1u << SLOW_CONSUMERS | 1u << DISCONNECT);
	expect_nothing_left_of_it(&trio);
}

static void test_block_costs_one_wait_and_then_nothing(void **state)
{
	struct trio trio = trio_open(*state, "block");
	struct counts before = counts_take(&trio);

	/* Within these the publisher waits, until the stalled one is closed. */
	trio_run(&trio);
	expect_counted(&trio, &before, 1u << BRAKED | 1u << SLOW_CONSUMERS);
	assert_int_equal(counts_take(&trio).of[SLOW_CONSUMERS], before.of[SLOW_CONSUMERS] + 1);
	expect_nothing_left_of_it(&trio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_drop_newest_costs_the_neighbours_nothing),
		proxy_test(test_drop_oldest_costs_the_neighbours_nothing),
		proxy_test(test_disconnect_costs_the_neighbours_nothing),
		proxy_test(test_block_costs_one_wait_and_then_nothing),
	};

	return proxy_run_both(tests, NULL);
}
