/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) OR LGPL-2.1-only */
/*
 * What the kernel programs and the proxy share: the records of the BPF maps.
 *
 * Host byte order, fixed width, explicit padding; docs/MAPS.md explains each
 * field and how to read it with bpftool. Fields stand grouped by who writes
 * them, each group on cache lines of its own. Two rules hold everywhere:
 *
 *   - a field has one kind of writer, named in the comment of its group;
 *   - a counter that several CPUs write is only ever changed by an atomic add.
 */
#ifndef XYLEM_MAPS_H
#define XYLEM_MAPS_H

#include <linux/types.h>

#define XY_GROUP_MAX          8  /* members of a flow to a queue group */
#define XY_LISTENERS_MAX      16 /* plain-TCP listeners that sock_ops looks for */
#define XY_HEARTBEAT_STALE_NS 1000000000ull
#define XY_HEARTBEAT_EVERY_MS 250

/* Why client_verdict left a send to the slow path; one name per cause, stable, shown by `status`.
 */
#define XY_REASONS(X)                                                                          \
	X(CONTROL, "control", "holds no DATA: SYNC, ACK, PING, DECLARE …")                     \
	X(UNBOUND, "unbound", "socket has no slot, or its generation is over")                 \
	X(DEADMAN, "deadman", "the proxy's heartbeat is stale")                                \
	X(SWITCHED_OFF, "switched-off", "redirect is switched off in control")                 \
	X(FRAMING, "framing", "not whole valid frames; sets LOST until the next SYNC")         \
	X(TOO_LARGE, "too-large", "over 64 frames or 64 KiB in one send; sets LOST")           \
	X(MIXED, "mixed", "control and DATA in one send")                                      \
	X(TARGETS, "targets", "more than one target in one send")                              \
	X(REFUSED, "refused", "user space answers it with an error: flags, fragments, source") \
	X(BARRIER, "barrier", "an earlier frame is still on the slow path")                    \
	X(LOST, "lost", "framing was lost in this epoch")                                      \
	X(NO_FLOW, "no-flow", "no single lane or group is known as receiver")                  \
	X(FLOW_RACE, "flow-race", "the flow changed while it was read")                        \
	X(RECEIVER_GONE, "receiver-gone", "the receiver's generation is over, or its socket")  \
	X(RECEIVER_QUEUED, "receiver-queued", "the proxy still holds frames for the receiver") \
	X(NO_ROOM, "no-room", "the receiver's window is used up")                              \
	X(UNPROVEN, "unproven", "the receiver has not proven to read within two windows")      \
	X(GROUP_FRAGMENT, "group-fragment", "fragmented message to a queue group")             \
	X(NOT_LINEAR, "not-linear", "the kernel could not make it one piece")                  \
	X(NO_MEMORY, "no-memory", "the meter is at its limit until the proxy has looked")

enum xy_reason {
#define X(name, text, why) XY_REASON_##name,
	XY_REASONS(X)
#undef X
		XY_REASON_COUNT,
};
#define XY_REASON_SLOTS 24
_Static_assert(XY_REASON_COUNT <= XY_REASON_SLOTS, "a reason without a counter");

enum xy_session_state {
	XY_SESSION_FREE = 0,    /* slot may be taken */
	XY_SESSION_CLAIMED = 1, /* a claim is out, no socket yet */
	XY_SESSION_LIVE = 2,    /* a lane: may receive by redirect */
};

/* sessions: ARRAY by slot, mmapable. 512 bytes. */
struct xy_session {
	/* Written by the proxy when the slot is taken, made live or released. */
	__u32 generation; /* of this use of the slot; never 0 in use */
	__u32 state;      /* enum xy_session_state */
	__u64 endpoint;   /* whose lane it is */
	__u64 window;     /* bytes of credit */
	__u64 reserved0[5];

