/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ONE-WRITER and WHOLE: how a connection becomes a lane. A client's socket has two queues here: what
 * came by TCP, and what was redirected, which is always read first (K1), between two halves of a
 * frame, too. The client, the proxy (acceptor and loop), another client that sends to it.
 */
#include "invariants.pmh"

mtype = { WELCOME, SYNC, DATA, SYNCED, SYNCED_LANE, BINDING };

chan by_tcp = [8] of { mtype, bit }; /* to the client; 0: first half of a frame, 1: second */
chan by_lane = [8] of { mtype };
chan to_proxy = [2] of { mtype };

bool claim, cookie, live;
bool welcomed; /* the client has read the id that the claim is for */
byte by;       /* ghost, of REACH: frames read that were redirected by the other client */

/* proxy_verdict, or TCP where there is no lane */
inline say(what)
{
	if
	:: lane -> by_lane ! what
#ifdef MUTANT_TCP_WRITER
	:: lane && what == BINDING -> by_tcp ! what, 0; by_tcp ! what, 1
#endif
	:: !lane -> by_tcp ! what, 0; by_tcp ! what, 1
	fi
}

proctype proxy()
{
	mtype first;
	bool lane;

	claim = true; /* peer_make() */
	say(WELCOME);
#ifdef MUTANT_EARLY_WRITER
	say(BINDING);
#endif
	/* first_frame(): the claim ends with it, whatever it is */
	to_proxy ? first;
	claim = false;
	if
	:: first == SYNC && cookie -> lane = true; live = true /* xy_kernel_adopt() */
	:: else
	fi;
	do
	:: first == SYNC ->
		if
		:: lane -> say(SYNCED_LANE)
		:: else -> say(SYNCED)
		fi;
		break
	:: else -> to_proxy ? first
	od;
	say(BINDING)
}

/* The verdict of the client's own socket: a lone SYNC takes the claim. */
inline send(what)
{
	if
	:: what == SYNC ->
		if
		:: atomic { claim -> claim = false; cookie = true }
		:: else
		fi
	:: else
	fi;
	to_proxy ! what
}

proctype client()
{
	welcomed;
	if
	:: true -> send(SYNC)
	:: true -> send(DATA); send(SYNC)
	fi
}

/* Reading goes on whatever the client sends. */
proctype reader()
{
	mtype frame;
	bit half;
	bool open, lane;

end:	do
	:: atomic {
		by_lane ? frame ->
		require(WHOLE, !open);
		lane = lane || frame == SYNCED_LANE;
		by = by + (frame == DATA -> 1 : 0)
	   }
	:: atomic {
		empty(by_lane) && nempty(by_tcp) ->
		by_tcp ? frame, half;
		require(ONE_WRITER, !lane);
		open = !half;
		welcomed = welcomed || (frame == WELCOME && half)
	   }
	od
}

/* Its flow is installed when the receiver is attached, which is later than live. */
proctype other()
{
	byte n = 2;

	do
	:: n && live -> n--; by_lane ! DATA
	:: n -> n--
	:: !n -> break
	od
}

init {
	atomic {
		run proxy();
		run client();
		run reader();
		run other()
	}
	timeout;
	atomic {
		require(DELIVERED, empty(by_lane) && empty(by_tcp) && empty(to_proxy));
#ifdef REACH
		require(NOT_REACHED, !(REACH))
#endif
	}
}
