/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A publisher that never pauses and was thrown off its lane is back on it soon after the cause is
 * over: SYNC_WANTED brings it to rest at the right moment. Measured by the counters of the kernel;
 * without a kernel path the same traffic must give the same deliveries.
 *
 * The clock starts when the cause begins to end. A publisher that the machine does not run for a
 * while has paused, and is on its lane again by that alone; so where nothing else keeps it off, it
 * outruns a proxy that is stopped for the moment, and a round counts when it was asked.
 */
#include "e2e/return_fixture.h"

#define ROUNDS     20   /* of each cause at most: others may load the machine … */
#define ROUNDS_OFF 2    /* … and without a kernel path */
#define BACK_MS    100  /* is promised */
#define GIVE_UP_MS 500  /* of a round */
#define BACK_RUN   64   /* frames in a row that the kernel moves: back */
#define UNASKED    1024 /* frames at most that it sends until then: no receiver is a reason */
#define OUTRUN     256  /* frames: more than any back-off of these tests waits for */

struct back {
	uint64_t ms, frames; /* until, and frames that went the slow path in it */
};

/* What is slower by a sanitizer has more time, as it has less to do elsewhere. */
static uint64_t in_time(uint64_t ms)
{
	return ms * (1000 / test_scaled(1000));
}

/* Goes on until it is on its lane again, and was asked more often than `wanted` times; whether both
 * came to pass. Without a kernel path it only goes on. */
static bool publisher_back(struct publisher *publisher, uint64_t since, uint64_t wanted,
			   struct back *ret_back)
{
	uint64_t run = 0, sends = 0, moved, passed;
	struct back back = {0};

	*ret_back = back;
	if (publisher->session == NULL) {
		publisher_send(publisher, 200);
		return true;
	}
	passed = session_passed(publisher->session);
	while (run < BACK_RUN || publisher->wanted == wanted) {
		if (run == 0 || publisher->wanted == wanted)
			back.ms = test_now_ms() - since;
		if (run == 0)
			back.frames = session_passed(publisher->session) - passed;
		if (back.ms > in_time(GIVE_UP_MS))
			return false;
		moved = xy_session_frames(publisher->session);
		publisher_listen(publisher);
		if (publisher->wanted == wanted && (run >= BACK_RUN || sends == UNASKED))
			poll(NULL, 0, 1);
		else if (publisher_step(publisher) && ++sends)
			run = xy_session_frames(publisher->session) != moved ? run + 1 : 0;
	}
	*ret_back = back;
	return true;
}

/* By a SYNC of its own it comes to its lane from wherever it is. */
static void publisher_settle(struct publisher *publisher)
{
	uint64_t deadline = test_now_ms() + 3 * TEST_TIMEOUT_MS;
	struct back back;

	do {
		assert_true(test_now_ms() < deadline);
		publisher_rest(publisher);
		sync_begin(publisher);
		publisher_rest(publisher);
	} while (!publisher_back(publisher, test_now_ms(), UINT64_MAX, &back));
}

/* What most tests begin with: on its lane, and nobody else about. */
static void begin(struct publisher *publisher, struct reader *reader, struct sessions **sessions,
		  struct proxy *proxy, const char *subject, size_t payload)
{
	*sessions = sessions_open(proxy);
	reader_start(reader, proxy, subject);
	publisher_open(publisher, proxy, *sessions, subject, payload);
	publisher_settle(publisher);
}

/* ---- causes ---------------------------------------------------------------------------------- */

struct scene {
	struct proxy *proxy;
	const char *subject;
	struct reader reader, guest;
	struct publisher publisher;
	uint64_t since;  /* the cause began to end */
	uint64_t wanted; /* how often the publisher had been asked before what brings it back */
};

typedef void (*cause_fn)(struct scene *scene);

static void ends_now(struct scene *scene)
{
	scene->since = test_now_ms();
	scene->wanted = scene->publisher.wanted;
}

/* Until one round is as promised. */
static void assert_back_soon(struct proxy *proxy, const char *subject, size_t payload,
			     cause_fn cause)
{
	static struct scene scene;
	struct publisher *publisher = &scene.publisher;
	unsigned round = 0, asked = 0;
	struct sessions *sessions;
	uint64_t best = UINT64_MAX;
	struct back back;

	scene = (struct scene){.proxy = proxy, .subject = subject};
	begin(publisher, &scene.reader, &sessions, proxy, subject, payload);
	while (round < (publisher->session != NULL ? ROUNDS : ROUNDS_OFF) &&
	       best > in_time(BACK_MS)) {
		round++;
		publisher_settle(publisher);
		reader_await(&scene.reader, publisher->sequence);
		cause(&scene);
		if (!publisher_back(publisher, scene.since, scene.wanted, &back) ||
		    publisher->session == NULL)
			continue;
		asked++;
		best = back.ms < best ? back.ms : best;
	}
	publisher_rest(publisher);
	reader_finish(&scene.reader, publisher->sequence);
	if (publisher->session != NULL) {
		print_message("%s: asked and back in %u of %u rounds, after %lu ms\n", subject,
			      asked, round, (unsigned long)best);
		assert_in_range(best, 0, in_time(BACK_MS));
	}
	sessions_close(sessions);
}

