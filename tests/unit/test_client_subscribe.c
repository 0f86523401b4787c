/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: a subscription that the application does not have, the proxy does not keep; messages
 * find the first of those that it has. */
#include "unit/fake_proxy.h"

#include "client/internal.h"

#define CROWD 400 /* messages of 1,000 bytes: more than inbound_max */

static struct fake fake;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	return 0;
}

static void expect_next(struct xy_client *client, struct xy_subscription *subscription,
			uint64_t sequence)
{
	struct xy_message message;

	assert_int_equal(xy_client_next(client, FAKE_TIMEOUT_S * 1000, &message), 0);
	assert_ptr_equal(message.subscription, subscription);
	assert_int_equal(message.sequence, sequence);
}

static void answer_subscribe(size_t n, uint64_t id)
{
	struct fake_frame asked = fake_frame(&fake, XY_SUBSCRIBE, n);

	fake_inject(&fake,
		    (struct xy_frame){
			    .type = XY_OK, .target = id, .correlation = asked.header.correlation},
		    NULL, 0);
}

static void expect_taken_back(struct xy_client *client, size_t n, uint64_t id)
{
	/* The first brings the answer, the second follows what that led to. */
	assert_int_equal(xy_client_sync(client, FAKE_TIMEOUT_S * 1000), 0);
	assert_int_equal(xy_client_sync(client, FAKE_TIMEOUT_S * 1000), 0);
	assert_int_equal(fake_count(&fake, XY_UNSUBSCRIBE), n + 1);
	assert_int_equal(fake_frame(&fake, XY_UNSUBSCRIBE, n).header.target, id);
}

static void one_that_failed_for_want_of_memory_is_taken_back_when_its_ok_is_read(void **state)
{
	struct xy_client *client =
		fake_open(&fake, (struct xy_client_options){.inbound_max = 256u << 10});
	struct xy_subscription *x, *y;
	struct xy_message message;
	uint8_t data[1000] = {0};

	(void)state;
	assert_int_equal(xy_client_subscribe(client, "x", NULL, &x), 0);
	fake_bind(&fake, "x");
	fake_bind(&fake, "y");
	for (unsigned i = 1; i <= CROWD; i++)
		fake_data(&fake, "x", i, data, sizeof(data));
	assert_int_equal(xy_client_subscribe(client, "y", NULL, &y), -EAGAIN);
	fake_await(&fake, XY_SUBSCRIBE, 2);
	/* What comes by it in the meantime is nobody's. */
	fake_data(&fake, "y", 1, data, sizeof(data));
	for (unsigned i = 1; i <= CROWD; i++)
		expect_next(client, x, i);
	expect_taken_back(client, 0, 2);
	assert_int_equal(xy_client_next(client, 0, &message), -ETIMEDOUT);
	assert_int_equal(xy_client_subscribe(client, "y", NULL, &y), 0);
	fake_data(&fake, "y", 2, data, sizeof(data));
	expect_next(client, y, 2);
	assert_int_equal(fake_count(&fake, XY_UNSUBSCRIBE), 1);
	fake_close(&fake, client);
}

/* The timeout of the call alone: connecting takes as long as it takes. */
static void subscribe_unanswered(struct xy_client *client)
{
	uint32_t timeout_ms = client->connect_timeout_ms;
	struct xy_subscription *x;

	fake_set(&fake, &fake.hold_subscribe, true);
	client->connect_timeout_ms = 20;
	assert_int_equal(xy_client_subscribe(client, "x", NULL, &x), -ETIMEDOUT);
	client->connect_timeout_ms = timeout_ms;
	fake_await(&fake, XY_SUBSCRIBE, 1);
}

static void one_that_was_not_answered_in_time_is_taken_back_when_it_is(void **state)
{
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){0});

	(void)state;
	subscribe_unanswered(client);
	answer_subscribe(0, 77);
	expect_taken_back(client, 0, 77);
	fake_close(&fake, client);
}

static void one_that_is_cancelled_while_it_is_restored_is_taken_back(void **state)
{
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){0});
	struct xy_subscription *x;
	struct xy_message message;

	(void)state;
	assert_int_equal(xy_client_subscribe(client, "x", NULL, &x), 0);
	fake_set(&fake, &fake.hold_subscribe, true);
	fake_hang_up(&fake);
	while (fake_count(&fake, XY_SUBSCRIBE) < 2)
		assert_int_equal(xy_client_next(client, 1, &message), -ETIMEDOUT);
	assert_int_equal(xy_client_unsubscribe(client, x), 0);
	answer_subscribe(1, 78);
	expect_taken_back(client, 0, 78);
	fake_close(&fake, client);
}

/* The next connection begins without it. */
static void one_whose_connection_ended_is_forgotten(void **state)
{
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){0});

	(void)state;
	subscribe_unanswered(client);
	fake_hang_up(&fake);
	while (xy_client_sync(client, FAKE_TIMEOUT_S * 1000) != 0)
		;
	assert_int_equal(fake_count(&fake, XY_HELLO), 2);
	assert_int_equal(fake_count(&fake, XY_SUBSCRIBE), 1);
	assert_int_equal(fake_count(&fake, XY_UNSUBSCRIBE), 0);
	fake_close(&fake, client);
}

static void a_message_is_the_first_subscriptions_that_matches(void **state)
{
	static const char *const patterns[] = {"c", "a.*.x", "a.>", "*.b", "a.b", "a.b", ">"};
	enum { PATTERNS = sizeof(patterns) / sizeof(patterns[0]) };
	static const unsigned in_order[] = {2, 3, 4, 5, 6};
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){0});
	struct xy_subscription *subscription[PATTERNS], *again;
	uint64_t sequence = 0;

	(void)state;
	for (unsigned p = 0; p < PATTERNS; p++)
		assert_int_equal(xy_client_subscribe(client, patterns[p], NULL, &subscription[p]),
				 0);
	fake_bind(&fake, "a.b");
	for (unsigned i = 0; i < sizeof(in_order) / sizeof(in_order[0]); i++) {
		fake_data(&fake, "a.b", ++sequence, "", 0);
		expect_next(client, subscription[in_order[i]], sequence);
		/* What was first is last when it comes again. */
		if (i == 0)
			assert_int_equal(xy_client_subscribe(client, "a.>", NULL, &again), 0);
		assert_int_equal(xy_client_unsubscribe(client, subscription[in_order[i]]), 0);
	}
	fake_data(&fake, "a.b", ++sequence, "", 0);
	expect_next(client, again, sequence);
	fake_close(&fake, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			one_that_failed_for_want_of_memory_is_taken_back_when_its_ok_is_read,
			setup),
		cmocka_unit_test_setup(one_that_was_not_answered_in_time_is_taken_back_when_it_is,
				       setup),
		cmocka_unit_test_setup(one_that_is_cancelled_while_it_is_restored_is_taken_back,
				       setup),
		cmocka_unit_test_setup(one_whose_connection_ended_is_forgotten, setup),
		cmocka_unit_test_setup(a_message_is_the_first_subscriptions_that_matches, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
