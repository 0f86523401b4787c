/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: what an application sees of connecting, publishing and receiving. */
#include <poll.h>
#include <signal.h>
#include <sys/time.h>

#include "unit/seen.h"

static struct fake fake;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	return 0;
}

static void connecting_says_hello_then_syncs_before_anything_else(void **state)
{
	struct xy_client *client;
	struct xy_hello hello;
	char why[XY_WHY_SIZE];

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.token = "secret"});
	fake_await(&fake, XY_SYNC, 1);
	assert_int_equal(fake.frames[0].header.type, XY_HELLO);
	assert_int_equal(fake.frames[0].header.source, 0);
	assert_int_equal(xy_hello_decode(fake.frames[0].payload,
					 fake.frames[0].header.length - XY_HEADER_SIZE, &hello,
					 why),
			 0);
	assert_string_equal(hello.name, "test");
	assert_string_equal(hello.token, "secret");
	assert_true(hello.ack);
	assert_int_equal(fake.frames[1].header.type, XY_SYNC);
	assert_int_equal(fake.frames[1].header.correlation, 1);
	assert_int_equal(fake.frames[1].header.source, FAKE_ENDPOINT + 1);
	assert_true(xy_client_on_lane(client));
	assert_int_equal(xy_client_endpoint(client), FAKE_ENDPOINT + 1);
	fake_close(&fake, client);
}

static void a_refused_hello_fails_connect_with_its_reason(void **state)
{
	struct xy_client_options options = {.size = sizeof(options)};
	struct xy_client *client = NULL;

	(void)state;
	fake.refuse_hello = true;
	fake_start(&fake);
	options.server = fake.server;
	assert_int_equal(xy_client_connect(&options, &client), -EACCES);
	assert_null(client);
	fake_stop(&fake);
}

static void nobody_listening_fails_connect_at_once(void **state)
{
	char server[sizeof(fake.server)];
	struct xy_client_options options = {.size = sizeof(options), .server = server};
	struct xy_client *client = NULL;

	(void)state;
	fake_start(&fake);
	memcpy(server, fake.server, sizeof(server));
	fake_stop(&fake);
	assert_int_equal(xy_client_connect(&options, &client), -ECONNREFUSED);
	options.server = "unix:/nonexistent/xylem.sock";
	assert_int_equal(xy_client_connect(&options, &client), -ENOENT);
	options.server = "127.0.0.1:none";
	assert_int_equal(xy_client_connect(&options, &client), -EINVAL);
	assert_null(client);
}

static void a_published_message_is_sent_by_flush_with_id_source_and_sequence(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic, *again;
	struct fake_frame frame;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "a.b", &topic), 0);
	assert_int_equal(xy_client_declare(client, "a.b", &again), 0);
	assert_ptr_equal(topic, again);
	assert_int_equal(fake_count(&fake, XY_DECLARE), 1);
	assert_int_equal(xy_topic_id(topic), fake_topic_id("a.b"));
	assert_string_equal(xy_topic_subject(topic), "a.b");
	assert_int_equal(xy_client_publish(client, topic, "hello", 5), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 1);
	assert_int_equal(xy_client_publish(client, topic, "again", 5), 0);
	assert_int_equal(xy_client_flush(client, -1), 0);
	fake_await(&fake, XY_DATA, 2);
	frame = fake_frame(&fake, XY_DATA, 0);
	assert_int_equal(frame.header.target, fake_topic_id("a.b"));
	assert_int_equal(frame.header.source, xy_client_endpoint(client));
	assert_int_equal(frame.header.sequence, 1);
	assert_int_equal(frame.header.flags, 0);
	assert_true(frame.header.timestamp > 0);
	assert_memory_equal(frame.payload, "hello", 5);
	assert_int_equal(fake_frame(&fake, XY_DATA, 1).header.sequence, 2);
	fake_close(&fake, client);
}

static void a_refused_topic_fails_declare_and_may_be_asked_for_again(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	fake.refuse_declare = true;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "a", &topic), -EACCES);
	assert_string_equal(xy_client_error(client), "forbidden: scripted");
	assert_int_equal(xy_client_declare(client, "a.*", &topic), -EINVAL);
	fake_set(&fake, &fake.refuse_declare, false);
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	fake_close(&fake, client);
}

static void next_gives_messages_in_order_with_subject_and_subscription(void **state)
{
	struct xy_client *client;
	struct xy_subscription *subscription;
	struct xy_message message;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_subscribe(client, "x.*", NULL, &subscription), 0);
	fake_bind(&fake, "x.1");
	fake_text(&fake, "x.1", 7, "one");
	fake_text(&fake, "x.1", 8, "two");
	assert_int_equal(xy_client_next(client, -1, &message), 0);
	assert_text(&message, "one");
	assert_string_equal(message.subject, "x.1");
	assert_ptr_equal(message.subscription, subscription);
	assert_int_equal(message.source, FAKE_PEER);
	assert_int_equal(message.sequence, 7);
	assert_false(message.reply_wanted);
	expect_text(client, "two");
	assert_int_equal(xy_client_next(client, 0, &message), -ETIMEDOUT);
	assert_int_equal(xy_client_next(client, 1, &message), -ETIMEDOUT);
	fake_close(&fake, client);
}

