/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * The xylem wire, version 1: the 60-byte header in front of every payload.
 *
 * One definition, shared by the kernel programs, the proxy and the library.
 * docs/PROTOCOL.md is normative; this header only gives its numbers names.
 * All integers are big-endian on the wire; convert with the xy_be*() helpers.
 * Includes nothing but the kernel's UAPI types, so that BPF code can use it.
 */
#ifndef XYLEM_WIRE_H
#define XYLEM_WIRE_H

#include <linux/types.h>

#define XY_WIRE_VERSION         1
#define XY_HEADER_SIZE          60
#define XY_FRAME_MAX            65536 /* whole frame, header included */
#define XY_PAYLOAD_MAX          (XY_FRAME_MAX - XY_HEADER_SIZE)
#define XY_SUBJECT_MAX          255          /* bytes of a subject */
#define XY_MESSAGE_MAX_DEFAULT  (64u << 20)  /* bytes of a fragmented message */
#define XY_CRC_SIZE             4            /* trailing CRC32C of a payload */
#define XY_BUNDLE_PREFIX        4            /* length in front of a bundled message */
#define XY_PING_MAX             64           /* payload of PING and PONG */
#define XY_SEND_FRAMES_MAX      64           /* frames of one send that may be redirected */
#define XY_SEND_BYTES_MAX       XY_FRAME_MAX /* bytes of one send that may be redirected */
#define XY_HEARTBEAT_MS_DEFAULT 10000
#define XY_STALL_MS_DEFAULT     2000
#define XY_HELLO_TIMEOUT_MS     5000
#define XY_DRAIN_TIMEOUT_MS     5000

/* The header as it lies on the stream. Packed: the wire has no padding and no alignment. */
struct xy_header {
	__be32 length;      /* whole frame, header included */
	__u8 version;       /* XY_WIRE_VERSION */
	__u8 type;          /* enum xy_type */
	__be16 flags;       /* enum xy_flag */
	__be64 target;      /* topic id, endpoint id, or as the type says */
	__be64 source;      /* endpoint id of the sender; the proxy is 0 */
	__be64 sequence;    /* of DATA: count of messages to this target, from 1; 0 = not counted */
	__be64 timestamp;   /* sender's CLOCK_REALTIME in ns; 0 = not stamped */
	__be64 ack;         /* bytes of frames the client has consumed since WELCOME */
	__be64 correlation; /* pairs a request with its reply; 0 = none */
	__be16 fragment;    /* index of this fragment, from 0 */
	__be16 fragments;   /* number of fragments; 0 or 1 = not fragmented */
} __attribute__((packed));

#define XY_AT(field, offset) \
	_Static_assert(__builtin_offsetof(struct xy_header, field) == (offset), "wire: " #field)
_Static_assert(sizeof(struct xy_header) == XY_HEADER_SIZE, "wire: header size");
XY_AT(length, 0);
XY_AT(version, 4);
XY_AT(type, 5);
XY_AT(flags, 6);
XY_AT(target, 8);
XY_AT(source, 16);
XY_AT(sequence, 24);
XY_AT(timestamp, 32);
XY_AT(ack, 40);
XY_AT(correlation, 48);
XY_AT(fragment, 56);
XY_AT(fragments, 58);
#undef XY_AT

enum xy_type {
	XY_HELLO = 1,
	XY_WELCOME = 2,
	XY_SYNC = 3,
	XY_SYNCED = 4,
	XY_SYNC_WANTED = 5,
	XY_DECLARE = 6,
	XY_BINDING = 7,
	XY_SUBSCRIBE = 8,
	XY_UNSUBSCRIBE = 9,
	XY_OK = 10,
	XY_ERROR = 11,
	XY_DATA = 12,
	XY_ACK = 13,
	XY_PING = 14,
	XY_PONG = 15,
	XY_GOODBYE = 16,
};

enum xy_flag {
	XY_DIRECT = 1 << 0,       /* target is an endpoint, not a topic */
	XY_REPLY_WANTED = 1 << 1, /* answer no-responders when nobody subscribes */
	XY_CRC = 1 << 2,          /* the last 4 payload bytes are the CRC32C of those before */
	XY_LANE = 1 << 3,         /* SYNCED only: the connection is on a lane */
	XY_BUNDLE = 1 << 4,       /* payload is many small messages */
};
/* What a DATA frame of a client may carry. */
#define XY_DATA_FLAGS (XY_DIRECT | XY_REPLY_WANTED | XY_CRC | XY_BUNDLE)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define xy_be16(x) ((__u16)__builtin_bswap16((__u16)(x)))
#define xy_be32(x) ((__u32)__builtin_bswap32((__u32)(x)))
#define xy_be64(x) ((__u64)__builtin_bswap64((__u64)(x)))
#else
#define xy_be16(x) ((__u16)(x))
#define xy_be32(x) ((__u32)(x))
#define xy_be64(x) ((__u64)(x))
#endif

#endif
