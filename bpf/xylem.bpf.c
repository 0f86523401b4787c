// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The kernel's share of the proxy, three programs:
 *
 *   client_established  sock_ops   puts clients' sockets into the sockmaps
 *   client_verdict      sk_msg     redirects what a client sends, or leaves it to TCP
 *   proxy_verdict       sk_msg     redirects what the proxy sends to a client on a lane
 *
 * client_verdict may leave any send to TCP, and does so on every doubt, under a reason with a
 * name: the proxy then does what the kernel did not, in the same order and with the same result.
 * docs/ARCHITECTURE.md has the rules; K-numbers are facts about the kernel.
 *
 * Loads on Linux 5.10: UAPI headers only, no kernel BTF, no fetching atomics (K6, K14).
 * Never used: cork, apply_bytes, sk_skb programs (K3, K4, K18).
 */
#include "maps.bpf.h"
#include "credit.bpf.h"
#include "frame.bpf.h"
#include "population.bpf.h"
#include "route.bpf.h"
#include "walk.bpf.h"

SEC("sockops")
int client_established(struct bpf_sock_ops *ops)
{
	struct xy_control *counters = control_get();
	struct bpf_sock *socket;
	struct xy_lane *lane;
	__u64 cookie;

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || !counters || !connects_to_us(ops))
		return 1;
	socket = ops->sk;
	if (!socket)
		return 1;
	lane = bpf_sk_storage_get(&lane_of, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (lane) {
		cookie = bpf_get_socket_cookie(ops);
		lane->cookie = cookie;
		/* BPF_NOEXIST on a stale key would leave a half-attached socket (K11). */
		if (!bpf_sock_hash_update(ops, &client_sockets, &cookie, BPF_ANY) &&
		    !bpf_sock_hash_update(ops, &lanes, &cookie, BPF_ANY)) {
			lane->inserted = 1;
			atomic_add(&counters->sockets, 1);
			return 1;
		}
	}
	atomic_add(&counters->sockets_left, 1);
	return 1;
}

static __always_inline struct xy_lane *lane_get(struct sk_msg_md *msg)
{
	struct bpf_sock *socket = msg->sk;

	return socket ? bpf_sk_storage_get(&lane_of, socket, 0, 0) : 0;
}

/*
 * A lone SYNC takes the claim of its source. Only the client that was told the endpoint id in
 * WELCOME knows it yet, whereas a 4-tuple says nothing about who a socket is (K24). Of all who try,
 * the one whose own delete succeeds is bound; the proxy deletes the claim as well, when it has
 * read the client's first frame.
 */
static __always_inline void lane_bind(struct sk_msg_md *msg, struct xy_lane *lane)
{
	const struct xy_claim *claim;
	struct xy_session *session;
	const void *header;
	__u32 slot, generation;
	__u64 source;

	walk_start(msg, &lane->walk);
	header = walk_header(msg, &lane->walk);
	if (!header || frame_length(header, msg->size) != msg->size ||
	    wire_8(header, type) != XY_SYNC)
		return;
	source = wire_64(header, source);
	claim = bpf_map_lookup_elem(&claims, &source);
	if (!claim)
		return;
	slot = READ_ONCE(claim->slot);
	generation = READ_ONCE(claim->generation);
	/* The look-up may show another endpoint's claim (K23). */
	session = session_get(slot);
	if (!session || READ_ONCE(session->endpoint) != source ||
	    READ_ONCE(session->generation) != generation)
		return;
	if (bpf_map_delete_elem(&claims, &source))
		return;
	lane->slot = slot;
	lane->generation = generation;
	WRITE_ONCE(session->cookie, lane->cookie);
}

/* Whether frames of this sender may still be on the slow path. The proxy sets `lost_epoch` before
 * it adds to `barrier_done`, so it is loaded after that. */
static __always_inline enum xy_reason barrier_check(const struct xy_session *session,
						    __u64 *ret_zero)
{
	__u64 out = session->barrier_out;
	__u64 done = READ_ONCE(session->barrier_done);
	__u64 zero = zero_after(done);
	/* The mask tells the verifier that this stays within the session. */
	const struct xy_session *after = (const void *)session + (zero & 8);

	if (session->lost || READ_ONCE(after->lost_epoch) == out >> 32)
		return XY_REASON_LOST;
	if (out != done)
		return XY_REASON_BARRIER;
	*ret_zero = zero;
	return REDIRECT;
}

/* The rules for a send of whole valid frames, in their order; REDIRECT: it is armed. */
static __always_inline enum xy_reason judge(struct sk_msg_md *msg, const struct xy_lane *lane,
					    struct xy_control *settings, struct xy_session *session)
{
	const struct xy_walk *walk = &lane->walk;
	struct xy_flow_member receiver_lane = {};
	struct xy_flow_key key = {};
	struct xy_session *receiver;
	struct xy_flow flow;
	enum xy_reason reason;
	__u64 zero = 0;

