/* SPDX-License-Identifier: BSD-2-Clause */
/* A publisher that hangs up while the proxy does not read it: what it had sent arrives. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/sessions.h"
#include "common/status.h"
#include "common/thread.h"

#define PAYLOAD 16000
#define FRAME   (XY_HEADER_SIZE + PAYLOAD)

static bool is_waiting(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_whole(proxy);
	bool waiting = json_is_true(json_object_get(status_connection(status, raw), "waiting"));

	json_decref(status);
	return waiting;
}

static bool is_there(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_whole(proxy);
	bool there = status_connection(status, raw) != NULL;

	json_decref(status);
	return there;
}

/* Sends until nothing more goes and the proxy says that this publisher has to wait. Returns the
 * whole frames sent; part of one more may have gone. */
static uint64_t fill(const struct proxy *proxy, struct raw *publisher, uint64_t topic)
{
	static uint8_t bytes[FRAME], payload[PAYLOAD];
	struct pollfd pollfd = {.fd = publisher->fd, .events = POLLOUT};
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, whole = 0;
	size_t at = 0;

	for (;;) {
		struct xy_frame data = raw_header(publisher, XY_DATA);
		ssize_t sent;

		data.target = topic;
		data.sequence = whole + 1;
		raw_put(bytes, data, payload, PAYLOAD);
		sent = raw_send_some(publisher, bytes + at, FRAME - at);
		if (sent < 0) {
			assert_int_equal(errno, EAGAIN);
			if (poll(&pollfd, 1, 100) == 0 && is_waiting(proxy, publisher))
				return whole;
			assert_true(test_now_ms() < deadline);
			continue;
		}
		at += (size_t)sent;
		whole += at == FRAME;
		at %= FRAME;
	}
}

static void end(struct raw *raw)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(nothing >= 0);
	assert_true(dup2(nothing, raw->fd) >= 0);
	close(nothing);
}

struct party {
	struct proxy *proxy;
	struct raw *publisher, *subscriber,
		*speaker; /* who has something to say to the publisher */
	uint64_t topic, other, whole;
};

static struct party party_open(struct proxy *proxy, struct raw *publisher, bool lane)
{
	struct party party = {.proxy = proxy,
			      .publisher = publisher,
			      .subscriber = raw_open(proxy),
			      .speaker = raw_open(proxy)};

	/* Without a lane, or when it does not pause, the proxy makes it wait by not reading. */
	raw_hello(publisher, lane ? RAW_HELLO : "{\"name\":\"publisher\",\"ack\":false}");
	raw_sync(publisher);
	assert_true(publisher->lane == lane);
	party.topic = raw_declare(publisher, "hang.up");
	raw_subscribe(party.subscriber, "{\"subject\":\"hang.up\",\"stall_ms\":60000}");
	party.other = raw_declare(party.speaker, "hang.other");
	raw_subscribe_to(publisher, "hang.other");
	return party;
}

static void party_hang_up(struct party *party)
{
	party->whole = fill(party->proxy, party->publisher, party->topic);
	if (party->publisher->lane)
		end(party->publisher);
	else
		assert_int_equal(shutdown(party->publisher->fd, SHUT_RDWR), 0);
}

/* This publisher is nobody's any more, and stays until it has been read. */
static void party_expect_all(const struct party *party)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	assert_true(is_there(party->proxy, party->publisher));
	for (uint64_t i = 1; i <= party->whole; i++)
		assert_int_equal(raw_expect_data(party->subscriber)->header.sequence, i);
	while (is_there(party->proxy, party->publisher))
		assert_true(test_now_ms() < deadline);
	raw_expect_silence(party->subscriber);
}

/* `spoken_to`: the proxy still has something to say to it, and finds that nobody listens. (TCP
 * would answer that with RST, and throw away what is under way.) */
