/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What client_verdict does redirect: WHOLE, in ORDER, and only as AUTHORIZED.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "kernel/lanes_fixture.h"

#define OTHER 0x7000000000000002

static unsigned char data[2 * XY_FRAME_MAX], got[2 * XY_FRAME_MAX];

/* The subscriber reads, acks by way of the loop, and has proven to read. */
static void subscriber_takes(size_t size)
{
	receive_all(subscriber.fd, got, size);
	assert_memory_equal(got, data, size);
	xy_session_ack(subscriber.session, xy_session_sent(subscriber.session));
	xy_session_prove(subscriber.session, xy_session_sent(subscriber.session));
}

static void assert_lane_takes(size_t size, uint32_t frames)
{
	struct counts before = counts_of(&publisher);
	uint64_t sent = xy_session_sent(subscriber.session);
	uint64_t sent_frames = subscriber.session->sent_frames;

	send_all(publisher.fd, data, size);
	assert_redirected(&publisher, &before, frames);
	assert_int_equal(publisher.session->bytes - before.bytes, size);
	assert_int_equal(xy_session_sent(subscriber.session) - sent, size);
	assert_int_equal(subscriber.session->sent_frames - sent_frames, frames);
	subscriber_takes(size);
	assert_silent(publisher.proxy);
	assert_silent(subscriber.fd);
}

static size_t put(size_t at, const struct frame *frame)
{
	struct frame own = *frame;

	own.source = publisher.endpoint;
	if (!own.target)
		own.target = TOPIC;
	return frame_put(data + at, &own);
}

static void a_frame_goes_from_client_to_client(void **state)
{
	(void)state;
	lanes_open(NULL);
	assert_lane_takes(put(0, FRAME(.payload = 4)), 1);
	assert_lane_takes(put(0, FRAME(.payload = 0)), 1);
	lanes_close();
}

static void one_to_64_frames_in_a_send_stay_whole(void **state)
{
	(void)state;
	lanes_open(NULL);
	for (uint32_t frames = 1; frames <= 64; frames++) {
		size_t size = 0;

		for (uint32_t i = 0; i < frames; i++)
			size += put(size, FRAME(.payload = i * 7, .sequence = i + 1));
		assert_lane_takes(size, frames);
	}
	lanes_close();
}

/* The kernel keeps a send in pages of 32 KiB: headers that lie across two, and beyond the first. */
static void headers_are_found_wherever_they_lie(void **state)
{
	(void)state;
	lanes_open(NULL);
	for (uint32_t first = 32768 - 130; first <= 32768 + 5; first += 3) {
		size_t size = put(0, FRAME(.payload = first - XY_HEADER_SIZE, .sequence = 1));

		size += put(size, FRAME(.payload = 9, .sequence = 2));
		size += put(size, FRAME(.payload = 20000, .sequence = 3));
		assert_lane_takes(size, 3);
	}
	lanes_close();
}

static void a_send_of_64_kib_is_one_piece(void **state)
{
	size_t size;

	(void)state;
	lanes_open(NULL);
	assert_lane_takes(put(0, FRAME(.payload = XY_PAYLOAD_MAX)), 1);
	/* The last header ends with the send. */
	size = put(0, FRAME(.payload = XY_PAYLOAD_MAX - XY_HEADER_SIZE));
	size += put(size, FRAME(.payload = 0));
	assert_int_equal(size, XY_SEND_BYTES_MAX);
	assert_lane_takes(size, 2);
	size = 0;
	for (int i = 0; i < 64; i++)
		size += put(size, FRAME(.payload = 1024 - XY_HEADER_SIZE, .sequence = 5));
	assert_int_equal(size, XY_SEND_BYTES_MAX);
	assert_lane_takes(size, 64);
	lanes_close();
}

static void scattered_memory_is_one_send(void **state)
{
	struct iovec parts[100];
	struct counts before;
	size_t size, piece;

	(void)state;
	lanes_open(NULL);
	size = put(0, FRAME(.payload = 3000, .sequence = 1));
	size += put(size, FRAME(.payload = 50000, .sequence = 2));
	piece = size / 99;
	for (size_t i = 0; i < 100; i++)
		parts[i] = (struct iovec){data + i * piece, i < 99 ? piece : size - 99 * piece};
	before = counts_of(&publisher);
	assert_int_equal(writev(publisher.fd, parts, 100), size);
	assert_redirected(&publisher, &before, 2);
	subscriber_takes(size);
	lanes_close();
}

