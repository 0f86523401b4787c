/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of those who may no more when rules are read again. */
#include "e2e/access_fixture.h"

/* ---- reload ---------------------------------------------------------------------------------- */

/* Publishes until the kernel does it, where it can. */
static uint64_t warm(const struct proxy *proxy, struct raw *sender, struct raw *receiver,
		     uint64_t topic, uint64_t sequence)
{
	bool kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;

	do {
		raw_publish(sender, topic, ++sequence, "warm");
		raw_expect_text(receiver, "warm");
	} while (kernel && !status_has_flow(proxy, sender));
	return sequence;
}

static uint64_t moved(const struct sessions *sessions, const struct raw *raw)
{
	const struct xy_session *session = sessions_of(sessions, raw->endpoint);

	return session != NULL ? xy_session_frames(session) : 0;
}

static void test_a_reload_ends_flows_of_who_may_publish_no_more(void **state)
{
	const struct proxy *proxy = *state;
	unsigned kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct sessions *sessions = sessions_open(proxy);
	uint64_t topic = raw_declare(alice, "a.x"), sequence, frames;

	raw_subscribe_to(bob, "a.>");
	sequence = warm(proxy, alice, bob, topic, 0);
	assert_int_equal(flows_used(proxy), kernel);
	rules_set(proxy, "\"bob\": {\"subscribe\": [\"a.>\"], \"direct\": [\">\"]}");
	says_ended(kernel, 0, 0);
	assert_int_equal(flows_used(proxy), 0);
	assert_false(status_has_flow(proxy, alice));
	frames = moved(sessions, alice);
	for (int i = 0; i < 10; i++)
		publish_forbidden(alice, topic, ++sequence);
	assert_int_equal(moved(sessions, alice), frames);
	forbidden(alice, XY_DECLARE, "a.x");
	raw_expect_fence(bob, bob);
	/* Allowed again, by the kernel too. */
	rules_set(proxy, RULES);
	says_ended(0, 0, 0);
	warm(proxy, alice, bob, topic, sequence);
	sessions_close(sessions);
}

static void test_a_reload_ends_subscriptions_and_says_so(void **state)
{
	const struct proxy *proxy = *state;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	uint64_t topic = raw_declare(alice, "a.x"), sequence, id, kept;
	struct xy_frame frame;

	id = raw_subscribe_to(bob, "a.x");
	kept = raw_subscribe_to(bob, "a.y");
	sequence = warm(proxy, alice, bob, topic, 0);
	rules_set(proxy, "\"alice\": {\"publish\": [\"a.>\"]},"
			 "\"bob\": {\"subscribe\": {\"allow\": [\"a.>\"], \"deny\": [\"*.x\"]}}");
	says_ended(0, 1, 0);
	assert_int_equal(flows_used(proxy), 0);
	raw_expect_error(bob, XY_E_FORBIDDEN);
	assert_int_equal(bob->frame.header.target, id);
	assert_int_equal(bob->frame.header.correlation, 0);
	raw_publish(alice, topic, ++sequence, "for nobody");
	raw_expect_silence(alice);
	rules_set(proxy, RULES);
	raw_expect_fence(bob, alice);
	/* It has gone for good; the other one has not. */
	frame = raw_header(bob, XY_UNSUBSCRIBE);
	frame.target = id;
	frame.correlation = ++bob->correlation;
	raw_send_frame(bob, frame, NULL, 0);
	raw_expect_error(bob, XY_E_UNKNOWN_SUBSCRIPTION);
	raw_publish(alice, raw_declare(alice, "a.y"), 1, "kept");
	raw_expect_text(bob, "kept");
	raw_request(bob, XY_UNSUBSCRIBE, kept, "");
}

static void test_a_reload_ends_what_is_sent_to_endpoints(void **state)
{
	const struct proxy *proxy = *state;
	unsigned kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct sessions *sessions = sessions_open(proxy);
	uint64_t frames;

	do
		raw_expect_fence(bob, alice);
	while (kernel && !status_has_flow(proxy, alice));
	rules_set(proxy, "\"bob\": {\"direct\": [\"alice\"]}");
	says_ended(kernel, 0, 0);
	assert_int_equal(flows_used(proxy), 0);
	frames = moved(sessions, alice);
	for (int i = 0; i < 10; i++)
		direct_forbidden(alice, bob->endpoint);
	assert_int_equal(moved(sessions, alice), frames);
	raw_expect_fence(alice, bob);
	rules_set(proxy, RULES);
	raw_expect_fence(bob, alice);
	sessions_close(sessions);
}

