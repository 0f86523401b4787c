/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AUTHORIZED: flows as a cache of the router's decisions. Two senders, two targets, two receivers'
 * slots of which one changes hands; the router, which installs, removes, waits, acknowledges; and
 * hash elements that are recycled at once (K23).
 *
 * Sender s has a flow to receiver s when the router says so. Sender 1 exists so that its flow can
 * come to lie where sender 0's was. Receiver 0 unsubscribes or leaves; when it has left, its slot is
 * taken by a stranger to whom nobody may send. What has been acknowledged no verdict may contradict; a
 * send that is past its verdict may still land (K6).
 */
#include "invariants.pmh"

#ifndef SENDS
#define SENDS 1 /* of sender 0, while the router goes on; sender 1 only lends its key */
#endif
#ifndef OPERATIONS
#define OPERATIONS 5 /* of the router on flows, before what it must acknowledge */
#endif
#define ELEMENTS 2
#define NONE     ELEMENTS

/* The flow table: an element's words are written one by one. */
typedef element { byte key; byte member; byte generation; byte check };
element memory[ELEMENTS];
byte table[2] = NONE; /* by key: the element that a look-up finds */
bool used[ELEMENTS];

/* struct xy_session of the receivers */
byte generation[2] = 1;
bool live[2] = true;
byte owner[2]; /* ghost: whose slot it is; 1: the stranger's */

bool told; /* ghost: the removal has been acknowledged */

/* The program under way on the sender's CPU, for the grace period. */
bool running;
byte runs;
bool redirected; /* ghost */

/* ---- client_verdict of sender 0 ------------------------------------------------------------------ */

/* xy_flow_check(): of no flow the same as of another */
#define CHECK(key, member, generation) ((key) + 2 * (member) + 4 * (generation))

inline verdict()
{
	atomic { running = true; runs = runs + 1 }
	/* flow_get(): look up and copy … */
	first = table[0];
	if
	:: first != NONE ->
		copy.key = memory[first].key;
		copy.member = memory[first].member;
		copy.generation = memory[first].generation;
#ifdef MUTANT_NO_CHECK
		equal = true;
#elif defined(MUTANT_TWO_COPIES)
		/* … look up again and compare */
		atomic { second = table[0]; equal = second != NONE; first = 0 }
		if
		:: equal -> equal = memory[second].key == copy.key
		:: else
		fi;
		if
		:: equal -> equal = memory[second].member == copy.member
		:: else
		fi;
		if
		:: equal -> equal = memory[second].generation == copy.generation
		:: else
		fi;
#else
		/* … a flow whose own words tell whether they belong together */
		equal = memory[first].check == CHECK(copy.key, copy.member, copy.generation);
#endif
#ifndef MUTANT_NO_KEY
		equal = equal && copy.key == 0;
#endif
		/* receiver_check() */
		if
#ifdef MUTANT_NO_GENERATION
		:: equal ->
#else
		:: equal && generation[copy.member] == copy.generation ->
#endif
			if
			:: live[copy.member] ->
				/* The redirect goes to the socket whose cookie stands in the slot now. */
				atomic {
					require(AUTHORIZED, copy.member == 0 && owner[0] == 0 && !told);
					redirected = true
				}
			:: else
			fi
		:: else
		fi
	:: else
	fi;
	atomic {
		running = false;
		first = 0; second = 0; equal = false;
		copy.key = 0; copy.member = 0; copy.generation = 0; copy.check = 0
	}
}

proctype sender()
{
	byte n = SENDS, first, second;
	bool equal;
	element copy;

	do
	:: n -> n--; verdict()
	:: !n -> break
	od
}

/* ---- the router ----------------------------------------------------------------------------------- */

/* xy_kernel_flow_put(): a free element; linked when written */
inline put(k)
{
	if
	:: !used[0] -> e = 0
	:: !used[1] -> e = 1
	fi;
	used[e] = true;
	memory[e].check = CHECK(k, k, generation[k]);
	memory[e].key = k;
	memory[e].member = k;
	memory[e].generation = generation[k];
	atomic { table[k] = e; e = 0 }
}

/* xy_kernel_flow_delete(): unlinked, and free for the next at once */
inline delete(k)
{
	atomic {
		if
		:: table[k] != NONE ->
			used[table[k]] = false;
			table[k] = NONE;
			deleted = true
		:: else
		fi
	}
}

/* xy_kernel_grace(): no program runs on that was running */
inline grace()
{
	atomic { e = runs };
	!running || runs != e;
	e = 0
}

proctype router()
{
	byte e, operations = OPERATIONS;
	bool deleted;

	/* Within a batch flows come and go without a grace period. */
	do
	:: operations ->
		operations--;
		if
		:: table[0] == NONE -> put(0)
		:: table[1] == NONE -> put(1)
		:: table[0] != NONE -> delete(0)
		:: table[1] != NONE -> delete(1)
		fi
	:: grace()
	:: break
	od;
	/* Then receiver 0 unsubscribes (route, flows, grace period, OK) and leaves, or only leaves. */
	if
#ifdef MUTANT_ACK_BEFORE_REMOVE
	:: told = true; delete(0); grace()
#elif defined(MUTANT_NO_GRACE)
	:: true -> delete(0); told = true
#else
	:: true -> delete(0); grace(); told = true
#endif
	:: true -> delete(0)
	fi;
	/* Generation, state, grace period, recycled, taken by a stranger. */
	generation[0] = 2;
	live[0] = false;
#ifndef MUTANT_NO_GRACE_RECYCLE
	grace();
#endif
	atomic { owner[0] = 1; generation[0] = 3 }
	live[0] = true
}

init {
	atomic {
		run sender();
		run router()
	}
	timeout;
	atomic {
		require(PROGRESS, owner[0] == 1);
#ifdef REACH
		require(NOT_REACHED, !(REACH))
#endif
	}
}
