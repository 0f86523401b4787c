/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pairs of connections that saturate each other under `block`: each sends as fast as it can and
 * takes in less. On lanes, off lanes and mixed, by hand and by the library, all at once: every one
 * makes progress all the time, nobody is closed, and everything arrives once and in order.
 *
 * Environment: SATURATE_SECONDS (60) with the kernel path; without it a quarter of that.
 */
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
#include "common/status.h"

#define SECONDS     60
#define STALL_MS    30000 /* nobody is closed because the machine is busy */
#define PATIENCE_MS 15000 /* for progress; far below STALL_MS */
#define BYTES       8000  /* of a message */
#define SENDS       24    /* tries to send in a round … */
#define READS       8     /* … and messages taken */
#define ROUND_US    2000
#define LENGTH(a)   (sizeof(a) / sizeof((a)[0]))

enum way { LANE, LOCAL, NO_LANE };

/* One side of a pair. */
struct side {
	const struct proxy *proxy;
	const char *subject, *from; /* published here, subscribed there */
	enum way way;
	struct side *other;
	_Atomic(uint64_t) sent, got;
	_Atomic(bool) failed;
	char why[256];
};

static _Atomic(bool) stopping;

static void side_fail(struct side *side, const char *what, const char *why)
{
	if (!atomic_exchange(&side->failed, true))
		snprintf(side->why, sizeof(side->why), "%s: %s: %.100s", side->subject, what, why);
}

static void side_take(struct side *side, uint64_t sequence)
{
	uint64_t expected = atomic_fetch_add(&side->got, 1) + 1;

	if (sequence != expected)
		side_fail(side, "order", "a message is lost, or came twice");
}

static bool pair_done(const struct side *side)
{
	const struct side *other = side->other;

	return atomic_load(&stopping) && atomic_load(&side->got) == atomic_load(&other->sent) &&
	       atomic_load(&other->got) == atomic_load(&side->sent);
}

/* ---- by hand --------------------------------------------------------------------------------- */

struct hand {
	struct side *side;
	struct raw *raw;
	struct xy_frame data;
	uint8_t out[XY_HEADER_SIZE + BYTES];
	size_t left; /* unsent bytes at the end of out */
	bool sync_wanted, syncing;
};

static void hand_open(struct hand *hand, struct side *side)
{
	char json[256];

	hand->side = side;
	hand->raw = side->way == LOCAL ? raw_connect_unix(side->proxy) : raw_connect(side->proxy);
	raw_hello(hand->raw,
		  side->way == NO_LANE ? "{\"name\":\"hand\",\"ack\":false}" : RAW_HELLO);
	raw_sync(hand->raw);
	assert_int_equal(hand->raw->lane,
			 side->way == LANE && proxy_kernel_path(side->proxy) == KERNEL_PATH_ON);
	snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"stall_ms\":%d}", side->from, STALL_MS);
	raw_subscribe(hand->raw, json);
	hand->data = raw_header(hand->raw, XY_DATA);
	hand->data.target = raw_declare(hand->raw, side->subject);
}

static bool writable(const struct hand *hand)
{
	struct pollfd pollfd = {.fd = hand->raw->fd, .events = POLLOUT};

	return poll(&pollfd, 1, 0) == 1 && pollfd.revents & POLLOUT;
}

