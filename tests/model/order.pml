/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ORDER: two ways from a sender to a receiver, and what keeps a frame on one from overtaking a frame
 * on the other. Two publishers, two receivers, all on lanes; two loops; a router that announces,
 * installs and removes. docs/MODEL.md maps the steps to functions.
 *
 * A receiving socket has one queue once it is a lane (lane.pml shows that), so that the order in
 * which sends land on it is the order in which they are read: landing is where order is checked.
 *
 * A step of the model is one access to what others see; what is the step's own goes with it.
 */
#include "invariants.pmh"

#ifndef FRAMES
#define FRAMES 3 /* of publisher 0, at most 4 */
#endif
#ifndef OTHERS
#define OTHERS 1 /* of publisher 1 */
#endif
#ifndef SYNCS
#define SYNCS 1 /* of publisher 0, after the first one */
#endif
#ifndef RECEIVERS
#define RECEIVERS 2 /* members of a queue group; all of them get what is sent to all */
#endif

/* Publisher p lives on loop p, receiver r on loop 1 - r. */
#define SYNC 0 /* in place of a frame's number */
#define PASS 2 /* in place of a receiver */

/* struct xy_session of the publishers. A barrier is one 64-bit word: changed and read in one step. */
typedef barrier { byte epoch; byte count };
barrier out[2], done[2];
byte lost_epoch[2];
byte queued[2]; /* of the receivers */

bool flow[2]; /* by publisher: to the group of the receivers */
bool route;   /* published: the receivers are subscribed */
byte bindings[2];   /* xy_peer.bindings */
byte announcing[2]; /* BINDINGs in the control pipe */

chan tcp[2] = [2] of { byte, bool };        /* number, to all */
chan task[2] = [6] of { byte, byte, byte }; /* receiver, publisher, number; number 0: BINDING */
chan pipe[2] = [6] of { byte, byte };       /* publisher, number */
byte synced[2];                             /* correlation of the newest SYNCED */

/* Ghosts: what the properties need. */
byte last[4];       /* by publisher and receiver: the newest frame that landed */
byte missing[2];    /* by publisher: frames not landed yet, times receivers */
bool learned[2];    /* the receiver has its BINDING */
byte noticed;       /* epoch in which the loop found that publisher 0 sent past its verdict */
bool bypassed;      /* publisher 0 did so in this epoch */
bool tainted[5];    /* by number: a frame of publisher 0 in such an epoch */
byte finished;
#ifdef REACH
bool by_pipe, by_lane, again; /* frames of publisher 0 went so; by lane after one by pipe */
#endif

/* ---- landing on a receiver's queue -------------------------------------------------------------- */

/* Within an epoch in which a client has broken its promise, order is its own risk. */
inline land(r, p, n)
{
	require(ORDER, n > last[2 * p + r] || (p == 0 && tainted[n]));
	require(ANNOUNCED, learned[r]);
	if
	:: n > last[2 * p + r] -> last[2 * p + r] = n
	:: else
	fi;
	missing[p]--
}

/* ---- client_verdict, in the order of its loads -------------------------------------------------- */

#ifdef MUTANT_NO_EPOCH
#define UNEQUAL(p) (out[p].count != done[p].count)
#else
#define UNEQUAL(p) (out[p].count != done[p].count || out[p].epoch != done[p].epoch)
#endif