static void hang_up(struct proxy *proxy, struct raw *publisher, bool lane, bool spoken_to)
{
	struct party party = party_open(proxy, publisher, lane);

	party_hang_up(&party);
	if (spoken_to) {
		raw_publish(party.speaker, party.other, 1, "hello?");
		raw_sync(party.speaker);
	}
	/* Its loop sees it. */
	for (int i = 0; i < 10; i++) {
		assert_true(is_there(proxy, publisher));
		poll(NULL, 0, 10);
	}
	party_expect_all(&party);
}

static void test_what_a_unix_publisher_sent_before_it_hung_up_arrives(void **state)
{
	hang_up(*state, raw_connect_unix(*state), false, false);
}

static void test_one_that_hung_up_and_is_spoken_to_is_read_to_its_end(void **state)
{
	hang_up(*state, raw_connect_unix(*state), false, true);
}

static void test_what_a_tcp_publisher_sent_before_it_hung_up_arrives(void **state)
{
	hang_up(*state, raw_connect(*state), false, false);
}

static void test_a_lane_that_hung_up_and_is_spoken_to_is_read_to_its_end(void **state)
{
	if (proxy_kernel_path(*state) == KERNEL_PATH_ON)
		hang_up(*state, raw_connect(*state), true, true);
}

static void test_flows_to_a_lane_that_takes_nothing_any_more_go_at_once(void **state)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct party party;

	if (proxy_kernel_path(*state) != KERNEL_PATH_ON)
		return;
	party = party_open(*state, raw_connect(*state), true);
	raw_publish(party.speaker, party.other, 1, "hello");
	raw_expect_text(party.publisher, "hello");
	raw_sync(party.speaker);
	assert_true(status_has_flow(party.proxy, party.speaker));
	party_hang_up(&party);
	raw_publish(party.speaker, party.other, 2, "hello?");
	while (status_has_flow(party.proxy, party.speaker))
		assert_true(test_now_ms() < deadline);
	party_expect_all(&party);
}

/* Messages to one that is closed are dropped. Until its flows have gone, others must not pass by
 * them: it would have a gap before its end. */
static void test_nothing_is_redirected_to_a_lane_that_is_closed(void **state)
{
	struct proxy *proxy = *state;
	struct raw *publisher, *subscriber;
	const struct xy_session *session;
	struct sessions *sessions;
	uint64_t topic, passed, too_late;
	pid_t router;

	if (proxy_kernel_path(proxy) != KERNEL_PATH_ON)
		return;
	sessions = sessions_open(proxy);
	publisher = raw_open(proxy);
	subscriber = raw_open(proxy);
	topic = raw_declare(publisher, "hang.up");
	raw_subscribe_to(subscriber, "hang.up");
	raw_publish(publisher, topic, 1, "by the proxy");
	raw_expect_text(subscriber, "by the proxy");
	raw_sync(publisher);
	assert_true(status_has_flow(proxy, publisher));
	session = sessions_of(sessions, publisher->endpoint);
	passed = session_passed(session);
	raw_publish(publisher, topic, 2, "by the kernel");
	raw_expect_text(subscriber, "by the kernel");
	assert_int_equal(session_passed(session), passed);
	router = thread_stop(proxy_pid(proxy), "router");
	assert_int_equal(shutdown(subscriber->fd, SHUT_WR), 0);
	raw_expect_closed(subscriber);
	raw_publish(publisher, topic, 3, "too late");
	too_late = session_passed(session);
	thread_go(router);
	assert_int_equal(too_late, passed + 1);
	raw_expect_silence(publisher);
	sessions_close(sessions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_what_a_unix_publisher_sent_before_it_hung_up_arrives),
		proxy_test(test_one_that_hung_up_and_is_spoken_to_is_read_to_its_end),
		proxy_test(test_a_lane_that_hung_up_and_is_spoken_to_is_read_to_its_end),
		proxy_test(test_flows_to_a_lane_that_takes_nothing_any_more_go_at_once),
		proxy_test(test_nothing_is_redirected_to_a_lane_that_is_closed),
		proxy_test(test_what_a_tcp_publisher_sent_before_it_hung_up_arrives),
	};

	return proxy_run_both(tests, NULL);
}
