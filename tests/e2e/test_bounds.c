/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BOUNDED: what lies unread in a receiver's socket, and in the proxy for it, when many publishers
 * of all kinds send as fast as they can and obey nothing: they never pause when they are asked to.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/sessions.h"
#include "common/status.h"

#define FLOODS      12
#define FRAME_BYTES 30000
#define SEND_MAX    (64u << 10)
#define TURN        (256u << 10) /* what the proxy reads of one client at once */
#define CROWD       (1u << 20)   /* in a receiver's pipe, where lane publishers are stopped */
#define CONTROL     (64u << 10)  /* beyond the window */
#define SETTLED_MS  400
#define SETTLED     20 /* looks: each takes a round of every loop */

struct flood {
	struct raw *raw;
	pthread_t thread;
	struct xy_frame data;
	_Atomic(bool) stop;
	_Atomic(bool) waits;    /* its socket takes nothing */
	_Atomic(uint64_t) sent; /* whole frames */
	int error;
};

/* Not cmocka's thread: it only notes what goes wrong. */
static void *flood_run(void *context)
{
	struct flood *flood = context;
	uint8_t *frame = calloc(1, FRAME_BYTES), nowhere[4096];
	size_t left = 0;

	while (frame && !flood->error && (left || !atomic_load(&flood->stop))) {
		struct pollfd pollfd = {.fd = flood->raw->fd, .events = POLLOUT};
		ssize_t n;

		if (!left) {
			flood->data.sequence++;
			raw_put(frame, flood->data, frame + XY_HEADER_SIZE,
				FRAME_BYTES - XY_HEADER_SIZE);
			left = FRAME_BYTES;
		}
		n = send(flood->raw->fd, frame + FRAME_BYTES - left, left, MSG_NOSIGNAL);
		atomic_store(&flood->waits, n < 0 && errno == EAGAIN);
		if (n >= 0) {
			left -= (size_t)n;
			if (!left)
				atomic_fetch_add(&flood->sent, 1);
		} else if (errno == EAGAIN) {
			while (recv(flood->raw->fd, nowhere, sizeof(nowhere), 0) > 0)
				;
			poll(&pollfd, 1, 20);
		} else {
			flood->error = errno;
		}
	}
	free(frame);
	return NULL;
}

static struct raw *open_kind(const struct proxy *proxy, unsigned kind)
{
	struct raw *raw = kind % 3 == 0 ? raw_connect_unix(proxy) : raw_connect(proxy);

	raw_hello(raw, kind % 3 == 1 ? "{\"name\":\"no-lane\",\"ack\":false}" : RAW_HELLO);
	raw_sync(raw);
	return raw;
}

/* The first message has the flow installed, the only SYNC clears the way: from here on the kernel
 * moves what it sends. */
static void flood_enter_lane(struct flood *flood)
{
	static uint8_t frame[FRAME_BYTES];

	flood->data.sequence++;
	raw_send(flood->raw, frame,
		 raw_put(frame, flood->data, frame + XY_HEADER_SIZE, FRAME_BYTES - XY_HEADER_SIZE));
	raw_sync(flood->raw);
	atomic_fetch_add(&flood->sent, 1);
}

/* Publishers by UNIX, by TCP without a lane, and on lanes; `kinds` bits of these. */
static void floods_start(const struct proxy *proxy, struct flood *floods, const char *subject,
			 unsigned kinds)
{
	unsigned kind = 0;

	for (unsigned f = 0; f < FLOODS; f++, kind++) {
		while (!(kinds & 1u << kind % 3))
			kind++;
		floods[f] = (struct flood){.raw = open_kind(proxy, kind)};
		floods[f].data = raw_header(floods[f].raw, XY_DATA);
		floods[f].data.target = raw_declare(floods[f].raw, subject);
		if (floods[f].raw->lane)
			flood_enter_lane(&floods[f]);
	}
	for (unsigned f = 0; f < FLOODS; f++)
		assert_int_equal(pthread_create(&floods[f].thread, NULL, flood_run, &floods[f]), 0);
}

static uint64_t floods_sent(const struct flood *floods)
{
	uint64_t sent = 0;

	for (unsigned f = 0; f < FLOODS; f++)
		sent += atomic_load(&floods[f].sent);
	return sent;
}

/* What has been sent does not get more: not because nobody runs that could send or take it. */
struct rest {
	uint64_t sent, since_ms;
	unsigned looks;
};

static bool floods_rest(const struct flood *floods, struct rest *rest)
{
	uint64_t sent = floods_sent(floods);
	bool all = sent == rest->sent;

	for (unsigned f = 0; f < FLOODS; f++)
		all = all && atomic_load(&floods[f].waits);
	if (!all)
		*rest = (struct rest){.sent = sent, .since_ms = test_now_ms()};
	return rest->looks++ >= SETTLED && test_now_ms() - rest->since_ms >= SETTLED_MS;
}

static void floods_join(struct flood *floods)
{
	for (unsigned f = 0; f < FLOODS; f++) {
		pthread_join(floods[f].thread, NULL);
		assert_int_equal(floods[f].error, 0);
	}
}

static void floods_stop(struct flood *floods)
{
	for (unsigned f = 0; f < FLOODS; f++)
		atomic_store(&floods[f].stop, true);
}

