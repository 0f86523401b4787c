/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Neighbours of an attacker: a publisher and a subscriber on lanes, on a thread of their own, which
 * exchange one message after the other for as long as the attack lasts. Every message is checked:
 * who sent it, which it is, all of its bytes; every sixteenth is cut into fragments. What others
 * publish below NEIGHBOURS_SUBJECTS reaches the subscriber, too, and is counted.
 *
 * A test of an attack begins with them, asks them now and then, and ends with
 * neighbours_unharmed().
 */
#ifndef TEST_ATTACK_FIXTURE_H
#define TEST_ATTACK_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <xylem/client.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/sessions.h"
#include "kernel/session.h"

#define NEIGHBOURS_SUBJECT  "neighbours.talk"
#define NEIGHBOURS_SUBJECTS "neighbours.>"
#define NEIGHBOURS_LONG     150000 /* bytes: three fragments */
#define NEIGHBOURS_SHORT    400

static struct {
	struct proxy *proxy;
	struct xy_client *publisher, *subscriber;
	pthread_t thread;
	bool running;
	_Atomic(bool) end, wrong;
	_Atomic(uint64_t) count;     /* messages exchanged */
	_Atomic(uint64_t) strangers; /* messages of others on subjects … */
	_Atomic(uint64_t) directs;   /* … and to the subscriber's endpoint */
	_Atomic(unsigned) errors, reconnects;
	char why[256];
} neighbours;

#define NEIGHBOURS_WRONG(...)                                                  \
	do {                                                                   \
		snprintf(neighbours.why, sizeof(neighbours.why), __VA_ARGS__); \
		atomic_store(&neighbours.wrong, true);                         \
	} while (0)

static inline size_t neighbours_make(uint8_t *message, uint64_t count)
{
	size_t length = count % 16 == 0 ? NEIGHBOURS_LONG : 1 + count % NEIGHBOURS_SHORT;

	for (size_t i = 0; i < length; i++)
		message[i] = (uint8_t)(count * 31 + i * (count % 7 + 1));
	return length;
}

static inline void neighbours_event(struct xy_client *client, enum xy_event event, void *context)
{
	(void)client, (void)context;
	if (event == XY_EVENT_ERROR)
		atomic_fetch_add(&neighbours.errors, 1);
	if (event == XY_EVENT_RECONNECTED)
		atomic_fetch_add(&neighbours.reconnects, 1);
}

static inline void neighbours_direct(struct xy_client *client, const struct xy_message *message,
				     void *context)
{
	(void)client, (void)message, (void)context;
	atomic_fetch_add(&neighbours.directs, 1);
}

/* 1: it was the message awaited; 0: another's. */
static inline int neighbours_take(const struct xy_message *message, uint64_t count,
				  const uint8_t *wanted, size_t length)
{
	if (message->source != xy_client_endpoint(neighbours.publisher)) {
		atomic_fetch_add(&neighbours.strangers, 1);
		return 0;
	}
	if (message->sequence != count || message->length != length ||
	    memcmp(message->data, wanted, length) != 0)
		NEIGHBOURS_WRONG("%zu bytes with sequence %lu come instead of message %lu",
				 message->length, (unsigned long)message->sequence,
				 (unsigned long)count);
	return 1;
}

static inline void *neighbours_run(void *context)
{
	static uint8_t bytes[NEIGHBOURS_LONG];
	struct xy_topic *topic = context;
	struct xy_message message;
	int error = 0;

	while (!error && !atomic_load(&neighbours.end) && !atomic_load(&neighbours.wrong)) {
		uint64_t count = atomic_load(&neighbours.count) + 1;
		size_t length = neighbours_make(bytes, count);
		int got = 0;

		/* It may have to wait for room, which the subscriber makes on this very thread. */
		error = xy_client_try_publish(neighbours.publisher, topic, bytes, length);
		for (uint64_t since = test_now_ms(); !error && !got;) {
			error = xy_client_process(neighbours.publisher);
			if (!error)
				error = xy_client_next(neighbours.subscriber, 10, &message);
			if (!error)
				got = neighbours_take(&message, count, bytes, length);
			else if (error == -ETIMEDOUT && test_now_ms() - since < TEST_TIMEOUT_MS)
				error = 0;
		}
		if (!error)
			atomic_store(&neighbours.count, count);
		poll(NULL, 0, 1);
	}
	if (error)
		NEIGHBOURS_WRONG("after %lu messages: %s: %s, %s",
				 (unsigned long)atomic_load(&neighbours.count), strerror(-error),
				 xy_client_error(neighbours.publisher),
				 xy_client_error(neighbours.subscriber));
	return NULL;
}

