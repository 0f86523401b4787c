/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A publisher that gives all it has keeps its lane: while things happen that throw it off, and
 * against a subscriber that is slower. By the kernel's counters, not by the clock.
 *
 * libxylem's pacing would bring it back whatever the proxy does. So it first sends as much as is
 * paced without being asked: from then on it SYNCs when it is asked, and because it was.
 */
#include "e2e/return_fixture.h"

#define SECONDS       5
#define ATTEMPTS      3 /* others use this machine, too: an event may take them a while */
#define PER_CENT      97
#define PER_CENT_WAIT 99 /* of one that only has to wait: without pacing some 75 to 97 */
#define PER_CENT_SLOW 75
#define PAYLOAD       200
#define PACED         (256ull << 19) /* half windows that nobody has asked for */

/* Publishes as fast as it can, by the library. */
struct writer {
	pthread_t thread;
	struct xy_client *client;
	struct xy_topic *topic;
	_Atomic(bool) end;
	_Atomic(uint64_t) sent;
	_Atomic(int) error;
};

static struct writer writer;

static void *writer_run(void *context)
{
	struct writer *self = context;
	uint8_t payload[PAYLOAD] = {0};
	int error = 0;

	while (!error && !atomic_load(&self->end)) {
		error = xy_client_publish(self->client, self->topic, payload, sizeof(payload));
		if (error == -EAGAIN)
			error = xy_client_process(self->client);
		else if (!error)
			atomic_fetch_add(&self->sent, 1);
	}
	if (!error)
		error = xy_client_sync(self->client, 3 * TEST_TIMEOUT_MS);
	atomic_store(&self->error, error);
	return NULL;
}

static void writer_start(struct writer *self, const struct proxy *proxy, const char *subject)
{
	const struct xy_client_options options = {.size = sizeof(options),
						  .server = proxy_server(proxy),
						  .name = "writer",
						  .no_bundle = true, /* a frame is a message */
						  .connect_timeout_ms = TEST_TIMEOUT_MS,
						  .no_reconnect = true};

	*self = (struct writer){0};
	assert_int_equal(xy_client_connect(&options, &self->client), 0);
	assert_int_equal(xy_client_declare(self->client, subject, &self->topic), 0);
	assert_int_equal(pthread_create(&self->thread, NULL, writer_run, self), 0);
}

static uint64_t writer_finish(struct writer *self)
{
	atomic_store(&self->end, true);
	pthread_join(self->thread, NULL);
	xy_client_close(self->client);
	self->client = NULL;
	assert_int_equal(atomic_load(&self->error), 0);
	return atomic_load(&self->sent);
}

static int teardown(void **state)
{
	if (writer.client != NULL) {
		atomic_store(&writer.end, true);
		pthread_join(writer.thread, NULL);
		xy_client_close(writer.client);
		writer.client = NULL;
	}
	return fixture_teardown(state);
}

/* ---- what throws it off ---------------------------------------------------------------------- */

static void guest_comes_and_goes(struct reader *reader, struct proxy *proxy, const char *subject)
{
	static struct reader guest;

	(void)reader;
	reader_start(&guest, proxy, subject);
	atomic_store(&guest.leave, true);
	while (atomic_load(&guest.left_ms) == 0)
		poll(NULL, 0, 1);
	reader_stop(&guest);
	assert_int_equal(atomic_load(&guest.wrong), 0);
}

static void credit_runs_out(struct reader *reader, struct proxy *proxy, const char *subject)
{
	(void)proxy;
	(void)subject;
	atomic_store(&reader->pause, true);
	poll(NULL, 0, 100);
	atomic_store(&reader->pause, false);
}

static void nothing_happens(struct reader *reader, struct proxy *proxy, const char *subject)
{
	(void)reader;
	(void)proxy;
	(void)subject;
}

typedef void (*event_fn)(struct reader *reader, struct proxy *proxy, const char *subject);

static void await_sent(const struct writer *self, uint64_t count)
{
	uint64_t deadline = test_now_ms() + 3 * TEST_TIMEOUT_MS;

	while (atomic_load(&self->sent) < count) {
		assert_int_equal(atomic_load(&self->error), 0);
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 1);
	}
}

/* Of all frames in so many seconds with one event in each, how many per cent the kernel moved. */
static unsigned share_by_kernel(struct proxy *proxy, const char *subject, event_fn event,
				unsigned rest_us)
{
	static struct reader reader;
	struct sessions *sessions = sessions_open(proxy);
	const struct xy_session *session;
	uint64_t moved = 0, passed = 1, sent;

	reader_start(&reader, proxy, subject);
	reader.rest_every = 100;
	writer_start(&writer, proxy, subject);
	session = sessions_of(sessions, xy_client_endpoint(writer.client));
	if (session != NULL) {
		await_sent(&writer, test_scaled(PACED / (XY_HEADER_SIZE + PAYLOAD)));
		moved = xy_session_frames(session);
		passed = session_passed(session);
	}
	atomic_store(&reader.rest_us, rest_us);
	for (int second = 0; second < (session != NULL ? SECONDS : 1); second++) {
		uint64_t since = test_now_ms();

		event(&reader, proxy, subject);
		while (test_now_ms() - since < 1000)
			poll(NULL, 0, 10);
	}
	if (session != NULL) {
		moved = xy_session_frames(session) - moved;
		passed = session_passed(session) - passed;
	}
	sent = writer_finish(&writer);
	atomic_store(&reader.rest_us, 0);
	reader_finish(&reader, sent);
	sessions_close(sessions);
	print_message("%s: %lu messages, %lu frames by the kernel, %lu by the proxy\n", subject,
		      (unsigned long)sent, (unsigned long)moved, (unsigned long)passed);
	return (unsigned)(100 * moved / (moved + passed));
}

static void stays_on_its_lane(struct proxy *proxy, const char *subject, event_fn event,
			      unsigned rest_us, unsigned per_cent)
{
	/* A sanitizer slows the proxy, which gives lanes back, and not the kernel, which uses them.
	 */
	unsigned best = 0, least = test_scaled(100) < 100 ? PER_CENT_SLOW : per_cent;

	for (int attempt = 0; attempt < ATTEMPTS && best < least; attempt++) {
		unsigned share = share_by_kernel(proxy, subject, event, rest_us);

		best = share > best ? share : best;
		if (proxy_kernel_path(proxy) == KERNEL_PATH_OFF)
			return;
	}
	assert_in_range(best, least, 100);
}

static void test_second_subscribers_come_and_go(void **state)
{
	stays_on_its_lane(*state, "saturation.guests", guest_comes_and_goes, 0, PER_CENT);
}

static void test_credit_runs_out_now_and_then(void **state)
{
	stays_on_its_lane(*state, "saturation.credit", credit_runs_out, 0, PER_CENT);
}

static void test_the_subscriber_is_slower(void **state)
{
	stays_on_its_lane(*state, "saturation.slower", nothing_happens, 1000, PER_CENT_WAIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_second_subscribers_come_and_go, teardown),
		cmocka_unit_test_teardown(test_credit_runs_out_now_and_then, teardown),
		cmocka_unit_test_teardown(test_the_subscriber_is_slower, teardown),
	};

	return proxy_run_both(tests, NULL);
}
