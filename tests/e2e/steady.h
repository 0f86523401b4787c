/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Steady streams: publishers and subscribers of all kinds on threads of their own, each publisher
 * on a subject of its own, each subscriber to all of them. Every message says who sent it and as
 * which of his, so that a receiver finds what is corrupt, reordered or seen twice, and accounts for
 * every gap: by `sequence`, and by what the publisher says.
 *
 * The main thread starts and ends them; the first thing that goes wrong is kept for it.
 */
#ifndef TEST_STEADY_H
#define TEST_STEADY_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xylem/client.h>

#include "common/proxy.h"

#define STEADY_PUBLISHERS  4
#define STEADY_SUBSCRIBERS 4
#define STEADY_STALL_MS    120000 /* nobody is closed because the machine is busy */
#define STEADY_SUBJECTS    "steady.>"

enum steady_way { STEADY_LANE, STEADY_UNIX, STEADY_NO_LANE };

/* Packed: messages lie in a receiver's memory as they come, without alignment. */
struct __attribute__((packed)) steady_message {
	uint64_t publisher, count; /* from 1 */
	uint8_t rest[512];
};

struct steady {
	pthread_t thread;
	unsigned index;
	enum steady_way way;
	struct xy_client *client;
	_Atomic(uint64_t) count; /* messages published, or received */
	_Atomic(uint64_t) reconnects, errors;
	/* By publisher: the newest message that it can have published when this client was seen to
	 * be connected again. */
	_Atomic(uint64_t) back[STEADY_PUBLISHERS];
	/* Of a publisher: it waits, and its messages up to this one were handed on before. */
	_Atomic(bool) holds;
	_Atomic(uint64_t) handed;

	/* Of a subscriber, by publisher: its newest message, how many are missing before, and in
	 * how many places. */
	_Atomic(uint64_t) last[STEADY_PUBLISHERS], lost[STEADY_PUBLISHERS], gaps[STEADY_PUBLISHERS];
	_Atomic(uint64_t) newest_lost[STEADY_PUBLISHERS];
};

static struct {
	struct proxy *proxy;
	bool running;
	_Atomic(bool) hold, end_publishing, end;
	_Atomic(bool) wrong;
	char why[256];
	pthread_mutex_t lock;
	struct steady publisher[STEADY_PUBLISHERS], subscriber[STEADY_SUBSCRIBERS];
} steady = {.lock = PTHREAD_MUTEX_INITIALIZER};

#define STEADY_WRONG(...)                                                      \
	do {                                                                   \
		pthread_mutex_lock(&steady.lock);                              \
		if (!atomic_load(&steady.wrong))                               \
			snprintf(steady.why, sizeof(steady.why), __VA_ARGS__); \
		atomic_store(&steady.wrong, true);                             \
		pthread_mutex_unlock(&steady.lock);                            \
	} while (0)

static inline size_t steady_make(struct steady_message *message, uint64_t publisher, uint64_t count)
{
	uint64_t mix = (publisher + 1) * 0x9e3779b97f4a7c15u ^ count * 0xbf58476d1ce4e5b9u;
	size_t length = mix % 64 == 0 ? sizeof(message->rest) : mix % 97;

	message->publisher = publisher;
	message->count = count;
	for (size_t i = 0; i < length; i++)
		message->rest[i] = (uint8_t)((mix >> (i % 8 * 8)) + i);
	return offsetof(struct steady_message, rest) + length;
}

/* Is this another connection? A publisher is not told in time, so it asks after each message. */
static inline void steady_look(struct steady *self)
{
	struct xy_client_stats stats;

	xy_client_stats(self->client, &stats);
	if (stats.reconnects == atomic_load(&self->reconnects))
		return;
	/* They may be in the middle of one more. */
	for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
		atomic_store(&self->back[p], atomic_load(&steady.publisher[p].count) + 1);
	atomic_store(&self->reconnects, stats.reconnects);
}

