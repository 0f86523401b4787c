/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From header to header through a send, and the send in one piece.
 *
 * The kernel shows of a send a window data … data_end, at first its first scatter element (K9):
 * normally everything up to 32 KiB, and then the walk reads headers where they lie.
 */
#ifndef XY_BPF_WALK_H
#define XY_BPF_WALK_H

#include "frame.bpf.h"
#include "maps.bpf.h"

/* What a verdict comes to when no reason keeps the send off the lane. */
#define REDIRECT XY_REASON_COUNT

/* The verifier checks packet accesses within the first 65,535 bytes only. */
#define DIRECT_OFFSET_MAX (65535 - XY_HEADER_SIZE)

/* The window shows the whole send. */
static __always_inline int is_one_piece(struct sk_msg_md *msg)
{
	return (long)msg->data_end - (long)msg->data == msg->size;
}

/* One piece is queued on the target whole or not at all; several may be cut between (K15). */
static __always_inline int make_one_piece(struct sk_msg_md *msg)
{
	if (is_one_piece(msg))
		return 1;
	return !bpf_msg_pull_data(msg, 0, msg->size, 0) && is_one_piece(msg);
}

static __always_inline void walk_start(struct sk_msg_md *msg, struct xy_walk *walk)
{
	__builtin_memset(walk, 0, sizeof(*walk));
	walk->size = msg->size;
	walk->contiguous = is_one_piece(msg);
}

/* The header at walk->offset, or NULL. Where the window does not reach it is moved, which copies
 * only a header that lies across two elements (K9). */
static __always_inline const void *walk_header(struct sk_msg_md *msg, const struct xy_walk *walk)
{
	__u32 offset = READ_ONCE(walk->offset);
	const char *header;

	if (walk->contiguous && offset <= DIRECT_OFFSET_MAX) {
		header = (const char *)(long)msg->data + offset;
	} else {
		if (bpf_msg_pull_data(msg, offset, offset + XY_HEADER_SIZE, 0))
			return 0;
		header = (const char *)(long)msg->data;
	}
	if (header + XY_HEADER_SIZE > (const char *)(long)msg->data_end)
		return 0;
	return header;
}

/* The bytes of the next frame, noted; 0: there is none. A function of its own so that the loop
 * around it stays one that Linux 5.10 accepts: its back edge must be a jump. */
static __noinline __u32 walk_next(struct sk_msg_md *msg, struct xy_walk *walk, __u64 endpoint,
				  __u64 max_message)
{
	const void *header = walk_header(msg, walk);
	__u32 length;

	if (!header)
		return 0;
	length = frame_length(header, walk->size - walk->offset);
	if (length)
		frame_note(header, walk, endpoint, max_message);
	return length;
}

/* Walks a send; REDIRECT when it is whole valid frames to its end. */
static __always_inline enum xy_reason walk_send(struct sk_msg_md *msg, struct xy_walk *walk,
						__u64 endpoint, __u64 max_message)
{
	__u32 length;

	walk_start(msg, walk);
	if (walk->size > XY_SEND_BYTES_MAX)
		return XY_REASON_TOO_LARGE;
#pragma clang loop unroll(disable)
	for (__u32 frame = 0; frame < XY_SEND_FRAMES_MAX; frame++) {
		length = walk_next(msg, walk, endpoint, max_message);
		if (!length)
			return XY_REASON_FRAMING;
		walk->offset += length;
		if (walk->offset == walk->size)
			return REDIRECT;
		/* Carried in registers, each round would be new to the verifier (K9). */
		barrier();
	}
	return XY_REASON_TOO_LARGE;
}

/* SYNC is alone in its send; in company it does not count as one. */
static __always_inline int walk_is_sync(const struct xy_walk *walk)
{
	return walk->type == XY_SYNC && walk->control == 1 && !walk->data &&
	       !(walk->findings & WALK_REFUSED);
}

#endif