/* What is unsent, or a new frame. False: not now. */
static bool hand_put(struct hand *hand, const struct xy_frame *frame, size_t length)
{
	ssize_t n;

	if (frame) {
		size_t size = raw_put(hand->out, *frame, hand->raw->frame.payload, length);

		memmove(hand->out + sizeof(hand->out) - size, hand->out, size);
		hand->left = size;
	}
	n = send(hand->raw->fd, hand->out + sizeof(hand->out) - hand->left, hand->left,
		 MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		side_fail(hand->side, "send", strerror(errno));
	if (n > 0)
		hand->left -= (size_t)n;
	return hand->left == 0;
}

/* A control frame goes whole: what is unsent first. */
static void hand_control(struct hand *hand, uint8_t type, uint64_t correlation, size_t length)
{
	struct xy_frame frame = raw_header(hand->raw, type);

	frame.correlation = correlation;
	raw_send(hand->raw, hand->out + sizeof(hand->out) - hand->left, hand->left);
	hand->left = 0;
	raw_send_frame(hand->raw, frame, hand->raw->frame.payload, length);
}

static void hand_read(struct hand *hand)
{
	struct raw *raw = hand->raw;

	for (int taken = 0; taken < READS && raw_read(raw, 0) == RAW_FRAME;) {
		const struct xy_frame *header = &raw->frame.header;

		switch (header->type) {
		case XY_DATA:
			side_take(hand->side, header->sequence);
			taken++;
			break;
		case XY_PING:
			hand_control(hand, XY_PONG, header->correlation, raw->frame.length);
			break;
		case XY_SYNC_WANTED:
			hand->sync_wanted = true;
			break;
		case XY_SYNCED:
			hand->syncing = false;
			break;
		case XY_BINDING:
			break;
		default:
			side_fail(hand->side, xy_type_name(header->type),
				  (char *)raw->frame.payload);
		}
		if (raw->lane && raw->consumed - raw->acked >= raw->welcome.window / 8)
			hand_control(hand, XY_ACK, 0, 0);
	}
}

static void hand_write(struct hand *hand)
{
	if (hand->left && !hand_put(hand, NULL, 0))
		return;
	if (hand->sync_wanted && !hand->syncing) {
		hand_control(hand, XY_SYNC, ++hand->raw->syncs, 0);
		hand->sync_wanted = false;
		hand->syncing = true;
	}
	for (int s = 0; s < SENDS && !hand->syncing && !atomic_load(&stopping); s++) {
		if (!writable(hand))
			return;
		hand->data.sequence = atomic_fetch_add(&hand->side->sent, 1) + 1;
		hand->data.ack = hand->raw->acked = hand->raw->consumed;
		if (!hand_put(hand, &hand->data, BYTES))
			return;
	}
}

static void hand_round(struct hand *hand)
{
	hand_read(hand);
	hand_write(hand);
}

/* ---- by the library -------------------------------------------------------------------------- */

static struct xy_client *library_open(struct side *side, struct xy_topic **ret_topic)
{
	const struct xy_client_options options = {
		.size = sizeof(options),
		.server = side->way == LOCAL ? proxy_unix(side->proxy) : proxy_server(side->proxy),
		.name = side->subject,
		.no_lane = side->way == NO_LANE,
		.no_reconnect = true,
		.connect_timeout_ms = TEST_TIMEOUT_MS,
		.inbound_max = 1 << 20,
		.outbound_max = 1 << 20,
	};
	const struct xy_subscribe_options subscribe = {.size = sizeof(subscribe),
						       .stall_ms = STALL_MS};
	struct xy_subscription *subscription;
	struct xy_client *client = NULL;

	if (xy_client_connect(&options, &client) ||
	    xy_client_subscribe(client, side->from, &subscribe, &subscription) ||
	    xy_client_declare(client, side->subject, ret_topic)) {
		side_fail(side, "open", client ? xy_client_error(client) : "connect");
		xy_client_close(client);
		return NULL;
	}
	return client;
}

static void library_take(struct side *side, struct xy_client *client, int timeout_ms)
{
	struct xy_message message;
	uint64_t sequence;
	int error = 0;

	for (int r = 0; r < READS && !error; r++) {
		error = xy_client_next(client, timeout_ms, &message);
		if (!error) {
			memcpy(&sequence, message.data, sizeof(sequence));
			side_take(side, sequence);
		}
		timeout_ms = 0;
	}
	if (error && error != -ETIMEDOUT)
		side_fail(side, "next", xy_client_error(client));
}

static _Atomic(unsigned) subscribed;

static void *library_run(void *context)
{
	struct side *side = context;
	struct xy_topic *topic;
	struct xy_client *client = library_open(side, &topic);
	static const uint8_t zeros[BYTES];
	uint8_t message[BYTES];

	memcpy(message, zeros, sizeof(message));
	atomic_fetch_add(&subscribed, 1);
	while (client && !atomic_load(&side->other->failed) && atomic_load(&subscribed) % 2)
		usleep(1000); /* the other one's first messages would go to nobody */
	while (client && !atomic_load(&side->failed) && !pair_done(side)) {
		for (int s = 0; s < SENDS && !atomic_load(&stopping); s++) {
			uint64_t sequence = atomic_load(&side->sent) + 1;
			int error;

			memcpy(message, &sequence, sizeof(sequence));
			/* Waits for room, and takes in meanwhile, as far as inbound_max goes. */
			error = xy_client_publish(client, topic, message, sizeof(message));
			if (error == -EAGAIN)
				break;
			if (error) {
				side_fail(side, "publish", xy_client_error(client));
				break;
			}
			atomic_fetch_add(&side->sent, 1);
		}
		library_take(side, client, atomic_load(&stopping) ? 10 : 0);
		usleep(ROUND_US);
	}
	xy_client_close(client);
	return NULL;
}

/* ---- all of them ----------------------------------------------------------------------------- */

struct pair {
	const char *name;
	enum way a, b;
	bool library;
	struct side side[2];
	struct hand hand[2];
	pthread_t thread[2];
	char subject[2][32];
	uint64_t seen[2], moved_ms;
};

static void pair_open(struct pair *pair, const struct proxy *proxy, unsigned index)
{
	for (int s = 0; s < 2; s++) {
		snprintf(pair->subject[s], sizeof(pair->subject[s]), "saturate.%u.%c", index,
			 'a' + s);
		pair->side[s] = (struct side){.proxy = proxy,
					      .way = s ? pair->b : pair->a,
					      .subject = pair->subject[s],
					      .from = pair->subject[1 - s],
					      .other = &pair->side[1 - s]};
	}
	for (int s = 0; s < 2; s++) {
		memset(&pair->hand[s], 0, sizeof(pair->hand[s]));
		if (!pair->library)
			hand_open(&pair->hand[s], &pair->side[s]);
	}
	pair->moved_ms = test_now_ms();
	pair->seen[0] = pair->seen[1] = 0;
	if (!pair->library)
		return;
	atomic_store(&subscribed, 0);
	for (int s = 0; s < 2; s++)
		assert_int_equal(
			pthread_create(&pair->thread[s], NULL, library_run, &pair->side[s]), 0);
	while (atomic_load(&subscribed) < 2)
		usleep(1000);
}

/* Both sides have received something since the last time that they both had. */
static const char *pair_look(struct pair *pair)
{
	uint64_t now = test_now_ms(), got[2];

	for (int s = 0; s < 2; s++) {
		if (atomic_load(&pair->side[s].failed))
			return pair->side[s].why;
		got[s] = atomic_load(&pair->side[s].got);
	}
	if (got[0] != pair->seen[0] && got[1] != pair->seen[1]) {
		memcpy(pair->seen, got, sizeof(got));
		pair->moved_ms = now;
	}
	if (now - pair->moved_ms > PATIENCE_MS && !pair_done(&pair->side[0]))
		return "one of them makes no progress";
	return NULL;
}

static void test_pairs_that_saturate_each_other(void **state)
{
	static struct pair pairs[] = {
		{.name = "lanes, by hand", .a = LANE, .b = LANE},
		{.name = "off lanes, by hand", .a = LOCAL, .b = NO_LANE},
		{.name = "mixed, by hand", .a = LANE, .b = LOCAL},
		{.name = "lanes, library", .a = LANE, .b = LANE, .library = true},
		{.name = "off lanes, library", .a = LOCAL, .b = NO_LANE, .library = true},
		{.name = "mixed, library", .a = NO_LANE, .b = LANE, .library = true},
	};
	const char *given = getenv("SATURATE_SECONDS"), *why = NULL;
	uint64_t seconds = given ? strtoull(given, NULL, 0) : SECONDS, until, braked;
	unsigned done = 0;

	if (proxy_kernel_path(*state) == KERNEL_PATH_OFF)
		seconds = seconds / 4 + 1;
	atomic_store(&stopping, false);
	braked = status_counter(*state, "braked");
	for (unsigned p = 0; p < LENGTH(pairs); p++)
		pair_open(&pairs[p], *state, p);
	until = test_now_ms() + seconds * 1000;
	while (!why && done < LENGTH(pairs)) {
		atomic_store(&stopping, test_now_ms() >= until);
		done = 0;
		for (unsigned p = 0; p < LENGTH(pairs) && !why; p++) {
			struct pair *pair = &pairs[p];

			for (int s = 0; s < 2 && !pair->library; s++)
				hand_round(&pair->hand[s]);
			done += pair_done(&pair->side[0]);
			why = pair_look(pair);
		}
		usleep(ROUND_US);
	}
	atomic_store(&stopping, true);
	for (unsigned p = 0; p < LENGTH(pairs); p++) {
		struct pair *pair = &pairs[p];

		print_message("%-20s %8lu and %8lu messages\n", pair->name, pair->side[0].got,
			      pair->side[1].got);
		for (int s = 0; s < 2; s++)
			if (why)
				side_fail(&pair->side[s], "ended", why);
		for (int s = 0; s < 2 && pair->library; s++)
			pthread_join(pair->thread[s], NULL);
	}
	if (why)
		fail_msg("%s", why);
	/* Nobody's credit was wrong, or taken for it. */
	assert_int_equal(status_counter(*state, "credit_righted"), 0);
	/* They did have to wait for each other. */
	assert_true(status_counter(*state, "braked") > braked + LENGTH(pairs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_pairs_that_saturate_each_other),
	};

	return proxy_run_both(tests, NULL);
}
