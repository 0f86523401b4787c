/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Credit: nothing in the kernel limits what is queued on the target of a redirect (K5), so what a
 * receiver has not consumed is bounded here, before each redirect. Bytes throughout.
 */
#ifndef XY_BPF_CREDIT_H
#define XY_BPF_CREDIT_H

#include "maps.bpf.h"

/* By how much `later` is ahead. The proxy takes back what a failed redirect has counted, so `sent`
 * may for a moment be behind an ack. */
static __always_inline __u64 credit_ahead(__u64 later, __u64 earlier)
{
	return later > earlier ? later - earlier : 0;
}

/* The newest ack: the verdict's or, of sends that it could not read, the loop's. */
static __always_inline __u64 credit_acked(const struct xy_session *receiver)
{
	__u64 acked = READ_ONCE(receiver->acked);
	__u64 acked_loop = READ_ONCE(receiver->acked_loop);

	return acked > acked_loop ? acked : acked_loop;
}

/* Takes an ack of the session's own client: never backwards, never beyond what was sent. */
static __always_inline void credit_ack(struct xy_session *session, __u64 ack)
{
	__u64 sent = READ_ONCE(session->sent);

	if (ack > sent)
		ack = sent;
	if (ack > session->acked)
		WRITE_ONCE(session->acked, ack);
}

/* Bytes of credit left; 0 unless `size` fits. */
static __always_inline __u64 credit_room(const struct xy_session *receiver, __u32 size)
{
	__u64 outstanding = credit_ahead(READ_ONCE(receiver->sent), credit_acked(receiver));
	__u64 window = READ_ONCE(receiver->window);

	return outstanding + size <= window ? window - outstanding : 0;
}

/* Whether the receiver has proven, by answering a PING, to read what it acks. */
static __always_inline int credit_proven(const struct xy_session *receiver, __u32 size)
{
	__u64 unproven = credit_ahead(READ_ONCE(receiver->sent), READ_ONCE(receiver->proven));

	return unproven + size <= 2 * READ_ONCE(receiver->window);
}

/*
 * Counts a redirect and reports the marks that it crosses. Other CPUs add at the same time: what
 * is read before the add is not above, and what is read after it is not below, what this add
 * alone would show. So a crossing may be reported twice, but is not missed.
 */
static __always_inline void credit_take(struct xy_session *receiver, __u32 slot, __u32 generation,
					__u32 size)
{
	struct xy_pressure report = {.slot = slot, .generation = generation};
	__u64 window = READ_ONCE(receiver->window);
	__u64 half = window / 2, brake = window - window / 4;
	__u64 acked = credit_acked(receiver);
	__u64 before, after;

	before = READ_ONCE(receiver->sent);
	atomic_add(&receiver->sent, size);
	after = READ_ONCE(receiver->sent);

	if (before / half != after / half)
		report.marks |= XY_PRESSURE_HALF;
	if (credit_ahead(before, acked) < brake && credit_ahead(after, acked) >= brake)
		report.marks |= XY_PRESSURE_BRAKE;
	if (report.marks)
		bpf_ringbuf_output(&pressure, &report, sizeof(report), 0);
}

/*
 * The meter: credit bounds each receiver, but all of them together may hold more than there is
 * memory for, and fill it between two looks of the proxy. So it says what may be redirected until
 * its next one. Counts nothing, and costs nothing, while there is no limit.
 */
static __always_inline int meter_allows(const struct xy_control *settings, __u32 size)
{
	__u64 limit = READ_ONCE(settings->meter_limit);

	return limit == ~0ull || READ_ONCE(settings->metered) + size <= limit;
}

static __always_inline void meter_take(struct xy_control *settings, __u32 size)
{
	struct xy_pressure report = {.marks = XY_PRESSURE_MEMORY};
	__u64 mark = READ_ONCE(settings->meter_mark), before;

	if (READ_ONCE(settings->meter_limit) == ~0ull)
		return;
	before = READ_ONCE(settings->metered);
	atomic_add(&settings->metered, size);
	if (before < mark && READ_ONCE(settings->metered) >= mark)
		bpf_ringbuf_output(&pressure, &report, sizeof(report), 0);
}

#endif
