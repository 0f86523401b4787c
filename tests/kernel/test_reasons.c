/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SAFE-DEFAULT: whatever keeps a send off the lane leaves it to TCP, complete, and is counted once,
 * under its own name. One row per cause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "common/kernel_env.h"
#include "kernel/internal.h"

#define TOPIC 0x7000000000000001
#define OTHER 0x7000000000000002

struct world {
	struct env *env;
	struct client publisher, subscriber, second;
	unsigned char data[2 * XY_FRAME_MAX];
	size_t size; /* of what the stimulus sends */
};

static void add(struct world *world, const struct frame *frame)
{
	struct frame own = *frame;

	if (!own.source)
		own.source = world->publisher.endpoint;
	if (!own.target)
		own.target = TOPIC;
	world->size += frame_put(world->data + world->size, &own);
}

/* Each of these puts the send in question into `data` and brings about what keeps it off. */

static void control_alone(struct world *world)
{
	add(world, FRAME(.type = XY_PING, .payload = 8));
	add(world, FRAME(.type = XY_ACK));
}

static void sync_in_company(struct world *world)
{
	add(world, FRAME(.type = XY_SYNC, .correlation = 99));
	add(world, FRAME(.type = XY_ACK));
}

static void deadman(struct world *world)
{
	world->env->control->heartbeat = xy_clock_ns() - 2 * XY_HEARTBEAT_STALE_NS;
	add(world, FRAME(.payload = 10));
}

static void switched_off(struct world *world)
{
	xy_kernel_redirect_switch(world->env->kernel, false);
	add(world, FRAME(.payload = 10));
}

static void short_header(struct world *world)
{
	add(world, FRAME(.payload = 10));
	world->size = XY_HEADER_SIZE - 1;
}

static void split_frame(struct world *world)
{
	add(world, FRAME(.payload = 100));
	world->size -= 40;
}

static void split_second_frame(struct world *world)
{
	add(world, FRAME(.payload = 100));
	add(world, FRAME(.payload = 100));
	world->size -= 101;
}

static void bytes_behind(struct world *world)
{
	add(world, FRAME(.payload = 10));
	world->size += 7;
}

static void length_below_header(struct world *world)
{
	add(world, FRAME(.length = XY_HEADER_SIZE - 1));
}

static void length_above_maximum(struct world *world)
{
	add(world, FRAME(.length = XY_FRAME_MAX + 1, .payload = 1000));
}

static void wrong_version(struct world *world)
{
	add(world, FRAME(.version = 2, .payload = 10));
}

static void type_of_the_proxy(struct world *world)
{
	add(world, FRAME(.type = XY_SYNCED));
}

static void second_hello(struct world *world)
{
	add(world, FRAME(.type = XY_HELLO));
}

static void unknown_type(struct world *world)
{
	add(world, FRAME(.type = 17));
}

static void type_that_shifts_out(struct world *world)
{
	add(world, FRAME(.type = 32 + XY_DATA));
}

static void frames_65(struct world *world)
{
	for (int i = 0; i < 65; i++)
		add(world, FRAME(.payload = 4));
}

static void bytes_65537(struct world *world)
{
	add(world, FRAME(.payload = XY_PAYLOAD_MAX - 100));
	add(world, FRAME(.payload = 41));
}

static void control_first(struct world *world)
{
	add(world, FRAME(.type = XY_ACK));
	add(world, FRAME(.payload = 10));
}

static void control_last(struct world *world)
{
	add(world, FRAME(.payload = 10));
	add(world, FRAME(.payload = 10));
	add(world, FRAME(.type = XY_PONG, .payload = 5));
}

static void two_topics(struct world *world)
{
	flow_to(world->env, &world->publisher, OTHER, &world->subscriber);
	add(world, FRAME(.payload = 10));
	add(world, FRAME(.payload = 10, .target = OTHER));
	add(world, FRAME(.payload = 10));
}

static void topic_and_endpoint(struct world *world)
{
	add(world, FRAME(.payload = 10));
	add(world, FRAME(.payload = 10, .flags = XY_DIRECT));
}

static void wrong_source(struct world *world)
{
	add(world, FRAME(.source = world->subscriber.endpoint, .payload = 10));
}

static void lane_flag(struct world *world)
{
	add(world, FRAME(.flags = XY_LANE, .payload = 10));
}

static void unknown_flag(struct world *world)
{
	add(world, FRAME(.flags = 1 << 15, .payload = 10));
}

static void bundle_reply_wanted(struct world *world)
{
	add(world, FRAME(.flags = XY_BUNDLE | XY_REPLY_WANTED, .payload = 10));
}

static void crc_too_short(struct world *world)
{
	add(world, FRAME(.flags = XY_CRC, .payload = XY_CRC_SIZE - 1));
}

