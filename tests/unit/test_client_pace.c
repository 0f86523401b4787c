/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: a publisher on a lane SYNCs before anybody has to ask it, and how long it goes on. */
#include "unit/fake_proxy.h"

#define EPOCHS 256                              /* that are paced without being asked */
#define ROOM   (FAKE_WINDOW / 2 - XY_FRAME_MAX) /* for DATA between two SYNCs */
#define LARGE  60000 /* of such messages two do not go between two SYNCs */

static struct fake fake;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	return 0;
}

static uint64_t syncs(const struct xy_client *client)
{
	struct xy_client_stats stats;

	xy_client_stats(client, &stats);
	return stats.syncs;
}

/* Messages that go in a send each. */
static void publish(struct xy_client *client, const char *subject, size_t length, unsigned count)
{
	static const uint8_t data[LARGE];
	struct xy_topic *topic;

	assert_int_equal(xy_client_declare(client, subject, &topic), 0);
	while (count-- > 0) {
		assert_int_equal(xy_client_publish(client, topic, data, length), 0);
		assert_int_equal(xy_client_flush(client, -1), 0);
	}
}

/* A machine that does not run it for 10 ms between the two makes them two of many: then it is tried
 * with another one. */
static void the_second_send_to_a_new_target_waits_for_synced(void **state)
{
	struct xy_client *client;
	uint64_t before = 1;
	char subject[16];

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	for (unsigned topic = 0; syncs(client) == before; topic++) {
		assert_in_range(topic, 0, 100);
		snprintf(subject, sizeof(subject), "t%u", topic);
		publish(client, subject, 8, 2);
	}
	assert_int_equal(syncs(client), before + 1);
	/* Nor the third. */
	publish(client, subject, 8, 3);
	assert_int_equal(syncs(client), before + 1);
	fake_close(&fake, client);
}

static void it_syncs_after_almost_half_a_window(void **state)
{
	const size_t length = 1000, frame = XY_HEADER_SIZE + length;
	struct xy_client *client;
	size_t sum = 0, epochs = 0;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	publish(client, "a", length, 10 * ROOM / frame);
	assert_int_equal(xy_client_sync(client, -1), 0);
	pthread_mutex_lock(&fake.lock);
	for (size_t f = 0; f < fake.count; f++) {
		if (fake.frames[f].header.type == XY_DATA)
			sum += fake.frames[f].header.length;
		assert_in_range(sum, 0, ROOM);
		if (fake.frames[f].header.type == XY_SYNC) {
			epochs += sum + frame > ROOM;
			sum = 0;
		}
	}
	pthread_mutex_unlock(&fake.lock);
	/* But the first one and the last. */
	assert_in_range(epochs, 8, 10);
	fake_close(&fake, client);
}

static void who_is_never_asked_stops_and_who_is_goes_on_twice_as_long(void **state)
{
	struct xy_client *client;
	uint64_t before;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	publish(client, "a", LARGE, EPOCHS + 10);
	before = syncs(client);
	assert_in_range(before, EPOCHS, EPOCHS + 2);
	publish(client, "a", LARGE, 10);
	assert_int_equal(syncs(client), before);
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNC_WANTED}, NULL, 0);
	while (syncs(client) == before)
		assert_int_equal(xy_client_process(client), 0);
	publish(client, "a", LARGE, 2 * EPOCHS + 10);
	assert_int_equal(syncs(client), before + 1 + 2 * EPOCHS);
	fake_close(&fake, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_second_send_to_a_new_target_waits_for_synced, setup),
		cmocka_unit_test_setup(it_syncs_after_almost_half_a_window, setup),
		cmocka_unit_test_setup(who_is_never_asked_stops_and_who_is_goes_on_twice_as_long,
				       setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
