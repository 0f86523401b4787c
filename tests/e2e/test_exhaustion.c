/* SPDX-License-Identifier: BSD-2-Clause */
/* Out of descriptors, of slots, of room for flows: an error, a counter, and on it goes. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define LATE   3 /* clients that come when there is no descriptor left */
#define LANES  4
#define FLOWS  4
#define TOPICS 24
#define ROUNDS 20

static void exchange(struct raw *publisher, uint64_t topic, uint64_t sequence,
		     struct raw *subscriber)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", (unsigned long)sequence);
	raw_publish(publisher, topic, sequence, text);
	raw_expect_text(subscriber, text);
}

static struct raw *open_any(const struct proxy *proxy)
{
	struct raw *raw = raw_connect(proxy);

	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	return raw;
}

/* A slot may be under way back from a client that has gone. */
static struct raw *open_lane(const struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct raw *raw = open_any(proxy);

	while (proxy_kernel_path(proxy) == KERNEL_PATH_ON && !raw->lane) {
		raw_leave(raw);
		raw = open_any(proxy);
		assert_true(test_now_ms() < deadline);
	}
	return raw;
}

static uint64_t acceptor_rounds(const struct proxy *proxy)
{
	json_t *status = status_take(proxy);
	uint64_t rounds = status_number(status_loop(status, "acceptor"), "rounds");

	json_decref(status);
	return rounds;
}

static void test_without_descriptors_listeners_rest_and_nobody_else_notices(void **state)
{
	/* Ten rests a second, and a few rounds for each newcomer, before and after. */
	const uint64_t wait_ms = 600, rounds_allowed = 200;
	struct proxy *proxy = *state;
	struct raw *publisher = open_lane(proxy), *subscriber = open_lane(proxy), *late[LATE];
	struct rlimit before, none;
	uint64_t topic, sequence = 0, failed, rounds, since;

	topic = raw_declare(publisher, "descriptors");
	raw_subscribe_to(subscriber, "descriptors");
	failed = status_counter(proxy, "accept_failed");
	rounds = acceptor_rounds(proxy);
	assert_int_equal(prlimit(proxy_pid(proxy), RLIMIT_NOFILE, NULL, &before), 0);
	none = before;
	none.rlim_cur = 3; /* of the descriptors beyond it none is closed */
	assert_int_equal(prlimit(proxy_pid(proxy), RLIMIT_NOFILE, &none, NULL), 0);
	for (int i = 0; i < LATE; i++) {
		struct xy_frame hello = {.version = XY_WIRE_VERSION, .type = XY_HELLO};

		late[i] = i == 0 ? raw_connect_unix(proxy) : raw_connect(proxy);
		raw_send_frame(late[i], hello, RAW_HELLO, strlen(RAW_HELLO));
	}
	while (proxy_logged(proxy, "event=accept-failed") == 0)
		poll(NULL, 0, 5);
	for (since = test_now_ms(); test_now_ms() < since + wait_ms;)
		exchange(publisher, topic, ++sequence, subscriber);
	for (int i = 0; i < LATE; i++)
		assert_int_equal(raw_read(late[i], 0), RAW_TIMEOUT);

	assert_int_equal(prlimit(proxy_pid(proxy), RLIMIT_NOFILE, &before, NULL), 0);
	for (int i = 0; i < LATE; i++)
		raw_expect(late[i], XY_WELCOME);
	assert_true(acceptor_rounds(proxy) - rounds <= rounds_allowed);
	assert_int_not_equal(status_counter(proxy, "accept_failed"), failed);
	/* Once for each time that they had to rest, however long. */
	assert_in_range(proxy_logged(proxy, "event=accept-failed"), 1, 2 * LATE);
	open_any(proxy);
	exchange(publisher, topic, ++sequence, subscriber);
}

static void test_without_a_slot_a_client_works_without_a_lane(void **state)
{
	struct proxy *proxy = *state;
	bool lanes = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *raw[3 * LANES];
	uint64_t topic, no_slot;

	for (int i = 0; i < LANES; i++)
		raw[i] = open_lane(proxy);
	no_slot = status_counter(proxy, "no_slot");
	for (int i = LANES; i < 3 * LANES; i++) {
		raw[i] = open_any(proxy);
		assert_false(raw[i]->lane);
		assert_false(raw[i]->welcome.lane);
	}
	assert_int_equal(status_counter(proxy, "no_slot") - no_slot, lanes ? 2 * LANES : 0);
	for (int i = 0; i < 3 * LANES; i++)
		raw_subscribe_to(raw[i], "slots");
	for (int i = 0; i < 3 * LANES; i += LANES) { /* with a lane, and without one */
		topic = raw_declare(raw[i], "slots");
		for (uint64_t sequence = 1; sequence <= ROUNDS; sequence++) {
			raw_publish(raw[i], topic, sequence, "to all");
			for (int j = 0; j < 3 * LANES; j++)
				assert_int_equal(raw_expect_data(raw[j])->header.sequence,
						 sequence);
		}
	}
	/* Slots of those that go are there for those that come. */
	for (int i = 0; i < 3 * LANES; i++)
		raw_leave(raw[i]);
	for (int i = 0; i < LANES; i++)
		open_lane(proxy);
}

static void test_with_more_flows_than_fit_everything_arrives(void **state)
{
	struct proxy *proxy = *state;
	bool lanes = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *publisher = open_lane(proxy), *subscriber = open_lane(proxy);
	uint64_t topic[TOPICS], evicted = status_counter(proxy, "flows_evicted");
	json_t *status;

	raw_subscribe_to(subscriber, "flows.*");
	for (int t = 0; t < TOPICS; t++) {
		char subject[32];

		snprintf(subject, sizeof(subject), "flows.%d", t);
		topic[t] = raw_declare(publisher, subject);
	}
	for (uint64_t sequence = 1; sequence <= ROUNDS; sequence++) {
		for (int t = 0; t < TOPICS; t++) {
			raw_publish(publisher, topic[t], sequence, "to one");
			if (sequence % 4 == 0)
				raw_sync(publisher);
		}
		for (int t = 0; t < TOPICS; t++) {
			const struct raw_frame *data = raw_expect_data(subscriber);

			assert_int_equal(data->header.target, topic[t]);
			assert_int_equal(data->header.sequence, sequence);
		}
	}
	status = status_take(proxy);
	assert_true(json_array_size(json_object_get(status, "flows")) <= FLOWS);
	json_decref(status);
	if (lanes)
		assert_true(status_counter(proxy, "flows_evicted") - evicted > TOPICS);
}

int main(void)
{
	static const char *const arguments[] = {"--lanes", "4", "--flows", "4", NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_without_descriptors_listeners_rest_and_nobody_else_notices),
		proxy_test(test_without_a_slot_a_client_works_without_a_lane),
		proxy_test(test_with_more_flows_than_fit_everything_arrives),
	};

	return proxy_run_both(tests, arguments);
}