static void whatever_user_space_accepts_is_accepted(void **state)
{
	const uint16_t most = (XY_MESSAGE_MAX_DEFAULT + XY_PAYLOAD_MAX - 1) / XY_PAYLOAD_MAX;
	const struct frame accepted[] = {
		{.flags = XY_REPLY_WANTED, .correlation = 5},
		{.flags = XY_CRC, .payload = XY_CRC_SIZE},
		{.flags = XY_BUNDLE | XY_CRC, .payload = 100, .sequence = 9},
		{.fragments = 1, .sequence = 1},
		{.fragments = 2, .fragment = 1, .sequence = 1, .payload = 9},
		{.fragments = most, .fragment = (uint16_t)(most - 1), .sequence = UINT64_MAX},
		{.ack = 1, .payload = 1},
	};

	(void)state;
	lanes_open(NULL);
	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++)
		assert_lane_takes(put(0, &accepted[i]), 1);
	lanes_close();
}

static void max_message_is_rounded_up_to_whole_frames(void **state)
{
	struct counts before;
	size_t size;

	(void)state;
	lanes_open(&(struct env_options){.max_message = 2 * XY_PAYLOAD_MAX + 1});
	assert_lane_takes(put(0, FRAME(.fragments = 3, .sequence = 1)), 1);
	before = counts_of(&publisher);
	size = put(0, FRAME(.fragments = 4, .sequence = 1));
	send_all(publisher.fd, data, size);
	assert_passed(&publisher, &before, XY_REASON_REFUSED, 1);
	lanes_close();
}

static void direct_flows_go_to_endpoints(void **state)
{
	struct xy_flow flow;

	(void)state;
	lanes_open(NULL);
	flow = (struct xy_flow){.key = {.target = subscriber.endpoint,
					.slot = publisher.slot.slot,
					.kind = XY_FLOW_DIRECT},
				.generation = publisher.slot.generation,
				.members = 1,
				.member[0] = {subscriber.slot.slot, subscriber.slot.generation}};
	assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), 0);
	assert_lane_takes(
		put(0, FRAME(.flags = XY_DIRECT, .target = subscriber.endpoint, .payload = 7)), 1);
	lanes_close();
}

static void authorized_ends_with_flow_and_grace(void **state)
{
	struct xy_flow_key key;
	struct counts before;
	size_t size;

	(void)state;
	lanes_open(NULL);
	size = put(0, FRAME(.payload = 4));
	assert_lane_takes(size, 1);
	key = flow_key(&publisher, TOPIC);
	assert_int_equal(xy_kernel_flow_delete(env->kernel, &key), 0);
	xy_kernel_grace(env->kernel);
	before = counts_of(&publisher);
	send_all(publisher.fd, data, size);
	assert_passed(&publisher, &before, XY_REASON_NO_FLOW, 1);
	assert_silent(subscriber.fd);
	assert_int_equal(xy_kernel_flow_delete(env->kernel, &key), -ENOENT);
	lanes_close();
}

static void other_senders_have_no_flow(void **state)
{
	struct counts before;
	struct client third;

	(void)state;
	lanes_open(NULL);
	client_open(env, &third);
	before = counts_of(&third);
	send_frame(&third, FRAME(.target = TOPIC, .payload = 4));
	assert_passed(&third, &before, XY_REASON_NO_FLOW, 1);
	assert_silent(subscriber.fd);
	client_close(env, &third);
	lanes_close();
}

/* ---- barrier, epochs, LOST ------------------------------------------------------------------- */

static void order_waits_until_the_slow_path_is_empty(void **state)
{
	struct counts before;
	size_t size;

	(void)state;
	lanes_open(NULL);
	send_frame(&publisher, FRAME(.target = OTHER, .payload = 4));
	before = counts_of(&publisher);
	size = put(0, FRAME(.payload = 4));
	send_all(publisher.fd, data, size);
	assert_passed(&publisher, &before, XY_REASON_BARRIER, 1);
	xy_session_barrier_add(publisher.session, 1);
	before = counts_of(&publisher);
	send_all(publisher.fd, data, size);
	assert_passed(&publisher, &before, XY_REASON_BARRIER, 1);
	xy_session_barrier_add(publisher.session, 2);
	receive_all(publisher.proxy, got, 3 * (XY_HEADER_SIZE + 4));
	assert_lane_takes(size, 1);
	lanes_close();
}

