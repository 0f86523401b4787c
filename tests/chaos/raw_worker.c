/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A publisher that speaks the protocol by hand and keeps its rules, but none of its hints: sends
 * that are cut anywhere, or hold several targets and control frames; PINGs between fragments;
 * bundles of its own; a SYNC when it likes, and not always when one is wanted.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chaos/account.h"
#include "chaos/worker.h"
#include "io/net.h"
#include "proto/frame.h"

#define HELLO      "{\"name\":\"raw\",\"ack\":true}"
#define BATCH_MAX  (1u << 20)
#define ITEMS_MAX  32
#define SINGLE_MAX 60000
#define TIMEOUT_MS 20000

struct raw {
	struct ledger *ledger;
	uint32_t number;
	struct dice dice;
	int fd;
	uint64_t endpoint, topic[CHANNELS_MAX], consumed, synced, syncs, answer;
	bool wanted;
	uint8_t pong[XY_PING_MAX];
	size_t pong_length;
	uint64_t pong_correlation;
	bool pong_due;
	size_t filled, length;
	uint8_t in[2 * XY_FRAME_MAX];
	uint8_t out[BATCH_MAX + 8 * XY_FRAME_MAX];
};

/* ---- in -------------------------------------------------------------------------------------- */

static void take_frame(struct raw *raw, const struct xy_frame *frame, const uint8_t *payload)
{
	size_t length = frame->length - XY_HEADER_SIZE;

	if (frame->type != XY_WELCOME)
		raw->consumed += frame->length;
	switch (frame->type) {
	case XY_WELCOME:
		raw->endpoint = frame->target;
		sender_endpoint(raw->ledger, raw->number, raw->endpoint);
		break;
	case XY_SYNCED:
		raw->synced = frame->correlation;
		break;
	case XY_SYNC_WANTED:
		raw->wanted = true;
		break;
	case XY_OK:
		raw->answer = frame->target;
		break;
	case XY_PING:
		memcpy(raw->pong, payload, length < XY_PING_MAX ? length : XY_PING_MAX);
		raw->pong_length = length;
		raw->pong_correlation = frame->correlation;
		raw->pong_due = true;
		break;
	default:
		break;
	}
}

/* Reads what is there, waiting up to `ms`. False: the connection is over. */
static bool read_some(struct raw *raw, int ms, short also)
{
	struct pollfd p = {.fd = raw->fd, .events = (short)(POLLIN | also)};
	struct xy_frame frame;
	size_t at = 0;
	ssize_t got;

	if (poll(&p, 1, ms) <= 0 || (p.revents & ~POLLOUT) == 0)
		return true;
	got = recv(raw->fd, raw->in + raw->filled, sizeof(raw->in) - raw->filled, MSG_DONTWAIT);
	if (got == 0 || (got < 0 && errno != EAGAIN))
		return false;
	raw->filled += got > 0 ? (size_t)got : 0;
	while (raw->filled - at >= XY_HEADER_SIZE) {
		xy_frame_decode(raw->in + at, &frame);
		if (frame.length < XY_HEADER_SIZE || frame.length > XY_FRAME_MAX) {
			ledger_fail(raw->ledger, CORRUPT, "raw: no frame");
			return false;
		}
		if (raw->filled - at < frame.length)
			break;
		take_frame(raw, &frame, raw->in + at + XY_HEADER_SIZE);
		at += frame.length;
	}
	raw->filled -= at;
	memmove(raw->in, raw->in + at, raw->filled);
	return true;
}

/* ---- out ------------------------------------------------------------------------------------- */

static struct xy_frame header(const struct raw *raw, enum xy_type type)
{
	return (struct xy_frame){.version = XY_WIRE_VERSION,
				 .type = (uint8_t)type,
				 .source = raw->endpoint,
				 .ack = raw->consumed};
}

static void put(struct raw *raw, struct xy_frame frame, const void *payload, size_t length)
{
	frame.length = (uint32_t)(XY_HEADER_SIZE + length);
	xy_frame_encode(&frame, raw->out + raw->length);
	if (length > 0)
		memcpy(raw->out + raw->length + XY_HEADER_SIZE, payload, length);
	raw->length += frame.length;
}

/* Sends `size` bytes of the batch in one piece, or in as many as the socket wants. What fails is
 * tried again: that send has sent nothing. */
