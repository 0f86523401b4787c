/* SPDX-License-Identifier: BSD-2-Clause */
/* A loop that does not come round: the rest goes on, takes over what it can, and says so. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"
#include "common/thread.h"

#define STUCK     "loop-1"
#define FREE      "loop-0"
#define NEWCOMERS 6
#define STALL_MS  2000 /* a receiver's default patience */

static pid_t stopped[3]; /* threads that stand still */

static void stop(struct proxy *proxy, unsigned index, const char *name)
{
	stopped[index] = thread_stop(proxy_pid(proxy), name);
}

static void go(unsigned index)
{
	pid_t thread = stopped[index];

	stopped[index] = 0;
	if (thread != 0)
		thread_go(thread);
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		go(i);
	return proxy_test_teardown(state);
}

static bool lives_on(const struct proxy *proxy, const struct raw *raw, const char *loop)
{
	json_t *status = status_take(proxy);
	const char *name =
		json_string_value(json_object_get(status_connection(status, raw), "loop"));
	bool is = name != NULL && strcmp(name, loop) == 0;

	json_decref(status);
	return is;
}

static void await_stuck(const struct proxy *proxy, const char *loop, bool stuck)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	bool now = !stuck;

	while (now != stuck) {
		json_t *status = status_take(proxy);

		now = json_is_true(json_object_get(status_loop(status, loop), "stuck"));
		json_decref(status);
		if (test_now_ms() > deadline)
			fail_msg("status does not say that %s is %s", loop,
				 stuck ? "stuck" : "moving");
	}
}

static struct raw *unix_open(const struct proxy *proxy)
{
	struct raw *raw = raw_connect_unix(proxy);

	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	return raw;
}

/* A client whose connection lives on this loop: the acceptor deals them out. */
static struct raw *opened_on(const struct proxy *proxy, const char *loop,
			     struct raw *(*open)(const struct proxy *))
{
	await_stuck(proxy, loop, false);
	for (int i = 0; i < 16; i++) {
		struct raw *raw = open(proxy);

		if (lives_on(proxy, raw, loop))
			return raw;
	}
	fail_msg("no connection gets to %s", loop);
	return NULL;
}

static struct raw *open_on(const struct proxy *proxy, const char *loop)
{
	return opened_on(proxy, loop, raw_open);
}

static void exchange(struct raw *publisher, uint64_t topic, uint64_t *sequence,
		     struct raw *subscriber)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", (unsigned long)++*sequence);
	raw_publish(publisher, topic, *sequence, text);
	raw_expect_text(subscriber, text);
}

static void expect_sequence(struct raw *subscriber, uint64_t topic, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i <= to; i++) {
		const struct raw_frame *data = raw_expect_data(subscriber);

		assert_int_equal(data->header.target, topic);
		assert_int_equal(data->header.sequence, i);
	}
}

static void test_newcomers_of_a_stuck_loop_are_served_by_the_others(void **state)
{
	struct proxy *proxy = *state;
	struct raw *newcomer[NEWCOMERS], *later[NEWCOMERS];
	uint64_t moved, topic, sequence = 0;

	/* The watchdog stands still, too, until all are handed over: so some of them surely are
	 * handed to the stuck loop. */
	stop(proxy, 0, "xylem");
	stop(proxy, 1, STUCK);
	for (int i = 0; i < NEWCOMERS; i++) {
		newcomer[i] = raw_connect(proxy);
		raw_hello(newcomer[i], RAW_HELLO);
	}
	go(0);
	for (int i = 0; i < NEWCOMERS; i++) {
		raw_sync(newcomer[i]);
		assert_true(lives_on(proxy, newcomer[i], FREE));
	}
	await_stuck(proxy, STUCK, true);
	moved = status_counter(proxy, "tasks_moved");
	assert_int_not_equal(moved, 0);
	assert_int_not_equal(proxy_logged(proxy, "event=tasks-moved loop=" STUCK), 0);

	/* Those who come now are not even offered to it. */
	for (int i = 0; i < NEWCOMERS; i++)
		later[i] = raw_open(proxy);
	assert_int_equal(status_counter(proxy, "tasks_moved"), moved);
	topic = raw_declare(later[0], "stuck.newcomers");
	raw_subscribe_to(newcomer[1], "stuck.newcomers");
	for (int i = 0; i < 20; i++)
		exchange(later[0], topic, &sequence, newcomer[1]);

	go(1);
	await_stuck(proxy, STUCK, false);
	for (int i = 0; i < NEWCOMERS; i++)
		raw_sync(later[i]);
}

