/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Allocations of the proxy fail while it works: messages that arrive are whole and in order, what
 * is lost is told and counted, and when memory is back everything is as before. SEED repeats a run,
 * as far as threads allow.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/faults.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/secure.h"
#include "common/status.h"

#define PUBLISHERS  3
#define SUBSCRIBERS 3
#define PARTIES     (PUBLISHERS + SUBSCRIBERS)
#define ROUNDS      2000
#define CLEAN       200 /* messages that must all arrive when memory is back */
#define LARGEST     50000
#define LIVES       64 /* connections of one publisher, one after the other, that are told apart */

enum stage { GONE, HELLO_SENT, SYNC_SENT, ASKED, READY };

struct stamp {
	uint32_t publisher, life; /* of its connections the how-many-eth */
	uint64_t sequence;
};

struct party {
	struct raw *raw; /* NULL = GONE */
	enum stage stage;
	uint32_t life;
	bool waits; /* a publisher: for SYNCED */
	uint64_t topic, sequence;
	uint8_t out[2 * XY_FRAME_MAX]; /* what the socket did not take */
	size_t held;
	/* A subscriber: the last message of each connection of each publisher. */
	struct stamp last[PUBLISHERS][LIVES];
};

static struct proxy *running;
static struct faults *faults;
static struct party parties[PARTIES]; /* publishers first */
static uint64_t random_state, gaps, refusals, ends;

static uint64_t chance(uint64_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % below;
}

static bool is_publisher(const struct party *party)
{
	return party < parties + PUBLISHERS;
}

/* ---- out ------------------------------------------------------------------------------------- */

static void party_end(struct party *party)
{
	raw_close(party->raw);
	party->raw = NULL;
	party->stage = GONE;
	ends++;
}

static void party_flush(struct party *party)
{
	ssize_t sent;

	while (party->raw != NULL && party->held > 0) {
		sent = raw_send_some(party->raw, party->out, party->held);
		if (sent < 0) {
			if (errno != EAGAIN)
				party_end(party);
			return;
		}
		party->held -= (size_t)sent;
		memmove(party->out, party->out + sent, party->held);
	}
}

static void party_send(struct party *party, struct xy_frame frame, const void *payload,
		       size_t length)
{
	if (party->raw == NULL || party->held > XY_FRAME_MAX)
		return;
	party->raw->acked = frame.ack;
	party->held += raw_put(party->out + party->held, frame, payload, length);
	party_flush(party);
}

static void party_say(struct party *party, uint8_t type, uint64_t correlation, const char *text)
{
	struct xy_frame frame = raw_header(party->raw, type);

	frame.correlation = correlation;
	party_send(party, frame, text, strlen(text));
}

/* Which may fail within the handshake. */
static void party_connect(const struct proxy *proxy, struct party *party)
{
	bool local = (party - parties) % 3 == 2;

	if (local || !secure_wanted())
		party->raw = local ? raw_connect_unix(proxy) : raw_connect(proxy);
	else
		party->raw =
			secure_connect(&(struct secure_options){.port = proxy_secure_port(proxy)});
	party->raw->may_tear = true;
	if (party->raw->ssl != NULL && !secure_try(party->raw))
		party_end(party);
}

static void party_open(const struct proxy *proxy, struct party *party)
{
	struct xy_frame hello = {.version = XY_WIRE_VERSION, .type = XY_HELLO};

	party_connect(proxy, party);
	if (party->raw == NULL)
		return;
	party->stage = HELLO_SENT;
	party->life++;
	party->waits = false;
	party->held = 0;
	party->sequence = 0;
	memset(party->last, 0, sizeof(party->last));
	party_send(party, hello, RAW_HELLO, strlen(RAW_HELLO));
}

static void party_sync(struct party *party)
{
	party->waits = true;
	party_say(party, XY_SYNC, ++party->raw->syncs, "");
}

