/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A publisher that never pauses and was thrown off its lane is back on it soon after the cause is
 * over: SYNC_WANTED brings it to rest at the right moment. Measured by the counters of the kernel;
 * without a kernel path the same traffic must give the same deliveries.
 */
#include "e2e/return_fixture.h"

#define ROUNDS   5      /* of each cause; the best counts, because others may load the machine */
#define BACK_MS  100    /* is promised */
#define BACK_RUN 64     /* frames in a row that the kernel moves: back */
#define FANOUT   131072 /* frames: the back-off of SYNC_WANTED reaches its end */

struct back {
	uint64_t ms, frames; /* until, and frames that went the slow path in it */
};

/* Goes on until it is on its lane again. Without a kernel path it only goes on. */
static struct back publisher_back(struct publisher *publisher, uint64_t since)
{
	uint64_t deadline = since + 3 * TEST_TIMEOUT_MS, run = 0, moved, passed;
	struct back back = {0};

	if (publisher->session == NULL) {
		publisher_send(publisher, 200);
		return back;
	}
	passed = session_passed(publisher->session);
	while (run < BACK_RUN) {
		if (run == 0) {
			back.ms = test_now_ms() - since;
			back.frames = session_passed(publisher->session) - passed;
		}
		moved = xy_session_frames(publisher->session);
		if (!publisher_step(publisher))
			continue;
		run = xy_session_frames(publisher->session) != moved ? run + 1 : 0;
		if (test_now_ms() > deadline)
			fail_msg("it does not come back");
	}
	return back;
}

static struct back better(struct back a, struct back b)
{
	return (struct back){.ms = a.ms < b.ms ? a.ms : b.ms,
			     .frames = a.frames < b.frames ? a.frames : b.frames};
}

static void assert_soon(const char *cause, struct back best)
{
	print_message("back after %s: %lu ms, %lu frames\n", cause, (unsigned long)best.ms,
		      (unsigned long)best.frames);
	/* What is slower by a sanitizer has more time, as it has less to do elsewhere. */
	assert_in_range(best.ms, 0, BACK_MS * (1000 / test_scaled(1000)));
}

/* What most tests begin with: on its lane, and nobody else about. */
static void begin(struct publisher *publisher, struct reader *reader, struct sessions **sessions,
		  struct proxy *proxy, const char *subject, size_t payload)
{
	*sessions = sessions_open(proxy);
	reader_start(reader, proxy, subject);
	publisher_open(publisher, proxy, *sessions, subject, payload);
	publisher_back(publisher, test_now_ms());
}

/* ---- causes ---------------------------------------------------------------------------------- */

static void test_back_when_a_second_subscriber_has_left(void **state)
{
	struct back best = {UINT64_MAX, UINT64_MAX};
	static struct reader reader, guest;
	struct publisher publisher;
	struct sessions *sessions;

	begin(&publisher, &reader, &sessions, *state, "return.guest", 16);
	publisher.batch = 32;
	for (int round = 0; round < ROUNDS; round++) {
		reader_start(&guest, *state, "return.guest");
		publisher_send(&publisher, FANOUT / publisher.batch);
		atomic_store(&guest.leave, true);
		while (atomic_load(&guest.left_ms) == 0)
			publisher_step(&publisher);
		best = better(best, publisher_back(&publisher, atomic_load(&guest.left_ms)));
		reader_stop(&guest);
		assert_int_equal(atomic_load(&guest.wrong), 0);
	}
	reader_finish(&reader, publisher.sequence);
	assert_soon("a second subscriber", best);
	sessions_close(sessions);
}

static void test_back_when_credit_has_come_back(void **state)
{
	struct back best = {UINT64_MAX, UINT64_MAX};
	struct publisher publisher;
	struct sessions *sessions;
	static struct reader reader;

	begin(&publisher, &reader, &sessions, *state, "return.credit", 1000);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t since;

		atomic_store(&reader.pause, true);
		while (!atomic_load(&reader.paused))
			poll(NULL, 0, 1);
		/* More than a window, whether it is asked to stop or not; a socket holds less. */
		publisher.deaf = true;
		publisher_send(&publisher, publisher.session != NULL ? 1400 : 200);
		if (publisher.session != NULL)
			assert_int_not_equal(xy_session_no_room(publisher.session), 0);
		publisher.deaf = false;
		since = test_now_ms();
		while (test_now_ms() - since < 20 && !publisher.syncing)
			publisher_listen(&publisher);
		atomic_store(&reader.pause, false);
		best = better(best, publisher_back(&publisher, test_now_ms()));
	}
	reader_finish(&reader, publisher.sequence);
	assert_soon("want of credit", best);
	sessions_close(sessions);
}

/* Sends large frames in company of an ACK, which no lane takes, on a socket that holds little,
 * until one is cut. */
