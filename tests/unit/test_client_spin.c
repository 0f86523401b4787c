/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem: a client whose waits are short waits awake. */
#include <poll.h>

#include "unit/fake_proxy.h"

static struct fake fake;
static unsigned looks;   /* at what has come, without waiting for it */
static bool interrupted; /* the next one is */

/* The library's. */
int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	/* libc declares it as one that only writes there. */
	const struct pollfd *volatile asked = fds;

	if (count == 1 && asked->events == POLLIN && timeout == 0) {
		looks++;
		if (interrupted) {
			interrupted = false;
			errno = EINTR;
			return -1;
		}
	}
	return (int)syscall(SYS_poll, fds, count, timeout);
}

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	looks = 0;
	interrupted = false;
	return 0;
}

static int request(struct xy_client *client, struct xy_topic *topic)
{
	struct xy_message reply;

	return xy_client_request(client, topic, "?", 1, -1, &reply);
}

/* Replies that are not late for once are enough. */
static void await_looks(struct xy_client *client, struct xy_topic *topic, unsigned some)
{
	time_t end = time(NULL) + FAKE_TIMEOUT_S;

	while (looks < some && time(NULL) < end)
		assert_int_equal(request(client, topic), 0);
	assert_true(looks >= some);
}

static void replies_that_come_at_once_are_waited_for_awake(void **state)
{
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){0});
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_declare(client, "x", &topic), 0);
	await_looks(client, topic, 100);
	fake_close(&fake, client);
}

static void a_signal_ends_that_as_it_ends_every_wait(void **state)
{
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){0});
	struct xy_topic *topic;
	time_t end = time(NULL) + FAKE_TIMEOUT_S;
	int error = 0;

	(void)state;
	assert_int_equal(xy_client_declare(client, "x", &topic), 0);
	interrupted = true;
	while (!error && time(NULL) < end)
		error = request(client, topic);
	assert_int_equal(error, -EINTR);
	assert_int_equal(request(client, topic), 0);
	fake_close(&fake, client);
}

static void one_that_is_not_to_never_does(void **state)
{
	struct xy_client *client = fake_open(&fake, (struct xy_client_options){.no_spin = true});
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_declare(client, "x", &topic), 0);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(request(client, topic), 0);
	assert_int_equal(looks, 0);
	fake_close(&fake, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(replies_that_come_at_once_are_waited_for_awake, setup),
		cmocka_unit_test_setup(a_signal_ends_that_as_it_ends_every_wait, setup),
		cmocka_unit_test_setup(one_that_is_not_to_never_does, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