static void fragment_beyond(struct world *world)
{
	add(world, FRAME(.sequence = 1, .fragment = 3, .fragments = 3, .payload = 10));
}

static void fragment_of_one(struct world *world)
{
	add(world, FRAME(.sequence = 1, .fragment = 1, .fragments = 1, .payload = 10));
}

static void fragment_of_none(struct world *world)
{
	add(world, FRAME(.sequence = 1, .fragment = 1, .payload = 10));
}

static void fragment_uncounted(struct world *world)
{
	add(world, FRAME(.fragment = 0, .fragments = 2, .payload = 10));
}

static void fragment_of_bundle(struct world *world)
{
	add(world, FRAME(.sequence = 1, .fragments = 2, .flags = XY_BUNDLE, .payload = 10));
}

static void message_too_large(struct world *world)
{
	uint32_t most = (XY_MESSAGE_MAX_DEFAULT + XY_PAYLOAD_MAX - 1) / XY_PAYLOAD_MAX;

	add(world, FRAME(.sequence = 1, .fragments = (uint16_t)(most + 1), .payload = 10));
}

static void second_frame_refused(struct world *world)
{
	add(world, FRAME(.payload = 10));
	add(world, FRAME(.flags = XY_LANE, .payload = 10));
}

static void earlier_frame_on_slow_path(struct world *world)
{
	world->publisher.session->barrier_done--;
	add(world, FRAME(.payload = 10));
}

static void lost_by_the_verdict(struct world *world)
{
	world->publisher.session->lost = 1;
	add(world, FRAME(.payload = 10));
}

static void lost_by_the_proxy(struct world *world)
{
	struct client *publisher = &world->publisher;

	assert_true(
		xy_session_count_check(publisher->session, (uint32_t)publisher->correlation, 1));
	add(world, FRAME(.payload = 10));
}

static void no_flow(struct world *world)
{
	add(world, FRAME(.target = OTHER, .payload = 10));
}

static void flow_of_other_kind(struct world *world)
{
	add(world, FRAME(.flags = XY_DIRECT, .payload = 10));
}

static void flow_of_old_generation(struct world *world)
{
	struct xy_flow flow = {
		.key = flow_key(&world->publisher, OTHER),
		.generation = world->publisher.slot.generation - 1,
		.members = 1,
		.member[0] = {world->subscriber.slot.slot, world->subscriber.slot.generation}};

	assert_int_equal(xy_kernel_flow_put(world->env->kernel, &flow), 0);
	add(world, FRAME(.target = OTHER, .payload = 10));
}

static void to_itself(struct world *world)
{
	flow_to(world->env, &world->publisher, OTHER, &world->publisher);
	add(world, FRAME(.target = OTHER, .payload = 10));
}

/* What a look-up shows when its element was recycled for another key (K23) … */
static void value_of_other_key(struct world *world)
{
	struct xy_flow_key key = flow_key(&world->publisher, TOPIC), other = key;
	struct xy_flow flow;

	other.target = OTHER;
	assert_int_equal(bpf_map_lookup_elem(world->env->kernel->flows_fd, &key, &flow), 0);
	assert_int_equal(bpf_map_update_elem(world->env->kernel->flows_fd, &other, &flow, BPF_ANY),
			 0);
	add(world, FRAME(.target = OTHER, .payload = 10));
}

/* … or while it was being read: the key of one flow, the receiver of another. */
static void value_of_two_flows(struct world *world)
{
	struct xy_flow_key key = flow_key(&world->publisher, TOPIC);
	struct xy_flow flow;

	assert_int_equal(bpf_map_lookup_elem(world->env->kernel->flows_fd, &key, &flow), 0);
	flow.member[0] =
		(struct xy_flow_member){world->second.slot.slot, world->second.slot.generation};
	assert_int_equal(bpf_map_update_elem(world->env->kernel->flows_fd, &key, &flow, BPF_ANY),
			 0);
	add(world, FRAME(.payload = 10));
}

static void receiver_retired(struct world *world)
{
	xy_kernel_retire(world->env->kernel, world->subscriber.slot);
	add(world, FRAME(.payload = 10));
}

static void receiver_not_live(struct world *world)
{
	world->subscriber.session->state = XY_SESSION_CLAIMED;
	add(world, FRAME(.payload = 10));
}

static void receiver_slot_beyond(struct world *world)
{
	struct client nobody = {.slot = {xy_kernel_slots(world->env->kernel), 1}};

	flow_to(world->env, &world->publisher, OTHER, &nobody);
	add(world, FRAME(.target = OTHER, .payload = 10));
}

static void receiver_closed(struct world *world)
{
	close(world->subscriber.fd);
	world->subscriber.fd = dup(world->publisher.fd);
	add(world, FRAME(.payload = 10));
}

