/* SPDX-License-Identifier: BSD-2-Clause */
/* What the proxy tells a service manager. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/sandbox.h"
#include "common/thread.h"

#define WATCHDOG_MS 900 /* told every 300 ms or so; a beat is every 250 */

static int manager = -1;
static char path[64];

static int manager_open(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)state;
	snprintf(path, sizeof(path), "/tmp/xylem-service-%d", getpid());
	strcpy(address.sun_path, path);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (manager < 0 || bind(manager, (struct sockaddr *)&address, sizeof(address)))
		return -1;
	setenv("NOTIFY_SOCKET", path, 1);
	return 0;
}

static int manager_close(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unlink(path);
	return close(manager);
}

/* The next message within this time; NULL: none. */
static const char *told(int timeout_ms)
{
	static char text[1024];
	struct pollfd pollfd = {.fd = manager, .events = POLLIN};
	ssize_t got;

	if (poll(&pollfd, 1, timeout_ms) == 0)
		return NULL;
	got = recv(manager, text, sizeof(text) - 1, 0);
	assert_true(got >= 0);
	text[got] = '\0';
	return text;
}

/* The next message is this. */
static void is_told(const char *expected)
{
	const char *text = told(TEST_TIMEOUT_MS);

	if (text == NULL)
		fail_msg("the manager is told nothing");
	assert_string_equal(text, expected);
}

/* It says this sooner or later. */
static const char *await(const char *begins)
{
	const char *text;

	do {
		text = told(TEST_TIMEOUT_MS);
		if (text == NULL)
			fail_msg("the manager is not told %s", begins);
	} while (strncmp(text, begins, strlen(begins)) != 0);
	return text;
}

static void test_the_manager_is_told_when_it_is_ready_and_when_it_ends(void **state)
{
	struct proxy *proxy = proxy_start(KERNEL_PATH_OFF, NULL);

	(void)state;
	is_told("READY=1\nSTATUS=no lanes: --kernel-path off");
	assert_null(told(0)); /* without a watchdog nothing more … */
	proxy_stop(proxy);
	is_told("STOPPING=1"); /* … until it ends */
	assert_null(told(0));
}

static void test_its_status_names_the_cgroup(void **state)
{
	struct proxy *proxy = proxy_start(KERNEL_PATH_ON, NULL);
	char expected[512];

	(void)state;
	if (proxy == NULL)
		skip();
	snprintf(expected, sizeof(expected), "READY=1\nSTATUS=lanes for %s", sandbox_cgroup());
	is_told(expected);
	proxy_stop(proxy);
	await("STOPPING=1");
}

/* A manager restarts what is silent for longer than WATCHDOG_MS. */
static void test_the_watchdog_hears_nothing_while_a_loop_is_stuck(void **state)
{
	static const char *const arguments[] = {"--loops", "2", NULL};
	char text[16];
	struct proxy *proxy;
	struct xy_frame sync;
	struct raw *raw;
	pid_t thread;

	(void)state;
	snprintf(text, sizeof(text), "%u", WATCHDOG_MS * 1000);
	setenv("WATCHDOG_USEC", text, 1);
	proxy = proxy_start(KERNEL_PATH_OFF, arguments);
	await("READY=1");
	for (int i = 0; i < 3; i++)
		await("WATCHDOG=1");
	thread = thread_stop(proxy_pid(proxy), "router");
	/* The router is not missed before there is something for it to do: a client that it must
	 * be told of. From then on nothing is said. */
	raw = raw_connect(proxy);
	raw_hello(raw, RAW_HELLO);
	sync = raw_header(raw, XY_SYNC);
	sync.correlation = 1;
	raw_send_frame(raw, sync, NULL, 0);
	while (proxy_logged(proxy, "event=loop-stuck loop=router") == 0)
		poll(NULL, 0, 2);
	while (told(0) != NULL)
		;
	assert_null(told(3 * WATCHDOG_MS));
	thread_go(thread);
	await("WATCHDOG=1");
	raw_close_all();
	proxy_stop(proxy);
	await("STOPPING=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_manager_is_told_when_it_is_ready_and_when_it_ends),
		cmocka_unit_test(test_its_status_names_the_cgroup),
		cmocka_unit_test(test_the_watchdog_hears_nothing_while_a_loop_is_stuck),
	};

	return cmocka_run_group_tests(tests, manager_open, manager_close);
}
