/* SPDX-License-Identifier: BSD-2-Clause */
/* How a proxy ends, and what its clients see of it; and who may not even begin. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/footprint.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/thread.h"

static struct proxy *running;
static pid_t stopped; /* a thread of it that stands still */

/* Runs the body against a proxy of its own, without and with the kernel path, and then has `end`
 * end it: proxy_stop, which wants it to end well, or proxy_kill. */
static void with_proxies(void (*body)(struct proxy *proxy), void (*end)(struct proxy *proxy),
			 const char *const *arguments)
{
	for (int path = KERNEL_PATH_OFF; path <= KERNEL_PATH_ON; path++) {
		struct proxy *proxy;

		running = proxy_start((enum kernel_path)path, arguments);
		if (running == NULL)
			skip();
		body(running);
		raw_close_all();
		proxy = running;
		running = NULL;
		end(proxy);
	}
}

static int teardown(void **state)
{
	(void)state;
	raw_close_all();
	if (stopped != 0)
		thread_go(stopped);
	stopped = 0;
	proxy_kill(running);
	running = NULL;
	return 0;
}

static void clients_are_told_and_closed(struct proxy *proxy)
{
	struct raw *idle = raw_open(proxy), *local = raw_connect_unix(proxy);
	struct raw *subscriber = raw_open(proxy), *publisher = raw_open(proxy);
	struct raw *leaves = raw_open(proxy);
	uint64_t topic = raw_declare(publisher, "end.a");

	raw_hello(local, RAW_HELLO);
	raw_sync(local);
	raw_subscribe_to(subscriber, "end.a");
	raw_publish(publisher, topic, 1, "alive");
	raw_expect_text(subscriber, "alive");
	proxy_signal(proxy, SIGTERM);
	raw_expect(idle, XY_GOODBYE);
	raw_expect(local, XY_GOODBYE);
	raw_expect(subscriber, XY_GOODBYE);
	raw_expect(publisher, XY_GOODBYE);
	raw_expect(leaves, XY_GOODBYE);
	raw_close(leaves);
	/* Those that stay are closed by the proxy in the end. */
	raw_expect_closed(idle);
	raw_expect_closed(local);
	raw_expect_closed(subscriber);
	raw_expect_closed(publisher);
}

static void test_sigterm_says_goodbye_to_every_client_and_then_closes(void **state)
{
	(void)state;
	with_proxies(clients_are_told_and_closed, proxy_stop, NULL);
}

static void synced_messages_are_delivered(struct proxy *proxy)
{
	enum { MESSAGES = 500 };
	struct raw *subscriber = raw_open(proxy), *publisher = raw_open(proxy);
	uint64_t topic = raw_declare(publisher, "end.b");

	raw_subscribe_to(subscriber, "end.b");
	for (uint64_t i = 1; i <= MESSAGES; i++)
		raw_publish(publisher, topic, i, "before the end");
	raw_sync(publisher);
	proxy_signal(proxy, SIGTERM);
	for (uint64_t i = 1; i <= MESSAGES; i++)
		assert_int_equal(raw_expect_data(subscriber)->header.sequence, i);
	raw_expect(subscriber, XY_GOODBYE);
	raw_close(subscriber);
	raw_close(publisher);
}

static void test_what_was_synced_is_delivered_before_the_end(void **state)
{
	(void)state;
	with_proxies(synced_messages_are_delivered, proxy_stop, NULL);
}

static void data_after_goodbye_is_not_lost_in_silence(struct proxy *proxy)
{
	struct raw *subscriber = raw_open(proxy), *publisher = raw_open(proxy);
	uint64_t topic = raw_declare(publisher, "end.c");
	bool delivered = false, refused = false;

	raw_subscribe_to(subscriber, "end.c");
	raw_publish(publisher, topic, 1, "before");
	raw_expect_text(subscriber, "before");
	proxy_signal(proxy, SIGTERM);
	raw_expect(publisher, XY_GOODBYE);
	raw_publish(publisher, topic, 2, "after");
	while (raw_read(publisher, TEST_TIMEOUT_MS) == RAW_FRAME)
		if (publisher->frame.header.type == XY_ERROR) {
			assert_non_null(strstr((char *)publisher->frame.payload, "shutting-down"));
			refused = true;
		}
	while (raw_read(subscriber, TEST_TIMEOUT_MS) == RAW_FRAME)
		delivered = delivered || subscriber->frame.header.type == XY_DATA;
	assert_int_not_equal(delivered, refused);
}

static void test_data_after_goodbye_is_delivered_or_refused(void **state)
{
	(void)state;
	with_proxies(data_after_goodbye_is_not_lost_in_silence, proxy_stop, NULL);
}

static void clients_see_the_end(struct proxy *proxy)
{
	struct raw *subscriber = raw_open(proxy), *publisher = raw_open(proxy);
	uint64_t topic = raw_declare(publisher, "end.d");

	raw_subscribe_to(subscriber, "end.d");
	raw_publish(publisher, topic, 1, "alive");
	raw_expect_text(subscriber, "alive");
	proxy_signal(proxy, SIGKILL);
	raw_expect_closed(publisher);
	raw_expect_closed(subscriber);
}

static void test_sigkill_ends_every_connection(void **state)
{
	(void)state;
	with_proxies(clients_see_the_end, proxy_kill, NULL);
}

static void ends_with_a_loop_that_does_not(struct proxy *proxy)
{
	const char *local = proxy_unix(proxy) + strlen("unix:");
	int status;

	/* One for each loop. */
	raw_open(proxy);
	raw_open(proxy);
	assert_int_equal(access(local, F_OK), 0);
	assert_int_equal(footprint_files("/run/xylem/%s.*", proxy_instance(proxy)), 2);
	stopped = thread_stop(proxy_pid(proxy), "loop-1");
	proxy_signal(proxy, SIGTERM);
	thread_await_end(stopped);
	stopped = 0;
	status = proxy_await_status(proxy);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(proxy_logged(proxy, "event=stop-forced loop=loop-1"), 1);
	assert_int_equal(footprint_files("/sys/fs/bpf/xylem/%s*", proxy_instance(proxy)), 0);
	assert_int_equal(footprint_files("/run/xylem/%s.*", proxy_instance(proxy)), 0);
	assert_int_equal(access(local, F_OK), -1);
}

static void test_a_loop_that_is_stuck_for_ever_does_not_keep_the_proxy(void **state)
{
	static const char *const arguments[] = {"--loops", "2", NULL};

	(void)state;
	with_proxies(ends_with_a_loop_that_does_not, proxy_kill, arguments);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_sigterm_says_goodbye_to_every_client_and_then_closes,
					  teardown),
		cmocka_unit_test_teardown(test_what_was_synced_is_delivered_before_the_end,
					  teardown),
		cmocka_unit_test_teardown(test_data_after_goodbye_is_delivered_or_refused,
					  teardown),
		cmocka_unit_test_teardown(
			test_a_loop_that_is_stuck_for_ever_does_not_keep_the_proxy, teardown),
		cmocka_unit_test_teardown(test_sigkill_ends_every_connection, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