static void messages_of_a_cancelled_subscription_are_ignored(void **state)
{
	struct xy_client *client;
	struct xy_subscription *first, *second;
	struct xy_message message;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_subscribe(client, "x.1", NULL, &first), 0);
	assert_int_equal(xy_client_subscribe(client, "x.2", NULL, &second), 0);
	fake_bind(&fake, "x.1");
	fake_bind(&fake, "x.2");
	fake_text(&fake, "x.1", 1, "gone");
	assert_int_equal(xy_client_unsubscribe(client, first), 0);
	assert_int_equal(fake_count(&fake, XY_UNSUBSCRIBE), 1);
	fake_text(&fake, "x.1", 2, "gone, too");
	fake_text(&fake, "x.2", 1, "here");
	assert_int_equal(xy_client_next(client, -1, &message), 0);
	assert_text(&message, "here");
	assert_ptr_equal(message.subscription, second);
	fake_close(&fake, client);
}

static void await_readable(struct xy_client *client)
{
	struct pollfd p = {.fd = xy_client_fd(client), .events = POLLIN};

	assert_int_equal(poll(&p, 1, FAKE_TIMEOUT_S * 1000), 1);
}

static void process_calls_handlers_and_leaves_the_rest_to_next(void **state)
{
	struct seen seen = {0};
	struct xy_subscribe_options with = {
		.size = sizeof(with), .on_message = see, .context = &seen};
	struct xy_client *client;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_subscribe(client, "h", &with, NULL), 0);
	assert_int_equal(xy_client_subscribe(client, "n", NULL, NULL), 0);
	fake_bind(&fake, "h");
	fake_bind(&fake, "n");
	fake_text(&fake, "n", 1, "n1");
	fake_text(&fake, "h", 1, "h1");
	fake_text(&fake, "n", 2, "n2");
	fake_text(&fake, "h", 2, "h2");
	while (seen.count < 2) {
		await_readable(client);
		assert_int_equal(xy_client_process(client), 0);
	}
	assert_string_equal(seen.text, "h1h2");
	expect_text(client, "n1");
	expect_text(client, "n2");
	fake_close(&fake, client);
}

static void the_descriptor_is_readable_for_what_was_only_queued(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_true(xy_client_fd(client) >= 0);
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	assert_int_equal(xy_client_process(client), 0);
	assert_int_equal(xy_client_publish(client, topic, "x", 1), 0);
	assert_int_equal(fake_count(&fake, XY_DATA), 0);
	await_readable(client);
	assert_int_equal(xy_client_process(client), 0);
	fake_await(&fake, XY_DATA, 1);
	fake_close(&fake, client);
}

static void a_handler_may_cancel_its_own_subscription(void **state)
{
	struct seen seen = {0};
	struct xy_subscribe_options with = {
		.size = sizeof(with), .on_message = see, .context = &seen};
	struct xy_client *client;
	struct xy_subscription *subscription;
	static const uint8_t bundle[] = "\0\0\0\1a\0\0\0\1b\0\0\0\1c";
	struct xy_message message;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_subscribe(client, "h", &with, &subscription), 0);
	seen.cancel = subscription;
	fake_bind(&fake, "h");
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_DATA,
				      .flags = XY_BUNDLE,
				      .target = fake_topic_id("h"),
				      .source = FAKE_PEER,
				      .sequence = 1},
		    bundle, sizeof(bundle) - 1);
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_DATA, .flags = XY_DIRECT, .source = FAKE_PEER},
		    "direct", 6);
	assert_int_equal(xy_client_next(client, -1, &message), 0);
	assert_text(&message, "direct");
	assert_string_equal(message.subject, "");
	assert_null(message.subscription);
	assert_string_equal(seen.text, "a");
	fake_close(&fake, client);
}

static void a_handler_may_close_the_client(void **state)
{
	struct seen seen = {.close = true};
	struct xy_client *client;
	struct xy_message message;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.on_direct = see, .context = &seen});
	fake_inject(&fake,
		    (struct xy_frame){.type = XY_DATA, .flags = XY_DIRECT, .source = FAKE_PEER},
		    "direct", 6);
	assert_int_equal(xy_client_next(client, -1, &message), -ENOTCONN);
	assert_int_equal(seen.count, 1);
	fake_stop(&fake);
}

static void note(struct xy_client *client, enum xy_event event, void *context)
{
	struct seen *seen = context;

	seen->events[event]++;
	if (event == XY_EVENT_ERROR)
		snprintf(seen->text, sizeof(seen->text), "%s", xy_client_error(client));
}

