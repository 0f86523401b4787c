/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The router's own records; its thread alone. Split into topic.c (topics and subscriptions),
 * route.c (who gets what), flow.c (what the kernel knows of it) and router.c (requests and their
 * order).
 */
#ifndef XY_CORE_ROUTER_INTERNAL_H
#define XY_CORE_ROUTER_INTERNAL_H

#include <pthread.h>

#include "base/idmap.h"
#include "base/list.h"
#include "core/router.h"
#include "proto/subject.h"

struct xy_subscription {
	uint64_t id;
	struct xy_peer *peer;
	struct xy_list of_peer;
	struct xy_tree_item item;
	char *pattern;
	const char *group; /* "" = plain; behind the pattern's memory */
	enum xy_overflow overflow;
	bool echo;
};

struct xy_topic {
	uint64_t id;
	char *subject;
	uint32_t declarers;
	struct xy_route *route; /* published by RCU */
	struct xy_tree_item item;
	struct xy_list flows; /* struct xy_installed.of_topic */
	struct xy_list stale; /* in router->stale or ->unbuilt: the route must be built again */
	struct xy_rcu_head rcu;
};

/* A flow in the kernel, and where it must be found when it has to go. */
struct xy_installed_end {
	struct xy_list of_receiver;
	struct xy_installed *flow;
};

struct xy_installed {
	struct xy_flow_key key;
	struct xy_peer *sender;
	struct xy_topic *topic; /* NULL: to an endpoint */
	struct xy_list of_topic;
	struct xy_list by_age; /* in router->flows, oldest first: evicted first */
	uint32_t ends;
	struct xy_installed_end end[];
};

struct xy_router {
	struct xy_core *core;
	struct xy_loop *loop;
	pthread_t thread;
	struct xy_watch pressure;
	struct xy_task stop;

	struct xy_tree *tree;
	struct xy_idmap topics;        /* by id */
	struct xy_idmap subscriptions; /* by id */
	uint64_t versions;

	struct xy_list flows; /* struct xy_installed.by_age */
	uint32_t flow_count;
	struct xy_peer **lane; /* by slot: the attached lane */

	struct xy_peer **bucket; /* endpoint table; chains read under RCU */
	uint32_t buckets;        /* power of two */

	/* Topics whose route must be built again, and those for which memory did not suffice. */
	struct xy_list stale, unbuilt;
	int resolve_error; /* of those of `stale` that are done */
	struct xy_timer unbuilt_timer;

	struct xy_list asking; /* struct xy_peer.asking: whose requests wait, the next one first */
	struct xy_request *current;   /* begun, and not done yet */
	int64_t work;                 /* what is left of this round's */
	struct xy_revoking *revoking; /* begins when no request is; then nothing else is done */
	struct xy_revoking *revoked;  /* done, and waits for the end of the batch */
	/* Done, not answered yet. */
	struct xy_request *answers, **answers_end;
	bool flow_deleted;
};

/* topic.c. Additions and removals make topics stale; resolving them is the caller's, before
 * anything else of the kind. False: this round's work is used up, more is left. Else *ret_error
 * tells whether all of them could be built; a topic that could not has no receivers until it can.
 */
int xy_topic_declare(struct xy_router *router, struct xy_request *request);
void xy_topic_undeclare(struct xy_router *router, struct xy_topic *topic);
int xy_subscription_add(struct xy_router *router, struct xy_request *request);
void xy_subscription_remove(struct xy_router *router, struct xy_subscription *subscription);
bool xy_stale_resolve(struct xy_router *router, int *ret_error);
void xy_unbuilt_retry(struct xy_router *router); /* makes them stale again */

/* revoke.c. As request_step(): true when it is done. */
bool xy_revoke_step(struct xy_router *router, struct xy_revoking *revoking);
/* After the grace period of the kernel. */
void xy_revoke_end(struct xy_revoking *revoking);
/* A peer that is attached while other rules hold than when it was let in. */
void xy_revoke_look(struct xy_router *router, struct xy_peer *peer);

/* Nodes of the tree that cost about as much as another unit of a round's work: where wildcards
 * stand, one request may look at all there are, and find nothing. */
#define XY_NODES_A_UNIT 16
static inline void xy_nodes_charge(struct xy_router *router, size_t nodes)
{
	router->work -= (int64_t)(nodes / XY_NODES_A_UNIT);
}
/* Charges the round's work. */
int xy_route_build(struct xy_router *router, const char *subject, struct xy_route **ret_route);
void xy_route_free(struct xy_route *route);

/* Resolves once more, and installs if it still can be. True when a flow stands. */
bool xy_flow_install(struct xy_router *router, const struct xy_request *request);
void xy_flows_of_topic_remove(struct xy_router *router, struct xy_topic *topic);
void xy_flows_of_peer_remove(struct xy_router *router, struct xy_peer *peer); /* from and to it */
/* Of all flows, from *position (NULL = the first) on, those that the rules allow no more; charges
 * the round's work. False: there are more. */
bool xy_flows_revoke(struct xy_router *router, struct xy_list **position);
void xy_flows_to_peer_remove(struct xy_router *router, struct xy_peer *peer);
/* Drains the pressure ring. */
void xy_flow_pressure(struct xy_router *router);

#endif