static size_t short_write(struct publisher *publisher, uint8_t *bytes, size_t *ret_sent)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	int fd = publisher->raw->fd, little = 4096;
	size_t length;
	ssize_t sent;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
	do {
		length = raw_put(bytes, raw_header(publisher->raw, XY_ACK), NULL, 0);
		for (unsigned frames = publisher->session != NULL ? 1 : 3; frames > 0; frames--)
			length += raw_put(bytes + length, data_next(publisher), zeros, 60000);
		while ((sent = send(fd, bytes, length, MSG_NOSIGNAL)) < 0 && errno == EAGAIN)
			assert_true(test_now_ms() < deadline);
		assert_int_not_equal(sent, -1);
	} while ((size_t)sent == length);
	*ret_sent = (size_t)sent;
	return length;
}

static void test_back_after_a_short_write(void **state)
{
	struct back best = {UINT64_MAX, UINT64_MAX};
	static uint8_t bytes[4 * XY_FRAME_MAX];
	struct publisher publisher;
	struct sessions *sessions;
	static struct reader reader;

	begin(&publisher, &reader, &sessions, *state, "return.short", 16);
	for (int round = 0; round < ROUNDS; round++) {
		size_t sent, length = short_write(&publisher, bytes, &sent);

		raw_send(publisher.raw, bytes + sent, length - sent);
		best = better(best, publisher_back(&publisher, test_now_ms()));
	}
	reader_finish(&reader, publisher.sequence);
	assert_soon("a short write", best);
	sessions_close(sessions);
}

/* The verdict does not see what goes with the rest (K21): the proxy does. */
static void test_back_after_a_frame_that_went_with_the_rest_of_another(void **state)
{
	struct back best = {UINT64_MAX, UINT64_MAX};
	static uint8_t bytes[4 * XY_FRAME_MAX];
	struct publisher publisher;
	struct sessions *sessions;
	static struct reader reader;

	begin(&publisher, &reader, &sessions, *state, "return.rest", 16);
	for (int round = 0; round < ROUNDS; round++) {
		size_t sent, length = short_write(&publisher, bytes, &sent);

		length += raw_put(bytes + length, data_next(&publisher), zeros, 100);
		raw_send(publisher.raw, bytes + sent, length - sent);
		best = better(best, publisher_back(&publisher, test_now_ms()));
	}
	reader_finish(&reader, publisher.sequence);
	assert_soon("a rest with more behind it", best);
	sessions_close(sessions);
}

/* Two frames in two sends that are cut in the second frame: framing is lost. */
static void publisher_halves(struct publisher *publisher)
{
	uint8_t bytes[512];
	size_t first = raw_put(bytes, data_next(publisher), zeros, 16), second;

	second = raw_put(bytes + first, data_next(publisher), zeros, 16);
	raw_send(publisher->raw, bytes, first + second / 2);
	raw_send(publisher->raw, bytes + first + second / 2, second - second / 2);
}

static void test_back_after_sends_that_are_not_whole_frames(void **state)
{
	struct back best = {UINT64_MAX, UINT64_MAX};
	static struct reader reader;
	struct publisher publisher;
	struct sessions *sessions;

	begin(&publisher, &reader, &sessions, *state, "return.halves", 16);
	for (int round = 0; round < ROUNDS; round++) {
		publisher_halves(&publisher);
		best = better(best, publisher_back(&publisher, test_now_ms()));
	}
	reader_finish(&reader, publisher.sequence);
	assert_soon("frames in halves", best);
	sessions_close(sessions);
}

/* ---- how often it is asked ------------------------------------------------------------------- */

/* SYNCs that bring nothing, until the next one needs `frames` kept off the lane. The first one
 * follows on success, the others take twice as many each. */
static void back_off(struct publisher *publisher, uint64_t frames)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, kept_off;

	for (uint64_t threshold = 4; publisher->session != NULL && threshold < frames;
	     threshold *= 2) {
		uint64_t wanted = publisher->wanted;

		while (publisher->syncing)
			publisher_listen(publisher);
		publisher_halves(publisher);
		for (kept_off = 0; publisher->wanted == wanted;) {
			kept_off += publisher_step(publisher);
			assert_true(test_now_ms() < deadline);
		}
		assert_in_range(kept_off, threshold, UINT64_MAX);
	}
	while (publisher->syncing)
		publisher_listen(publisher);
}

/* Back on the lane all is as it was: the next cause finds no back-off of an earlier one. */
static void test_success_ends_the_back_off(void **state)
{
	struct back best = {UINT64_MAX, UINT64_MAX};
	static struct reader reader;
	struct publisher publisher;
	struct sessions *sessions;

	begin(&publisher, &reader, &sessions, *state, "return.success", 16);
	for (int round = 0; round < ROUNDS; round++) {
		back_off(&publisher, 8192);
		publisher_send(&publisher, 2 * BACK_RUN);
		publisher_back(&publisher, test_now_ms());
		publisher_halves(&publisher);
		best = better(best, publisher_back(&publisher, test_now_ms()));
	}
	reader_finish(&reader, publisher.sequence);
	assert_in_range(best.frames, 0, 4096);
	sessions_close(sessions);
}