	/* Written by client_verdict of this slot's own socket, under its socket lock. */
	__u64 cookie;      /* of the client's socket, written once, at binding; 0 before */
	__u64 barrier_out; /* epoch << 32 | DATA frames passed in this epoch */
	__u64 acked;       /* the client's newest ack that the verdict has seen */
	__u64 frames;      /* DATA frames redirected */
	__u64 bytes;       /* bytes redirected */
	__u64 sends;       /* sends redirected */
	__u32 lost;        /* framing lost until the next SYNC */
	__u32 reserved1;
	__u64 passed; /* DATA frames passed to the proxy, all reasons */

	/* Same writer. DATA frames passed (of CONTROL: sends), by enum xy_reason. A send whose
	 * frames cannot be counted (FRAMING, TOO_LARGE) counts what was found before, at least 1.
	 */
	__u64 reasons[XY_REASON_SLOTS];

	/* Written by the loop that owns the connection. */
	__u64 barrier_done; /* like barrier_out: handed on by the proxy */
	__u64 lost_epoch;   /* the epoch in which the proxy read more than the verdict counted */
	__u64 acked_loop;   /* the newest ack that the loop has seen */
	__u64 proven;       /* `sent` as proven by the last answered PING */
	__u64 reserved2[4];

	/* Written by any loop, atomically. */
	__u64 queued; /* frames posted to or held for this receiver by the proxy */
	__u64 reserved3[7];

	/* Written by every program that redirects to this receiver, atomically; the loop takes back
	 * from `sent` what failed behind the verdict. */
	__u64 sent;        /* bytes redirected to it */
	__u64 sent_frames; /* DATA frames redirected to it by other clients */
	__u64 reserved4[6];
};
_Static_assert(sizeof(struct xy_session) == 512, "session: size");
_Static_assert(__builtin_offsetof(struct xy_session, cookie) == 64, "session: verdict's line");
_Static_assert(__builtin_offsetof(struct xy_session, reasons) == 128, "session: reasons");
_Static_assert(__builtin_offsetof(struct xy_session, barrier_done) == 320, "session: loop's line");
_Static_assert(__builtin_offsetof(struct xy_session, queued) == 384, "session: loops' line");
_Static_assert(__builtin_offsetof(struct xy_session, sent) == 448, "session: senders' line");

/* flows: HASH. From a lane to one target. */
enum xy_flow_kind {
	XY_FLOW_TOPIC = 0,
	XY_FLOW_DIRECT = 1,
};

struct xy_flow_key {
	__u64 target; /* topic id or endpoint id, host order */
	__u32 slot;   /* of the sender */
	__u32 kind;   /* enum xy_flow_kind */
};

struct xy_flow_member {
	__u32 slot;
	__u32 generation;
};

struct xy_flow {
	struct xy_flow_key key; /* again: hash elements are recycled at once (K23) */
	__u32 generation;       /* of the sender's slot */
	__u16 members;          /* 1 … XY_GROUP_MAX; more than one only of a queue group */
	__u16 group;            /* 1: a queue group, even of one: others may join it */
	struct xy_flow_member member[XY_GROUP_MAX];
	__u64 check; /* xy_flow_check() of all before it */
};
_Static_assert(sizeof(struct xy_flow_key) == 16, "flow key: size");
_Static_assert(sizeof(struct xy_flow) == 96, "flow: size");

#define XY_FLOW_WORDS (sizeof(struct xy_flow) / sizeof(__u64))

/* Of a flow as words. Not linear, so that words of two flows that were read while one replaced the
 * other do not pass for a flow (K23). */
static inline __attribute__((always_inline)) __u64 xy_flow_check(const __u64 word[XY_FLOW_WORDS])
{
	__u64 check = XY_FLOW_WORDS;

#pragma GCC unroll 16
	for (unsigned int i = 0; i < XY_FLOW_WORDS - 1; i++) {
		check = (check ^ word[i]) * 0x9e3779b97f4a7c15ull;
		check ^= check >> 32;
	}
	return check;
}

/* claims: HASH by endpoint id. The one-time right of a socket to become the lane of a slot. */
struct xy_claim {
	__u32 slot;
	__u32 generation;
};