static void guest_leaves(struct scene *scene)
{
	struct publisher *publisher = &scene->publisher;

	reader_start(&scene->guest, scene->proxy, scene->subject);
	publisher_send(publisher, 100);
	publisher_rest(publisher);
	ends_now(scene);
	atomic_store(&scene->guest.leave, true);
	while (atomic_load(&scene->guest.left_ms) == 0)
		poll(NULL, 0, 1);
	proxy_pause(scene->proxy);
	for (int frame = 0; frame < OUTRUN; frame++)
		publisher_put(publisher);
	proxy_resume(scene->proxy);
	reader_stop(&scene->guest);
	assert_int_equal(atomic_load(&scene->guest.wrong), 0);
}

static void test_back_when_a_second_subscriber_has_left(void **state)
{
	assert_back_soon(*state, "return.guest", 16, guest_leaves);
}

static void credit_comes_back(struct scene *scene)
{
	struct publisher *publisher = &scene->publisher;
	uint64_t no_room = 0;

	if (publisher->session != NULL)
		no_room = xy_session_no_room(publisher->session);
	scene->wanted = publisher->wanted;
	atomic_store(&scene->reader.pause, true);
	while (!atomic_load(&scene->reader.paused))
		poll(NULL, 0, 1);
	/* More than a window, whether it is asked to stop or not; a socket holds less. */
	publisher->deaf = true;
	publisher_send(publisher, publisher->session != NULL ? 1400 : 200);
	if (publisher->session != NULL)
		assert_int_not_equal(xy_session_no_room(publisher->session), no_room);
	publisher->deaf = false;
	scene->since = test_now_ms();
	atomic_store(&scene->reader.pause, false);
}

static void test_back_when_credit_has_come_back(void **state)
{
	assert_back_soon(*state, "return.credit", 1000, credit_comes_back);
}

/* Sends large frames in company of an ACK, which no lane takes, on a socket that holds little,
 * until one is cut. */
static size_t short_write(struct publisher *publisher, uint8_t *bytes, size_t *ret_sent)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	int fd = publisher->raw->fd, little = 4096, much = 1 << 20;
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
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &much, sizeof(much)), 0);
	*ret_sent = (size_t)sent;
	return length;
}

static uint8_t cut[4 * XY_FRAME_MAX];

static void rest_is_sent(struct scene *scene)
{
	struct publisher *publisher = &scene->publisher;
	size_t sent, length = short_write(publisher, cut, &sent);

	ends_now(scene);
	proxy_pause(scene->proxy);
	raw_send(publisher->raw, cut + sent, length - sent);
	for (int frame = 0; frame < OUTRUN; frame++)
		publisher_put(publisher);
	proxy_resume(scene->proxy);
}

static void test_back_after_a_short_write(void **state)
{
	assert_back_soon(*state, "return.short", 16, rest_is_sent);
}

static bool epoch_is_lost(const struct publisher *publisher)
{
	return __atomic_load_n(&publisher->session->lost_epoch, __ATOMIC_ACQUIRE) ==
	       (uint32_t)publisher->raw->syncs;
}

/* The verdict does not see what goes with the rest (K21): the proxy does. */
static void rest_is_sent_with_more(struct scene *scene)
{
	struct publisher *publisher = &scene->publisher;
	size_t sent, length = short_write(publisher, cut, &sent);

	length += raw_put(cut + length, data_next(publisher), zeros, 100);
	ends_now(scene);
	raw_send(publisher->raw, cut + sent, length - sent);
	/* From when the proxy has seen it, that alone keeps off what follows. */
	while (publisher->session != NULL && !epoch_is_lost(publisher) &&
	       test_now_ms() - scene->since < in_time(GIVE_UP_MS))
		continue;
}

static void test_back_after_a_frame_that_went_with_the_rest_of_another(void **state)
{
	assert_back_soon(*state, "return.rest", 16, rest_is_sent_with_more);
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

static void halves_are_sent(struct scene *scene)
{
	ends_now(scene);
	publisher_halves(&scene->publisher);
}

static void test_back_after_sends_that_are_not_whole_frames(void **state)
{
	assert_back_soon(*state, "return.halves", 16, halves_are_sent);
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

		publisher_rest(publisher);
		publisher_halves(publisher);
		for (kept_off = 0; publisher->wanted == wanted;) {
			kept_off += publisher_step(publisher);
			assert_true(test_now_ms() < deadline);
		}
		assert_in_range(kept_off, threshold, UINT64_MAX);
	}
	publisher_rest(publisher);
}

