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
#define BATCH   64  /* messages at a time: a reader of so few is never slow */
#define BATCHES 320 /* 20 MiB: more than everything between holds for one that never reads */

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
	json_t *status = status_take(trio->proxy);
	bool connected = status_connection(status, raw) != NULL;

	json_decref(status);
	return connected;
}

static uint64_t dropped_of(const struct trio *trio, const struct raw *raw)
{
	json_t *status = status_take(trio->proxy);
	uint64_t dropped = status_number(status_connection(status, raw), "dropped");

	json_decref(status);
	return dropped;
}

static void drops_cost_the_neighbours_nothing(struct proxy *proxy, const char *overflow)
{
	struct trio trio = trio_open(proxy, overflow);
	uint64_t braked = status_counter(proxy, "braked");

	for (unsigned b = 0; b < BATCHES; b++)
		trio_batch(&trio);
	assert_int_equal(status_counter(proxy, "braked"), braked);
	assert_true(is_connected(&trio, trio.stalled));
	assert_true(dropped_of(&trio, trio.stalled) > 0);
	assert_int_equal(dropped_of(&trio, trio.healthy), 0);
}

static void test_drop_newest_costs_the_neighbours_nothing(void **state)
{
	drops_cost_the_neighbours_nothing(*state, "drop-newest");
}

static void test_drop_oldest_costs_the_neighbours_nothing(void **state)
{
	drops_cost_the_neighbours_nothing(*state, "drop-oldest");
}

static void test_disconnect_costs_the_neighbours_nothing(void **state)
{
	struct trio trio = trio_open(*state, "disconnect");
	uint64_t braked = status_counter(trio.proxy, "braked");

	for (unsigned b = 0; b < BATCHES; b++)
		trio_batch(&trio);
	assert_int_equal(status_counter(trio.proxy, "braked"), braked);
	assert_false(is_connected(&trio, trio.stalled));
	assert_true(is_connected(&trio, trio.healthy));
}

static void test_block_costs_one_wait_and_then_nothing(void **state)
{
	struct trio trio = trio_open(*state, "block");
	uint64_t slow = status_counter(trio.proxy, "slow_consumers"), braked;

	/* Within these the publisher waits once, until the stalled one is closed. */
	for (unsigned b = 0; b < BATCHES; b++)
		trio_batch(&trio);
	assert_false(is_connected(&trio, trio.stalled));
	assert_int_equal(status_counter(trio.proxy, "slow_consumers"), slow + 1);
	braked = status_counter(trio.proxy, "braked");
	for (unsigned b = 0; b < BATCHES; b++)
		trio_batch(&trio);
	assert_int_equal(status_counter(trio.proxy, "braked"), braked);
	assert_int_equal(status_counter(trio.proxy, "slow_consumers"), slow + 1);
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
