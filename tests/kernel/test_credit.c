/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BOUNDED: what a receiver has not consumed stays within its window, and within two of one that
 * does not prove to read.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel/lanes_fixture.h"

#define WINDOW      (256u << 10)
#define FRAME_BYTES 8192

static const struct env_options options = {.window = WINDOW};
static unsigned char got[WINDOW];

/* Sends one frame; whether it was redirected. What passes is handed on at once. */
static bool publish(uint32_t bytes)
{
	uint64_t frames = publisher.session->frames;

	send_frame(&publisher, FRAME(.target = TOPIC, .payload = bytes - XY_HEADER_SIZE));
	if (publisher.session->frames == frames + 1)
		return true;
	receive_frame(publisher.proxy);
	xy_session_barrier_add(publisher.session, 1);
	return false;
}

/* The subscriber reads everything that was redirected to it and tells in an ACK of its own. */
static void subscriber_acks(uint64_t ack)
{
	send_frame(&subscriber, FRAME(.type = XY_ACK, .ack = ack));
	receive_frame(subscriber.proxy);
}

static void one_that_never_reads_gets_a_window(void **state)
{
	uint32_t sent = 0;

	(void)state;
	lanes_open(&options);
	while (publish(FRAME_BYTES))
		sent++;
	/* SYNCED is outstanding, too. */
	assert_int_equal(sent, (WINDOW - XY_HEADER_SIZE) / FRAME_BYTES);
	assert_int_equal(publisher.session->reasons[XY_REASON_NO_ROOM], 1);
	assert_in_range(xy_session_outstanding(subscriber.session), 0, WINDOW);
	/* The rest of the window is for smaller ones, to the last byte. */
	assert_true(publish((uint32_t)xy_session_room(subscriber.session, WINDOW)));
	assert_int_equal(xy_session_outstanding(subscriber.session), WINDOW);
	assert_false(publish(XY_HEADER_SIZE));
	lanes_close();
}

static void an_ack_gives_the_room_back(void **state)
{
	(void)state;
	lanes_open(&options);
	while (publish(FRAME_BYTES))
		;
	subscriber_acks(FRAME_BYTES);
	assert_int_equal(subscriber.session->acked, FRAME_BYTES);
	assert_true(publish(FRAME_BYTES));
	assert_false(publish(FRAME_BYTES));
	/* DATA acks as well. */
	send_frame(&subscriber, FRAME(.target = 5, .ack = 2 * FRAME_BYTES));
	assert_true(publish(FRAME_BYTES));
	lanes_close();
}

static void acks_never_go_backwards_or_beyond_sent(void **state)
{
	uint64_t sent;

	(void)state;
	lanes_open(&options);
	assert_true(publish(FRAME_BYTES));
	sent = xy_session_sent(subscriber.session);
	subscriber_acks(100);
	subscriber_acks(50);
	assert_int_equal(subscriber.session->acked, 100);
	subscriber_acks(UINT64_MAX);
	assert_int_equal(subscriber.session->acked, sent);
	subscriber_acks(sent + 1);
	assert_int_equal(subscriber.session->acked, sent);

	xy_session_ack(subscriber.session, UINT64_MAX);
	assert_int_equal(subscriber.session->acked_loop, sent);
	xy_session_ack(subscriber.session, 1);
	assert_int_equal(subscriber.session->acked_loop, sent);
	lanes_close();
}

static void the_larger_of_both_acks_counts(void **state)
{
	(void)state;
	lanes_open(&options);
	while (publish(FRAME_BYTES))
		;
	xy_session_ack(subscriber.session, FRAME_BYTES);
	assert_int_equal(xy_session_acked(subscriber.session), FRAME_BYTES);
	assert_true(publish(FRAME_BYTES));
	assert_false(publish(FRAME_BYTES));
	subscriber_acks(2 * FRAME_BYTES);
	assert_int_equal(xy_session_acked(subscriber.session), 2 * FRAME_BYTES);
	assert_true(publish(FRAME_BYTES));
	assert_false(publish(FRAME_BYTES));
	lanes_close();
}

static void one_that_acks_without_reading_gets_two_windows(void **state)
{
	uint64_t sent;

	(void)state;
	lanes_open(&options);
	while (publish(FRAME_BYTES))
		subscriber_acks(UINT64_MAX);
	sent = xy_session_sent(subscriber.session);
	assert_in_range(sent, 2 * WINDOW - FRAME_BYTES + 1, 2 * WINDOW);
	assert_int_equal(publisher.session->reasons[XY_REASON_UNPROVEN], 1);
	/* It answers a PING that was sent at the end of the first window. */
	xy_session_prove(subscriber.session, WINDOW);
	assert_int_equal(xy_session_unproven(subscriber.session), sent - WINDOW);
	while (publish(FRAME_BYTES))
		subscriber_acks(UINT64_MAX);
	assert_in_range(xy_session_sent(subscriber.session), 3 * WINDOW - FRAME_BYTES + 1,
			3 * WINDOW);
	xy_session_prove(subscriber.session, 1);
	assert_int_equal(subscriber.session->proven, WINDOW);
	lanes_close();
}

