/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subscribers on threads of their own that check what they get, and a publisher that never pauses:
 * it keeps the protocol, but does not pace itself as libxylem does, so that all depends on the
 * proxy.
 *
 * The publisher is the main thread's. A test that may fail leaves by fixture_teardown().
 */
#ifndef TEST_RETURN_FIXTURE_H
#define TEST_RETURN_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <xylem/client.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/sessions.h"

/* ---- subscribers ----------------------------------------------------------------------------- */

struct reader {
	pthread_t thread;
	struct xy_client *client;
	struct xy_subscription *subscription;
	const char *subject;
	_Atomic(bool) end, pause, paused, leave;
	_Atomic(uint64_t) left_ms;
	_Atomic(unsigned) rest_us; /* after each of its messages … */
	unsigned rest_every;       /* … or so many of them */
	_Atomic(uint64_t) received, wrong;
	_Atomic(int) error; /* its connection ended */
	struct reader *next;
};

static struct reader *readers; /* that run */

static inline void reader_take(struct reader *reader, const struct xy_message *message,
			       uint64_t *last)
{
	/* One source: nothing is lost, changed in order or seen twice. */
	if (*last != 0 && message->sequence != *last + 1)
		atomic_fetch_add(&reader->wrong, 1);
	*last = message->sequence;
	atomic_fetch_add(&reader->received, 1);
}

static inline void *reader_run(void *context)
{
	struct reader *reader = context;
	struct xy_message message;
	uint64_t last = 0;
	int error;

	while (!atomic_load(&reader->end)) {
		if (atomic_load(&reader->leave) && atomic_load(&reader->left_ms) == 0) {
			xy_client_unsubscribe(reader->client, reader->subscription);
			atomic_store(&reader->left_ms, test_now_ms());
		}
		atomic_store(&reader->paused, atomic_load(&reader->pause));
		if (atomic_load(&reader->paused)) {
			poll(NULL, 0, 1);
			continue;
		}
		error = xy_client_next(reader->client, 10, &message);
		if (error == -ETIMEDOUT)
			continue;
		atomic_store(&reader->error, error);
		if (error != 0)
			return NULL;
		reader_take(reader, &message, &last);
		if (atomic_load(&reader->rest_us) != 0 && last % reader->rest_every == 0)
			usleep(atomic_load(&reader->rest_us));
	}
	return NULL;
}

static inline void reader_start(struct reader *reader, const struct proxy *proxy,
				const char *subject)
{
	const struct xy_client_options options = {.size = sizeof(options),
						  .server = proxy_server(proxy),
						  .name = "reader",
						  .connect_timeout_ms = TEST_TIMEOUT_MS,
						  .no_reconnect = true};
	const struct xy_subscribe_options patience = {.size = sizeof(patience),
						      .stall_ms = 3 * TEST_TIMEOUT_MS};

	*reader = (struct reader){.subject = subject, .rest_every = 1};
	assert_int_equal(xy_client_connect(&options, &reader->client), 0);
	assert_int_equal(
		xy_client_subscribe(reader->client, subject, &patience, &reader->subscription), 0);
	assert_int_equal(pthread_create(&reader->thread, NULL, reader_run, reader), 0);
	reader->next = readers;
	readers = reader;
}

static inline void reader_stop(struct reader *reader)
{
	struct reader **link = &readers;

	while (*link != reader)
		link = &(*link)->next;
	*link = reader->next;
	atomic_store(&reader->end, true);
	pthread_join(reader->thread, NULL);
	xy_client_close(reader->client);
}

/* Until it has had `count` messages, or cannot any more. */
static inline void reader_await(const struct reader *reader, uint64_t count)
{
	uint64_t deadline = test_now_ms() + 3 * TEST_TIMEOUT_MS;

	while (atomic_load(&reader->received) < count && atomic_load(&reader->error) == 0 &&
	       test_now_ms() < deadline)
		poll(NULL, 0, 1);
}

/* It has had `count` messages, each once and in order; then it ends. */
static inline void reader_finish(struct reader *reader, uint64_t count)
{
	reader_await(reader, count);
	reader_stop(reader);
	assert_int_equal(atomic_load(&reader->error), 0);
	assert_int_equal(atomic_load(&reader->received), count);
	assert_int_equal(atomic_load(&reader->wrong), 0);
}

/* ---- a publisher that never pauses ----------------------------------------------------------- */