static void party_ask(struct party *party)
{
	char text[64];

	party->stage = ASKED;
	if (is_publisher(party))
		snprintf(text, sizeof(text), "memory.%d", (int)(party - parties));
	else
		snprintf(text, sizeof(text), "{\"subject\":\"%s\",\"stall_ms\":60000}",
			 (party - parties) % 2 ? "memory.>" : "memory.*");
	party_say(party, is_publisher(party) ? XY_DECLARE : XY_SUBSCRIBE, ++party->raw->correlation,
		  text);
}

static uint8_t byte_of(const struct stamp *stamp, size_t at)
{
	return (uint8_t)(stamp->sequence * 31 + stamp->publisher * 17 + at * 7);
}

static void party_publish(struct party *party)
{
	static uint8_t payload[LARGEST];
	struct stamp stamp = {.publisher = (uint32_t)(party - parties), .life = party->life};
	size_t length = sizeof(stamp) + chance(chance(8) ? 500 : LARGEST - sizeof(stamp));
	struct xy_frame data;

	if (party->stage != READY || party->waits || party->held > 0)
		return;
	data = raw_header(party->raw, XY_DATA);
	stamp.sequence = data.sequence = ++party->sequence;
	data.target = party->topic;
	memcpy(payload, &stamp, sizeof(stamp));
	for (size_t i = sizeof(stamp); i < length; i++)
		payload[i] = byte_of(&stamp, i);
	party_send(party, data, payload, length);
}

/* ---- in -------------------------------------------------------------------------------------- */

static void data_check(struct party *party, const struct raw_frame *frame)
{
	struct stamp stamp, *last;

	assert_true(frame->length >= sizeof(stamp));
	memcpy(&stamp, frame->payload, sizeof(stamp));
	assert_in_range(stamp.publisher, 0, PUBLISHERS - 1);
	assert_int_equal(frame->header.sequence, stamp.sequence);
	for (size_t i = sizeof(stamp); i < frame->length; i++)
		if (frame->payload[i] != byte_of(&stamp, i))
			fail_msg("byte %zu is not what was sent", i);
	/* What an earlier connection sent may come behind what a later one did. */
	last = &party->last[stamp.publisher][stamp.life % LIVES];
	if (stamp.life == last->life) {
		if (stamp.sequence <= last->sequence)
			fail_msg("message %lu after %lu", (unsigned long)stamp.sequence,
				 (unsigned long)last->sequence);
		gaps += stamp.sequence - last->sequence - 1;
	}
	*last = stamp;
}

static void error_take(struct party *party, const struct raw_frame *frame)
{
	struct xy_error_info info;
	char why[XY_WHY_SIZE];

	assert_int_equal(xy_error_decode(frame->payload, frame->length, &info, why), 0);
	assert_string_equal(info.code, xy_error_text(XY_E_OVERLOADED));
	refusals++;
	/* Of the request, and not of a message. */
	if (party->stage == ASKED && frame->header.correlation == party->raw->correlation)
		party_ask(party);
}

static void frame_take(struct party *party, const struct raw_frame *frame)
{
	struct raw *raw = party->raw;
	struct xy_frame pong;

	switch (frame->header.type) {
	case XY_WELCOME:
		raw->endpoint = frame->header.target;
		raw->consumed = 0;
		party->stage = SYNC_SENT;
		party_sync(party);
		break;
	case XY_SYNCED:
		raw->lane = frame->header.flags & XY_LANE;
		party->waits = false;
		if (party->stage == SYNC_SENT)
			party_ask(party);
		break;
	case XY_OK:
		party->stage = READY;
		party->topic = frame->header.target;
		break;
	case XY_ERROR:
		error_take(party, frame);
		break;
	case XY_DATA:
		data_check(party, frame);
		break;
	case XY_SYNC_WANTED:
		party_sync(party);
		break;
	case XY_PING:
		pong = raw_header(raw, XY_PONG);
		pong.correlation = frame->header.correlation;
		party_send(party, pong, frame->payload, frame->length);
		break;
	default:
		assert_int_equal(frame->header.type, XY_BINDING);
	}
}

