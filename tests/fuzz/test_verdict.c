/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What client_verdict finds out about a send (bpf/walk.bpf.h and bpf/frame.bpf.h, compiled
 * natively) against what user space makes of the same bytes: both see the same frames, and the
 * verdict takes for redirectable only what user space answers with no error, frame by frame.
 *
 * The message is shown as the kernel shows it: in scatter elements, of which the window data …
 * data_end covers one; bpf_msg_pull_data() moves it, and joins elements only when it must (K9).
 *
 * Input: a byte of which bit 0 says that the rest is the send as it is; the endpoint's last byte;
 * max_message in KiB (2 bytes); the scatter elements' sizes (4 bytes, each 64); then the send,
 * or records of which each makes a frame (make_frame()).
 */
#include "fuzz/fuzz.h"

#include <errno.h>

#include <linux/bpf.h>

/* What the walk needs of the kernel's helpers, in place of <bpf/bpf_helpers.h>. */
#define __BPF_HELPERS__
#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name
#define __noinline          __attribute__((noinline))
#define barrier()           __asm__ volatile("" ::: "memory")

static void *bpf_map_lookup_elem(void *map, const void *key)
{
	(void)map;
	(void)key;
	return NULL;
}
static long bpf_msg_pull_data(struct sk_msg_md *msg, __u32 start, __u32 end, __u64 flags);

#pragma GCC diagnostic ignored "-Wunknown-pragmas" /* clang's, about loops */
#include "../../bpf/walk.bpf.h"

#include "proto/frame.h"

#define SEND_MAX     (80u << 10)
#define ELEMENTS_MAX 5

struct element {
	uint8_t *data; /* in memory of its own */
	uint32_t length;
};

static struct {
	struct element element[ELEMENTS_MAX];
	unsigned count;
} scatter;

/* ---- the kernel's side ----------------------------------------------------------------------- */

static void scatter_free(void)
{
	for (unsigned i = 0; i < scatter.count; i++)
		free(scatter.element[i].data);
	scatter.count = 0;
}

static void scatter_make(struct sk_msg_md *msg, const uint8_t *send, uint32_t size,
			 const uint32_t *lengths)
{
	uint32_t at = 0;

	scatter.count = 0;
	while (at < size) {
		uint32_t length = size - at;

		if (scatter.count < ELEMENTS_MAX - 1 && lengths[scatter.count] != 0 &&
		    lengths[scatter.count] < length)
			length = lengths[scatter.count];
		scatter.element[scatter.count++] =
			(struct element){fuzz_copy(send + at, length), length};
		at += length;
	}
	*msg = (struct sk_msg_md){.size = size};
	msg->data = scatter.element[0].data;
	msg->data_end = scatter.element[0].data + scatter.element[0].length;
}

/* Elements first … last become one. */
static void scatter_join(unsigned first, unsigned last)
{
	struct element joined = {.length = 0};

	for (unsigned i = first; i <= last; i++)
		joined.length += scatter.element[i].length;
	joined.data = malloc(joined.length);
	fuzz_check(joined.data != NULL);
	joined.length = 0;
	for (unsigned i = first; i <= last; i++) {
		memcpy(joined.data + joined.length, scatter.element[i].data,
		       scatter.element[i].length);
		joined.length += scatter.element[i].length;
		free(scatter.element[i].data);
	}
	scatter.element[first] = joined;
	memmove(&scatter.element[first + 1], &scatter.element[last + 1],
		(scatter.count - last - 1) * sizeof(joined));
	scatter.count -= last - first;
}

static long bpf_msg_pull_data(struct sk_msg_md *msg, __u32 start, __u32 end, __u64 flags)
{
	unsigned first = 0, last;
	uint32_t before = 0, until;

	fuzz_check(flags == 0);
	if (end <= start)
		return -EINVAL;
	while (first < scatter.count && start >= before + scatter.element[first].length)
		before += scatter.element[first++].length;
	if (first == scatter.count)
		return -EINVAL;
	until = before + scatter.element[first].length;
	for (last = first; until < end; until += scatter.element[last].length)
		if (++last == scatter.count)
			return -EINVAL;
	if (last > first)
		scatter_join(first, last);
	msg->data = scatter.element[first].data + (start - before);
	msg->data_end = (uint8_t *)msg->data + (end - start);
	return 0;
}

/* ---- user space's side ----------------------------------------------------------------------- */

