/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receivers that are too slow, and sources whose messages must come whole or not at all.
 */
#ifndef TEST_OVERFLOW_FIXTURE_H
#define TEST_OVERFLOW_FIXTURE_H

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"
#include "common/thread.h"

#define FRAGMENTS 5
#define PIECE     20000
#define BUFFER    (256 << 10)
/* Of PIECE bytes each: more than a receiver's window or sockets and its buffer take. */
#define MESSAGES  200

/* Without a lane the receiver's socket is what its buffer stands behind: kept small. */
static inline struct raw *slow_open(const struct proxy *proxy, const char *name)
{
	struct raw *raw = raw_connect(proxy);
	int bytes = 64 << 10;
	char hello[128];

	assert_int_equal(setsockopt(raw->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
	snprintf(hello, sizeof(hello), "{\"name\":\"%s\",\"ack\":true}", name);
	raw_hello(raw, hello);
	raw_sync(raw);
	return raw;
}

static inline void slow_subscribe(struct raw *raw, const char *subject, const char *overflow)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"overflow\":\"%s\",\"stall_ms\":600000}",
		 subject, overflow);
	raw_subscribe(raw, json);
}

/* A source, what it has sent and what has arrived of it. */
struct source {
	struct raw *raw;
	struct xy_frame data;
	uint64_t frames;                            /* sent */
	uint64_t messages, whole, broken, received; /* messages; the last in frames */
	uint64_t last;                              /* sequence that arrived last … */
	uint16_t parts;                             /* … and how many fragments of it */
};

static inline struct source source_open(struct raw *raw, const char *subject)
{
	struct source source = {.raw = raw, .data = raw_header(raw, XY_DATA)};

	source.data.target = raw_declare(raw, subject);
	return source;
}

static inline void source_fragment(struct source *source, uint16_t fragment)
{
	static uint8_t payload[PIECE];

	memset(payload, (int)(source->data.sequence + fragment), sizeof(payload));
	source->data.fragment = fragment;
	source->data.ack = source->raw->consumed;
	raw_send_frame(source->raw, source->data, payload, sizeof(payload));
	source->frames++;
}

static inline void source_begin(struct source *source, uint16_t fragments)
{
	source->data.sequence = ++source->messages;
	source->data.fragments = fragments;
}

/* Whole messages of several sources, fragment by fragment in turn; every third is not cut. */
static inline void sources_send(struct source *sources, unsigned count, unsigned messages)
{
	for (unsigned m = 0; m < messages; m++) {
		uint16_t fragments = m % 3 == 2 ? 0 : FRAGMENTS;

		for (unsigned s = 0; s < count; s++)
			source_begin(&sources[s], fragments);
		for (uint16_t f = 0; f < (fragments ? fragments : 1); f++)
			for (unsigned s = 0; s < count; s++)
				source_fragment(&sources[s], f);
	}
	for (unsigned s = 0; s < count; s++)
		raw_sync(sources[s].raw);
}

static inline void message_end(struct source *source, uint16_t fragments)
{
	if (source->parts == fragments)
		source->whole++;
	else
		source->broken++;
	source->parts = 0;
}

static inline void source_got(struct source *source, const struct raw_frame *frame)
{
	static uint16_t fragments_of[8];
	const struct xy_frame *header = &frame->header;
	uint16_t *fragments = &fragments_of[source->raw->endpoint % 8];

	if (header->sequence != source->last) {
		assert_true(header->sequence > source->last);
		if (source->parts)
			message_end(source, 0);
		source->last = header->sequence;
	}
	source->received++;
	/* Of a message that is not whole the end is missing, and nothing else. */
	assert_int_equal(header->fragment, source->parts);
	assert_int_equal(frame->payload[0], (uint8_t)(header->sequence + header->fragment));
	assert_int_equal(frame->payload[PIECE - 1], frame->payload[0]);
	*fragments = header->fragments ? header->fragments : 1;
	source->parts++;
	if (header->fragment + 1 == *fragments)
		message_end(source, *fragments);
}

/* Reads all that lies before the fences of the first `fences` sources: a fence is a message of its
 * own, and ends the one before it. */
static inline void sources_read(struct raw *receiver, struct source *sources, unsigned count,
				unsigned fences)
{
	for (unsigned s = 0; s < fences; s++)
		raw_send_fence(receiver, sources[s].raw);
	while (fences > 0) {
		const struct raw_frame *frame = raw_expect_data(receiver);

		if (raw_is_fence(frame)) {
			fences--;
			continue;
		}
		for (unsigned s = 0; s < count; s++)
			if (sources[s].raw->endpoint == frame->header.source)
				source_got(&sources[s], frame);
	}
	for (unsigned s = 0; s < count; s++)
		if (sources[s].parts)
			message_end(&sources[s], 0);
}

static inline void sources_drain(struct raw *receiver, struct source *sources, unsigned count)
{
	sources_read(receiver, sources, count, count);
}

static inline uint64_t held(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_with(proxy, raw);
	uint64_t bytes = status_number(status_connection(status, raw), "queued_bytes");

	json_decref(status);
	return bytes;
}

/* That its loop has begun. */
static inline uint64_t rounds(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_with(proxy, raw);
	const char *loop =
		json_string_value(json_object_get(status_connection(status, raw), "loop"));
	uint64_t count = status_number(status_loop(status, loop), "rounds");

	json_decref(status);
	return count;
}

/* Until all that was posted to the receiver's loop has been run: a whole round. */
static inline void await_tasks(const struct proxy *proxy, const struct raw *receiver)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, begun = rounds(proxy, receiver);

	while (rounds(proxy, receiver) < begun + 2)
		assert_true(test_now_ms() < deadline);
}

static inline uint64_t dropped(const struct proxy *proxy, const struct raw *raw,
			       const char *overflow, const char *unit)
{
	json_t *status = status_take_with(proxy, raw);
	json_t *by = json_object_get(status_connection(status, raw), "dropped_by");
	uint64_t count = status_number(json_object_get(by, overflow), unit);

	json_decref(status);
	return count;
}

/* Everything sent has arrived, or is counted as dropped by this policy. */
static inline void assert_accounted_for(const struct proxy *proxy, const struct raw *receiver,
					const struct source *sources, unsigned count,
					const char *overflow)
{
	uint64_t frames = dropped(proxy, receiver, overflow, "frames");
	uint64_t messages = dropped(proxy, receiver, overflow, "messages"), whole = 0;

	assert_true(messages > 0);
	for (unsigned s = 0; s < count; s++) {
		print_message("%s: %lu messages sent, %lu whole, %lu broken\n", overflow,
			      sources[s].messages, sources[s].whole, sources[s].broken);
		frames += sources[s].received;
		messages += sources[s].whole;
		frames -= sources[s].frames;
		messages -= sources[s].messages;
		whole += sources[s].whole;
	}
	assert_true(whole > 0);
	assert_int_equal(frames, 0);
	assert_int_equal(messages, 0);
}

#endif