static void test_a_reload_closes_who_would_not_be_let_in_any_more(void **state)
{
	const struct proxy *proxy = *state;
	unsigned kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct raw *local = raw_connect_unix(proxy), *greeted = raw_connect(proxy);
	uint64_t topic = raw_declare(alice, "a.x");

	raw_hello(local, RAW_HELLO);
	raw_sync(local);
	raw_hello(greeted, hello_of(ALICE)); /* not a word more */
	raw_subscribe_to(bob, "a.x");
	raw_subscribe_to(alice, "b.x");
	warm(proxy, alice, bob, topic, 0);
	tokens_write(STRINGS("bob", "eve"));
	rules_write("{\"uid\": 7, \"identity\": \"local\"}", RULES);
	reload(proxy);
	says_ended(kernel, 1, 2);
	assert_int_equal(flows_used(proxy), 0);
	raw_expect_error(alice, XY_E_UNAUTHORIZED);
	raw_expect_error(local, XY_E_UNAUTHORIZED);
	refused(raw_connect(proxy), ALICE);
	refused(raw_connect_unix(proxy), NULL);
	/* Who was between WELCOME and the first frame is found, too. */
	raw_send_frame(greeted, raw_header(greeted, XY_PING), NULL, 0);
	do
		assert_int_equal(raw_read(greeted, TEST_TIMEOUT_MS), RAW_FRAME);
	while (greeted->frame.header.type != XY_ERROR);
	assert_non_null(strstr((char *)greeted->frame.payload, "unauthorized"));
	raw_expect_closed(greeted);
	assert_true(status_counter(proxy, "revoked_connections") >= 3);
	raw_expect_fence(bob, bob);
	files_write();
	reload(proxy);
}

static void test_a_broken_reload_changes_nothing_and_says_so(void **state)
{
	struct proxy *proxy = *state;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	uint64_t topic = raw_declare(alice, "a.x"), sequence;
	uint64_t before = status_counter(proxy, "reloads_failed");

	raw_subscribe_to(bob, "a.x");
	sequence = warm(proxy, alice, bob, topic, 0);
	rules_write(USERS, "\"alice\": {\"publish\": \"a.>\"}, \"bob\": {\"subscribe\": [\"..\"]}");
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("nothing has changed", "xylem.json:4: access.identities.alice.publish: must be",
	     "and 1 more");
	assert_true(proxy_logged(proxy, "event=reload-failed") > 0);
	file_with("xylem.json", "{", 1);
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("xylem.json:1: ");
	rules_write(USERS, RULES);
	file_with("tokens", "alice short\n", 1);
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("tokens:1: a token has at least 16 bytes");
	assert_int_equal(unlink(token_path), 0);
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("tokens: No such file");
	assert_int_equal(status_counter(proxy, "reloads_failed"), before + 4);
	if (proxy_kernel_path(proxy) == KERNEL_PATH_ON)
		assert_true(status_has_flow(proxy, alice));
	warm(proxy, alice, bob, topic, sequence);
	subscribe_forbidden(alice, "a.x");
	raw_close(enter(proxy, EVE));
	refused(raw_connect(proxy), "alice-0123456789abcdefg");
	files_write();
	reload(proxy);
}

static uint64_t generation(const struct proxy *proxy)
{
	json_t *status = status_take(proxy);
	uint64_t number = status_number(status, "access_generation");

	json_decref(status);
	return number;
}

static void test_sighup_reloads(void **state)
{
	struct proxy *proxy = *state;
	uint64_t before = generation(proxy);
	struct raw *alice = enter(proxy, ALICE);
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	raw_declare(alice, "a.x");
	rules_write(USERS, "");
	proxy_signal(proxy, SIGHUP);
	while (generation(proxy) == before) {
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 2);
	}
	forbidden(alice, XY_DECLARE, "a.x");
	rules_set(proxy, RULES);
	raw_declare(alice, "a.x");
}

static void test_many_reloads_at_once_all_come_true(void **state)
{
	struct proxy *proxy = *state;
	struct running running[8];
	struct raw *alice = enter(proxy, ALICE);

	for (int round = 0; round < 4; round++) {
		rules_write(USERS, round & 1 ? RULES : "");
		for (size_t i = 0; i < LENGTH(running); i++) {
			running[i] = start(NULL, STRINGS("reload", "--timeout", "60s", "--instance",
							 proxy_instance(proxy)));
			proxy_signal(proxy, SIGHUP);
		}
		for (size_t i = 0; i < LENGTH(running); i++) {
			finish(running[i]);
			ended(OK);
		}
		if (round & 1)
			raw_declare(alice, "a.x");
		else
			forbidden(alice, XY_DECLARE, "a.x");
	}
}

static void test_a_reload_says_which_changes_it_does_not_make(void **state)
{
	struct proxy *proxy = *state;

	file_with("xylem.json",
		  "{\"lanes\": 17, \"max-connections\": 99, \"log-level\": \"error\", \"access\": "
		  "{\"users\": [{\"uid\": 0, \"identity\": \"local\"}], \"identities\": {}}}",
		  1);
	reload(proxy);
	assert_int_equal(proxy_logged(proxy, "event=reload-ignored option=--lanes "), 1);
	assert_true(proxy_logged(proxy, "event=reload-ignored option=--max-connections ") > 0);
	/* That one stands on the command line, which wins. */
	assert_int_equal(proxy_logged(proxy, "event=reload-ignored option=--log-level "), 0);
	files_write();
	reload(proxy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		access_test(test_a_reload_ends_flows_of_who_may_publish_no_more),
		access_test(test_a_reload_ends_subscriptions_and_says_so),
		access_test(test_a_reload_ends_what_is_sent_to_endpoints),
		access_test(test_a_reload_closes_who_would_not_be_let_in_any_more),
		access_test(test_a_broken_reload_changes_nothing_and_says_so),
		access_test(test_sighup_reloads),
		access_test(test_many_reloads_at_once_all_come_true),
		access_test(test_a_reload_says_which_changes_it_does_not_make),
	};

	return access_run(tests);
}