static void party_pump(const struct proxy *proxy, struct party *party)
{
	enum raw_result result = RAW_FRAME;

	if (party->raw == NULL)
		party_open(proxy, party);
	party_flush(party);
	while (party->raw != NULL && (result = raw_read(party->raw, 0)) == RAW_FRAME) {
		frame_take(party, &party->raw->frame);
		if (party->raw != NULL && party->raw->endpoint != 0 &&
		    party->raw->consumed - party->raw->acked > (128u << 10))
			party_say(party, XY_ACK, 0, "");
	}
	if (party->raw != NULL && result == RAW_CLOSED)
		party_end(party);
}

static void pump_all(const struct proxy *proxy)
{
	for (int p = 0; p < PARTIES; p++)
		party_pump(proxy, &parties[p]);
}

/* ---- the run --------------------------------------------------------------------------------- */

static bool all_ready(void)
{
	for (int p = 0; p < PARTIES; p++)
		if (parties[p].stage != READY || parties[p].waits || parties[p].held > 0)
			return false;
	return true;
}

static void fail_not_ready(void)
{
	for (int p = 0; p < PARTIES; p++)
		print_message("# party %d: stage %d, %s, %zu bytes to send\n", p, parties[p].stage,
			      parties[p].waits ? "waits for SYNCED" : "does not wait",
			      parties[p].held);
	fail();
}

static void await_ready(const struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	do {
		pump_all(proxy);
		if (test_now_ms() > deadline)
			fail_not_ready();
	} while (!all_ready());
}

static uint64_t last_of(const struct party *subscriber, const struct party *publisher)
{
	const struct stamp *last = &subscriber->last[publisher - parties][publisher->life % LIVES];

	return last->life == publisher->life ? last->sequence : 0;
}

static bool had_since(const uint64_t since[PUBLISHERS])
{
	for (int s = PUBLISHERS; s < PARTIES; s++)
		for (int p = 0; p < PUBLISHERS; p++)
			if (last_of(&parties[s], &parties[p]) <= since[p])
				return false;
	return true;
}

/* Everybody gets everything: so many messages of each publisher, without a gap. */
static void run_clean(const struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, until[PUBLISHERS];
	uint64_t since[PUBLISHERS];

	await_ready(proxy);
	for (int p = 0; p < PUBLISHERS; p++)
		since[p] = parties[p].sequence;
	/* Routes come back a moment after the memory. */
	while (!had_since(since)) {
		for (int p = 0; p < PUBLISHERS; p++)
			party_publish(&parties[p]);
		pump_all(proxy);
		assert_true(test_now_ms() < deadline);
	}
	gaps = ends = refusals = 0;
	for (int p = 0; p < PUBLISHERS; p++)
		until[p] = parties[p].sequence + CLEAN;
	for (bool more = true; more;) {
		more = false;
		for (int p = 0; p < PUBLISHERS; p++) {
			if (parties[p].sequence < until[p])
				party_publish(&parties[p]);
			more = more || parties[p].sequence < until[p];
			for (int s = PUBLISHERS; s < PARTIES; s++)
				more = more || last_of(&parties[s], &parties[p]) < until[p];
		}
		pump_all(proxy);
		assert_true(test_now_ms() < deadline);
	}
	assert_int_equal(gaps + ends + refusals, 0);
}

static uint64_t losses(const struct proxy *proxy)
{
	/* One message that finds no route is missed by all. */
	return status_counter(proxy, "no_memory_dropped") +
	       status_counter(proxy, "overflow_dropped") + status_counter(proxy, "receiver_gone") +
	       SUBSCRIBERS * status_counter(proxy, "no_receiver");
}

