/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BOUNDED, and PROGRESS under `block`: credit, acks, proofs of reading, the brake. Two publishers
 * whose frames all have a flow to one receiver; its loop, which holds what found no room. Each
 * publisher's ways to the loop are short here: order.pml has them in full.
 *
 * A unit is what a small send has; the largest has two. In the product the largest send is at most a
 * quarter of the window: here, too.
 */
#include "invariants.pmh"

#ifndef WINDOW
#define WINDOW 8
#endif
#ifndef FRAMES
#define FRAMES 3 /* of publisher 0 */
#endif
#ifndef OTHERS
#define OTHERS 2 /* of publisher 1 */
#endif
#define HALF      (WINDOW / 2)
#define ACK_EVERY MAX(WINDOW / 4, 1)
#ifndef LARGEST
#define LARGEST 2
#endif
#define SENDERS   (2 + (OTHERS > 0)) /* publishers and the proxy */
#define PROOFS    2 /* outstanding; 8 in the product */
#define PING      0 /* in place of a size */

/* struct xy_session of the receiver */
byte sent, acked, acked_loop, proven, queued;

chan queue = [14] of { byte }; /* its receive queue: sizes, and PINGs */
chan pipe = [10] of { byte };  /* what the proxy holds for it */
chan pongs = [PROOFS] of { bit };
chan proof = [PROOFS] of { byte }; /* `sent` when each was asked for */
byte ack_mail;                     /* the newest ack that the loop has not read */
bool half_crossed;                 /* a report in the ring `pressure` */

byte wait[2];     /* by publisher: a SYNC is unread 1, waits 2 */
byte progress[2]; /* the receiver's, when the wait began */

/* Ghosts. */
byte unread; /* in the receive queue */
byte finished;
bool deaf;   /* the receiver has stopped reading, and acks what it did not read */
#ifdef REACH
bool waited, piped, unproven, retried;
#endif

#define MAX(a, b)   ((a) > (b) -> (a) : (b))
#define MIN(a, b)   ((a) < (b) -> (a) : (b))
#define AHEAD(a, b) ((a) > (b) -> (a) - (b) : 0) /* credit_ahead() */
#define ACKED       MAX(acked, acked_loop)
#define OUTSTANDING AHEAD(sent, ACKED)

inline land(size)
{
	unread = unread + size;
	require(BOUNDED, unread <= (deaf -> 2 : 1) * WINDOW + SENDERS * LARGEST);
	queue ! size
}

/* credit_take(): the add, and the mark that it crosses */
inline take(size)
{
	half_crossed = half_crossed || sent / HALF != (sent + size) / HALF;
	sent = sent + size
}

/* ---- a publisher and its verdict ---------------------------------------------------------------- */

/*
 * receiver_check() and the add are three steps, because others go on meanwhile: `sent` is loaded,
 * what it is compared with, and later the add counts. (`sent` is loaded twice in the product, the
 * second time later, which is stricter.)
 */
inline send(p, size)
{
	atomic { saw = sent; room = !queued }
	if
	:: room ->
		atomic {
#ifndef MUTANT_NO_CREDIT
			room = room && AHEAD(saw, ACKED) + size <= WINDOW;
#endif
#ifndef MUTANT_NO_PROOF
#ifdef REACH
			unproven = unproven || (room && AHEAD(saw, proven) + size > 2 * WINDOW);
#endif
			room = room && AHEAD(saw, proven) + size <= 2 * WINDOW;
#endif
			saw = 0
		}
	:: else -> saw = 0
	fi;
	if
	:: room ->
		atomic { room = false; take(size) }
		/* The target's queue is locked after the verdict (K6). */
		if
		:: atomic { land(size) }
#ifdef FAILED_REDIRECT
		:: skip /* no memory: the client has an error, and `sent` has what never came */
#endif
		fi
	:: else ->
		atomic {
			queued++;
			pipe ! size;
#ifdef REACH
			piped = true;
#endif
			skip
		}
		/* SYNC_WANTED comes sooner or later. A client that ignores it is legal. */
		if
		:: atomic {
			wait[p] = 1;
#ifdef REACH
			waited = true;
#endif
			skip };
			wait[p] == 0
		:: p == 0 -> skip
		fi
	fi
}