static inline void steady_event(struct xy_client *client, enum xy_event event, void *context)
{
	struct steady *self = context;

	(void)client;
	if (event == XY_EVENT_RECONNECTED)
		steady_look(self);
	if (event == XY_EVENT_ERROR)
		atomic_fetch_add(&self->errors, 1);
}

static inline int steady_connect(struct steady *self, const char *name)
{
	const struct xy_client_options options = {
		.size = sizeof(options),
		.server = self->way == STEADY_UNIX ? proxy_unix(steady.proxy)
						   : proxy_server(steady.proxy),
		.name = name,
		.no_lane = self->way == STEADY_NO_LANE,
		.connect_timeout_ms = TEST_TIMEOUT_MS,
		.reconnect_min_ms = 10,
		.reconnect_max_ms = 200,
		.on_event = steady_event,
		.context = self,
	};

	return xy_client_connect(&options, &self->client);
}

/* ---- publishers ------------------------------------------------------------------------------ */

/* Until it is told to go on. */
static inline int steady_pause(struct steady *self)
{
	int error = xy_client_sync(self->client, TEST_TIMEOUT_MS);

	if (!error) {
		atomic_store(&self->handed, atomic_load(&self->count));
		atomic_store(&self->holds, true);
	}
	while (!error && atomic_load(&steady.hold)) {
		error = xy_client_process(self->client);
		poll(NULL, 0, 1);
	}
	atomic_store(&self->holds, false);
	return error;
}

static inline void *steady_publish(void *context)
{
	struct steady *self = context;
	struct steady_message message = {0};
	struct xy_topic *topic = NULL;
	char subject[32];
	int error;

	snprintf(subject, sizeof(subject), "steady.%u", self->index);
	error = xy_client_declare(self->client, subject, &topic);
	while (!error && !atomic_load(&steady.end_publishing)) {
		uint64_t count = atomic_load(&self->count) + 1;
		size_t length = steady_make(&message, self->index, count);

		while ((error = xy_client_publish(self->client, topic, &message, length)) ==
		       -EAGAIN)
			xy_client_process(self->client);
		if (!error)
			atomic_store(&self->count, count);
		steady_look(self);
		if (!error && atomic_load(&steady.hold))
			error = steady_pause(self);
	}
	/* The connection may end under it; then once more. */
	while (!error && xy_client_sync(self->client, TEST_TIMEOUT_MS) != 0 &&
	       !atomic_load(&steady.end))
		continue;
	steady_look(self);
	if (error)
		STEADY_WRONG("publisher %u: %s: %s", self->index, strerror(-error),
			     xy_client_error(self->client));
	return NULL;
}

/* ---- subscribers ----------------------------------------------------------------------------- */

/* Messages are missing, of which none may be of those that were handed on before the end. */
static inline void steady_gap(struct steady *self, uint64_t publisher, uint64_t last, uint64_t next)
{
	uint64_t handed = atomic_load(&steady.publisher[publisher].handed);

	if (last < handed)
		STEADY_WRONG("subscriber %u loses %lu to %lu of publisher %lu, of which %lu were "
			     "handed on",
			     self->index, (unsigned long)last + 1, (unsigned long)next - 1,
			     (unsigned long)publisher, (unsigned long)handed);
	atomic_fetch_add(&self->lost[publisher], next - last - 1);
	atomic_fetch_add(&self->gaps[publisher], 1);
	atomic_store(&self->newest_lost[publisher], next - 1);
}