static void run_short(const struct proxy *proxy, uint32_t one_in)
{
	uint64_t failed = atomic_load(&faults->failed);

	gaps = ends = refusals = 0;
	atomic_store(&faults->one_in, one_in);
	for (int round = 0; round < ROUNDS; round++) {
		for (int p = 0; p < PUBLISHERS; p++)
			for (uint64_t burst = chance(4); burst > 0; burst--)
				party_publish(&parties[p]);
		if (chance(30) == 0) {
			struct party *leaving = &parties[chance(PARTIES)];

			if (leaving->raw != NULL)
				party_end(leaving);
		}
		pump_all(proxy);
		if (!proxy_alive(proxy))
			break;
	}
	atomic_store(&faults->one_in, 0);
	proxy_check(proxy);
	failed = atomic_load(&faults->failed) - failed;
	print_message("# 1 of %u: %lu failed; %lu connections ended, %lu refusals, %lu missed\n",
		      one_in, (unsigned long)failed, (unsigned long)ends, (unsigned long)refusals,
		      (unsigned long)gaps);
	assert_int_not_equal(failed, 0);
	assert_true(gaps <= losses(proxy));
}

/* Nothing of those that failed half-way is kept. */
static void await_slots(struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, slots = 0, slots_free = 1;

	proxy_wait_idle(proxy);
	while (slots != slots_free) {
		json_t *status = status_take(proxy);
		json_t *kernel = json_object_get(status, "kernel_path");

		slots = status_number(kernel, "slots");
		slots_free = status_number(kernel, "slots_free");
		json_decref(status);
		assert_true(test_now_ms() < deadline);
	}
}

static void run(enum kernel_path path)
{
	static const char *const arguments[] = {"--loops", "2", "--lanes", "8", NULL};
	const char *seed = getenv("SEED");

	random_state = seed != NULL ? strtoull(seed, NULL, 0) : 1;
	memset(parties, 0, sizeof(parties));
	faults = faults_begin();
	if (faults == NULL)
		return;
	atomic_store(&faults->seed, random_state);
	running = proxy_start(path, arguments);
	faults_end();
	if (running == NULL)
		skip();
	run_clean(running);
	/* A handshake alone takes hundreds of them. */
	if (secure_wanted()) {
		run_short(running, 1500);
		run_clean(running);
	}
	/* Often enough for what is rare, and for what needs several to succeed before. */
	run_short(running, 50);
	run_clean(running);
	run_short(running, 12);
	run_clean(running);
	run_short(running, 4);
	run_clean(running);
	for (int p = 0; p < PARTIES; p++)
		party_end(&parties[p]);
	await_ready(running);
	for (int p = 0; p < PARTIES; p++)
		assert_int_equal(parties[p].raw->lane, path == KERNEL_PATH_ON && p % 3 != 2);
	raw_close_all();
	await_slots(running);
	proxy_stop(running);
	running = NULL;
}

static void test_without_memory_nothing_is_lost_in_silence(void **state)
{
	(void)state;
	run(KERNEL_PATH_OFF);
}

static void test_without_memory_nothing_is_lost_in_silence_on_lanes(void **state)
{
	(void)state;
	run(KERNEL_PATH_ON);
}

/* Records are made and read with memory, too: a stream that lacks it ends, and is not another one.
 */
static void test_without_memory_nothing_is_lost_in_silence_over_tls(void **state)
{
	(void)state;
	setenv("XY_TEST_TLS", "1", 1);
	run(KERNEL_PATH_OFF);
}

static int teardown(void **state)
{
	(void)state;
	unsetenv("XY_TEST_TLS");
	raw_close_all();
	proxy_kill(running);
	running = NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_without_memory_nothing_is_lost_in_silence, teardown),
		cmocka_unit_test_teardown(test_without_memory_nothing_is_lost_in_silence_on_lanes,
					  teardown),
		cmocka_unit_test_teardown(test_without_memory_nothing_is_lost_in_silence_over_tls,
					  teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