static void expected_note(struct xy_walk *walk, const struct xy_frame *frame, uint64_t endpoint,
			  uint64_t max_message)
{
	enum xy_error error = xy_frame_check(frame, endpoint);

	walk->type = frame->type;
	walk->correlation = frame->correlation;
	if (error != XY_ERROR_NONE)
		walk->findings |= WALK_REFUSED;
	else if (frame->ack > walk->ack)
		walk->ack = frame->ack;
	if (frame->type != XY_DATA) {
		walk->control++;
		return;
	}
	if (walk->data++ == 0) {
		walk->target = frame->target;
		walk->kind = frame->flags & XY_DIRECT ? XY_FLOW_DIRECT : XY_FLOW_TOPIC;
	} else if (frame->target != walk->target ||
		   ((frame->flags & XY_DIRECT) != 0) != (walk->kind == XY_FLOW_DIRECT)) {
		walk->findings |= WALK_TARGETS;
	}
	if (frame->fragments > 1)
		walk->findings |= WALK_FRAGMENTED;
	if (xy_frame_check_data(frame, max_message) != XY_ERROR_NONE)
		walk->findings |= WALK_REFUSED;
}

/* The bytes of a client as the proxy reads them. */
static enum xy_reason expected_walk(const uint8_t *send, uint32_t size, struct xy_walk *walk,
				    uint64_t endpoint, uint64_t max_message)
{
	if (size > XY_SEND_BYTES_MAX)
		return XY_REASON_TOO_LARGE;
	for (unsigned frames = 0; frames < XY_SEND_FRAMES_MAX; frames++) {
		struct xy_frame frame;

		if (size - walk->offset < XY_HEADER_SIZE)
			return XY_REASON_FRAMING;
		xy_frame_decode(send + walk->offset, &frame);
		if (xy_frame_check(&frame, frame.source) != XY_ERROR_NONE ||
		    frame.length > size - walk->offset)
			return XY_REASON_FRAMING;
		expected_note(walk, &frame, endpoint, max_message);
		walk->offset += frame.length;
		if (walk->offset == size)
			return REDIRECT;
	}
	return XY_REASON_TOO_LARGE;
}

static void check_walks(const struct xy_walk *walk, const struct xy_walk *expected)
{
	fuzz_check(walk->offset == expected->offset);
	fuzz_check(walk->data == expected->data && walk->control == expected->control);
	fuzz_check(walk->target == expected->target && walk->kind == expected->kind);
	fuzz_check(walk->ack == expected->ack);
	fuzz_check(walk->type == expected->type && walk->correlation == expected->correlation);
	fuzz_check(walk->findings == expected->findings);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* A frame of a record of 14 bytes; the last two change one byte of the header, unless both are 0.
 * Returns its bytes, 0 when there is no room. */
static size_t make_frame(struct fuzz_input *input, uint8_t *to, size_t room)
{
	struct xy_frame frame = {.version = XY_WIRE_VERSION};
	uint8_t at, value;
	size_t payload;

	frame.type = (uint8_t)fuzz_take(input, 1);
	frame.flags = (uint16_t)fuzz_take(input, 2);
	frame.target = fuzz_take(input, 1);
	frame.source = fuzz_take(input, 1);
	frame.sequence = fuzz_take(input, 1);
	frame.ack = fuzz_take(input, 1) << 40;
	frame.correlation = fuzz_take(input, 1);
	frame.fragment = (uint16_t)fuzz_take(input, 1);
	frame.fragments = (uint16_t)fuzz_take(input, 1);
	payload = fuzz_take(input, 2);
	at = (uint8_t)(fuzz_take(input, 1) % XY_HEADER_SIZE);
	value = (uint8_t)fuzz_take(input, 1);
	frame.length = (uint32_t)(XY_HEADER_SIZE + payload);
	if (frame.length > room)
		return 0;
	xy_frame_encode(&frame, to);
	to[at] ^= value;
	memset(to + XY_HEADER_SIZE, 0x0c, payload);
	return frame.length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t send[SEND_MAX];
	struct fuzz_input input = {data, size};
	bool as_it_is = fuzz_take(&input, 1) & 1;
	uint64_t endpoint = fuzz_take(&input, 1), max_message = fuzz_take(&input, 2) << 10;
	struct xy_walk walk, expected = {0};
	uint32_t lengths[4], length = 0;
	enum xy_reason reason;
	struct sk_msg_md msg;

	for (unsigned i = 0; i < 4; i++)
		lengths[i] = (uint32_t)fuzz_take(&input, 1) * 64;
	if (as_it_is) {
		length = (uint32_t)(input.size < SEND_MAX ? input.size : SEND_MAX);
		memcpy(send, input.data, length);
	}
	while (!as_it_is && input.size > 0) {
		size_t frame = make_frame(&input, send + length, SEND_MAX - length);

		if (frame == 0)
			break;
		length += (uint32_t)frame;
	}
	if (length == 0)
		return 0;

	scatter_make(&msg, send, length, lengths);
	reason = walk_send(&msg, &walk, endpoint, max_message);
	fuzz_check(reason == expected_walk(send, length, &expected, endpoint, max_message));
	check_walks(&walk, &expected);
	fuzz_check(walk_is_sync(&walk) ==
		   (expected.type == XY_SYNC && expected.control == 1 && expected.data == 0 &&
		    !(expected.findings & WALK_REFUSED)));
	fuzz_check(make_one_piece(&msg) && memcmp(msg.data, send, length) == 0);
	scatter_free();
	return 0;
}