static inline void steady_take(struct steady *self, const struct xy_message *message)
{
	const struct steady_message *got = message->data;
	struct steady_message wanted;
	uint64_t last;

	if (message->length < offsetof(struct steady_message, rest) ||
	    got->publisher >= STEADY_PUBLISHERS ||
	    steady_make(&wanted, got->publisher, got->count) != message->length ||
	    memcmp(&wanted, got, message->length) != 0) {
		STEADY_WRONG("subscriber %u gets a corrupt message", self->index);
		return;
	}
	last = atomic_load(&self->last[got->publisher]);
	if (got->count <= last)
		STEADY_WRONG("subscriber %u gets message %lu of publisher %lu behind %lu",
			     self->index, (unsigned long)got->count, (unsigned long)got->publisher,
			     (unsigned long)last);
	if (message->sequence != got->count)
		STEADY_WRONG("subscriber %u: sequence %lu of message %lu", self->index,
			     (unsigned long)message->sequence, (unsigned long)got->count);
	if (last != 0 && got->count > last + 1)
		steady_gap(self, got->publisher, last, got->count);
	atomic_store(&self->last[got->publisher], got->count);
	atomic_fetch_add(&self->count, 1);
}

static inline void *steady_subscribe(void *context)
{
	struct steady *self = context;
	struct xy_message message;
	int error;

	while (!atomic_load(&steady.end)) {
		error = xy_client_next(self->client, 10, &message);
		if (!error)
			steady_take(self, &message);
		else if (error != -ETIMEDOUT)
			STEADY_WRONG("subscriber %u: %s: %s", self->index, strerror(-error),
				     xy_client_error(self->client));
	}
	return NULL;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static inline void steady_check(void)
{
	if (atomic_load(&steady.wrong))
		fail_msg("%s", steady.why);
}

/* What the publisher had published, at most, when it and the subscriber were connected again:
 * whatever comes later must arrive. */
static inline uint64_t steady_both_back(unsigned subscriber, unsigned publisher)
{
	uint64_t one = atomic_load(&steady.subscriber[subscriber].back[publisher]);
	uint64_t other = atomic_load(&steady.publisher[publisher].back[publisher]);

	return one > other ? one : other;
}

/* Everybody has received so many more messages of each publisher, since both are back. */
static inline void steady_flow(uint64_t more)
{
	uint64_t deadline = test_now_ms() + 2 * TEST_TIMEOUT_MS;
	uint64_t wanted[STEADY_SUBSCRIBERS][STEADY_PUBLISHERS];

	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)
		for (unsigned p = 0; p < STEADY_PUBLISHERS; p++) {
			uint64_t last = atomic_load(&steady.subscriber[s].last[p]);
			uint64_t back = steady_both_back(s, p);

			wanted[s][p] = (last > back ? last : back) + more;
		}
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)
		for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
			while (atomic_load(&steady.subscriber[s].last[p]) < wanted[s][p]) {
				steady_check();
				if (test_now_ms() > deadline)
					fail_msg("nothing of publisher %u reaches subscriber %u", p,
						 s);
				poll(NULL, 0, 1);
			}
}

/* Everybody has been connected again so often. */
static inline void steady_await_back(uint64_t times)
{
	uint64_t deadline = test_now_ms() + 2 * TEST_TIMEOUT_MS;

	for (unsigned c = 0; c < STEADY_PUBLISHERS + STEADY_SUBSCRIBERS; c++) {
		struct steady *client = c < STEADY_PUBLISHERS
						? &steady.publisher[c]
						: &steady.subscriber[c - STEADY_PUBLISHERS];

		while (atomic_load(&client->reconnects) < times) {
			steady_check();
			assert_true(test_now_ms() < deadline);
			poll(NULL, 0, 1);
		}
	}
}

/* Nothing is missing of what was published when both had their connections again. */
static inline void steady_gaps_end(void)
{
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)
		for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
			assert_in_range(atomic_load(&steady.subscriber[s].newest_lost[p]), 0,
					steady_both_back(s, p));
}