static void a_sync_starts_an_epoch_and_finds_the_lane_again(void **state)
{
	size_t size;

	(void)state;
	lanes_open(NULL);
	assert_int_equal(publisher.session->barrier_out, UINT64_C(1) << 32);
	send_frame(&publisher, FRAME(.target = OTHER, .payload = 4));
	send_all(publisher.fd, "garbage", 7);
	assert_true(publisher.session->lost);
	receive_all(publisher.proxy, got, XY_HEADER_SIZE + 4 + 7);

	client_resync(&publisher);
	assert_false(publisher.session->lost);
	assert_int_equal(publisher.session->barrier_out, UINT64_C(2) << 32);
	size = put(0, FRAME(.payload = 4));
	assert_lane_takes(size, 1);
	lanes_close();
}

static void a_sync_that_is_not_answered_keeps_data_off_the_lane(void **state)
{
	struct counts before;

	(void)state;
	lanes_open(NULL);
	send_frame(&publisher, FRAME(.type = XY_SYNC, .correlation = 2));
	before = counts_of(&publisher);
	send_frame(&publisher, FRAME(.target = TOPIC, .payload = 4));
	assert_passed(&publisher, &before, XY_REASON_BARRIER, 1);
	lanes_close();
}

static void a_sync_of_correlation_zero_opens_no_lane(void **state)
{
	struct counts before;

	(void)state;
	lanes_open(NULL);
	send_frame(&publisher, FRAME(.type = XY_SYNC, .correlation = 0));
	xy_session_epoch_start(publisher.session, 0);
	before = counts_of(&publisher);
	send_frame(&publisher, FRAME(.target = TOPIC, .payload = 4));
	assert_passed(&publisher, &before, XY_REASON_LOST, 1);
	lanes_close();
}

static void a_lost_epoch_ends_with_the_next(void **state)
{
	(void)state;
	lanes_open(NULL);
	/* The proxy reads a frame that the verdict has not seen (K21). */
	assert_true(xy_session_count_check(publisher.session, 1, 1));
	client_resync(&publisher);
	assert_false(xy_session_count_check(publisher.session, 2, 0));
	assert_lane_takes(put(0, FRAME(.payload = 4)), 1);
	lanes_close();
}