proctype publisher(byte p; byte frames)
{
	byte n = 0, saw = 0;
	bool room = false;

	do
	:: atomic { n < frames -> n++ };
		if
		:: p == 0 -> send(p, 1)
		:: send(p, LARGEST)
		fi
	:: n == frames -> break
	od;
	finished++
}

/* ---- the receiver's loop ------------------------------------------------------------------------- */

/* lane_room() of DATA */
#define ROOM MIN(AHEAD(WINDOW, OUTSTANDING), AHEAD(2 * WINDOW, AHEAD(sent, proven)))

/* The first in the pipe fits. */
#define FITS(left) ((pipe ? [1] && left >= 1) || (pipe ? [2] && left >= 2))

/* lane_send(): the room is looked at once, and spent by several sends */
inline output()
{
	do
	:: FITS(room) ->
		atomic { pipe ? <size>; take(size) }
		if
		:: atomic { land(size); pipe ? size; room = room - size };
			queued--
#ifdef NO_MEMORY
		:: retries ->
			/* ENOMEM: xy_session_unsend(), and again in 5 ms */
			atomic {
				retries--;
#ifdef REACH
				retried = true;
#endif
#ifndef MUTANT_NO_UNSEND
				sent = sent - size;
#endif
				room = 0
			}
#endif
		fi;
		size = 0
	:: else -> break
	od;
	room = 0
}

/* xy_proof_ask(): `sent` is read before the PING goes */
inline prove()
{
	atomic { size = sent; half_crossed = false };
	atomic { proof ! size; queue ! PING; size = 0 }
}

/* xy_peer_has_room() */
#define HAS_ROOM(p) \
	((!queued && OUTSTANDING <= HALF) || ACKED >= progress[p] + HALF)

proctype loop()
{
	byte size = 0, room = 0;
#ifdef NO_MEMORY
	byte retries = NO_MEMORY;
#endif

end:	do
	/* Before there is room for the first, a look by timer does nothing. */
	:: atomic { FITS(ROOM) -> room = ROOM }; output()
	:: (half_crossed && nfull(proof)) || (empty(proof) && AHEAD(sent, proven) > WINDOW) ->
		prove()
	:: atomic { pongs ? _ -> proof ? size }; /* xy_proof_pong() */
		atomic {
#ifdef MUTANT_PROOF_LATE
			proven = sent;
#else
			proven = MAX(proven, size);
#endif
			size = 0
		}
	:: ack_mail ->
		/* xy_session_ack() */
		atomic { acked_loop = MAX(acked_loop, MIN(ack_mail, sent)); ack_mail = 0 }
	:: atomic { wait[0] == 1 -> wait[0] = 2; progress[0] = ACKED }
	:: atomic { wait[1] == 1 -> wait[1] = 2; progress[1] = ACKED }
	:: atomic { wait[0] == 2 && HAS_ROOM(0) -> wait[0] = 0; progress[0] = 0 }
	:: atomic { wait[1] == 2 && HAS_ROOM(1) -> wait[1] = 0; progress[1] = 0 }
	od
}

/* ---- the receiver -------------------------------------------------------------------------------- */

/* A frame of its own: the verdict takes the ack (credit_ack()), unless framing is lost; the loop
 * takes it in any case. */
inline ack()
{
#ifdef FRAMING_LOST
	ack_mail = told
#else
	atomic { acked = MAX(acked, MIN(told, sent)) }
#endif
}

proctype receiver()
{
	byte size = 0, consumed = 0, told = 0;

end:	do
	:: atomic {
		!deaf && nempty(queue) ->
		queue ? size;
		unread = unread - size;
		consumed = consumed + size;
		if
		:: size == PING -> pongs ! 1; size = LARGEST + 1
		:: else -> size = 0
		fi
	   };
		if
		:: size || consumed - told >= ACK_EVERY -> size = 0; told = consumed; ack()
		:: else
		fi
#ifdef LIAR
	:: !deaf -> deaf = true
	:: deaf && told != sent -> told = sent; ack()
#endif
	od
}

init {
	atomic {
		run publisher(0, FRAMES);
#if OTHERS
		run publisher(1, OTHERS);
#endif
		run loop();
		run receiver()
	}
	timeout;
	atomic {
		skip;
#ifndef LIAR
		require(PROGRESS, finished == 1 + (OTHERS > 0) && empty(pipe) && empty(queue));
		require(DELIVERED, !queued && unread == 0);
#endif
#ifdef REACH
		require(NOT_REACHED, !(REACH))
#endif
	}
}
