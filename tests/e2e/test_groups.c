/* SPDX-License-Identifier: BSD-2-Clause */
/* Several queue groups on one subject. */
#include <stdio.h>

#include "common/proxy.h"
#include "common/raw.h"

#define MESSAGES  60
#define FRAGMENTS 4

/* Reads up to the answer to a PING; counts each fragment of each message. Returns how many. */
static unsigned collect_once(struct raw *raw, uint8_t had[MESSAGES + 1][FRAGMENTS])
{
	unsigned total = 0;

	raw_send_frame(raw, raw_header(raw, XY_PING), NULL, 0);
	while (raw_read(raw, TEST_TIMEOUT_MS) == RAW_FRAME && raw->frame.header.type != XY_PONG) {
		const struct xy_frame *header = &raw->frame.header;

		if (header->type != XY_DATA)
			continue;
		assert_in_range(header->sequence, 1, MESSAGES);
		assert_in_range(header->fragment, 0, FRAGMENTS - 1);
		had[header->sequence][header->fragment]++;
		total++;
	}
	return total;
}

/* Everything that was handed on before. A PONG goes before DATA that is taken over in the same turn
 * of the loop, so that only the second one is behind all of it. */
static unsigned collect(struct raw *raw, uint8_t had[MESSAGES + 1][FRAGMENTS])
{
	unsigned total = collect_once(raw, had);

	return total + collect_once(raw, had);
}

static void publish(struct raw *publisher, const char *subject, uint16_t fragments)
{
	struct xy_frame data = raw_header(publisher, XY_DATA);

	data.target = raw_declare(publisher, subject);
	data.fragments = fragments > 1 ? fragments : 0;
	for (data.sequence = 1; data.sequence <= MESSAGES; data.sequence++)
		for (data.fragment = 0; data.fragment < fragments; data.fragment++)
			raw_send_frame(publisher, data, "piece", 5);
	raw_sync(publisher);
}

static void test_a_member_of_two_groups_gets_each_message_once(void **state)
{
	uint8_t had[MESSAGES + 1][FRAGMENTS] = {0};
	struct raw *publisher = raw_open(*state), *member = raw_open(*state);

	raw_subscribe(member, "{\"subject\":\"groups.both\",\"group\":\"g\"}");
	raw_subscribe(member, "{\"subject\":\"groups.*\",\"group\":\"h\"}");
	publish(publisher, "groups.both", 1);
	assert_int_equal(collect(member, had), MESSAGES);
	for (unsigned m = 1; m <= MESSAGES; m++)
		assert_int_equal(had[m][0], 1);
}

/* Each group has every message once, and whole at one of its members. */
static void fragments_over_two_groups(struct proxy *proxy, const char *subject, bool shared)
{
	static const char *const names[] = {"g", "h"};
	uint8_t had[2][3][MESSAGES + 1][FRAGMENTS] = {0};
	struct raw *publisher = raw_open(proxy), *member[2][3], *both = raw_open(proxy);
	uint8_t had_both[MESSAGES + 1][FRAGMENTS] = {0};
	char json[128];

	for (int g = 0; g < 2; g++) {
		snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"group\":\"%s\"}", subject,
			 names[g]);
		for (int i = 0; i < 3; i++) {
			member[g][i] = raw_open(proxy);
			raw_subscribe(member[g][i], json);
		}
		if (shared)
			raw_subscribe(both, json);
	}
	publish(publisher, subject, FRAGMENTS);
	collect(both, had_both);
	for (int g = 0; g < 2; g++)
		for (int i = 0; i < 3; i++)
			collect(member[g][i], had[g][i]);
	for (int m = 1; m <= MESSAGES; m++) {
		assert_in_range(had_both[m][0], 0, 1);
		for (int g = 0; g < 2; g++) {
			unsigned whole = 0;

			for (int i = 0; i < 3; i++) {
				whole += had[g][i][m][0];
				for (int f = 1; f < FRAGMENTS; f++)
					assert_int_equal(had[g][i][m][f], had[g][i][m][0]);
			}
			/* Who is in both groups may get it for the other one, and satisfies this
			 * one, unless that had its member before. */
			assert_in_range(whole, had_both[m][0] ? 0 : 1, 1);
		}
		for (int f = 1; f < FRAGMENTS; f++)
			assert_int_equal(had_both[m][f], had_both[m][0]);
	}
}

static void test_fragments_stay_together_in_each_of_two_groups(void **state)
{
	fragments_over_two_groups(*state, "groups.pieces", false);
}

static void test_fragments_stay_together_when_groups_share_a_member(void **state)
{
	fragments_over_two_groups(*state, "groups.shared", true);
}

/* Whoever got the first fragment gets the rest, also if it was the only member then. */
static void test_who_joins_between_fragments_gets_none_of_them(void **state)
{
	struct raw *publisher = raw_open(*state), *first = raw_open(*state), *second;
	const char *member = "{\"subject\":\"groups.joined\",\"group\":\"g\"}";
	struct xy_frame data = raw_header(publisher, XY_DATA);

	raw_subscribe(first, member);
	data.target = raw_declare(publisher, "groups.joined");
	data.sequence = 1;
	raw_send_frame(publisher, data, "whole", 5);
	raw_expect_text(first, "whole");
	raw_sync(publisher); /* its flow has been decided about */

	data.sequence = 2;
	data.fragments = FRAGMENTS;
	raw_send_frame(publisher, data, "piece", 5);
	raw_expect_text(first, "piece");
	second = raw_open(*state);
	raw_subscribe(second, member);
	for (data.fragment = 1; data.fragment < FRAGMENTS; data.fragment++) {
		raw_send_frame(publisher, data, "piece", 5);
		raw_expect_text(first, "piece");
		assert_int_equal(first->frame.header.fragment, data.fragment);
	}
	raw_expect_fence(second, publisher);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_a_member_of_two_groups_gets_each_message_once),
		proxy_test(test_fragments_stay_together_in_each_of_two_groups),
		proxy_test(test_fragments_stay_together_when_groups_share_a_member),
		proxy_test(test_who_joins_between_fragments_gets_none_of_them),
	};

	return proxy_run_both(tests, NULL);
}