/* One send of a frame that asks for a flow and of one that is cut: whether it was. */
static bool first_and_cut(struct publisher *publisher, struct reader *reader, struct proxy *proxy,
			  unsigned attempt, uint8_t *bytes, size_t *ret_length, size_t *ret_sent)
{
	int little = 4096, fd = publisher->raw->fd;
	static char subject[32];
	ssize_t sent;

	snprintf(subject, sizeof(subject), "return.flow.%u", attempt);
	reader_start(reader, proxy, subject);
	publisher->topic = raw_declare(publisher->raw, subject);
	publisher->sequence = 0;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
	*ret_length = raw_put(bytes, data_next(publisher), zeros, 16);
	*ret_length += raw_put(bytes + *ret_length, data_next(publisher), zeros, 60000);
	sent = send(fd, bytes, *ret_length, MSG_NOSIGNAL);
	assert_int_not_equal(sent, -1);
	*ret_sent = (size_t)sent;
	return *ret_sent < *ret_length;
}

/*
 * The first frame to a target asks for a flow, and another that is cut by a short write keeps the
 * publisher behind: no frame is kept off the lane, only the flow can be the reason to ask. What is
 * left of the frame goes byte by byte until then.
 */
static void flow_asks(struct proxy *proxy, uint64_t backed_off)
{
	static uint8_t bytes[2 * XY_FRAME_MAX];
	static struct reader reader, other;
	struct publisher publisher;
	struct sessions *sessions;
	unsigned attempt = 0;
	uint64_t wanted, first;
	size_t length, sent;

	begin(&publisher, &other, &sessions, proxy, "return.other", 16);
	back_off(&publisher, backed_off);
	first = publisher.sequence;
	wanted = publisher.wanted;
	while (!first_and_cut(&publisher, &reader, proxy, attempt++, bytes, &length, &sent) &&
	       publisher.session != NULL) {
		reader_finish(&reader, 2);
		assert_in_range(attempt, 0, 100);
	}
	publisher.deaf = true;
	while (publisher.session != NULL && publisher.wanted == wanted && sent < length) {
		raw_send(publisher.raw, bytes + sent++, 1);
		poll(NULL, 0, 1);
		publisher_listen(&publisher);
	}
	if (publisher.session != NULL && publisher.wanted == wanted)
		fail_msg("nobody asks for a SYNC");
	raw_send(publisher.raw, bytes + sent, length - sent);
	publisher.deaf = false;
	publisher_back(&publisher, test_now_ms());
	reader_finish(&reader, publisher.sequence);
	reader_finish(&other, first);
	sessions_close(sessions);
}

static void test_a_new_flow_asks_for_a_sync(void **state)
{
	flow_asks(*state, 0);
}

static void test_a_new_flow_asks_in_spite_of_back_off(void **state)
{
	flow_asks(*state, 1024);
}

/* A fan-out topic throws it off after each of its frames; SYNCs would be of no use. */
static void test_alternating_topics_make_no_storm(void **state)
{
	enum { SENDS = 60000 };
	static struct reader one, two, three;
	uint64_t topic[2], sequence[2], moved = 0, bound;
	struct publisher publisher;
	struct sessions *sessions;

	begin(&publisher, &one, &sessions, *state, "return.one", 16);
	topic[0] = publisher.topic;
	sequence[0] = publisher.sequence;
	reader_start(&two, *state, "return.two");
	reader_start(&three, *state, "return.two");
	topic[1] = raw_declare(publisher.raw, "return.two");
	sequence[1] = 0;
	if (publisher.session != NULL)
		moved = xy_session_frames(publisher.session);
	publisher.wanted = 0;
	for (int turn = 0; turn < SENDS; turn++) {
		publisher.topic = topic[turn % 2];
		publisher.sequence = sequence[turn % 2];
		publisher_send(&publisher, 1);
		sequence[turn % 2] = publisher.sequence;
	}
	if (publisher.session != NULL)
		moved = xy_session_frames(publisher.session) - moved;
	reader_finish(&one, sequence[0]);
	reader_finish(&two, sequence[1]);
	reader_finish(&three, sequence[1]);
	/* Doubling from 8 frames on; 64 that were moved by the kernel begin anew, and a flow may
	 * ask. */
	bound = 16 * (moved / 64 + 1) + 2;
	print_message("%u frames, %lu of them moved by the kernel: %lu SYNCs wanted, bound %lu\n",
		      SENDS, (unsigned long)moved, (unsigned long)publisher.wanted,
		      (unsigned long)bound);
	assert_in_range(publisher.wanted, 0, bound);
	sessions_close(sessions);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_teardown(function, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_back_when_a_second_subscriber_has_left),
		TEST(test_back_when_credit_has_come_back),
		TEST(test_back_after_a_short_write),
		TEST(test_back_after_a_frame_that_went_with_the_rest_of_another),
		TEST(test_back_after_sends_that_are_not_whole_frames),
		TEST(test_success_ends_the_back_off),
		TEST(test_a_new_flow_asks_for_a_sync),
		TEST(test_a_new_flow_asks_in_spite_of_back_off),
		TEST(test_alternating_topics_make_no_storm),
	};

	return proxy_run_both(tests, NULL);
}