static inline void steady_start(struct proxy *proxy)
{
	static const enum steady_way ways[] = {STEADY_LANE, STEADY_LANE, STEADY_UNIX,
					       STEADY_NO_LANE};
	static const struct xy_subscribe_options patient = {.size = sizeof(patient),
							    .stall_ms = STEADY_STALL_MS};

	steady.proxy = proxy;
	atomic_store(&steady.end, false);
	atomic_store(&steady.hold, false);
	atomic_store(&steady.end_publishing, false);
	atomic_store(&steady.wrong, false);
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++) {
		struct steady *self = &steady.subscriber[s];

		*self = (struct steady){.index = s, .way = ways[s % 4]};
		assert_int_equal(steady_connect(self, "steady-subscriber"), 0);
		assert_int_equal(xy_client_subscribe(self->client, STEADY_SUBJECTS, &patient, NULL),
				 0);
	}
	for (unsigned p = 0; p < STEADY_PUBLISHERS; p++) {
		struct steady *self = &steady.publisher[p];

		*self = (struct steady){.index = p, .way = ways[p % 4]};
		assert_int_equal(steady_connect(self, "steady-publisher"), 0);
	}
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)
		assert_int_equal(pthread_create(&steady.subscriber[s].thread, NULL,
						steady_subscribe, &steady.subscriber[s]),
				 0);
	for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
		assert_int_equal(pthread_create(&steady.publisher[p].thread, NULL, steady_publish,
						&steady.publisher[p]),
				 0);
	steady.running = true;
}

/* Publishers wait, with all that they have published handed on. What is, is lost no more. */
static inline void steady_hold(void)
{
	atomic_store(&steady.hold, true);
	for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
		while (!atomic_load(&steady.publisher[p].holds)) {
			steady_check();
			poll(NULL, 0, 1);
		}
}

static inline void steady_go_on(void)
{
	atomic_store(&steady.hold, false);
}

static inline void steady_publishers_end(void)
{
	steady_go_on();
	atomic_store(&steady.end_publishing, true);
	for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
		pthread_join(steady.publisher[p].thread, NULL);
}

static inline void steady_subscribers_end(void)
{
	atomic_store(&steady.end, true);
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)
		pthread_join(steady.subscriber[s].thread, NULL);
	for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
		xy_client_close(steady.publisher[p].client);
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)
		xy_client_close(steady.subscriber[s].client);
	steady.running = false;
}

/* Ends all threads at once; for a test that has failed. */
static inline void steady_abandon(void)
{
	if (!steady.running)
		return;
	atomic_store(&steady.end, true); /* also of a publisher that waits */
	steady_publishers_end();
	steady_subscribers_end();
}

/* The publishers end; each subscriber gets the last message of each. Returns how many were lost by
 * the one who lost most. */
static inline uint64_t steady_finish(void)
{
	uint64_t deadline = test_now_ms() + 3 * TEST_TIMEOUT_MS, most = 0;

	steady_publishers_end();
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++) {
		uint64_t lost = 0;

		for (unsigned p = 0; p < STEADY_PUBLISHERS; p++) {
			uint64_t count = atomic_load(&steady.publisher[p].count);

			while (atomic_load(&steady.subscriber[s].last[p]) < count &&
			       !atomic_load(&steady.wrong) && test_now_ms() < deadline)
				poll(NULL, 0, 1);
			if (atomic_load(&steady.subscriber[s].last[p]) != count)
				STEADY_WRONG("subscriber %u has %lu of the %lu messages of "
					     "publisher %u",
					     s, (unsigned long)steady.subscriber[s].last[p],
					     (unsigned long)count, p);
			lost += atomic_load(&steady.subscriber[s].lost[p]);
		}
		most = lost > most ? lost : most;
	}
	steady_subscribers_end();
	steady_check();
	return most;
}

/* Of all of them. */
#define STEADY_SUM(field)                                                \
	({                                                               \
		uint64_t sum = 0;                                        \
                                                                         \
		for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)         \
			sum += atomic_load(&steady.publisher[p].field);  \
		for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)        \
			sum += atomic_load(&steady.subscriber[s].field); \
		sum;                                                     \
	})

static inline uint64_t steady_errors(void)
{
	return STEADY_SUM(errors);
}

static inline uint64_t steady_reconnects(void)
{
	return STEADY_SUM(reconnects);
}

#endif