inline send_data(p, n)
{
	atomic {
		missing[p]++;
#ifdef MUTANT_EARLY_QUEUED
		held[0] = queued[0];
		held[1] = queued[1];
#endif
		to = 0
	}
	/* barrier_check(): barrier_done … */
	atomic {
#ifdef K21
		knew = p == 0 && noticed == out[p].epoch;
#endif
		if
#ifndef MUTANT_NO_BARRIER
		:: UNEQUAL(p) -> to = PASS
#endif
		:: else
		fi
	}
#if defined(K21) && !defined(MUTANT_NO_LOST)
	/* … then lost_epoch. */
	atomic {
		if
		:: lost_epoch[p] == out[p].epoch -> to = PASS
		:: else
		fi
	}
#endif
	if
	:: to == PASS -> skip
	:: else ->
		/* flow_get(), then receiver_check() of the members. Which has the most room is
		 * anybody's guess here. */
		atomic {
			if
			:: !flow[p] -> to = PASS
			:: flow[p]
#if RECEIVERS == 2
			:: flow[p] -> to = 1
#endif
			fi
		}
#ifndef MUTANT_NO_QUEUED
		atomic {
			if
#ifdef MUTANT_EARLY_QUEUED
			:: to != PASS && held[to] -> to = PASS
#else
			:: to != PASS && queued[to] -> to = PASS
#endif
			:: else
			fi
		}
#endif
	fi;
	if
	:: to != PASS ->
		/* The redirect comes after the verdict, with the sender's lock dropped (K6). */
		atomic {
			require(SAFE_DEFAULT, !knew);
#ifdef REACH
			by_lane = by_lane || p == 0;
			again = again || (p == 0 && by_pipe);
#endif
			land(to, p, n);
			knew = false;
			to = 0
		}
	:: else -> atomic { knew = false; to = 0 }; pass(p, n, false)
	fi
}

/* count_passed(), then TCP */
inline pass(p, n, all)
{
	out[p].count++;
	tcp[p] ! n, all
}

/* DATA to several plain receivers never has a flow. */
inline send_all(p, n)
{
	missing[p] = missing[p] + RECEIVERS;
	pass(p, n, true)
}

/* A send behind a short one, and in it DATA that is not its rest: the verdict does not run (K21). */
inline send_past(p, n)
{
	atomic {
		bypassed = true;
		tainted[n] = true;
		missing[p]++;
		tcp[p] ! n, false
	}
}

inline send_sync(p)
{
	atomic {
		epoch++;
		out[p].epoch = epoch;
#ifndef MUTANT_NO_EPOCH
		out[p].count = 0;
#endif
		bypassed = bypassed && p != 0
	}
	tcp[p] ! SYNC, false
}

proctype publisher(byte p; byte frames; byte syncs)
{
	byte n = 1, to = 0, epoch = 0;
	bool knew;
#ifdef K21
	bool past = false;
#endif
#ifdef MUTANT_EARLY_QUEUED
	byte held[2];
#endif

	send_sync(p);
	synced[p] == epoch;
	do
	:: n <= frames ->
		atomic { tainted[n] = tainted[n] || (p == 0 && bypassed) }
		if
		:: send_data(p, n)
#if RECEIVERS == 2
		:: p == 0 -> send_all(p, n)
#endif
#ifdef K21
		:: p == 0 && !past -> past = true; send_past(p, n)
#endif
		fi;
		n++
	:: n > 1 && n <= frames && syncs ->
		syncs--;
		send_sync(p);
		/* It should wait for SYNCED before its next DATA; order holds if it does not. */
		if
		:: synced[p] == epoch -> skip
		:: true -> skip
		fi
	:: n > frames -> break
	od;
	finished++
}

/* ---- a loop -------------------------------------------------------------------------------------- */

inline post(r, p, n)
{
	if
	:: l == 1 - r -> pipe[r] ! p, n
	:: else -> task[1 - r] ! r, p, n
	fi
}

/* delivery_hand_on() to one receiver */
inline hand_on(r, p, n)
{
#if !defined(MUTANT_QUEUED_AFTER_POST) && !defined(MUTANT_QUEUED_AFTER_BARRIER)
	queued[r]++;
#endif
	post(r, p, n);
#ifdef MUTANT_QUEUED_AFTER_POST
	queued[r]++;
#endif
}

/* xy_session_count_check() */
inline count_check(p)
{
#ifdef K21
	atomic {
		if
		:: p == 0 && out[p].epoch == epoch && out[p].count < handed ->
			lost_epoch[p] = epoch;
			noticed = epoch
		:: else
		fi
	}
#else
	skip
#endif
}

inline add_done(p)
{
	if
	:: !sync_pending -> done[p].count++
	:: else
	fi
}