static void test_what_all_loops_leave_undone_waits_for_the_first_that_moves(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw[NEWCOMERS];
	unsigned known;

	stop(proxy, 0, "xylem");
	stop(proxy, 1, STUCK);
	stop(proxy, 2, FREE);
	for (int i = 0; i < NEWCOMERS; i++) {
		raw[i] = raw_connect(proxy);
		raw_hello(raw[i], RAW_HELLO);
	}
	known = proxy_logged(proxy, "event=loop-stuck");
	go(0);
	/* A status that is on its way to a loop that all others cannot help waits with it. */
	while (proxy_logged(proxy, "event=loop-stuck") < known + 2)
		poll(NULL, 0, 5);
	await_stuck(proxy, STUCK, true);
	await_stuck(proxy, FREE, true);
	go(2);
	for (int i = 0; i < NEWCOMERS; i++)
		raw_sync(raw[i]);
	go(1);
}

/* Publishes until the kernel moves this publisher's messages again. */
static void await_lane(const struct proxy *proxy, struct raw *publisher, uint64_t topic,
		       uint64_t *sequence, struct raw *subscriber)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, first = 0, frames = 0;

	for (int round = 0; frames <= first; round++) {
		json_t *status = status_take(proxy);

		frames = status_number(
			json_object_get(status_connection(status, publisher), "kernel"), "frames");
		json_decref(status);
		first = round == 0 ? frames : first;
		exchange(publisher, topic, sequence, subscriber);
		raw_sync(publisher);
		assert_true(test_now_ms() < deadline);
	}
}

static void test_connections_of_a_stuck_loop_lose_nothing(void **state)
{
	struct proxy *proxy = *state;
	struct raw *held = open_on(proxy, STUCK), *held_publisher = open_on(proxy, STUCK);
	struct raw *subscriber = open_on(proxy, FREE), *publisher = open_on(proxy, FREE);
	bool lanes = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	uint64_t to_held, to_both, to_free, sent_held = 0, sent_both = 0, sent_free = 0;
	uint64_t first_held, first_both, since;
	struct xy_frame sync;
	json_t *status;

	to_held = raw_declare(publisher, "stuck.held");
	to_free = raw_declare(publisher, "stuck.free");
	to_both = raw_declare(held_publisher, "stuck.both");
	raw_subscribe_to(held, "stuck.held");
	raw_subscribe_to(subscriber, "stuck.free");
	raw_subscribe_to(held, "stuck.both");
	raw_subscribe_to(subscriber, "stuck.both");
	exchange(publisher, to_held, &sent_held, held);
	exchange(held_publisher, to_both, &sent_both, held);
	raw_expect_text(subscriber, "1");
	exchange(publisher, to_free, &sent_free, subscriber);
	raw_sync(publisher);
	first_held = sent_held + 1;
	first_both = sent_both + 1;

	stop(proxy, 1, STUCK);
	since = test_now_ms();
	/* By the kernel as long as its heartbeat is fresh, and then by the proxy. */
	do {
		assert_true(test_now_ms() < since + TEST_TIMEOUT_MS);
		raw_publish(publisher, to_held, ++sent_held, "held");
		raw_publish(held_publisher, to_both, ++sent_both, "both");
		exchange(publisher, to_free, &sent_free, subscriber);
		poll(NULL, 0, 5);
	} while (lanes && status_reason(proxy, publisher, "deadman") == 0);
	raw_publish(publisher, to_held, ++sent_held, "held");
	await_stuck(proxy, STUCK, true);
	/* Nobody is called slow because its loop is. */
	sync = raw_header(publisher, XY_SYNC);
	sync.correlation = ++publisher->syncs;
	raw_send_frame(publisher, sync, NULL, 0);
	while (test_now_ms() < since + STALL_MS + 1500)
		poll(NULL, 0, 20);
	status = status_take(proxy);
	assert_int_equal(proxy_logged(proxy, "event=loop-stuck loop=" STUCK),
			 status_number(status_loop(status, STUCK), "stuck_count"));
	assert_true(status_number(status_loop(status, STUCK), "stuck_longest_ms") >= STALL_MS);
	json_decref(status);

	go(1);
	raw_expect(publisher, XY_SYNCED);
	expect_sequence(subscriber, to_both, first_both, sent_both);
	for (uint64_t held_next = first_held, both_next = first_both;
	     held_next <= sent_held || both_next <= sent_both;) {
		const struct raw_frame *data = raw_expect_data(held);
		uint64_t *next = data->header.target == to_held ? &held_next : &both_next;

		assert_int_equal(data->header.sequence, (*next)++);
	}
	await_stuck(proxy, STUCK, false);
	assert_int_not_equal(proxy_logged(proxy, "event=loop-moving loop=" STUCK), 0);
	exchange(publisher, to_held, &sent_held, held);
	if (lanes)
		await_lane(proxy, publisher, to_free, &sent_free, subscriber);
}