static void an_error_that_answers_no_call_is_an_event(void **state)
{
	struct seen seen = {0};
	struct xy_client *client;
	struct xy_message message;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){.on_event = note, .context = &seen});
	assert_int_equal(seen.events[XY_EVENT_CONNECTED], 1);
	fake_inject_error(&fake, XY_E_UNKNOWN_ENDPOINT, 0);
	fake_inject(&fake, (struct xy_frame){.type = XY_GOODBYE}, NULL, 0);
	while (seen.events[XY_EVENT_DRAINING] == 0)
		assert_int_equal(xy_client_next(client, 1, &message), -ETIMEDOUT);
	assert_int_equal(seen.events[XY_EVENT_ERROR], 1);
	assert_string_equal(seen.text, "unknown-endpoint: scripted");
	fake_close(&fake, client);
}

static void drain_sends_all_says_goodbye_and_takes_what_still_comes(void **state)
{
	struct seen seen = {0};
	struct xy_subscribe_options with = {
		.size = sizeof(with), .on_message = see, .context = &seen};
	struct xy_client *client;
	struct xy_topic *topic;
	struct fake_frame last;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_subscribe(client, "h", &with, NULL), 0);
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	fake_bind(&fake, "h");
	assert_int_equal(xy_client_publish(client, topic, "x", 1), 0);
	fake_text(&fake, "h", 1, "late");
	fake_set(&fake, &fake.stop, true);
	pthread_mutex_lock(&fake.lock);
	shutdown(fake.fd, SHUT_WR);
	pthread_mutex_unlock(&fake.lock);
	assert_int_equal(xy_client_drain(client, FAKE_TIMEOUT_S * 1000), 0);
	assert_string_equal(seen.text, "late");
	assert_int_equal(xy_client_publish(client, topic, "x", 1), -ENOTCONN);
	fake_await(&fake, XY_GOODBYE, 1);
	last = fake.frames[fake.count - 1];
	assert_int_equal(last.header.type, XY_GOODBYE);
	assert_int_equal(fake_count(&fake, XY_DATA), 1);
	fake_close(&fake, client);
}

static void sync_waits_until_all_was_handed_on(void **state)
{
	struct xy_client *client;
	struct xy_topic *topic;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	assert_int_equal(xy_client_declare(client, "a", &topic), 0);
	assert_int_equal(xy_client_publish(client, topic, "x", 1), 0);
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_int_equal(fake_count(&fake, XY_DATA), 1);
	assert_int_equal(fake_count(&fake, XY_SYNC), 2);
	fake_set(&fake, &fake.hold_synced, true);
	assert_int_equal(xy_client_sync(client, 1), -ETIMEDOUT);
	fake_close(&fake, client);
}

static void ring(int signal)
{
	(void)signal;
}

static void a_signal_ends_waiting_with_eintr(void **state)
{
	const struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = ring, .sa_flags = SA_RESTART};
	struct xy_client *client;
	struct xy_message message;

	(void)state;
	client = fake_open(&fake, (struct xy_client_options){0});
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	assert_int_equal(xy_client_next(client, -1, &message), -EINTR);
	assert_int_equal(xy_client_next(client, FAKE_TIMEOUT_S * 1000, &message), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	fake_close(&fake, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(connecting_says_hello_then_syncs_before_anything_else,
				       setup),
		cmocka_unit_test_setup(a_refused_hello_fails_connect_with_its_reason, setup),
		cmocka_unit_test_setup(nobody_listening_fails_connect_at_once, setup),
		cmocka_unit_test_setup(
			a_published_message_is_sent_by_flush_with_id_source_and_sequence, setup),
		cmocka_unit_test_setup(a_refused_topic_fails_declare_and_may_be_asked_for_again,
				       setup),
		cmocka_unit_test_setup(next_gives_messages_in_order_with_subject_and_subscription,
				       setup),
		cmocka_unit_test_setup(messages_of_a_cancelled_subscription_are_ignored, setup),
		cmocka_unit_test_setup(process_calls_handlers_and_leaves_the_rest_to_next, setup),
		cmocka_unit_test_setup(the_descriptor_is_readable_for_what_was_only_queued, setup),
		cmocka_unit_test_setup(a_handler_may_cancel_its_own_subscription, setup),
		cmocka_unit_test_setup(a_handler_may_close_the_client, setup),
		cmocka_unit_test_setup(an_error_that_answers_no_call_is_an_event, setup),
		cmocka_unit_test_setup(drain_sends_all_says_goodbye_and_takes_what_still_comes,
				       setup),
		cmocka_unit_test_setup(sync_waits_until_all_was_handed_on, setup),
		cmocka_unit_test_setup(a_signal_ends_waiting_with_eintr, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