static void receiver_queued(struct world *world)
{
	xy_session_queued_add(world->subscriber.session, 1);
	add(world, FRAME(.payload = 10));
}

static void no_room(struct world *world)
{
	world->subscriber.session->sent += ENV_WINDOW - 100;
	world->subscriber.session->proven = world->subscriber.session->sent;
	add(world, FRAME(.payload = 101));
}

static void unproven(struct world *world)
{
	struct xy_session *session = world->subscriber.session;

	session->sent = session->acked = 2 * ENV_WINDOW;
	session->proven = XY_HEADER_SIZE + 10 - 1;
	add(world, FRAME(.payload = 10));
}

static void meter_at_its_limit(struct world *world)
{
	xy_kernel_meter(world->env->kernel, XY_HEADER_SIZE + 10 - 1);
	add(world, FRAME(.payload = 10));
}

static void fragment_to_group(struct world *world)
{
	const struct client *members[] = {&world->subscriber, &world->second};

	flow_put(world->env, &world->publisher, OTHER, members, 2);
	add(world, FRAME(.target = OTHER, .sequence = 1, .fragments = 2, .payload = 10));
}

/* Others may join it between two fragments. */
static void fragment_to_group_of_one(struct world *world)
{
	struct xy_flow flow = {
		.key = flow_key(&world->publisher, OTHER),
		.generation = world->publisher.slot.generation,
		.members = 1,
		.group = 1,
		.member[0] = {world->subscriber.slot.slot, world->subscriber.slot.generation}};

	assert_int_equal(xy_kernel_flow_put(world->env->kernel, &flow), 0);
	add(world, FRAME(.target = OTHER, .sequence = 1, .fragments = 2, .payload = 10));
}

static void group_without_room(struct world *world)
{
	const struct client *members[] = {&world->subscriber, &world->second};

	flow_put(world->env, &world->publisher, OTHER, members, 2);
	xy_session_queued_add(world->subscriber.session, 1);
	world->second.session->sent += ENV_WINDOW;
	add(world, FRAME(.target = OTHER, .payload = 10));
}

#define FRAMING   XY_REASON_FRAMING
#define TOO_LARGE XY_REASON_TOO_LARGE

static const struct row {
	const char *name;
	void (*stimulus)(struct world *world);
	enum xy_reason reason;
	uint32_t frames; /* DATA frames counted; of CONTROL: none */
} rows[] = {
	{"control frames", control_alone, XY_REASON_CONTROL, 0},
	{"a SYNC that is not alone", sync_in_company, XY_REASON_CONTROL, 0},
	{"stale heartbeat", deadman, XY_REASON_DEADMAN, 1},
	{"redirect switched off", switched_off, XY_REASON_SWITCHED_OFF, 1},
	{"less than a header", short_header, FRAMING, 1},
	{"part of a frame", split_frame, FRAMING, 1},
	{"a frame and part of a frame", split_second_frame, FRAMING, 1},
	{"bytes behind a frame", bytes_behind, FRAMING, 1},
	{"length below a header", length_below_header, FRAMING, 1},
	{"length above the maximum", length_above_maximum, FRAMING, 1},
	{"version 2", wrong_version, FRAMING, 1},
	{"SYNCED of a client", type_of_the_proxy, FRAMING, 1},
	{"second HELLO", second_hello, FRAMING, 1},
	{"type 17", unknown_type, FRAMING, 1},
	{"type 44", type_that_shifts_out, FRAMING, 1},
	{"65 frames", frames_65, TOO_LARGE, 64},
	{"65,537 bytes", bytes_65537, TOO_LARGE, 1},
	{"control before DATA", control_first, XY_REASON_MIXED, 1},
	{"control after DATA", control_last, XY_REASON_MIXED, 2},
	{"two topics", two_topics, XY_REASON_TARGETS, 3},
	{"topic and endpoint of one id", topic_and_endpoint, XY_REASON_TARGETS, 2},
	{"AUTHENTIC: source of another", wrong_source, XY_REASON_REFUSED, 1},
	{"flag LANE", lane_flag, XY_REASON_REFUSED, 1},
	{"unknown flag", unknown_flag, XY_REASON_REFUSED, 1},
	{"bundle that wants a reply", bundle_reply_wanted, XY_REASON_REFUSED, 1},
	{"no room for the CRC", crc_too_short, XY_REASON_REFUSED, 1},
	{"fragment 3 of 3", fragment_beyond, XY_REASON_REFUSED, 1},
	{"fragment 1 of 1", fragment_of_one, XY_REASON_REFUSED, 1},
	{"fragment 1 of 0", fragment_of_none, XY_REASON_REFUSED, 1},
	{"fragment without sequence", fragment_uncounted, XY_REASON_REFUSED, 1},
	{"fragment of a bundle", fragment_of_bundle, XY_REASON_REFUSED, 1},
	{"message too large", message_too_large, XY_REASON_REFUSED, 1},
	{"second frame refused", second_frame_refused, XY_REASON_REFUSED, 2},
	{"earlier frame on the slow path", earlier_frame_on_slow_path, XY_REASON_BARRIER, 1},
	{"framing lost", lost_by_the_verdict, XY_REASON_LOST, 1},
	{"proxy read more than was counted", lost_by_the_proxy, XY_REASON_LOST, 1},
	{"no flow", no_flow, XY_REASON_NO_FLOW, 1},
	{"flow of the other kind", flow_of_other_kind, XY_REASON_NO_FLOW, 1},
	{"flow of an old generation", flow_of_old_generation, XY_REASON_NO_FLOW, 1},
	{"flow to the sender", to_itself, XY_REASON_NO_FLOW, 1},
	{"flow that repeats another key", value_of_other_key, XY_REASON_FLOW_RACE, 1},
	{"flow with the receiver of another", value_of_two_flows, XY_REASON_FLOW_RACE, 1},
	{"receiver retired", receiver_retired, XY_REASON_RECEIVER_GONE, 1},
	{"receiver not live", receiver_not_live, XY_REASON_RECEIVER_GONE, 1},
	{"receiver beyond the table", receiver_slot_beyond, XY_REASON_RECEIVER_GONE, 1},
	{"receiver closed", receiver_closed, XY_REASON_RECEIVER_GONE, 1},
	{"frames held for the receiver", receiver_queued, XY_REASON_RECEIVER_QUEUED, 1},
	{"window used up", no_room, XY_REASON_NO_ROOM, 1},
	{"two windows without proof", unproven, XY_REASON_UNPROVEN, 1},
	{"fragment to a group", fragment_to_group, XY_REASON_GROUP_FRAGMENT, 1},
	{"fragment to a group of one", fragment_to_group_of_one, XY_REASON_GROUP_FRAGMENT, 1},
	{"meter at its limit", meter_at_its_limit, XY_REASON_NO_MEMORY, 1},
	{"group: one held, one full", group_without_room, XY_REASON_NO_ROOM, 1},
};