/* Policies act on the receiver's loop; what is posted there meanwhile is bounded nevertheless. */
static void test_what_waits_for_a_stuck_loop_is_bounded(void **state)
{
	enum { FLOOD = 24 << 20, SIZE = 16000, BOUND = 8 << 20 };
	static const char payload[SIZE];
	struct proxy *proxy = *state;
	struct raw *held = open_on(proxy, STUCK), *publisher = open_on(proxy, FREE);
	struct raw *subscriber = open_on(proxy, FREE);
	uint64_t topic, dropped = status_counter(proxy, "overflow_dropped"), last = 0, sequence;
	const struct raw_frame *data;
	json_t *status;

	raw_subscribe(held, "{\"subject\":\"stuck.flood\",\"overflow\":\"drop-newest\"}");
	raw_subscribe(subscriber, "{\"subject\":\"stuck.flood\"}");
	topic = raw_declare(publisher, "stuck.flood");
	stop(proxy, 1, STUCK);
	for (sequence = 1; sequence * SIZE < FLOOD; sequence++) {
		struct xy_frame header = raw_header(publisher, XY_DATA);

		header.target = topic;
		header.sequence = sequence;
		raw_send_frame(publisher, header, payload, SIZE);
		assert_int_equal(raw_expect_data(subscriber)->header.sequence, sequence);
	}
	await_stuck(proxy, STUCK, true);
	status = status_take(proxy);
	assert_true(status_number(status, "pool_bytes") < BOUND);
	json_decref(status);
	assert_int_not_equal(status_counter(proxy, "overflow_dropped"), dropped);
	go(1);
	raw_send_fence(held, publisher);
	while (!raw_is_fence(data = raw_expect_data(held))) {
		assert_in_range(data->header.sequence, last + 1, sequence - 1);
		last = data->header.sequence;
	}
	/* The proxy knows that it has room again. */
	raw_sync(held);
	raw_publish(publisher, topic, sequence, "the last");
	assert_int_equal(raw_expect_data(held)->header.sequence, sequence);
}

/* One that must not miss anything gets what was posted, and is closed where the rest is missing. */
static void test_disconnect_holds_for_what_waits_for_a_stuck_loop(void **state)
{
	enum { MESSAGES = 1800, SIZE = 700, BUFFER = 16 << 20 };
	const int buffer = BUFFER;
	static const char payload[SIZE];
	struct proxy *proxy = *state;
	struct raw *held = open_on(proxy, STUCK), *publisher = opened_on(proxy, FREE, unix_open);
	uint64_t topic, last = 0;

	/* It takes all that was posted: what its loop runs in a round fits into its buffer, and
	 * that into its socket. So not its own loop finds it slow. */
	assert_int_equal(setsockopt(held->fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)),
			 0);
	raw_subscribe(held, "{\"subject\":\"stuck.flood\",\"overflow\":\"disconnect\"}");
	topic = raw_declare(publisher, "stuck.flood");
	stop(proxy, 1, STUCK);
	for (uint64_t sequence = 1; sequence <= MESSAGES; sequence++) {
		struct xy_frame header = raw_header(publisher, XY_DATA);

		header.target = topic;
		header.sequence = sequence;
		raw_send_frame(publisher, header, payload, SIZE);
		raw_sync(publisher); /* each is posted by itself */
	}
	go(1);
	while (raw_read(held, TEST_TIMEOUT_MS) == RAW_FRAME &&
	       held->frame.header.type != XY_ERROR) {
		if (held->frame.header.type == XY_DATA)
			assert_int_equal(held->frame.header.sequence, ++last);
	}
	assert_int_equal(held->frame.header.type, XY_ERROR);
	assert_non_null(strstr((const char *)held->frame.payload, "slow-consumer"));
	assert_in_range(last, 1, MESSAGES - 1);
	raw_expect_closed(held);
}