static void the_proxys_own_sends_use_credit(void **state)
{
	static unsigned char frame[XY_FRAME_MAX];
	uint64_t room;

	(void)state;
	lanes_open(&options);
	room = xy_session_room(subscriber.session, WINDOW);
	send_all(subscriber.proxy, frame,
		 frame_put(frame, FRAME(.payload = FRAME_BYTES - XY_HEADER_SIZE)));
	assert_int_equal(xy_session_room(subscriber.session, WINDOW), room - FRAME_BYTES);
	/* A redirect that failed is taken back. */
	xy_session_unsend(subscriber.session, FRAME_BYTES);
	assert_int_equal(xy_session_room(subscriber.session, WINDOW), room);
	lanes_close();
}

static void an_ack_ahead_of_sent_is_no_debt(void **state)
{
	(void)state;
	lanes_open(&options);
	subscriber_acks(XY_HEADER_SIZE);
	xy_session_unsend(subscriber.session, XY_HEADER_SIZE);
	assert_int_equal(xy_session_outstanding(subscriber.session), 0);
	assert_int_equal(xy_session_room(subscriber.session, WINDOW), WINDOW);
	assert_true(publish(FRAME_BYTES));
	lanes_close();
}

/* ---- marks ----------------------------------------------------------------------------------- */

struct marks {
	uint32_t half, brake;
};

static void mark(const struct xy_pressure *pressure, void *context)
{
	struct marks *marks = context;

	assert_int_equal(pressure->slot, subscriber.slot.slot);
	assert_int_equal(pressure->generation, subscriber.slot.generation);
	marks->half += !!(pressure->marks & XY_PRESSURE_HALF);
	marks->brake += !!(pressure->marks & XY_PRESSURE_BRAKE);
}

static struct marks marks_read(void)
{
	struct marks marks = {0};

	assert_int_equal(xy_kernel_pressure_read(env->kernel, mark, &marks), 0);
	return marks;
}

static bool marks_readable(void)
{
	struct pollfd poller = {.fd = xy_kernel_pressure_fd(env->kernel), .events = POLLIN};

	return poll(&poller, 1, 0) == 1;
}

static void marks_are_reported_where_they_are_crossed(void **state)
{
	const uint64_t half = WINDOW / 2, brake = WINDOW / 4 * 3;
	uint64_t before, after;
	struct marks marks;

	(void)state;
	lanes_open(&options);
	assert_false(marks_readable());
	for (;;) {
		before = xy_session_sent(subscriber.session);
		if (!publish(FRAME_BYTES))
			break;
		after = xy_session_sent(subscriber.session);
		assert_int_equal(marks_readable(), before / half != after / half ||
							   (before < brake && after >= brake));
		marks = marks_read();
		assert_int_equal(marks.half, before / half != after / half);
		assert_int_equal(marks.brake, before < brake && after >= brake);
	}
	assert_false(marks_readable());
	lanes_close();
}

static void the_brake_mark_counts_what_is_outstanding(void **state)
{
	struct marks marks = {0}, more;

	(void)state;
	lanes_open(&options);
	/* One that keeps up crosses halves for ever, and ¾ never. */
	for (int i = 0; i < 4 * (int)(WINDOW / FRAME_BYTES); i++) {
		assert_true(publish(FRAME_BYTES));
		subscriber_acks(UINT64_MAX);
		xy_session_prove(subscriber.session, xy_session_sent(subscriber.session));
		more = marks_read();
		marks.half += more.half;
		marks.brake += more.brake;
	}
	assert_int_equal(marks.half, 8);
	assert_int_equal(marks.brake, 0);
	lanes_close();
}

static void the_proxys_own_sends_cross_marks(void **state)
{
	static unsigned char frame[XY_FRAME_MAX];
	struct marks marks = {0}, more;

	(void)state;
	lanes_open(&options);
	frame_put(frame, FRAME(.payload = XY_PAYLOAD_MAX));
	for (int i = 0; i < 3; i++) {
		send_all(subscriber.proxy, frame, XY_FRAME_MAX);
		receive_all(subscriber.fd, got, XY_FRAME_MAX);
		more = marks_read();
		marks.half += more.half;
		marks.brake += more.brake;
	}
	assert_int_equal(marks.half, 1);
	assert_int_equal(marks.brake, 1);
	lanes_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_never_reads_gets_a_window),
		cmocka_unit_test(an_ack_gives_the_room_back),
		cmocka_unit_test(acks_never_go_backwards_or_beyond_sent),
		cmocka_unit_test(the_larger_of_both_acks_counts),
		cmocka_unit_test(one_that_acks_without_reading_gets_two_windows),
		cmocka_unit_test(the_proxys_own_sends_use_credit),
		cmocka_unit_test(an_ack_ahead_of_sent_is_no_debt),
		cmocka_unit_test(marks_are_reported_where_they_are_crossed),
		cmocka_unit_test(the_brake_mark_counts_what_is_outstanding),
		cmocka_unit_test(the_proxys_own_sends_cross_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
