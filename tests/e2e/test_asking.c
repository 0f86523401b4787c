/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receivers that are a reason to ask a publisher for a SYNC: each alone, where nothing else is one.
 * What else is, a publisher's own frames and flows, is in test_return.c.
 */
#include "e2e/return_fixture.h"

#define FRAME 16000 /* payload */

struct scene {
	struct sessions *sessions;
	struct publisher publisher;
	struct raw *subscriber;
	uint64_t window;
};

/* Whether there are lanes at all. A publisher on its lane that is not asked, and does not SYNC when
 * it is. */
static bool begin(struct scene *scene, struct proxy *proxy, struct raw *subscriber,
		  const char *subject)
{
	struct publisher *publisher = &scene->publisher;

	*scene = (struct scene){.sessions = sessions_open(proxy), .subscriber = subscriber};
	raw_subscribe_to(subscriber, subject);
	publisher_open(publisher, proxy, scene->sessions, subject, FRAME);
	if (publisher->session == NULL)
		return false;
	scene->window = publisher->raw->welcome.window;
	/* The first one goes the slow path, and asks for a flow, and that perhaps for a SYNC. */
	publisher_put(publisher);
	raw_expect_data(subscriber);
	raw_send_frame(subscriber, raw_header(subscriber, XY_ACK), NULL, 0);
	sync_begin(publisher);
	publisher_rest(publisher);
	publisher->deaf = true;
	publisher->wanted = 0;
	return true;
}

/* The proxy has read all that the publisher has sent, and what it asked for by then is here:
 * control frames keep their order. */
static void handled(struct publisher *publisher)
{
	publisher_fence(publisher);
	publisher_fence(publisher);
}

static void test_three_quarters_of_a_window(void **state)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS, passed;
	struct scene scene;
	struct publisher *publisher = &scene.publisher;

	if (!begin(&scene, *state, raw_open(*state), "asking.window"))
		return;
	passed = session_passed(publisher->session);
	for (uint64_t sent = 0; sent < scene.window / 8 * 5; sent += FRAME)
		publisher_put(publisher);
	handled(publisher);
	assert_int_equal(publisher->wanted, 0);
	for (uint64_t sent = 0; sent < scene.window / 4; sent += FRAME)
		publisher_put(publisher);
	while (publisher->wanted == 0) {
		assert_true(test_now_ms() < deadline);
		publisher_listen(publisher);
	}
	assert_int_equal(session_passed(publisher->session), passed);
	sessions_close(scene.sessions);
}

/* A receiver that acks everything and proves nothing: it never has ¾ of a window before it. */
static void test_a_frame_that_found_no_room(void **state)
{
	struct scene scene;
	struct publisher *publisher = &scene.publisher;
	struct raw *subscriber;
	uint64_t no_room;

	if (!begin(&scene, *state, raw_open(*state), "asking.room"))
		return;
	subscriber = scene.subscriber;
	subscriber->silent = true;
	no_room = xy_session_no_room(publisher->session);
	for (uint64_t sent = 0; xy_session_no_room(publisher->session) == no_room; sent += FRAME) {
		assert_in_range(sent, 0, 3 * scene.window);
		assert_int_equal(publisher->wanted, 0);
		publisher_put(publisher);
		handled(publisher);
		while (raw_read(subscriber, 0) == RAW_FRAME)
			continue;
		raw_send_frame(subscriber, raw_header(subscriber, XY_ACK), NULL, 0);
	}
	assert_int_equal(xy_session_kept_off(publisher->session), 0);
	assert_int_equal(publisher->wanted, 1);
	sessions_close(scene.sessions);
}

/* Without a lane, so that there is no window: what its socket does not take is in its pipe. */
static void test_a_quarter_mebibyte_in_a_pipe(void **state)
{
	struct scene scene;
	struct publisher *publisher = &scene.publisher;

	if (!begin(&scene, *state, raw_open_unix(*state), "asking.pipe"))
		return;
	for (unsigned frame = 0; publisher->wanted == 0; frame++) {
		assert_in_range(frame * FRAME, 0, 1 << 20);
		publisher_put(publisher);
		handled(publisher);
	}
	assert_int_equal(xy_session_kept_off(publisher->session), 0);
	assert_int_equal(xy_session_no_room(publisher->session), 0);
	sessions_close(scene.sessions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_three_quarters_of_a_window),
		proxy_test(test_a_frame_that_found_no_room),
		proxy_test(test_a_quarter_mebibyte_in_a_pipe),
	};

	return proxy_run_both(tests, NULL);
}