struct publisher {
	struct raw *raw;
	const struct xy_session *session; /* NULL without a lane */
	uint64_t topic, sequence;
	size_t payload;
	unsigned batch;     /* frames of one send */
	bool syncing, deaf; /* waits for SYNCED; leaves SYNC_WANTED for later */
	bool asked, fenced;
	uint64_t wanted; /* times that it was asked */
	/* When it SYNCed last, and since the time before: nothing of its own moves these counters
	 * until SYNCED, so that the proxy counts from the same on. */
	uint64_t moved, kept_off, epoch_moved, epoch_kept_off;
};

static const uint8_t zeros[XY_PAYLOAD_MAX];

static inline void publisher_open(struct publisher *publisher, const struct proxy *proxy,
				  const struct sessions *sessions, const char *subject,
				  size_t payload)
{
	struct raw *raw = raw_open(proxy);

	*publisher = (struct publisher){.raw = raw,
					.session = sessions_of(sessions, raw->endpoint),
					.topic = raw_declare(raw, subject),
					.payload = payload,
					.batch = 1,
					.fenced = true};
}

static inline void sync_begin(struct publisher *publisher)
{
	struct xy_frame sync = raw_header(publisher->raw, XY_SYNC);
	const struct xy_session *session = publisher->session;

	if (session != NULL) {
		publisher->epoch_moved = xy_session_frames(session) - publisher->moved;
		publisher->epoch_kept_off = xy_session_kept_off(session) - publisher->kept_off;
		publisher->moved += publisher->epoch_moved;
		publisher->kept_off += publisher->epoch_kept_off;
	}
	sync.correlation = ++publisher->raw->syncs;
	raw_send_frame(publisher->raw, sync, NULL, 0);
	publisher->syncing = true;
	publisher->asked = false;
}

static inline void publisher_listen(struct publisher *publisher)
{
	struct raw *raw = publisher->raw;
	enum raw_result result;

	while ((result = raw_read(raw, publisher->syncing || !publisher->fenced ? 1 : 0)) ==
	       RAW_FRAME) {
		const struct xy_frame *header = &raw->frame.header;
		struct xy_frame pong = raw_header(raw, XY_PONG);

		switch (header->type) {
		case XY_SYNC_WANTED:
			publisher->asked = true;
			publisher->wanted++;
			break;
		case XY_SYNCED:
			publisher->syncing =
				publisher->syncing && header->correlation != raw->syncs;
			break;
		case XY_PONG:
			publisher->fenced = true;
			break;
		case XY_PING:
			pong.correlation = header->correlation;
			raw_send_frame(raw, pong, raw->frame.payload, raw->frame.length);
			break;
		default:
			fail_msg("the publisher gets %s: %.200s", xy_type_name(header->type),
				 (const char *)raw->frame.payload);
		}
	}
	assert_int_not_equal(result, RAW_CLOSED);
	if (publisher->asked && !publisher->deaf && !publisher->syncing)
		sync_begin(publisher);
}

/* Until it has nothing to wait for. */
static inline void publisher_rest(struct publisher *publisher)
{
	do
		publisher_listen(publisher);
	while (publisher->syncing);
}

/* Until the proxy has handled all that it has sent, and it has followed what came of that. */
static inline void publisher_fence(struct publisher *publisher)
{
	struct xy_frame ping = raw_header(publisher->raw, XY_PING);

	ping.correlation = ++publisher->raw->correlation;
	raw_send_frame(publisher->raw, ping, NULL, 0);
	publisher->fenced = false;
	while (!publisher->fenced || publisher->syncing)
		publisher_listen(publisher);
}

static inline struct xy_frame data_next(struct publisher *publisher)
{
	struct xy_frame data = raw_header(publisher->raw, XY_DATA);

	data.target = publisher->topic;
	data.sequence = ++publisher->sequence;
	return data;
}

static inline void publisher_put(struct publisher *publisher)
{
	static uint8_t bytes[XY_SEND_BYTES_MAX];
	size_t length = 0;

	for (unsigned frame = 0; frame < publisher->batch; frame++)
		length += raw_put(bytes + length, data_next(publisher), zeros, publisher->payload);
	raw_send(publisher->raw, bytes, length);
}

/* One send more, unless it has to wait for SYNCED. */
static inline bool publisher_step(struct publisher *publisher)
{
	publisher_listen(publisher);
	if (publisher->syncing)
		return false;
	publisher_put(publisher);
	return true;
}

static inline void publisher_send(struct publisher *publisher, uint64_t sends)
{
	uint64_t deadline = test_now_ms() + 3 * TEST_TIMEOUT_MS;

	while (sends > 0) {
		sends -= publisher_step(publisher);
		assert_true(test_now_ms() < deadline);
	}
}

/* ---- the end --------------------------------------------------------------------------------- */

static inline int fixture_teardown(void **state)
{
	while (readers != NULL)
		reader_stop(readers);
	return proxy_test_teardown(state);
}

#endif