/* What client_verdict finds out about a send, header by header. Lies in map memory, because the
 * verifier does not track it there (K9); meaningless between runs. */
struct xy_walk {
	__u32 size;        /* bytes of the send */
	__u32 offset;      /* of the next header */
	__u32 data;        /* DATA frames so far */
	__u32 control;     /* other frames so far */
	__u64 target;      /* of the first DATA frame */
	__u64 ack;         /* the largest so far */
	__u64 correlation; /* of the last frame */
	__u32 kind;        /* enum xy_flow_kind of the first DATA frame */
	__u32 type;        /* of the last frame */
	__u32 findings;    /* enum walk_finding of bpf/frame.bpf.h, or-ed */
	__u32 contiguous;  /* the kernel shows the whole send as one piece */
};
_Static_assert(sizeof(struct xy_walk) == 56, "walk: size");

/* lane_of: SK_STORAGE, on clients' sockets (by sock_ops) and on the proxy's ends (by the loop). */
struct xy_lane {
	__u64 cookie;     /* of the client's socket: where redirect goes */
	__u32 slot;       /* of the client's lane */
	__u32 generation; /* 0 = not bound */
	__u32 inserted;   /* of a client's socket: both sockmap insertions succeeded */
	__u32 reserved;
	struct xy_walk walk; /* of client_verdict's current run */
};
_Static_assert(sizeof(struct xy_lane) == 80, "lane: size");

/* control: ARRAY of one entry, mmapable. */
struct xy_listener {
	__u32 family;  /* AF_INET or AF_INET6 */
	__u32 port;    /* host order */
	__u32 addr[4]; /* network order; IPv4 in addr[0]; all zero = wildcard */
};

struct xy_control {
	/* Written by the proxy. */
	__u64 heartbeat;   /* CLOCK_MONOTONIC ns, stamped every XY_HEARTBEAT_EVERY_MS */
	__u32 redirect;    /* 1: redirect between clients; 0: switched off */
	__u32 listeners;   /* entries used below */
	__u32 slots;       /* entries of sessions */
	__u32 pid;         /* of the proxy */
	__u64 max_message; /* bytes of a fragmented message */
	__u64 meter_mark;  /* of `metered`: when it is crossed, the proxy should look */
	__u64 meter_limit; /* of `metered`: nothing is redirected between clients beyond it; ~0 =
			      none */
	__u64 reserved0[2];
	struct xy_listener listener[XY_LISTENERS_MAX];

	/* Written by the programs, atomically. */
	__u64 sockets;      /* clients' sockets that sock_ops put into the sockmaps */
	__u64 sockets_left; /* … could not: another eBPF agent's, or the maps are full */
	__u64 unbound;      /* sends passed as `unbound`: there is no session to count in */
	__u64 drops;        /* sends of the proxy that proxy_verdict dropped */
	__u64 metered;      /* bytes redirected between clients while there was a limit */
	__u64 reserved1[3];
};
_Static_assert(sizeof(struct xy_control) == 128 + 24 * XY_LISTENERS_MAX, "control: size");
_Static_assert(__builtin_offsetof(struct xy_control, listener) == 64, "control: listeners");
_Static_assert(__builtin_offsetof(struct xy_control, sockets) % 64 == 0, "control: programs' line");

/* pressure: RINGBUF. Receivers that crossed a mark. */
enum xy_pressure_mark {
	XY_PRESSURE_HALF = 1, /* `sent` crossed a multiple of window/2: a proof of reading is due */
	XY_PRESSURE_BRAKE =
		2, /* outstanding crossed 3/4 of the window: its publishers should pause */
	XY_PRESSURE_MEMORY = 4, /* the meter crossed its mark; means no receiver */
};

struct xy_pressure {
	__u32 slot;
	__u32 generation;
	__u32 marks; /* enum xy_pressure_mark, or-ed */
	__u32 reserved;
};

#endif