static void world_open(struct world *world, struct env *env)
{
	*world = (struct world){.env = env};
	env_beat(env);
	xy_kernel_redirect_switch(env->kernel, true);
	xy_kernel_meter(env->kernel, UINT64_MAX);
	client_open(env, &world->publisher);
	client_open(env, &world->subscriber);
	client_open(env, &world->second);
	flow_to(env, &world->publisher, TOPIC, &world->subscriber);
}

static void world_close(struct world *world)
{
	client_close(world->env, &world->publisher);
	client_close(world->env, &world->subscriber);
	client_close(world->env, &world->second);
}

static void run_row(struct env *env, const struct row *row)
{
	static unsigned char got[2 * XY_FRAME_MAX];
	static struct world world;
	bool loses = row->reason == FRAMING || row->reason == TOO_LARGE;
	struct client *publisher = &world.publisher;
	struct counts before;
	uint64_t sent;

	print_message("%s: %s\n", row->name, reason_text(row->reason));
	world_open(&world, env);
	row->stimulus(&world);
	before = counts_of(publisher);
	sent = xy_session_sent(world.subscriber.session);
	send_all(publisher->fd, world.data, world.size);

	assert_passed(publisher, &before, row->reason, row->frames);
	assert_int_equal(publisher->session->barrier_out,
			 before.barrier_out + (row->reason == XY_REASON_CONTROL ? 0 : row->frames));
	if (row->reason != XY_REASON_LOST)
		assert_int_equal(publisher->session->lost, loses);
	assert_int_equal(xy_session_sent(world.subscriber.session), sent);
	receive_all(publisher->proxy, got, world.size);
	assert_memory_equal(got, world.data, world.size);
	assert_silent(publisher->proxy);
	if (row->stimulus != receiver_closed)
		assert_silent(world.subscriber.fd);
	world_close(&world);
}

static void every_cause_passes_and_is_counted_once(void **state)
{
	struct env *env = env_open(NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		run_row(env, &rows[i]);
	env_close(env);
}

/* UNBOUND has no session to count in, and has tests of its own; NOT_LINEAR needs an allocation to
 * fail in the kernel. */
static void every_other_reason_has_a_row(void **state)
{
	bool seen[XY_REASON_COUNT] = {[XY_REASON_UNBOUND] = true, [XY_REASON_NOT_LINEAR] = true};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		seen[rows[i].reason] = true;
	for (int reason = 0; reason < XY_REASON_COUNT; reason++)
		if (!seen[reason])
			fail_msg("no row for %s", reason_text(reason));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cause_passes_and_is_counted_once),
		cmocka_unit_test(every_other_reason_has_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