/* As the kernel says; one that does not count what was redirected (before 6.12) says 0, and then
 * what the proxy's counters come to. */
static uint64_t unread(const struct raw *raw, const struct xy_session *session)
{
	int bytes;

	assert_int_equal(ioctl(raw->fd, FIONREAD, &bytes), 0);
	return bytes == 0 && session ? xy_session_sent(session) - raw->consumed : (uint64_t)bytes;
}

static uint64_t held(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_whole(proxy);
	uint64_t bytes = status_number(status_connection(status, raw), "queued_bytes");

	json_decref(status);
	return bytes;
}

static struct raw *receiver_open(const struct proxy *proxy, const char *subject)
{
	struct raw *raw = raw_open(proxy);
	char json[256];

	snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"stall_ms\":600000}", subject);
	raw_subscribe(raw, json);
	raw->silent = true;
	return raw;
}

/* Everything of every source, in order, none missing. */
static void receive_all(struct raw *receiver, struct flood *floods)
{
	uint64_t got[FLOODS] = {0}, received = 0;
	bool joined = false;

	receiver->silent = false;
	for (;;) {
		const struct raw_frame *frame;
		unsigned f = 0;

		if (!joined && received >= floods_sent(floods)) {
			/* They may have been in the middle of a frame. */
			floods_join(floods);
			joined = true;
		}
		if (joined && received == floods_sent(floods))
			return;
		frame = raw_expect_data(receiver);
		while (f < FLOODS && floods[f].raw->endpoint != frame->header.source)
			f++;
		assert_true(f < FLOODS);
		assert_int_equal(frame->header.sequence, ++got[f]);
		received++;
	}
}

static void flood_bounded(const struct proxy *proxy, unsigned kinds)
{
	struct raw *receiver = receiver_open(proxy, "bounds.block");
	struct sessions *sessions = sessions_open(proxy);
	const struct xy_session *session = sessions_of(sessions, receiver->endpoint);
	uint64_t limit = receiver->welcome.window + FLOODS * SEND_MAX + CONTROL;
	struct rest rest = {.since_ms = test_now_ms()};
	uint64_t most_held = 0, most_unread = 0;
	struct flood floods[FLOODS];

	floods_start(proxy, floods, "bounds.block", kinds);
	while (!floods_rest(floods, &rest)) {
		uint64_t bytes = held(proxy, receiver), in_queue = unread(receiver, session);

		if (session) {
			assert_in_range(xy_session_outstanding(session), 0, limit);
			assert_in_range(in_queue, 0, limit);
		}
		assert_in_range(bytes, 0, CROWD + FLOODS * TURN);
		most_held = bytes > most_held ? bytes : most_held;
		most_unread = in_queue > most_unread ? in_queue : most_unread;
	}
	print_message("kinds %u: at most %lu bytes unread, %lu held by the proxy\n", kinds,
		      most_unread, most_held);
	assert_true(rest.sent > 0);
	if (session && kinds == 1 << 2)
		assert_true(session->sent_frames > FLOODS);
	floods_stop(floods);
	receive_all(receiver, floods);
	sessions_close(sessions);
}

static void test_publishers_without_a_lane_are_bounded(void **state)
{
	flood_bounded(*state, 1 << 0 | 1 << 1);
}

static void test_lane_publishers_that_ignore_sync_wanted_are_bounded(void **state)
{
	flood_bounded(*state, 1 << 2);
}

static void test_a_mix_of_publishers_is_bounded(void **state)
{
	flood_bounded(*state, 1 << 0 | 1 << 1 | 1 << 2);
}

/* It acks whatever may come, and reads nothing. */
static void test_one_that_acks_without_reading_gets_two_windows(void **state)
{
	struct raw *receiver = receiver_open(*state, "bounds.liar");
	struct sessions *sessions = sessions_open(*state);
	const struct xy_session *session = sessions_of(sessions, receiver->endpoint);
	uint64_t limit = 2 * receiver->welcome.window + FLOODS * SEND_MAX + CONTROL;
	struct rest rest = {.since_ms = test_now_ms()};
	uint64_t most = 0;
	struct xy_frame ack = raw_header(receiver, XY_ACK);
	struct flood floods[FLOODS];

	ack.ack = UINT64_MAX;
	floods_start(*state, floods, "bounds.liar", 7);
	while (!floods_rest(floods, &rest)) {
		uint64_t bytes = unread(receiver, session);

		raw_send_frame(receiver, ack, NULL, 0);
		assert_in_range(held(*state, receiver), 0, CROWD + FLOODS * TURN);
		if (session) {
			assert_in_range(xy_session_unproven(session), 0, limit);
			assert_in_range(bytes, 0, limit);
		}
		most = bytes > most ? bytes : most;
	}
	print_message("at most %lu bytes unread\n", most);
	if (session)
		assert_true(most > receiver->welcome.window);
	floods_stop(floods);
	receive_all(receiver, floods);
	sessions_close(sessions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_publishers_without_a_lane_are_bounded),
		proxy_test(test_lane_publishers_that_ignore_sync_wanted_are_bounded),
		proxy_test(test_a_mix_of_publishers_is_bounded),
		proxy_test(test_one_that_acks_without_reading_gets_two_windows),
	};

	return proxy_run_both(tests, NULL);
}