	if (!walk->data)
		return XY_REASON_CONTROL;
	if (bpf_ktime_get_ns() > READ_ONCE(settings->heartbeat) + XY_HEARTBEAT_STALE_NS)
		return XY_REASON_DEADMAN;
	if (!READ_ONCE(settings->redirect))
		return XY_REASON_SWITCHED_OFF;
	if (walk->control)
		return XY_REASON_MIXED;
	if (walk->findings & WALK_TARGETS)
		return XY_REASON_TARGETS;
	if (walk->findings & WALK_REFUSED)
		return XY_REASON_REFUSED;
	reason = barrier_check(session, &zero);
	if (reason != REDIRECT)
		return reason;

	key.target = walk->target;
	key.slot = lane->slot;
	key.kind = walk->kind;
	reason = flow_get(&key, &flow);
	if (reason != REDIRECT)
		return reason;
	if (flow.generation != lane->generation)
		return XY_REASON_NO_FLOW;
	if (flow.group && walk->findings & WALK_FRAGMENTED)
		return XY_REASON_GROUP_FRAGMENT;
	reason = receiver_choose(&flow, lane->slot, msg->size, zero, &receiver_lane);
	if (reason != REDIRECT)
		return reason;
	receiver = session_get(receiver_lane.slot);
	if (!receiver)
		return XY_REASON_RECEIVER_GONE;
	if (!meter_allows(settings, msg->size))
		return XY_REASON_NO_MEMORY;

	/* Last, because it may copy. */
	if (!make_one_piece(msg))
		return XY_REASON_NOT_LINEAR;
	if (lane_redirect(msg, receiver, receiver_lane, READ_ONCE(receiver->cookie)))
		return XY_REASON_RECEIVER_GONE;
	atomic_add(&receiver->sent_frames, walk->data);
	meter_take(settings, msg->size);
	return REDIRECT;
}

/* Counts what goes to the proxy. No atomics: this socket's lock is held (K6). */
static __always_inline void count_passed(struct xy_session *session, __u32 frames,
					 enum xy_reason reason)
{
	if (reason == XY_REASON_CONTROL) {
		session->reasons[XY_REASON_CONTROL]++;
		return;
	}
	if (!frames)
		frames = 1;
	session->passed += frames;
	WRITE_ONCE(session->barrier_out, session->barrier_out + frames);
	if (reason < XY_REASON_SLOTS)
		session->reasons[reason] += frames;
}

static __always_inline void count_redirected(struct xy_session *session, __u32 frames, __u32 bytes)
{
	session->frames += frames;
	session->bytes += bytes;
	session->sends++;
}

SEC("sk_msg")
int client_verdict(struct sk_msg_md *msg)
{
	struct xy_control *settings = control_get();
	struct xy_lane *lane = lane_get(msg);
	struct xy_session *session;
	struct xy_walk *walk;
	enum xy_reason reason;

	if (!settings || !lane)
		return SK_PASS;
	if (!lane->generation && lane->inserted)
		lane_bind(msg, lane);
	session = session_get(lane->slot);
	/* Of another generation the slot is somebody else's: nothing is written to it. */
	if (!session || !lane->generation || READ_ONCE(session->generation) != lane->generation) {
		atomic_add(&settings->unbound, 1);
		return SK_PASS;
	}

	walk = &lane->walk;
	reason = walk_send(msg, walk, session->endpoint, settings->max_message);
	if (reason == REDIRECT && walk_is_sync(walk)) {
		WRITE_ONCE(session->barrier_out, walk->correlation << 32);
		session->lost = 0;
	}
	/* While framing is lost a payload could pass for a header; the proxy sees every ack then.
	 */
	if (!session->lost)
		credit_ack(session, walk->ack);
	if (reason == REDIRECT)
		reason = judge(msg, lane, settings, session);
	else
		session->lost = 1;
	if (reason == REDIRECT)
		count_redirected(session, walk->data, msg->size);
	else
		count_passed(session, walk->data, reason);
	return SK_PASS;
}

/*
 * The proxy's own sends to a client on a lane: whole frames in one piece, never by TCP, which would
 * make a second writer of the client's stream (K1). A drop is final for the socket (K22): the loop
 * has checked credit and room before, and closes the client when it sees one.
 */
SEC("sk_msg")
int proxy_verdict(struct sk_msg_md *msg)
{
	struct xy_control *counters = control_get();
	struct xy_lane *lane = lane_get(msg);
	struct xy_flow_member to = {};
	struct xy_session *receiver;
	const char *header;

	if (!counters || !lane)
		goto drop;
	receiver = session_get(lane->slot);
	if (!receiver || READ_ONCE(receiver->generation) != lane->generation)
		goto drop;
	if (msg->size > XY_SEND_BYTES_MAX || !make_one_piece(msg))
		goto drop;
	header = (const char *)(long)msg->data;
	if (header + XY_HEADER_SIZE > (const char *)(long)msg->data_end)
		goto drop;
	if (wire_8(header, version) != XY_WIRE_VERSION || wire_32(header, length) > msg->size ||
	    wire_32(header, length) < XY_HEADER_SIZE)
		goto drop;
	to.slot = lane->slot;
	to.generation = lane->generation;
	if (lane_redirect(msg, receiver, to, lane->cookie))
		goto drop;
	return SK_PASS;
drop:
	if (counters)
		atomic_add(&counters->drops, 1);
	return SK_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