/* xy_brake_handed() */
inline handed_on(p)
{
	handed++;
	count_check(p);
	add_done(p)
}

/* xy_brake_answer(): epoch_start, barrier_add, SYNCED. When: see credit.pml. */
inline answer(p)
{
	atomic {
		sync_pending = false;
		done[p].epoch = epoch;
#ifndef MUTANT_NO_EPOCH
		done[p].count = 0
#endif
	}
	atomic {
		done[p].count = done[p].count + handed;
		synced[p] = epoch
	}
}

/* One frame of a publisher: frames_take(), xy_deliver_flush(), xy_brake_handed(). */
inline input(p)
{
	if
	:: n == SYNC -> atomic { epoch++; handed = 0; sync_pending = true }
	:: else ->
		if
		:: !route -> missing[p] = missing[p] - (all -> RECEIVERS : 1) /* no subscriber */
#if RECEIVERS == 2
		:: route && all -> hand_on(0, p, n); hand_on(1, p, n)
		:: route && !all -> hand_on(1, p, n)
#endif
		:: route && !all -> hand_on(0, p, n)
		fi;
		handed_on(p);
#ifdef MUTANT_QUEUED_AFTER_BARRIER
		queued[0]++;
#endif
	fi;
	atomic { n = 0; all = false }
}

/* lane_send() of DATA */
inline output(r)
{
#ifdef MUTANT_QUEUED_SUB_EARLY
	queued[r]--;
#endif
	atomic {
		pipe[r] ? from, n;
#ifdef REACH
		by_pipe = by_pipe || from == 0;
#endif
		land(r, from, n);
		from = 0;
		n = 0
	}
#ifndef MUTANT_QUEUED_SUB_EARLY
	queued[r]--
#endif
}

/* A loop owns publisher l and receiver 1 - l. */
proctype loop(byte l)
{
	byte n, from, r, epoch, handed;
	bool all, sync_pending;

end:	do
	:: tcp[l] ? n, all -> input(l)
	:: sync_pending -> answer(l)
	:: atomic { task[l] ? r, from, n ->
			r = 0;
			if
			:: n == 0 -> announcing[1 - l]++
			:: else -> pipe[1 - l] ! from, n
			fi };
		atomic {
			if
			:: n == 0 -> bindings[1 - l]--
			:: else
			fi;
			from = 0;
			n = 0
		}
	/* Control goes first, and no DATA while a BINDING is on its way here. */
	:: atomic { announcing[1 - l] -> announcing[1 - l]--; learned[1 - l] = true };
#ifndef MUTANT_BINDING_UNCOUNTED
		queued[1 - l]--
#endif
	:: nempty(pipe[1 - l]) && !bindings[1 - l] && !announcing[1 - l] -> output(1 - l)
	od
}

/* ---- the router ----------------------------------------------------------------------------------- */

inline announce(r)
{
#ifndef MUTANT_BINDING_UNCOUNTED
	queued[r]++;
#endif
	bindings[r]++;
	task[1 - r] ! r, 0, 0
}

/* A flow may be dropped at any time, and come back. */
proctype router()
{
#ifdef MUTANT_FLOW_BEFORE_BINDING
	flow[0] = true;
#endif
#ifdef BINDING
	announce(0);
#if RECEIVERS == 2
	announce(1);
#endif
	route = true;
#endif
	flow[0] = true;
	flow[0] = false;
	flow[0] = true
}

init {
	atomic {
#ifndef BINDING
		learned[0] = true;
		learned[1] = true;
		route = true;
		flow[1] = true;
#endif
		run publisher(0, FRAMES, SYNCS);
#if OTHERS
		run publisher(1, OTHERS, 0);
#endif
		run loop(0);
		run loop(1);
		run router()
	}
	timeout;
	atomic {
		require(PROGRESS, finished == 1 + (OTHERS > 0));
		require(DELIVERED, !missing[0] && !missing[1] && !queued[0] && !queued[1]);
#ifdef REACH
		require(NOT_REACHED, !(REACH))
#endif
	}
}