static bool send_bytes(struct raw *raw, const uint8_t *bytes, size_t size)
{
	uint64_t deadline = ledger_ms(raw->ledger) + ledger_bound(raw->ledger, 2 * TIMEOUT_MS);

	while (size > 0) {
		struct pollfd p = {.fd = raw->fd, .events = POLLOUT};
		ssize_t sent = -1;

		if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT))
			sent = send(raw->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			bytes += sent;
			size -= (size_t)sent;
		} else if (!read_some(raw, 20, POLLOUT) || ledger_ms(raw->ledger) > deadline) {
			return false;
		}
		atomic_fetch_add(&raw->ledger->worker[raw->number].turns, 1);
	}
	return true;
}

/* The batch: frame by frame, in one send, or cut anywhere. */
static bool send_batch(struct raw *raw)
{
	uint64_t way = dice_below(&raw->dice, 4);
	size_t at = 0, size;

	for (; at < raw->length; at += size) {
		struct xy_frame frame;

		size = raw->length - at;
		if (way == 0)
			size = 1 + dice_below(&raw->dice, size);
		if (way > 1) {
			xy_frame_decode(raw->out + at, &frame);
			size = frame.length;
		}
		if (!send_bytes(raw, raw->out + at, size))
			return false;
	}
	raw->length = 0;
	return true;
}

/* One frame, alone in its send. */
static bool say(struct raw *raw, struct xy_frame frame, const void *payload, size_t length)
{
	raw->length = 0;
	put(raw, frame, payload, length);
	length = raw->length;
	raw->length = 0;
	return send_bytes(raw, raw->out, length);
}

static bool answer_ping(struct raw *raw)
{
	struct xy_frame pong = header(raw, XY_PONG);

	if (!raw->pong_due)
		return true;
	raw->pong_due = false;
	pong.correlation = raw->pong_correlation;
	return say(raw, pong, raw->pong, raw->pong_length);
}

static bool wait_for(struct raw *raw, const uint64_t *value, uint64_t wanted)
{
	uint64_t deadline = ledger_ms(raw->ledger) + ledger_bound(raw->ledger, TIMEOUT_MS);

	while (wanted ? *value != wanted : *value == 0) {
		if (!read_some(raw, 20, 0) || ledger_ms(raw->ledger) > deadline ||
		    !answer_ping(raw))
			return false;
		atomic_fetch_add(&raw->ledger->worker[raw->number].turns, 1);
	}
	return true;
}

