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
/* A client's redirect may fail after it was counted / a PONG's ack may be too low: either way the
 * loop sets credit right. */
#if defined(FAILED_REDIRECT) || defined(LOW_ACK)
#define RIGHTED
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
#define RIGHTING  9 /* too: a PING by which credit is set right */

/* struct xy_session of the receiver */
byte sent, acked, acked_loop, proven, queued;

chan queue = [14] of { byte }; /* its receive queue: sizes, and PINGs */
chan pipe = [10] of { byte };  /* what the proxy holds for it */
chan pongs = [PROOFS] of { bit };
chan proof = [PROOFS] of { byte }; /* `sent` when each was asked for */
byte ack_mail;                     /* the newest ack that the loop has not read */
bool half_crossed;                 /* a report in the ring `pressure` */

#ifdef RIGHTED
/* struct xy_righting: none 0; waits for what is past its verdict 1; asked, and nothing is sent 2;
 * asked, and everything goes on 3 */
byte righting;
byte righting_sent;                /* `sent` before its PING */
chan righted = [1] of { byte };    /* the ack in its PONG */
#ifndef ALARMS
#define ALARMS 1 /* times that credit is looked into for nothing */
#endif
#define HOLDS (righting == 1 || righting == 2) /* xy_right_holds() */
#ifdef MUTANT_RIGHTED_AMID_SENDS
#define QUIET true
#else
#define QUIET !past
#endif
#else
#define HOLDS false
#endif

byte wait[2];     /* by publisher: a SYNC is unread 1, waits 2 */
byte progress[2]; /* the receiver's, when the wait began */

/* Ghosts. */
byte unread; /* in the receive queue */
byte finished;
bool deaf;   /* the receiver has stopped reading, and acks what it did not read */
#ifdef RIGHTED
byte past;   /* sends that have found `queued` 0, and not yet landed or failed */
byte lost;   /* counted in `sent`, never received, and not set right */
#define PAST(n) past = past + (n)
#else
#define PAST(n) skip
#endif
#ifdef REACH
bool waited, piped, unproven, retried, set_right, set_right_late;
#endif

#define MAX(a, b)   ((a) > (b) -> (a) : (b))
#define MIN(a, b)   ((a) < (b) -> (a) : (b))
#define AHEAD(a, b) ((a) > (b) -> (a) - (b) : 0) /* credit_ahead() */
#define ACKED       MAX(acked, acked_loop)
#define OUTSTANDING AHEAD(sent, ACKED)

inline land(size)
{
	unread = unread + size;
#ifdef LOW_ACK
	require(BOUNDED, unread <= 2 * WINDOW + SENDERS * LARGEST);
#else
	require(BOUNDED, unread <= (deaf -> 2 : 1) * WINDOW + SENDERS * LARGEST);
#endif
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
	atomic { saw = sent; room = !queued; PAST(room) }
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
			saw = 0;
			PAST(room - 1)
		}
	:: else -> saw = 0
	fi;
	if
	:: room ->
		atomic { room = false; take(size) }
		/* The target's queue is locked after the verdict (K6). */
		if
		:: atomic { land(size); PAST(-1) }
#ifdef FAILED_REDIRECT
		/* No memory: the client has an error, and `sent` has what never came. */
		:: atomic { lost = lost + size; PAST(-1) }
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
#ifdef RIGHTED
	byte alarms = ALARMS;
#endif

end:	do
	/* Before there is room for the first, a look by timer does nothing. */
	:: atomic { !HOLDS && FITS(ROOM) -> room = ROOM }; output()
	:: !HOLDS && ((half_crossed && nfull(proof)) ||
		      (empty(proof) && AHEAD(sent, proven) > WINDOW)) ->
		prove()
#if defined(RIGHTED) && !defined(MUTANT_NEVER_RIGHTED)
	/* xy_right_begin(): whatever made it suspect. */
	:: atomic {
		!righting && OUTSTANDING && (lost || alarms) ->
		if
		:: lost
		:: alarms -> alarms--
		fi;
		righting = 1
	   };
		queued++
	/* righting_timer(): QUIET_MS are enough for what is past its verdict. */
	:: atomic { righting == 1 && QUIET -> righting_sent = sent; righting = 2 };
		queue ! RIGHTING
	:: atomic { righting == 2 -> righting = 3 }; /* HOLD_MS are over */
		queued--
	:: righted ? size ->
		/* xy_right_pong() */
		atomic {
			room = AHEAD(righting_sent, MAX(size, ACKED)); /* what is missing */
#ifndef LOW_ACK
			require(CREDIT, room <= lost);
#endif
#ifdef REACH
			set_right = set_right || (room && righting == 2);
			set_right_late = set_right_late || (room && righting == 3);
#endif
			size = 0
		};
		/* xy_session_right() */
		if
		:: room ->
#ifndef MUTANT_RIGHTED_WITHOUT_PROOF
			proven = righting_sent - room;
#endif
			atomic {
				sent = sent - room;
				lost = AHEAD(lost, room);
				/* What is unread is unproven, or two windows would be more. */
				require(BOUNDED, unread <= AHEAD(sent, proven))
			}
		:: else -> proven = MAX(proven, righting_sent)
		fi;
		/* xy_proofs_right() */
		atomic {
			if
			:: len(proof) > 0 -> proof ? size; proof ! AHEAD(size, room); size = 0
			:: else
			fi;
			if
			:: len(proof) > 1 -> proof ? size; proof ! AHEAD(size, room); size = 0
			:: else
			fi;
			room = 0;
			righting_sent = 0
		};
		/* hold_end() */
		if
		:: righting == 2 -> atomic { righting = 0; queued-- }
		:: else -> righting = 0
		fi
#endif
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
		if
		:: size == PING -> pongs ! 1; size = LARGEST + 1
#ifdef RIGHTED
		:: size == RIGHTING -> righted ! consumed; size = LARGEST + 1
#ifdef LOW_ACK
		:: size == RIGHTING -> righted ! 0; size = 0
#endif
#endif
		:: size != PING && size != RIGHTING ->
			unread = unread - size;
			consumed = consumed + size;
			size = 0
		fi
	   };
		if
		:: size || consumed - told >= ACK_EVERY -> size = 0; told = consumed; ack()
#ifdef LOW_ACK
		:: size = 0
#endif
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
#if defined(RIGHTED) && !defined(LOW_ACK)
		require(CREDIT, !lost && !OUTSTANDING);
#endif
#endif
#ifdef REACH
		require(NOT_REACHED, !(REACH))
#endif
	}
}