static inline struct xy_client *neighbours_connect(const char *name)
{
	const struct xy_client_options options = {
		.size = sizeof(options),
		.server = proxy_server(neighbours.proxy),
		.name = name,
		.connect_timeout_ms = TEST_TIMEOUT_MS,
		.on_event = neighbours_event,
		.on_direct = neighbours_direct,
	};
	struct xy_client *client;

	assert_int_equal(xy_client_connect(&options, &client), 0);
	assert_int_equal(xy_client_on_lane(client),
			 proxy_kernel_path(neighbours.proxy) == KERNEL_PATH_ON);
	return client;
}

/* So many more messages go from one to the other. */
static inline void neighbours_exchange(uint64_t more)
{
	uint64_t from = atomic_load(&neighbours.count);
	uint64_t deadline = test_now_ms() + 2 * TEST_TIMEOUT_MS;

	while (atomic_load(&neighbours.count) < from + more) {
		if (atomic_load(&neighbours.wrong))
			fail_msg("the neighbours: %s", neighbours.why);
		if (test_now_ms() > deadline)
			fail_msg("the neighbours wait for message %lu",
				 (unsigned long)atomic_load(&neighbours.count) + 1);
		poll(NULL, 0, 1);
	}
}

static inline int neighbours_start(void **state)
{
	/* Nobody is closed because this machine is busy. */
	static const struct xy_subscribe_options patient = {.size = sizeof(patient),
							    .stall_ms = 2 * TEST_TIMEOUT_MS};
	struct xy_topic *topic;

	memset(&neighbours, 0, sizeof(neighbours));
	neighbours.proxy = *state;
	neighbours.publisher = neighbours_connect("neighbour-publisher");
	neighbours.subscriber = neighbours_connect("neighbour-subscriber");
	assert_int_equal(
		xy_client_subscribe(neighbours.subscriber, NEIGHBOURS_SUBJECTS, &patient, NULL), 0);
	assert_int_equal(xy_client_declare(neighbours.publisher, NEIGHBOURS_SUBJECT, &topic), 0);
	assert_int_equal(pthread_create(&neighbours.thread, NULL, neighbours_run, topic), 0);
	neighbours.running = true;
	neighbours_exchange(5);
	return 0;
}

static inline void neighbours_join(void)
{
	atomic_store(&neighbours.end, true);
	if (neighbours.running)
		pthread_join(neighbours.thread, NULL);
	neighbours.running = false;
}

/* After the attack: they go on, have lost nothing, heard of no error, were never disconnected, and
 * the kernel has moved their messages if it may. Of others the subscriber has dropped as many
 * frames as the attack says. */
static inline void neighbours_unharmed(uint64_t corrupt)
{
	struct sessions *sessions = sessions_open(neighbours.proxy);
	const struct xy_session *session;
	struct xy_client_stats stats;

	neighbours_exchange(40);
	neighbours_join();
	if (atomic_load(&neighbours.wrong))
		fail_msg("the neighbours: %s", neighbours.why);
	assert_int_equal(atomic_load(&neighbours.errors), 0);
	assert_int_equal(atomic_load(&neighbours.reconnects), 0);
	xy_client_stats(neighbours.publisher, &stats);
	assert_int_equal(stats.lost, 0);
	xy_client_stats(neighbours.subscriber, &stats);
	assert_int_equal(stats.corrupt, corrupt);
	session = sessions_of(sessions, xy_client_endpoint(neighbours.publisher));
	if (session)
		assert_true(xy_session_frames(session) > 0);
	sessions_close(sessions);
}

static inline int neighbours_teardown(void **state)
{
	neighbours_join();
	xy_client_close(neighbours.publisher);
	xy_client_close(neighbours.subscriber);
	return proxy_test_teardown(state);
}

#define attack_test(function) \
	cmocka_unit_test_setup_teardown(function, neighbours_start, neighbours_teardown)

/* ---- attackers ------------------------------------------------------------------------------- */

#define ATTACK_HELD_MS 1000 /* without room to send: it is not read any more */

/* Sends copies of these bytes, whole frames, for as long as the socket takes them; at most `most`
 * bytes. Stops in the middle of a frame if it must. Returns the bytes taken. */
static inline uint64_t attack_flood(struct raw *raw, const void *bytes, size_t size, uint64_t most)
{
	uint64_t taken = 0;
	size_t at = 0;

	while (taken < most) {
		struct pollfd pollfd = {.fd = raw->fd, .events = POLLOUT};
		ssize_t sent = send(raw->fd, (const uint8_t *)bytes + at, size - at, MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno != EAGAIN || poll(&pollfd, 1, ATTACK_HELD_MS) == 0)
				break;
			continue;
		}
		taken += (uint64_t)sent;
		at = (at + (size_t)sent) % size;
	}
	return taken;
}

#endif