/* Back on the lane all is as it was: the next cause finds no back-off of an earlier one. */
static void test_success_ends_the_back_off(void **state)
{
	static struct reader reader;
	struct publisher publisher;
	struct sessions *sessions;
	uint64_t best = UINT64_MAX;
	struct back back;

	begin(&publisher, &reader, &sessions, *state, "return.success", 16);
	for (int round = 0; round < ROUNDS && best > 4096; round++) {
		back_off(&publisher, 8192);
		publisher_send(&publisher, 2 * BACK_RUN);
		publisher_settle(&publisher);
		publisher_halves(&publisher);
		if (publisher_back(&publisher, test_now_ms(), publisher.wanted, &back))
			best = back.frames < best ? back.frames : best;
	}
	publisher_rest(&publisher);
	reader_finish(&reader, publisher.sequence);
	assert_in_range(best, 0, 4096);
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
 * left of the frame goes byte by byte until then. Returns how many ms that took.
 */
static uint64_t flow_asks(struct proxy *proxy, uint64_t backed_off)
{
	static uint8_t bytes[2 * XY_FRAME_MAX];
	static struct reader reader, other;
	struct publisher publisher;
	struct sessions *sessions;
	unsigned attempt = 0;
	uint64_t wanted, first, since, ms;
	size_t length, sent;

	begin(&publisher, &other, &sessions, proxy, "return.other", 16);
	back_off(&publisher, backed_off);
	first = publisher.sequence;
	wanted = publisher.wanted;
	for (;;) {
		since = test_now_ms();
		if (first_and_cut(&publisher, &reader, proxy, attempt++, bytes, &length, &sent) ||
		    publisher.session == NULL)
			break;
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
	ms = test_now_ms() - since;
	raw_send(publisher.raw, bytes + sent, length - sent);
	publisher.deaf = false;
	publisher_settle(&publisher);
	reader_finish(&reader, publisher.sequence);
	reader_finish(&other, first);
	sessions_close(sessions);
	return publisher.session != NULL ? ms : 0;
}

static void flow_asks_soon(struct proxy *proxy, uint64_t backed_off)
{
	uint64_t best = UINT64_MAX, ms;

	for (unsigned round = 0; round < ROUNDS && best > in_time(BACK_MS); round++) {
		ms = flow_asks(proxy, backed_off);
		best = ms < best ? ms : best;
	}
	assert_in_range(best, 0, in_time(BACK_MS));
}

static void test_a_new_flow_asks_for_a_sync(void **state)
{
	flow_asks_soon(*state, 0);
}

static void test_a_new_flow_asks_in_spite_of_back_off(void **state)
{
	flow_asks_soon(*state, 1024);
}

/*
 * A fan-out topic throws it off with each of its frames; SYNCs would be of no use. So each of them
 * is asked for after twice as many frames kept off as the one before; the first follows on success,
 * and the second, too, needs 8. The proxy is stopped while
 * frames are sent, so that all but the first of a burst are kept off; and all of a topic is less
 * than ¾ of a window, so that no receiver is a reason to ask.
 */
static void test_alternating_topics_make_no_storm(void **state)
{
	enum { BURSTS = 280, BURST = 64 };
	static struct reader one, two, three;
	uint64_t topic[2], sequence[2], threshold = 4, wanted = 0;
	struct publisher publisher;
	struct sessions *sessions;

	begin(&publisher, &one, &sessions, *state, "return.one", 16);
	topic[1] = publisher.topic;
	sequence[1] = publisher.sequence;
	reader_start(&two, *state, "return.two");
	reader_start(&three, *state, "return.two");
	topic[0] = raw_declare(publisher.raw, "return.two");
	sequence[0] = 0;
	publisher.wanted = 0;
	for (int burst = 0; burst < BURSTS; burst++) {
		proxy_pause(*state);
		for (int frame = 0; frame < BURST; frame++) {
			publisher.topic = topic[frame % 2];
			publisher.sequence = sequence[frame % 2];
			publisher_put(&publisher);
			sequence[frame % 2] = publisher.sequence;
		}
		proxy_resume(*state);
		publisher_fence(&publisher);
		if (publisher.wanted == wanted)
			continue;
		wanted = publisher.wanted;
		assert_in_range(publisher.epoch_kept_off, threshold, UINT64_MAX);
		threshold *= 2;
	}
	reader_finish(&one, sequence[1]);
	reader_finish(&two, sequence[0]);
	reader_finish(&three, sequence[0]);
	print_message("%u frames: %lu SYNCs wanted\n", BURSTS * BURST,
		      (unsigned long)publisher.wanted);
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
