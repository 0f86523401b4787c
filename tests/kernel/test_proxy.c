/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_verdict: what the proxy sends to a lane is redirected whole or dropped, and never given to
 * TCP (ONE-WRITER).
 */
#include <errno.h>
#include <linux/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel/lanes_fixture.h"

static unsigned char data[2 * XY_FRAME_MAX], got[2 * XY_FRAME_MAX];

/* Bytes that TCP has brought to a socket. */
static uint64_t tcp_received(int fd)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	assert_return_code(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), errno);
	assert_true(length >= offsetof(struct tcp_info, tcpi_bytes_received) + 8);
	return info.tcpi_bytes_received;
}

static void what_the_proxy_sends_comes_by_redirect_only(void **state)
{
	size_t size;

	(void)state;
	lanes_open(NULL);
	for (uint32_t payload = 0; payload <= XY_PAYLOAD_MAX; payload += 4091) {
		size = frame_put(data, FRAME(.payload = payload, .sequence = payload));
		send_all(subscriber.proxy, data, size);
		receive_all(subscriber.fd, got, size);
		assert_memory_equal(got, data, size);
	}
	assert_int_equal(tcp_received(subscriber.fd), 0);
	assert_int_equal(env->control->drops, 0);
	lanes_close();
}

static void more_than_64_frames_and_parts_are_one_send(void **state)
{
	struct iovec parts[1000];
	uint64_t sent;
	size_t size = 0;

	(void)state;
	lanes_open(NULL);
	for (uint32_t i = 0; i < 1000; i++) {
		parts[i].iov_base = data + size;
		parts[i].iov_len = frame_put(data + size, FRAME(.payload = 5, .sequence = i + 1));
		size += parts[i].iov_len;
	}
	sent = xy_session_sent(subscriber.session);
	assert_int_equal(writev(subscriber.proxy, parts, 1000), size);
	assert_int_equal(xy_session_sent(subscriber.session) - sent, size);
	receive_all(subscriber.fd, got, size);
	assert_memory_equal(got, data, size);
	lanes_close();
}

static void proxy_and_publisher_take_turns_in_order(void **state)
{
	(void)state;
	lanes_open(NULL);
	for (uint32_t i = 1; i <= 200; i++) {
		if (i % 3)
			send_frame(&publisher, FRAME(.target = TOPIC, .sequence = i, .payload = i));
		else
			send_all(subscriber.proxy, data,
				 frame_put(data, FRAME(.sequence = i, .payload = i)));
	}
	for (uint32_t i = 1; i <= 200; i++)
		assert_int_equal(receive_frame(subscriber.fd).sequence, i);
	assert_int_equal(tcp_received(subscriber.fd), 0);
	lanes_close();
}

/* ---- drops ----------------------------------------------------------------------------------- */

static void assert_dropped(size_t size)
{
	uint64_t drops = env->control->drops, sent = xy_session_sent(subscriber.session);

	assert_int_equal(send(subscriber.proxy, data, size, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(env->control->drops, drops + 1);
	assert_int_equal(xy_session_sent(subscriber.session), sent);
	/* A drop is final: the program is not asked again (K22). */
	assert_int_equal(
		send(subscriber.proxy, data, frame_put(data, FRAME(.payload = 0)), MSG_NOSIGNAL),
		-1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(env->control->drops, drops + 1);
	assert_silent(subscriber.fd);
	assert_int_equal(tcp_received(subscriber.fd), 0);
}

static void garbage_is_dropped(void **state)
{
	static const struct frame garbage[] = {
		{.version = 7, .payload = 40},
		{.length = XY_HEADER_SIZE - 1},
		{.length = XY_HEADER_SIZE + 41, .payload = 40},
		{.length = UINT32_MAX, .payload = 40},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		lanes_open(NULL);
		assert_dropped(frame_put(data, &garbage[i]));
		lanes_close();
	}
}

static void less_than_a_header_is_dropped(void **state)
{
	(void)state;
	lanes_open(NULL);
	frame_put(data, FRAME(.payload = 0));
	assert_dropped(XY_HEADER_SIZE - 1);
	lanes_close();
}

static void more_than_64_kib_is_dropped(void **state)
{
	size_t size;

	(void)state;
	lanes_open(NULL);
	size = frame_put(data, FRAME(.payload = XY_PAYLOAD_MAX));
	size += frame_put(data + size, FRAME(.payload = 0));
	assert_dropped(size);
	lanes_close();
}

static void a_retired_slot_gets_nothing(void **state)
{
	(void)state;
	lanes_open(NULL);
	xy_kernel_retire(env->kernel, subscriber.slot);
	assert_dropped(frame_put(data, FRAME(.payload = 4)));
	lanes_close();
}

static void a_client_that_left_gets_nothing(void **state)
{
	(void)state;
	lanes_open(NULL);
	close(subscriber.fd);
	subscriber.fd = dup(publisher.fd);
	assert_int_equal(
		send(subscriber.proxy, data, frame_put(data, FRAME(.payload = 4)), MSG_NOSIGNAL),
		-1);
	assert_true(errno == EACCES || errno == EPIPE);
	lanes_close();
}

/* The deadman and the switch are for redirect between clients. */
static void the_proxy_goes_on_while_redirect_is_off(void **state)
{
	size_t size;

	(void)state;
	lanes_open(NULL);
	xy_kernel_redirect_switch(env->kernel, false);
	env->control->heartbeat = 0;
	size = frame_put(data, FRAME(.payload = 4));
	send_all(subscriber.proxy, data, size);
	receive_all(subscriber.fd, got, size);
	assert_int_equal(tcp_received(subscriber.fd), 0);
	lanes_close();
}

/* What the client sends does not mind what it receives: TCP to the proxy goes on as before. */
static void the_client_still_reaches_the_proxy_by_tcp(void **state)
{
	(void)state;
	lanes_open(NULL);
	for (uint64_t i = 1; i <= 50; i++) {
		send_frame(&subscriber, FRAME(.type = XY_PING, .correlation = i, .payload = 8));
		assert_int_equal(receive_frame(subscriber.proxy).correlation, i);
	}
	lanes_close();
}

/* Nobody else could free what a client leaves unread (K10). */
static void what_a_client_has_not_read_can_be_thrown_away(void **state)
{
	struct counts before;
	size_t size;

	(void)state;
	lanes_open(NULL);
	size = frame_put(data, FRAME(.payload = 1000));
	for (unsigned n = 0; n < 10; n++)
		send_all(subscriber.proxy, data, size);
	assert_readable(subscriber.fd);
	xy_kernel_discard(env->kernel, subscriber.slot);
	assert_silent(subscriber.fd);
	before = counts_of(&publisher);
	send_frame(&publisher, FRAME(.target = TOPIC));
	assert_passed(&publisher, &before, XY_REASON_RECEIVER_GONE, 1);
	lanes_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_proxy_sends_comes_by_redirect_only),
		cmocka_unit_test(more_than_64_frames_and_parts_are_one_send),
		cmocka_unit_test(proxy_and_publisher_take_turns_in_order),
		cmocka_unit_test(garbage_is_dropped),
		cmocka_unit_test(less_than_a_header_is_dropped),
		cmocka_unit_test(more_than_64_kib_is_dropped),
		cmocka_unit_test(a_retired_slot_gets_nothing),
		cmocka_unit_test(a_client_that_left_gets_nothing),
		cmocka_unit_test(the_proxy_goes_on_while_redirect_is_off),
		cmocka_unit_test(the_client_still_reaches_the_proxy_by_tcp),
		cmocka_unit_test(what_a_client_has_not_read_can_be_thrown_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
