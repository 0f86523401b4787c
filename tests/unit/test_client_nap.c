/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: a client that is woken very often sleeps for a moment between reads. */
#include "unit/fake_proxy.h"

#define OFTEN 20000 /* messages, one at a time */

static struct fake fake;
static unsigned naps;
static bool interrupted; /* the next nap is */

/* The library's. */
int nanosleep(const struct timespec *time, struct timespec *rest)
{
	(void)time;
	(void)rest;
	naps++;
	if (!interrupted)
		return 0;
	interrupted = false;
	errno = EINTR;
	return -1;
}

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	naps = 0;
	interrupted = false;
	return 0;
}

static struct xy_client *subscribed(const char *group, bool no_nap)
{
	struct xy_subscribe_options with = {.size = sizeof(with), .group = group};
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){.no_nap = no_nap});

	assert_int_equal(xy_client_subscribe(client, "x", &with, NULL), 0);
	fake_bind(&fake, "x");
	return client;
}

/* A message that comes when the last one has been taken. 0 or -EINTR. */
static int message(struct xy_client *client, uint64_t sequence)
{
	struct xy_frame frame = {.type = XY_DATA,
				 .target = fake_topic_id("x"),
				 .source = FAKE_PEER,
				 .sequence = sequence};
	struct xy_message got;
	int error;

	fake_inject(&fake, frame, "m", 1);
	error = xy_client_next(client, -1, &got);
	if (!error)
		assert_int_equal(got.sequence, sequence);
	return error;
}

static void one_that_gets_message_after_message_naps(void **state)
{
	struct xy_client *client = subscribed(NULL, false);
	time_t end = time(NULL) + FAKE_TIMEOUT_S;

	(void)state;
	for (uint64_t sequence = 1; naps < 100 && time(NULL) < end; sequence++)
		assert_int_equal(message(client, sequence), 0);
	assert_true(naps >= 100);
	fake_close(&fake, client);
}

static void a_signal_ends_a_nap_as_it_ends_every_wait(void **state)
{
	struct xy_client *client = subscribed(NULL, false);
	time_t end = time(NULL) + FAKE_TIMEOUT_S;
	uint64_t sequence = 1;
	struct xy_message got;

	(void)state;
	interrupted = true;
	while (message(client, sequence) == 0 && time(NULL) < end)
		sequence++;
	assert_int_equal(naps, 1);
	assert_int_equal(xy_client_next(client, -1, &got), 0);
	assert_int_equal(got.sequence, sequence);
	fake_close(&fake, client);
}

static void one_that_answers_does_not(void **state)
{
	struct xy_client *client = subscribed(NULL, false);
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_declare(client, "y", &topic), 0);
	for (uint64_t sequence = 1; sequence <= OFTEN; sequence++) {
		assert_int_equal(message(client, sequence), 0);
		assert_int_equal(xy_client_publish(client, topic, "a", 1), 0);
		assert_int_equal(xy_client_flush(client, -1), 0);
	}
	assert_int_equal(naps, 0);
	fake_close(&fake, client);
}

static void nor_does_a_member_of_a_group(void **state)
{
	struct xy_client *client = subscribed("g", false);

	(void)state;
	for (uint64_t sequence = 1; sequence <= OFTEN; sequence++)
		assert_int_equal(message(client, sequence), 0);
	assert_int_equal(naps, 0);
	fake_close(&fake, client);
}

static void nor_one_that_is_not_to(void **state)
{
	struct xy_client *client = subscribed(NULL, true);

	(void)state;
	for (uint64_t sequence = 1; sequence <= OFTEN; sequence++)
		assert_int_equal(message(client, sequence), 0);
	assert_int_equal(naps, 0);
	fake_close(&fake, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_that_gets_message_after_message_naps, setup),
		cmocka_unit_test_setup(a_signal_ends_a_nap_as_it_ends_every_wait, setup),
		cmocka_unit_test_setup(one_that_answers_does_not, setup),
		cmocka_unit_test_setup(nor_does_a_member_of_a_group, setup),
		cmocka_unit_test_setup(nor_one_that_is_not_to, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
