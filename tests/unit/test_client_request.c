/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: requests and replies. */
#include "unit/seen.h"

#define INBOUND (256u << 10)

static struct fake fake;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	return 0;
}

static void a_request_gets_its_reply_past_messages_that_wait(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;
	struct xy_message message, reply;
	static const char large[4096];

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.inbound_max = INBOUND});
	assert_int_equal(xy_client_subscribe(client, "n", NULL, NULL), 0);
	assert_int_equal(xy_client_declare(client, "service", &topic), 0);
	fake_bind(&fake, "n");
	fake_text(&fake, "n", 1, "first");
	fake_text(&fake, "n", 2, "second");
	assert_int_equal(xy_client_next(client, -1, &message), 0);
	assert_int_equal(xy_client_request(client, topic, "question", 8, -1, &reply), 0);
	assert_text(&reply, "question");
	/* Both are in hand at the same time. */
	assert_text(&message, "first");
	assert_int_equal(fake_frame(&fake, XY_DATA, 0).header.flags, XY_REPLY_WANTED);
	assert_true(reply.correlation != 0);
	expect_text(client, "second");
	/* With no message in hand each gives back the memory of the one before. */
	assert_int_equal(xy_client_next(client, 0, &message), -ETIMEDOUT);
	for (size_t taken = 0; taken < 10 * INBOUND; taken += sizeof(large)) {
		assert_int_equal(xy_client_request(client, topic, large, sizeof(large), -1, &reply),
				 0);
		assert_int_equal(reply.length, sizeof(large));
	}
	fake_close(&fake, client);
}

static void a_request_that_nobody_answers_fails_and_a_late_reply_is_dropped(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;
	struct xy_message reply;
	struct xy_frame request;

	(void)state;
	fake.silent_requests = true;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "service", &topic), 0);
	assert_int_equal(xy_client_request(client, topic, "q", 1, 1, &reply), -ETIMEDOUT);
	fake_await(&fake, XY_DATA, 1);
	request = fake_frame(&fake, XY_DATA, 0).header;
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_DATA,
				      .flags = XY_DIRECT,
				      .source = FAKE_PEER,
				      .correlation = request.correlation},
		    "late", 4);
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_DATA, .flags = XY_DIRECT, .source = FAKE_PEER},
		    "direct", 6);
	expect_text(client, "direct");
	fake_close(&fake, client);
}

static void no_responders_ends_a_request_with_enoent(void **state)
{
	struct seen seen = {0};
	struct xy_client *client;
	struct xy_topic *topic;
	struct xy_message message;

	(void)state;
	fake.silent_requests = true;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "service", &topic), 0);
	assert_int_equal(xy_client_request_async(client, topic, "q", 1, -1, see, &seen), 0);
	assert_int_equal(xy_client_request_async(client, topic, "q", 1, 1, see, &seen), 0);
	while (seen.count < 1)
		assert_int_equal(xy_client_next(client, 1, &message), -ETIMEDOUT);
	assert_string_equal(seen.text, "(no reply in time)");
	fake_await(&fake, XY_DATA, 2);
	fake_inject_error(&fake, XY_E_NO_RESPONDERS,
			  fake_frame(&fake, XY_DATA, 0).header.correlation);
	while (seen.count < 2)
		assert_int_equal(xy_client_next(client, 1, &message), -ETIMEDOUT);
	assert_string_equal(seen.text, "(no reply in time)(no-responders: scripted)");
	fake_close(&fake, client);
}

static void requests_with_handlers_may_be_many_at_once(void **state)
{
	struct seen seen = {0};
	struct xy_client *client;
	struct xy_topic *topic;
	struct xy_message message;
	char digit[2] = "0";

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "service", &topic), 0);
	for (int i = 0; i < 200; i++) {
		digit[0] = (char)('0' + i % 10);
		assert_int_equal(xy_client_request_async(client, topic, digit, 1, -1, see, &seen),
				 0);
	}
	while (seen.count < 200)
		assert_int_equal(xy_client_next(client, 1, &message), -ETIMEDOUT);
	assert_int_equal(strlen(seen.text), 200);
	for (int i = 0; i < 200; i++)
		assert_int_equal(seen.text[i], '0' + i % 10);
	fake_close(&fake, client);
}

static void a_reply_goes_to_the_source_with_the_correlation(void **state)
{
	struct xy_client *client;
	struct xy_message request;
	struct fake_frame reply;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_subscribe(client, "s", NULL, NULL), 0);
	fake_bind(&fake, "s");
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_DATA,
				      .flags = XY_REPLY_WANTED,
				      .target = fake_topic_id("s"),
				      .source = FAKE_PEER,
				      .sequence = 1,
				      .correlation = 99},
		    "q", 1);
	assert_int_equal(xy_client_next(client, -1, &request), 0);
	assert_true(request.reply_wanted);
	assert_int_equal(xy_client_reply(client, &request, "answer", 6), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 1);
	reply = fake_frame(&fake, XY_DATA, 0);
	assert_int_equal(reply.header.flags, XY_DIRECT);
	assert_int_equal(reply.header.target, FAKE_PEER);
	assert_int_equal(reply.header.correlation, 99);
	assert_memory_equal(reply.payload, "answer", 6);
	request.reply_wanted = false;
	assert_int_equal(xy_client_reply(client, &request, "answer", 6), -EINVAL);
	fake_close(&fake, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_request_gets_its_reply_past_messages_that_wait, setup),
		cmocka_unit_test_setup(
			a_request_that_nobody_answers_fails_and_a_late_reply_is_dropped, setup),
		cmocka_unit_test_setup(no_responders_ends_a_request_with_enoent, setup),
		cmocka_unit_test_setup(requests_with_handlers_may_be_many_at_once, setup),
		cmocka_unit_test_setup(a_reply_goes_to_the_source_with_the_correlation, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
