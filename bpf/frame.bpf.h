/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One header of a send: is it a frame, and would user space answer no error to it.
 *
 * Pure: bytes in, findings out, no helper is called, so that it also compiles natively and can be
 * fuzzed against user/proto/frame.h, whose xy_frame_check() and xy_frame_check_data() must agree
 * with it frame by frame.
 */
#ifndef XY_BPF_FRAME_H
#define XY_BPF_FRAME_H

#include <linux/types.h>

#include <xylem/maps.h>
#include <xylem/wire.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

enum walk_finding {
	WALK_REFUSED = 1 << 0,    /* a frame that user space answers with an error */
	WALK_TARGETS = 1 << 1,    /* DATA to more than one target */
	WALK_FRAGMENTED = 1 << 2, /* a fragment of a longer message */
};

/* Headers lie at any address. BPF loads them as they lie; from a packed struct the compiler would
 * load byte by byte. */
#ifdef __bpf__
#define wire_load(type, header, offset) (*(const type *)((const char *)(header) + (offset)))
#else
#define wire_load(type, header, offset)                                                       \
	({                                                                                    \
		type loaded;                                                                  \
		__builtin_memcpy(&loaded, (const char *)(header) + (offset), sizeof(loaded)); \
		loaded;                                                                       \
	})
#endif
#define wire_field(type, header, field) \
	wire_load(type, header, __builtin_offsetof(struct xy_header, field))
#define wire_8(header, field)  wire_field(__u8, header, field)
#define wire_16(header, field) xy_be16(wire_field(__u16, header, field))
#define wire_32(header, field) xy_be32(wire_field(__u32, header, field))
#define wire_64(header, field) xy_be64(wire_field(__u64, header, field))

/* What a client may send after HELLO. */
#define WALK_CLIENT_TYPES                                                               \
	(1u << XY_SYNC | 1u << XY_DECLARE | 1u << XY_SUBSCRIBE | 1u << XY_UNSUBSCRIBE | \
	 1u << XY_DATA | 1u << XY_ACK | 1u << XY_PING | 1u << XY_PONG | 1u << XY_GOODBYE)

/* Length of the frame that starts with this header and ends within the send, or 0: no frame. */
static __always_inline __u32 frame_length(const void *header, __u32 left)
{
	__u32 length = wire_32(header, length);
	__u32 type = wire_8(header, type);

	if (length < XY_HEADER_SIZE || length > XY_FRAME_MAX || length > left)
		return 0;
	if (wire_8(header, version) != XY_WIRE_VERSION)
		return 0;
	if (type > XY_GOODBYE || !(WALK_CLIENT_TYPES >> type & 1))
		return 0;
	return length;
}

/* Whether user space would answer this DATA frame with bad-flags, bad-fragment or too-large. */
static __always_inline int frame_refused(const void *header, __u32 flags, __u32 fragments,
					 __u64 max_message)
{
	__u32 fragment = wire_16(header, fragment);

	if (flags & ~(__u32)XY_DATA_FLAGS)
		return 1;
	if (flags & XY_BUNDLE && flags & XY_REPLY_WANTED)
		return 1;
	if (flags & XY_CRC && wire_32(header, length) < XY_HEADER_SIZE + XY_CRC_SIZE)
		return 1;
	if (fragments <= 1)
		return fragment != 0;
	if (fragment >= fragments || flags & XY_BUNDLE || wire_64(header, sequence) == 0)
		return 1;
	/* fragments > max_message / XY_PAYLOAD_MAX, rounded up */
	return (__u64)(fragments - 1) * XY_PAYLOAD_MAX >= max_message;
}

/* Notes one valid frame. */
static __always_inline void frame_note(const void *header, struct xy_walk *walk, __u64 endpoint,
				       __u64 max_message)
{
	__u32 flags, fragments, kind;
	__u64 target, ack = wire_64(header, ack);

	if (wire_64(header, source) != endpoint)
		walk->findings |= WALK_REFUSED;
	else if (ack > walk->ack)
		walk->ack = ack;
	walk->correlation = wire_64(header, correlation);
	walk->type = wire_8(header, type);
	if (walk->type != XY_DATA) {
		walk->control++;
		return;
	}

	flags = wire_16(header, flags);
	fragments = wire_16(header, fragments);
	target = wire_64(header, target);
	kind = flags & XY_DIRECT ? XY_FLOW_DIRECT : XY_FLOW_TOPIC;
	if (walk->data++ == 0) {
		walk->target = target;
		walk->kind = kind;
	} else if (walk->target != target || walk->kind != kind) {
		walk->findings |= WALK_TARGETS;
	}
	if (fragments > 1)
		walk->findings |= WALK_FRAGMENTED;
	if (frame_refused(header, flags, fragments, max_message))
		walk->findings |= WALK_REFUSED;
}

#endif
