/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * To whom: the flow that the router installed for a sender and a target, and of its members the one
 * to redirect to.
 */
#ifndef XY_BPF_ROUTE_H
#define XY_BPF_ROUTE_H

#include "credit.bpf.h"
#include "maps.bpf.h"
#include "walk.bpf.h"

/*
 * 0, which the CPU cannot know before it has loaded `value`. A load from an address made with it
 * comes after that load on every CPU; BPF has no other read barrier.
 */
static __always_inline __u64 zero_after(__u64 value)
{
	asm volatile("%0 ^= %0" : "+r"(value));
	return value;
}

/*
 * Copies the flow of a key. A look-up may show an element that is recycled for another key, before
 * or while it is read (K23); what repeats the key, and whose words belong together, is the key's
 * own.
 */
static __always_inline enum xy_reason flow_get(const struct xy_flow_key *key,
					       struct xy_flow *ret_flow)
{
	const volatile __u64 *word = bpf_map_lookup_elem(&flows, key);
	__u64 *copy = (__u64 *)ret_flow;

	if (!word)
		return XY_REASON_NO_FLOW;
#pragma unroll
	for (__u32 i = 0; i < XY_FLOW_WORDS; i++)
		copy[i] = word[i];
	if (xy_flow_check(copy) != ret_flow->check || ret_flow->key.target != key->target ||
	    ret_flow->key.slot != key->slot || ret_flow->key.kind != key->kind)
		return XY_REASON_FLOW_RACE;
	return REDIRECT;
}

/* Whether this receiver can be redirected to now, and its room. The slot must be made with
 * zero_after(barrier_done): the proxy adds a frame to `queued` before it adds it there. */
static __always_inline enum xy_reason receiver_check(__u32 slot, __u32 generation, __u32 size,
						     __u64 *ret_room)
{
	const struct xy_session *receiver = session_get(slot);
	__u64 room;

	if (!receiver || READ_ONCE(receiver->generation) != generation ||
	    READ_ONCE(receiver->state) != XY_SESSION_LIVE)
		return XY_REASON_RECEIVER_GONE;
	if (READ_ONCE(receiver->queued))
		return XY_REASON_RECEIVER_QUEUED;
	room = credit_room(receiver, size);
	if (!room)
		return XY_REASON_NO_ROOM;
	if (!credit_proven(receiver, size))
		return XY_REASON_UNPROVEN;
	*ret_room = room;
	return REDIRECT;
}

/*
 * The member with the most room. When none can take the send, the reason is that of the member
 * which came closest: receiver_check() goes through its reasons in their order.
 */
static __always_inline enum xy_reason receiver_choose(const struct xy_flow *flow, __u32 sender,
						      __u32 size, __u64 zero,
						      struct xy_flow_member *ret_receiver)
{
	enum xy_reason reason, closest = XY_REASON_NO_FLOW;
	__u64 room = 0, most = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < XY_GROUP_MAX; i++) {
		if (i >= flow->members)
			break;
		/* A client's message to itself goes the slow path. */
		if (flow->member[i].slot == sender)
			continue;
		reason = receiver_check(flow->member[i].slot + (__u32)zero,
					flow->member[i].generation, size, &room);
		if (reason != REDIRECT) {
			if (reason > closest)
				closest = reason;
		} else if (room > most) {
			most = room;
			*ret_receiver = flow->member[i];
		}
	}
	return most ? REDIRECT : closest;
}

/* Arms the redirect of this send to a lane and counts it. -1: the socket is gone (K20). */
static __always_inline int lane_redirect(struct sk_msg_md *msg, struct xy_session *receiver,
					 struct xy_flow_member lane, __u64 cookie)
{
	if (bpf_msg_redirect_hash(msg, &lanes, &cookie, BPF_F_INGRESS) != SK_PASS)
		return -1;
	credit_take(receiver, lane.slot, lane.generation, msg->size);
	return 0;
}

#endif
