/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A peer: what other threads may know of a connection.
 *
 * Reference-counted. The router holds one reference from attach until one RCU grace period after
 * detach, so whoever finds a peer in a route or in the endpoint table, inside a read-side section,
 * may take a reference of his own. Everybody may read what is set before the peer is attached;
 * what changes later is atomic, and each field names its writer.
 */
#ifndef XY_CORE_PEER_H
#define XY_CORE_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/idmap.h"
#include "base/list.h"
#include "base/rcu.h"
#include "io/loop.h"
#include "kernel/kernel.h"
#include "proto/access.h"

struct xy_core;
struct xy_worker;
struct xy_connection;
struct xy_request;

#define XY_POLICIES 4 /* of subscriptions: enum xy_overflow */

/* What policies dropped for one receiver, by which. */
struct xy_dropped {
	_Atomic(uint64_t) frames[XY_POLICIES], messages[XY_POLICIES];
	_Atomic(uint64_t) last_ms; /* of the last drop; 0 = none */
};

struct xy_peer {
	/* Set before attach. */
	uint64_t endpoint;
	uint32_t number; /* dense index below max_connections, free again with the peer */
	/* Whose loop owns the connection; until one opens it, the one that is meant to. */
	struct xy_worker *worker;
	struct xy_session *session; /* the lane's record; NULL = no lane */
	struct xy_slot slot;
	uint64_t window;
	const struct xy_identity *identity; /* what authenticated it has made it; its own */
	enum xy_reach reach;                /* of the listener that it came by */
	uint64_t generation; /* of the rules that it was let in by, or of older ones */

	/* The owning worker's alone. NULL once closed. */
	struct xy_connection *connection;

	_Atomic(uint32_t) references;
	_Atomic(bool)
		closed; /* by the worker: nothing is delivered any more; it may be read still */
	_Atomic(bool) finished; /* by the worker: it was told GOODBYE, and gets no more DATA */
	_Atomic(bool) held; /* by the worker: its input is not read, so that it can prove nothing */
	_Atomic(uint64_t) pending; /* bytes of DATA posted to or held for it; added by any worker */
	/* By the worker: bytes of DATA given to TCP. What is dropped is no progress. */
	_Atomic(uint64_t) given;
	_Atomic(uint64_t)
		unread; /* by the worker, of one without a lane that acks: bytes sent, not acked */
	struct xy_dropped dropped;  /* by any worker */
	_Atomic(bool) missed;       /* by any: something under `disconnect`; it is told to close */
	_Atomic(uint64_t) waiting;  /* workers (bits) with publishers that wait for room here */
	_Atomic(uint32_t) stall_ms; /* by the router: the longest of its subscriptions' */
	_Atomic(uint32_t) bindings; /* posted by the router, not yet in the control pipe: DATA waits
				       for them */

	/* What others want its worker to look at; notify.c. */
	_Atomic(uint32_t) notes;
	struct xy_task note_task;

	/* Stall watch, by whichever worker waits; see brake.c. */
	_Atomic(uint64_t) watch_mark;
	_Atomic(uint64_t) watch_since_ms;
	_Atomic(uint64_t) watch_seen_ms;

	/* The router's alone. */
	bool revoked; /* what it authenticated by holds no more: it gets nothing, and is closed */
	struct xy_list subscriptions; /* struct xy_subscription.of_peer */
	struct xy_idmap declarations; /* struct xy_topic by id: what it may publish on */
	struct xy_idmap flows_out;    /* struct xy_installed by target */
	struct xy_list flows_in;      /* struct xy_installed_end.of_receiver */
	struct xy_list asking;        /* in router->asking while there are requests … */
	struct xy_request *requests;  /* … a ring, the last one */
	struct xy_peer *next;         /* in its bucket of the endpoint table; read under RCU */

	struct xy_core *core; /* where `number` and the slot go back to */
	struct xy_rcu_head rcu;
	char name[]; /* of its client; never changes */
};

/* Dense small numbers, handed out lowest first. Any thread. */
struct xy_numbers;
struct xy_numbers *xy_numbers_new(uint32_t maximum); /* NULL with errno */
void xy_numbers_free(struct xy_numbers *numbers);
int xy_numbers_take(struct xy_numbers *numbers, uint32_t *ret_number); /* -ENOSPC */
void xy_numbers_give(struct xy_numbers *numbers, uint32_t number);

/* One reference, the caller's. -ENOSPC, -ENOMEM. */
int xy_peer_new(struct xy_core *core, const char *name, struct xy_peer **ret_peer);

/* Room of a receiver as a publisher sees it. Any thread. */
uint64_t
xy_peer_outstanding(const struct xy_peer *peer); /* bytes redirected, not acked; 0 without a lane */
uint64_t xy_peer_progress(const struct xy_peer *peer); /* grows when the receiver consumes */
uint64_t xy_peer_pending(const struct xy_peer *peer);  /* bytes held for it; 0 once it is closed */
/* Bytes, to choose a group's member by: of a window, without what is held for it or unread. */
uint64_t xy_peer_room(const struct xy_peer *peer);
/* Whether a publisher that feeds it should pause / may go on after having paused at `progress`. */
bool xy_peer_crowded(const struct xy_peer *peer);
bool xy_peer_direct_full(const struct xy_peer *peer); /* DIRECT may fill half of the buffer */
bool xy_peer_has_room(const struct xy_peer *peer, uint64_t progress);
/* Whether half a window more fits into the two that may be unproven. */
bool xy_peer_proven(const struct xy_peer *peer);

/* It takes nothing any more, though the router may not know that yet. Any thread. */
static inline bool xy_peer_closed(const struct xy_peer *peer)
{
	return atomic_load_explicit(&peer->closed, memory_order_acquire);
}

/* A lane, and not closed: a flow to it may stand. */
static inline bool xy_peer_takes_redirects(const struct xy_peer *peer)
{
	return peer->session && !xy_peer_closed(peer);
}

/* How long, in ms, one may consume nothing before its credit is looked into: well before stall_ms.
 */
static inline uint64_t xy_peer_patience(const struct xy_peer *peer)
{
	return atomic_load_explicit(&peer->stall_ms, memory_order_relaxed) / 4;
}

void xy_peer_get(struct xy_peer *peer);
/* Frees with the last one, after a grace period. Only then is its slot used again: whoever holds a
 * reference may still count in the lane's record. The slot must have been retired before. */
void xy_peer_put(struct xy_peer *peer);
/* Puts the reference that keeps it for readers who found it before it was taken out of what they
 * read: at once it would be theirs to revive. Once in its life, by the router. */
void xy_peer_put_later(struct xy_peer *peer);

#endif