static bool synchronize(struct raw *raw)
{
	struct xy_frame sync = header(raw, XY_SYNC);
	uint64_t queued[CHANNELS_MAX];

	sender_queued(raw->ledger, raw->number, queued);
	raw->wanted = false;
	sync.correlation = ++raw->syncs;
	if (!say(raw, sync, NULL, 0) || !wait_for(raw, &raw->synced, raw->syncs))
		return false;
	sender_synced(raw->ledger, raw->number, queued);
	return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

static void ping(struct raw *raw)
{
	put(raw, header(raw, XY_PING), "between", 7);
}

static void put_fragments(struct raw *raw, struct xy_frame frame, const uint8_t *data,
			  size_t length)
{
	size_t piece = 1 + length / (2 + dice_below(&raw->dice, 5));

	if (piece > SINGLE_MAX)
		piece = SINGLE_MAX;
	frame.fragments = (uint16_t)((length + piece - 1) / piece);
	for (size_t at = 0; at < length; at += piece, frame.fragment++) {
		put(raw, frame, data + at, length - at < piece ? length - at : piece);
		if (dice_chance(&raw->dice, 1, 4))
			ping(raw);
	}
}

static void put_bundle(struct raw *raw, uint32_t channel, struct xy_frame frame)
{
	uint64_t items = 1 + dice_below(&raw->dice, 8);
	uint8_t bundle[8 * 2048];
	size_t at = 0;

	frame.flags |= XY_BUNDLE;
	for (uint64_t i = 0; i < items; i++) {
		struct stamp stamp = sender_next(raw->ledger, raw->number, channel);
		size_t length = message_length(&raw->dice, 2000);
		uint32_t prefix = xy_be32((uint32_t)length);

		if (i == 0)
			frame.sequence = stamp.counter;
		memcpy(bundle + at, &prefix, sizeof(prefix));
		memcpy(bundle + at + sizeof(prefix), message_make(stamp, length), length);
		at += sizeof(prefix) + length;
	}
	put(raw, frame, bundle, at);
}

static void put_item(struct raw *raw)
{
	uint32_t channel = (uint32_t)dice_below(&raw->dice, 2);
	struct xy_frame frame = header(raw, XY_DATA);
	struct stamp stamp;
	const void *data;
	size_t length;

	frame.target = raw->topic[channel];
	if (dice_chance(&raw->dice, 1, 3)) {
		put_bundle(raw, channel, frame);
		return;
	}
	length = message_length(&raw->dice, 200000);
	stamp = sender_next(raw->ledger, raw->number, channel);
	frame.sequence = stamp.counter;
	data = message_make(stamp, length);
	if (length > SINGLE_MAX || (length > 100 && dice_chance(&raw->dice, 1, 20)))
		put_fragments(raw, frame, data, length);
	else
		put(raw, frame, data, length);
	if (dice_chance(&raw->dice, 1, 20))
		ping(raw);
}

static bool batch(struct raw *raw)
{
	uint64_t items = 1 + dice_below(&raw->dice, ITEMS_MAX);

	raw->length = 0;
	for (uint64_t i = 0; i < items && raw->length < BATCH_MAX / 2; i++)
		put_item(raw);
	if (!send_batch(raw) || !read_some(raw, 0, 0) || !answer_ping(raw))
		return false;
	return !dice_chance(&raw->dice, raw->wanted ? 6 : 1, 8) || synchronize(raw);
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool greet(struct raw *raw, const struct worker_plan *plan)
{
	struct xy_frame declare;

	if (!say(raw, header(raw, XY_HELLO), HELLO, strlen(HELLO)) ||
	    !wait_for(raw, &raw->endpoint, 0))
		return false;
	if (dice_chance(&raw->dice, 3, 4) && !synchronize(raw))
		return false;
	for (uint32_t c = 0; c < 2; c++) {
		declare = header(raw, XY_DECLARE);
		declare.correlation = c + 1;
		raw->answer = 0;
		if (!say(raw, declare, plan->channel[c].subject,
			 strlen(plan->channel[c].subject)) ||
		    !wait_for(raw, &raw->answer, 0))
			return false;
		raw->topic[c] = raw->answer;
	}
	return true;
}

int worker_dial(const struct ledger *ledger, const struct worker *worker)
{
	const char *server = worker->plan.way == WAY_UNIX ? ledger->local[worker->plan.proxy]
							  : ledger->server[worker->plan.proxy];
	struct xy_address address;
	struct pollfd p = {.events = POLLOUT};
	int r = -1;

	if (xy_address_parse(server, &address, 1, NULL, 0) == 1)
		r = xy_net_connect(&address, &p.fd);
	if (r < 0)
		return -1;
	if (r == 0 || (poll(&p, 1, TIMEOUT_MS) == 1 && xy_net_connect_result(p.fd) == 0))
		return p.fd;
	close(p.fd);
	return -1;
}

int raw_worker(struct ledger *ledger, uint32_t number, uint32_t life)
{
	struct worker *worker = &ledger->worker[number];
	struct raw *raw = calloc(1, sizeof(*raw));

	if (raw == NULL)
		return 1;
	raw->ledger = ledger;
	raw->number = number;
	raw->dice = dice_of(ledger->seed, number * 1000003ull + life);
	sender_begin(ledger, number, life);
	raw->fd = worker_dial(ledger, worker);
	if (raw->fd < 0 || !greet(raw, &worker->plan))
		return EXIT_TRY_AGAIN;
	atomic_store(&worker->connected, true);
	while (atomic_load(&ledger->phase) == PHASE_RUN) {
		if (!batch(raw) || !read_some(raw, (int)worker->plan.nap_ms, 0)) {
			connection_ended(ledger, number, "by the proxy");
			return EXIT_TRY_AGAIN;
		}
	}
	if (!synchronize(raw))
		ledger_fail(ledger, OTHER, "%s: no SYNCED", worker->plan.name);
	atomic_store(&worker->quiet, true);
	while (atomic_load(&ledger->phase) == PHASE_QUIET && read_some(raw, 50, 0) &&
	       answer_ping(raw))
		atomic_fetch_add(&worker->turns, 1);
	return 0;
}
