/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue group shares by load: the member with the most free credit gets the message, whether the
 * kernel chooses or the proxy. One member is ten times slower than the others; time is counted in
 * turns, so that no clock matters: in a turn as many messages are published as all can do together,
 * and then each member does its work, if it has any, and acks it.
 */
#include <stdio.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/sessions.h"

#define TURNS       60
#define FAST        10 /* messages a turn */
#define PAYLOAD     2000
#define MEMBERS_MAX 12
#define ARRIVAL_MS  20

struct member {
	struct raw *raw;
	unsigned speed, done, idle; /* turns in which it had nothing to do */
};

/* What the round-robin of the same turns would have done. */
static unsigned round_robin(unsigned members, unsigned per_turn)
{
	unsigned given[MEMBERS_MAX] = {0}, total = 0, next = 0;

	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned m = 0; m < per_turn; m++)
			given[next++ % members]++;
		for (unsigned m = 0; m < members; m++) {
			unsigned speed = m == 0 ? 1 : FAST;
			unsigned does = given[m] < speed ? given[m] : speed;

			given[m] -= does;
			total += does;
		}
	}
	return total;
}

static bool message_take(struct raw *raw, uint64_t timeout_ms)
{
	while (raw_read(raw, timeout_ms) == RAW_FRAME) {
		if (raw->frame.header.type == XY_DATA)
			return true;
		if (raw->frame.header.type == XY_PING) {
			struct xy_frame pong = raw_header(raw, XY_PONG);

			pong.correlation = raw->frame.header.correlation;
			raw_send_frame(raw, pong, raw->frame.payload, raw->frame.length);
		}
	}
	return false;
}

static void member_work(struct member *member, unsigned published, unsigned *done)
{
	for (unsigned w = 0; w < member->speed && *done < published; w++) {
		if (!message_take(member->raw, w == 0 ? ARRIVAL_MS : 0))
			break;
		member->done++;
		++*done;
		raw_send_frame(member->raw, raw_header(member->raw, XY_ACK), NULL, 0);
	}
}

typedef struct raw *(*open_fn)(const struct proxy *proxy);

/* Members 1 … are opened in turn by the two functions. */
static void shares(struct proxy *proxy, unsigned members, open_fn open, open_fn other, bool stalled)
{
	static const uint8_t payload[PAYLOAD];
	struct member member[MEMBERS_MAX] = {0};
	struct raw *publisher = raw_open(proxy);
	unsigned per_turn = FAST * (members - 1) + !stalled, published = 0, done = 0;
	struct xy_frame data = raw_header(publisher, XY_DATA);
	char subject[32], json[96];

	snprintf(subject, sizeof(subject), "load.%u", members);
	snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"group\":\"load\",\"stall_ms\":60000}",
		 subject);
	for (unsigned m = 0; m < members; m++) {
		member[m].raw = m % 2 ? other(proxy) : open(proxy);
		member[m].raw->silent = true;
		member[m].speed = m == 0 ? !stalled : FAST;
		raw_subscribe(member[m].raw, json);
	}
	data.target = raw_declare(publisher, subject);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned p = 0; p < per_turn; p++, published++) {
			data.sequence++;
			raw_send_frame(publisher, data, payload, sizeof(payload));
		}
		raw_sync(publisher);
		for (unsigned m = 0; m < members; m++)
			member_work(&member[m], published, &done);
	}
	print_message("%u members: %u of %u done, %u by the slow one; round-robin %u\n", members,
		      done, published, member[0].done, round_robin(members, per_turn));
	/* All of them together do what they can … */
	assert_in_range(done, published - published / 10, published);
	/* … and what a stalled one got before it was known is little. */
	if (stalled)
		while (message_take(member[0].raw, ARRIVAL_MS))
			member[0].done++;
	assert_in_range(member[0].done, stalled ? 0 : 1, stalled ? TURNS * FAST / 6 : TURNS);
	if (!stalled)
		assert_true(done > round_robin(members, per_turn));
	raw_close_all();
}

static void test_a_slow_member_gets_its_share_by_speed(void **state)
{
	for (unsigned members = 2; members <= 8; members += 3)
		shares(*state, members, raw_open, raw_open, false);
}

static void test_a_slow_member_of_a_large_group_gets_its_share_by_speed(void **state)
{
	shares(*state, MEMBERS_MAX, raw_open, raw_open, false);
}

static void test_a_slow_member_without_a_lane_gets_its_share_by_speed(void **state)
{
	shares(*state, 4, raw_open_unix, raw_open_unix, false);
	shares(*state, 6, raw_open_unix, raw_open, false);
}

static void test_a_stalled_member_gets_nothing_more(void **state)
{
	shares(*state, 4, raw_open, raw_open, true);
	shares(*state, 7, raw_open_unix, raw_open, true);
	shares(*state, MEMBERS_MAX, raw_open, raw_open, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_a_slow_member_gets_its_share_by_speed),
		proxy_test(test_a_slow_member_of_a_large_group_gets_its_share_by_speed),
		proxy_test(test_a_slow_member_without_a_lane_gets_its_share_by_speed),
		proxy_test(test_a_stalled_member_gets_nothing_more),
	};

	return proxy_run_both(tests, NULL);
}