static uint64_t carried(const struct proxy *proxy, uint64_t *ret_used)
{
	json_t *status = status_take(proxy), *memory = json_object_get(status, "memory");
	uint64_t bytes = status_number(memory, "carried");

	assert_non_null(json_object_get(memory, "carried"));
	*ret_used = status_number(memory, "used");
	json_decref(status);
	return bytes;
}

/* Small messages to many receivers share their bytes, but each is carried by itself. */
static void test_what_carries_messages_to_a_stuck_loop_counts_in_the_budget(void **state)
{
	enum { HELD = 4, MESSAGES = 2000, EACH = 64 };
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, used, before;
	struct proxy *proxy = *state;
	struct raw *held[HELD], *publisher, *subscriber;
	uint64_t topic, sequence = 0;

	for (int h = 0; h < HELD; h++) {
		held[h] = open_on(proxy, STUCK);
		raw_subscribe(held[h],
			      "{\"subject\":\"stuck.small\",\"overflow\":\"drop-newest\"}");
	}
	publisher = open_on(proxy, FREE);
	subscriber = open_on(proxy, FREE);
	raw_subscribe_to(subscriber, "stuck.small");
	topic = raw_declare(publisher, "stuck.small");
	exchange(publisher, topic, &sequence, subscriber);
	carried(proxy, &before);
	stop(proxy, 1, STUCK);
	for (int m = 0; m < MESSAGES; m++)
		exchange(publisher, topic, &sequence, subscriber);
	await_stuck(proxy, STUCK, true);
	assert_true(carried(proxy, &used) >= HELD * MESSAGES * EACH);
	assert_true(used >= before + HELD * MESSAGES * EACH);
	go(1);
	for (int h = 0; h < HELD; h++)
		expect_sequence(held[h], topic, 1, sequence);
	while (carried(proxy, &used) > 0)
		assert_true(test_now_ms() < deadline);
}

/* Its route names it until then. */
static void test_a_member_that_has_gone_gets_nothing_while_the_router_is_stuck(void **state)
{
	struct raw *publisher = raw_open(*state), *gone = raw_open(*state),
		   *there = raw_open(*state);
	const char *member = "{\"subject\":\"stuck.group\",\"group\":\"g\"}";
	uint64_t topic, sequence = 0;

	raw_subscribe(gone, member);
	raw_subscribe(there, member);
	topic = raw_declare(publisher, "stuck.group");
	stop(*state, 0, "router");
	shutdown(gone->fd, SHUT_WR);
	raw_drain(gone);
	for (int i = 0; i < 20; i++)
		exchange(publisher, topic, &sequence, there);
	go(0);
}

int main(void)
{
	static const char *const arguments[] = {"--loops", "2", NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_newcomers_of_a_stuck_loop_are_served_by_the_others,
					  teardown),
		cmocka_unit_test_teardown(
			test_what_all_loops_leave_undone_waits_for_the_first_that_moves, teardown),
		cmocka_unit_test_teardown(test_connections_of_a_stuck_loop_lose_nothing, teardown),
		cmocka_unit_test_teardown(test_what_waits_for_a_stuck_loop_is_bounded, teardown),
		cmocka_unit_test_teardown(test_disconnect_holds_for_what_waits_for_a_stuck_loop,
					  teardown),
		cmocka_unit_test_teardown(
			test_what_carries_messages_to_a_stuck_loop_counts_in_the_budget, teardown),
		cmocka_unit_test_teardown(
			test_a_member_that_has_gone_gets_nothing_while_the_router_is_stuck,
			teardown),
	};

	return proxy_run_both(tests, arguments);
}
