/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The router: who gets what, and which of it the kernel may move by itself.
 *
 * One thread, the router's own loop, is the only writer: it takes requests, of each connection in
 * their order, of all in turn; changes topics, subscriptions and flows, waits one grace period for
 * all removals of a batch, and only then answers. What it does in a round is bounded; a request may
 * take several. Workers read routes without locks, inside RCU read sections.
 *
 * Order that matters: a BINDING is posted to a receiver before the route (and the flow) that would
 * bring it DATA of that topic is published; a flow is removed, and its grace period over, before
 * the unsubscribe, the new subscriber or the disconnect that ended it is acknowledged.
 */
#ifndef XY_CORE_ROUTER_H
#define XY_CORE_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "core/peer.h"
#include "io/loop.h"
#include "proto/json.h"

struct xy_page;
struct xy_topic;

struct xy_receiver {
	struct xy_peer *peer;
	enum xy_overflow overflow;
	bool echo; /* gets its own messages too */
};

struct xy_group {
	uint32_t members;
	/* Plain receivers that belong to the group satisfy it: `hard` always, `soft` (those without
	 * echo) unless they are the sender. */
	bool hard;
	uint32_t soft;
	struct xy_receiver member[];
};

/* The receivers of a topic; immutable, replaced as a whole. */
struct xy_route {
	struct xy_rcu_head rcu;
	uint64_t version; /* of this topic's route; never 0, never the same twice */
	uint32_t plains, groups;
	struct xy_receiver *plain;
	struct xy_group **group;
};

const char *xy_topic_text(const struct xy_topic *topic); /* its subject; never changes */
/* Read section only. Never NULL. */
const struct xy_route *xy_topic_route(const struct xy_topic *topic);
/* Whether the group has to be served for this sender. */
bool xy_group_open(const struct xy_route *route, const struct xy_group *group,
		   const struct xy_peer *sender);

/* The receivers of a flow of this sender to this route: all of the route's, when they are one lane
 * or one queue group of at most XY_GROUP_MAX lanes. False: there is none. Read section,
 * or the router. */
bool xy_route_flow(const struct xy_route *route, const struct xy_peer *sender,
		   struct xy_flow *ret_flow);

/* The live peer of an endpoint, or NULL. Read section only; take a reference to keep it. */
struct xy_peer *xy_router_endpoint(const struct xy_router *router, uint64_t endpoint);

enum xy_request_kind {
	XY_REQUEST_ATTACH,
	XY_REQUEST_DECLARE,
	XY_REQUEST_SUBSCRIBE,
	XY_REQUEST_UNSUBSCRIBE,
	XY_REQUEST_DEAF, /* its lane takes nothing any more: no flow to it may stand */
	XY_REQUEST_DETACH,
	XY_REQUEST_RELEASE, /* the slot: of a connection that was never attached, or kept it */
	XY_REQUEST_FLOW,
};

/* A request of a worker. Comes back by answer(), on the loop of peer->worker. Holds a reference to
 * its peer. */
struct xy_request {
	struct xy_task task;
	enum xy_request_kind kind;
	struct xy_peer *peer;
	uint64_t correlation;        /* of the frame that asked */
	uint64_t target;             /* UNSUBSCRIBE: subscription id; FLOW: topic or endpoint id */
	enum xy_flow_kind flow_kind; /* FLOW */
	void (*answer)(struct xy_request *request);
	struct xy_request *next; /* the router's, while it has it */
	bool begun;              /* the router's … */
	size_t position;         /* … when it takes several rounds: how far it is */
	bool retired;            /* the router's: the peer's slot is free after the grace period */
	bool keeps_slot;         /* DETACH: its lane is still needed; a RELEASE follows */

	/* The answer. */
	bool installed; /* FLOW: a flow stands */
	enum xy_error error;
	uint64_t id;            /* topic id, subscription id */
	struct xy_topic *topic; /* DECLARE: valid until the peer is detached */

	struct xy_subscribe
		subscribe[]; /* one for SUBSCRIBE and DECLARE (its subject), else none */
};

int xy_router_new(struct xy_core *core, struct xy_router **ret_router);
void xy_router_free(struct xy_router *router); /* when no thread runs any more */
int xy_router_start(struct xy_router *router);
void xy_router_stop(struct xy_router *router); /* and join */
struct xy_loop *xy_router_loop(struct xy_router *router);

/* NULL when out of memory. */
struct xy_request *xy_request_new(enum xy_request_kind kind, struct xy_peer *peer,
				  void (*answer)(struct xy_request *request));
void xy_request_send(struct xy_router *router, struct xy_request *request);
void xy_request_free(struct xy_request *request);

/* Puts other rules in force, and ends what they allow no more. */
struct xy_revoking {
	struct xy_task task;
	struct xy_core *core;
	struct xy_rules rules; /* the new ones; when it is done the old ones, the caller's */
	struct xy_loop *home;
	/* On home: no flow, no subscription and no decision of a worker is left that the new rules
	 * do not allow; what was on its way before may still arrive. */
	void (*done)(struct xy_revoking *revoking);
	uint64_t generation;                        /* theirs */
	uint64_t flows, subscriptions, connections; /* ended */

	/* The router's: how far it is, and what is looked at next. */
	bool begun, flows_done, peers_done;
	uint32_t flows_before;
	struct xy_list *flow, *subscription;
	struct xy_peer *peer;
	uint32_t bucket;
	struct xy_rcu_head rcu;
};

/* One at a time. */
void xy_router_revoke(struct xy_router *router, struct xy_revoking *revoking);

/* Router's thread only: a page of "subjects", "subscriptions", "flows" of a status. */
void xy_router_subjects(const struct xy_router *router, struct xy_page *page);
void xy_router_subscriptions(const struct xy_router *router, struct xy_page *page);
void xy_router_flows(const struct xy_router *router, struct xy_page *page);

#endif
