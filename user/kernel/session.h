/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The proxy's side of a session: the counters it shares with the programs.
 *
 * A session is valid from xy_kernel_adopt() to xy_kernel_recycle(). Each function names its
 * threads; "the loop" is the one that owns the connection. The programs read these fields without
 * locks, so the order of the calls is part of the protocol:
 *
 *   1. queued_add   before a frame is posted to its receiver's loop
 *   2. count_check  when frames are read, before the next barrier_add
 *   3. barrier_add  when frames are handed on, after their queued_add
 *   4. queued_sub   after the frame was redirected or dropped
 */
#ifndef XY_KERNEL_SESSION_H
#define XY_KERNEL_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include <xylem/maps.h>

#define XY_EPOCH(barrier)       ((uint32_t)((barrier) >> 32))
#define XY_EPOCH_COUNT(barrier) ((uint32_t)(barrier))

/* ---- as a sender ----------------------------------------------------------------------------- */

/* Starts the epoch of a SYNC that is being answered, before SYNCED is sent. The loop. */
static inline void xy_session_epoch_start(struct xy_session *session, uint64_t correlation)
{
	__atomic_store_n(&session->barrier_done, correlation << 32, __ATOMIC_RELEASE);
}

/* Frames of the current epoch have been handed on. The release pairs with zero_after() of the
 * verdict: who sees the sum sees the receivers' `queued`, too. The loop. */
static inline void xy_session_barrier_add(struct xy_session *session, uint32_t frames)
{
	__atomic_fetch_add(&session->barrier_done, frames, __ATOMIC_RELEASE);
}

/* `read` DATA frames of this epoch have been read in all. If the verdict has counted fewer, some
 * were sent past it (K21): the epoch is lost, nothing is redirected until the next SYNC. Returns
 * whether it is. The loop. */
static inline bool xy_session_count_check(struct xy_session *session, uint32_t epoch, uint32_t read)
{
	uint64_t out = __atomic_load_n(&session->barrier_out, __ATOMIC_ACQUIRE);

	if (XY_EPOCH(out) == epoch && XY_EPOCH_COUNT(out) < read)
		__atomic_store_n(&session->lost_epoch, epoch, __ATOMIC_RELEASE);
	return __atomic_load_n(&session->lost_epoch, __ATOMIC_RELAXED) == epoch;
}

/* DATA frames of this client that were redirected. Any thread. */
static inline uint64_t xy_session_frames(const struct xy_session *session)
{
	return __atomic_load_n(&session->frames, __ATOMIC_RELAXED);
}

static inline uint64_t xy_session_reason(const struct xy_session *session, enum xy_reason reason)
{
	return __atomic_load_n(&session->reasons[reason], __ATOMIC_RELAXED);
}

/* DATA frames that a receiver had no room for / that only what went before them kept off the lane:
 * a SYNC helps against both. Any thread. */
static inline uint64_t xy_session_no_room(const struct xy_session *session)
{
	return xy_session_reason(session, XY_REASON_NO_ROOM) +
	       xy_session_reason(session, XY_REASON_UNPROVEN);
}

static inline uint64_t xy_session_kept_off(const struct xy_session *session)
{
	return xy_session_reason(session, XY_REASON_BARRIER) +
	       xy_session_reason(session, XY_REASON_LOST) +
	       xy_session_reason(session, XY_REASON_RECEIVER_QUEUED);
}

/* Whether frames of this client are on the slow path now. Any thread. */
static inline bool xy_session_behind(const struct xy_session *session)
{
	return __atomic_load_n(&session->barrier_out, __ATOMIC_RELAXED) !=
	       __atomic_load_n(&session->barrier_done, __ATOMIC_RELAXED);
}

/* ---- as a receiver --------------------------------------------------------------------------- */

/* Any thread. */
static inline void xy_session_queued_add(struct xy_session *session, uint32_t frames)
{
	__atomic_fetch_add(&session->queued, frames, __ATOMIC_RELEASE);
}

static inline void xy_session_queued_sub(struct xy_session *session, uint32_t frames)
{
	__atomic_fetch_sub(&session->queued, frames, __ATOMIC_RELEASE);
}

/* Bytes redirected to the client since it was adopted. Any thread. */
static inline uint64_t xy_session_sent(const struct xy_session *session)
{
	return __atomic_load_n(&session->sent, __ATOMIC_RELAXED);
}

/* Takes back what a redirect has counted that then failed: a send of the proxy counts in the
 * verdict, before the kernel queues it. To be called for ENOMEM (K15), which the kernel reports
 * after the verdict only; EAGAIN comes before it and has counted nothing. Any thread. */
static inline void xy_session_unsend(struct xy_session *session, uint64_t bytes)
{
	__atomic_fetch_sub(&session->sent, bytes, __ATOMIC_RELAXED);
}

/* An ack that the loop has read: never backwards, never beyond `sent`. The loop. */
static inline void xy_session_ack(struct xy_session *session, uint64_t ack)
{
	uint64_t sent = xy_session_sent(session);

	if (ack > sent)
		ack = sent;
	if (ack > session->acked_loop)
		__atomic_store_n(&session->acked_loop, ack, __ATOMIC_RELAXED);
}

/* Bytes that the client has consumed, as far as it is known: seen by the verdict or by the loop,
 * whichever is more. Any thread. */
static inline uint64_t xy_session_acked(const struct xy_session *session)
{
	uint64_t verdict = __atomic_load_n(&session->acked, __ATOMIC_RELAXED);
	uint64_t loop = __atomic_load_n(&session->acked_loop, __ATOMIC_RELAXED);

	return verdict > loop ? verdict : loop;
}

/* Bytes redirected and not acked. Any thread. */
static inline uint64_t xy_session_outstanding(const struct xy_session *session)
{
	uint64_t acked = xy_session_acked(session);
	uint64_t sent = xy_session_sent(session);

	return sent > acked ? sent - acked : 0;
}

/* Bytes that may be redirected now without exceeding `limit`, normally the window. Any thread. */
static inline uint64_t xy_session_room(const struct xy_session *session, uint64_t limit)
{
	uint64_t outstanding = xy_session_outstanding(session);

	return outstanding < limit ? limit - outstanding : 0;
}

/* `sent` at the time of a PING that has been answered: never backwards. The loop. */
static inline void xy_session_prove(struct xy_session *session, uint64_t sent)
{
	if (sent > session->proven)
		__atomic_store_n(&session->proven, sent, __ATOMIC_RELAXED);
}

/* An answered PING has proven everything up to `sent`, and shown that `missing` bytes of that were
 * counted and never received. Both fields move; in between more counts as unproven, not less. The
 * loop. */
static inline void xy_session_right(struct xy_session *session, uint64_t sent, uint64_t missing)
{
	if (!missing) {
		xy_session_prove(session, sent);
		return;
	}
	__atomic_store_n(&session->proven, sent - missing, __ATOMIC_RELEASE);
	__atomic_fetch_sub(&session->sent, missing, __ATOMIC_RELEASE);
}

/* Bytes redirected since the newest proof. Any thread. */
static inline uint64_t xy_session_unproven(const struct xy_session *session)
{
	uint64_t proven = __atomic_load_n(&session->proven, __ATOMIC_RELAXED);
	uint64_t sent = xy_session_sent(session);

	return sent > proven ? sent - proven : 0;
}

#endif