static void a_frame_of_garbage_in_a_lost_stream_is_no_ack(void **state)
{
	(void)state;
	lanes_open(NULL);
	publisher.session->sent = 1000;
	publisher.session->lost = 1;
	send_frame(&publisher, FRAME(.type = XY_ACK, .ack = 500));
	assert_int_equal(publisher.session->acked, 0);
	lanes_close();
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void a_group_gives_to_the_member_with_most_room(void **state)
{
	struct client member[XY_GROUP_MAX];
	const struct client *members[XY_GROUP_MAX];
	size_t size;

	(void)state;
	lanes_open(NULL);
	for (int i = 0; i < XY_GROUP_MAX; i++) {
		client_open(env, &member[i]);
		members[i] = &member[i];
		/* Member 3 has least outstanding, then 4, 5, 6, 7, 0, 1, 2. */
		member[i].session->sent += 1000 * (uint64_t)((i + 5) % XY_GROUP_MAX);
	}
	flow_put(env, &publisher, OTHER, members, XY_GROUP_MAX);
	size = put(0, FRAME(.target = OTHER, .payload = 10));
	for (int i = 0; i < XY_GROUP_MAX; i++) {
		struct client *chosen = &member[(3 + i) % XY_GROUP_MAX];

		send_all(publisher.fd, data, size);
		receive_all(chosen->fd, got, size);
		/* A member that holds frames is none. */
		xy_session_queued_add(chosen->session, 1);
	}
	for (int i = 0; i < XY_GROUP_MAX; i++)
		assert_silent(member[i].fd);
	for (int i = 0; i < XY_GROUP_MAX; i++)
		client_close(env, &member[i]);
	lanes_close();
}

static void a_group_goes_on_without_a_member_that_left(void **state)
{
	const struct client *members[] = {&subscriber, NULL};
	struct client leaver;
	size_t size;

	(void)state;
	lanes_open(NULL);
	client_open(env, &leaver);
	members[1] = &leaver;
	flow_put(env, &publisher, OTHER, members, 2);
	subscriber.session->sent += 5000;
	size = put(0, FRAME(.target = OTHER, .payload = 10));
	send_all(publisher.fd, data, size);
	receive_all(leaver.fd, got, size);
	client_close(env, &leaver);
	send_all(publisher.fd, data, size);
	receive_all(subscriber.fd, got, size);
	lanes_close();
}

static void a_group_skips_the_sender(void **state)
{
	const struct client *members[] = {&publisher, &subscriber};

	(void)state;
	lanes_open(NULL);
	subscriber.session->sent += 5000;
	flow_put(env, &publisher, OTHER, members, 2);
	assert_lane_takes(put(0, FRAME(.target = OTHER, .payload = 10)), 1);
	lanes_close();
}

/* ---- other addresses ------------------------------------------------------------------------- */

static void ipv6_has_lanes(void **state)
{
	(void)state;
	lanes_open(&(struct env_options){.address = "::1"});
	assert_lane_takes(put(0, FRAME(.payload = 100)), 1);
	lanes_close();
}

static void a_heartbeat_brings_the_lane_back(void **state)
{
	struct counts before;
	uint64_t beaten;
	size_t size;

	(void)state;
	lanes_open(NULL);
	env->control->heartbeat = xy_clock_ns() - XY_HEARTBEAT_STALE_NS - XY_NS_PER_MS;
	before = counts_of(&publisher);
	size = put(0, FRAME(.payload = 10));
	send_all(publisher.fd, data, size);
	assert_passed(&publisher, &before, XY_REASON_DEADMAN, 1);
	receive_all(publisher.proxy, got, size);
	xy_session_barrier_add(publisher.session, 1);
	beaten = xy_clock_ns();
	xy_kernel_beat(env->kernel);
	assert_in_range(env->control->heartbeat, beaten, xy_clock_ns());
	env_beat(env);
	assert_lane_takes(size, 1);
	lanes_close();
}

static void the_switch_brings_the_lane_back(void **state)
{
	struct counts before;
	size_t size;

	(void)state;
	lanes_open(NULL);
	xy_kernel_redirect_switch(env->kernel, false);
	before = counts_of(&publisher);
	size = put(0, FRAME(.payload = 10));
	send_all(publisher.fd, data, size);
	assert_passed(&publisher, &before, XY_REASON_SWITCHED_OFF, 1);
	receive_all(publisher.proxy, got, size);
	xy_session_barrier_add(publisher.session, 1);
	xy_kernel_redirect_switch(env->kernel, true);
	assert_lane_takes(size, 1);
	lanes_close();
}

static void lanes_end_with_the_kernel_side(void **state)
{
	struct client left, right;
	size_t size;

	(void)state;
	lanes_open(NULL);
	left = publisher, right = subscriber;
	size = put(0, FRAME(.payload = 100));
	assert_lane_takes(size, 1);
	env_end(env);
	/* Programs and maps live on through the sockets (K12). */
	send_all(left.fd, data, size);
	receive_all(left.proxy, got, size);
	assert_silent(right.fd);
	close(left.fd);
	close(left.proxy);
	close(right.fd);
	close(right.proxy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_goes_from_client_to_client),
		cmocka_unit_test(one_to_64_frames_in_a_send_stay_whole),
		cmocka_unit_test(headers_are_found_wherever_they_lie),
		cmocka_unit_test(a_send_of_64_kib_is_one_piece),
		cmocka_unit_test(scattered_memory_is_one_send),
		cmocka_unit_test(whatever_user_space_accepts_is_accepted),
		cmocka_unit_test(max_message_is_rounded_up_to_whole_frames),
		cmocka_unit_test(direct_flows_go_to_endpoints),
		cmocka_unit_test(authorized_ends_with_flow_and_grace),
		cmocka_unit_test(other_senders_have_no_flow),
		cmocka_unit_test(order_waits_until_the_slow_path_is_empty),
		cmocka_unit_test(a_sync_starts_an_epoch_and_finds_the_lane_again),
		cmocka_unit_test(a_sync_that_is_not_answered_keeps_data_off_the_lane),
		cmocka_unit_test(a_sync_of_correlation_zero_opens_no_lane),
		cmocka_unit_test(a_lost_epoch_ends_with_the_next),
		cmocka_unit_test(a_frame_of_garbage_in_a_lost_stream_is_no_ack),
		cmocka_unit_test(a_group_gives_to_the_member_with_most_room),
		cmocka_unit_test(a_group_goes_on_without_a_member_that_left),
		cmocka_unit_test(a_group_skips_the_sender),
		cmocka_unit_test(ipv6_has_lanes),
		cmocka_unit_test(a_heartbeat_brings_the_lane_back),
		cmocka_unit_test(the_switch_brings_the_lane_back),
		cmocka_unit_test(lanes_end_with_the_kernel_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
