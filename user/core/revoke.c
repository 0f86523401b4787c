/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Other rules: what they allow no more is ended before they are said to be in force.
 *
 * In this order: the new set is published, so that whatever is decided from here on is decided by
 * it; flows go; then, peer by peer, who may not be here any more, and subscriptions. Then, after
 * the grace period of the kernel for the flows and one of the workers, who may be using the old
 * set, an old route or a decision made by them, it is done.
 */
#include "core/notify.h"
#include "core/permit.h"
#include "core/router_internal.h"

static void begin(struct xy_router *router, struct xy_revoking *revoking)
{
	struct xy_core *core = router->core;
	const struct xy_rules old = {.access = core->access, .tls = core->tls};

	xy_rcu_assign(core->tls, revoking->rules.tls);
	xy_rcu_assign(core->access, revoking->rules.access);
	revoking->rules = old;
	revoking->generation =
		atomic_fetch_add_explicit(&core->access_generation, 1, memory_order_release) + 1;
	revoking->flows_before = router->flow_count;
	revoking->begun = true;
}

static bool peer_holds(const struct xy_router *router, const struct xy_peer *peer)
{
	return xy_access_holds(router->core->access, peer->identity, peer->reach);
}

static void peer_revoke(struct xy_router *router, struct xy_peer *peer)
{
	peer->revoked = true;
	if (peer->session)
		xy_flows_of_peer_remove(router, peer);
	xy_notify_revoked(peer);
	xy_count(router->core, XY_COUNT_REVOKED_CONNECTIONS, 1);
}

void xy_revoke_look(struct xy_router *router, struct xy_peer *peer)
{
	if (peer->generation != atomic_load(&router->core->access_generation) &&
	    !peer_holds(router, peer))
		peer_revoke(router, peer);
}

/* Of the peer at hand, from where it stopped. False: there are more. */
static bool subscriptions_revoke(struct xy_router *router, struct xy_revoking *revoking)
{
	struct xy_peer *peer = revoking->peer;

	if (!revoking->subscription)
		revoking->subscription = peer->subscriptions.next;
	while (revoking->subscription != &peer->subscriptions) {
		struct xy_subscription *subscription =
			xy_container_of(revoking->subscription, struct xy_subscription, of_peer);

		if (router->work-- <= 0)
			return false;
		revoking->subscription = subscription->of_peer.next;
		if (!peer->revoked &&
		    xy_permit(router->core, peer, XY_MAY_SUBSCRIBE, subscription->pattern))
			continue;
		if (!peer->revoked)
			xy_notify_unsubscribed(peer, subscription->id);
		xy_subscription_remove(router, subscription);
		revoking->subscriptions++;
	}
	revoking->subscription = NULL;
	return true;
}

/* The next one, from the peer at hand on. NULL: there is none. */
static struct xy_peer *peer_next(struct xy_router *router, struct xy_revoking *revoking)
{
	struct xy_peer *peer = revoking->peer ? revoking->peer->next : NULL;

	for (; !peer && revoking->bucket < router->buckets; router->work--)
		peer = router->bucket[revoking->bucket++];
	return peer;
}

/* Peers come and go by requests, and none is served meanwhile. */
static bool peers_revoke(struct xy_router *router, struct xy_revoking *revoking)
{
	for (;;) {
		if (revoking->peer && !subscriptions_revoke(router, revoking))
			return false;
		revoking->peer = peer_next(router, revoking);
		if (!revoking->peer)
			return true;
		if (revoking->peer->revoked || peer_holds(router, revoking->peer))
			continue;
		peer_revoke(router, revoking->peer);
		revoking->connections++;
	}
}

bool xy_revoke_step(struct xy_router *router, struct xy_revoking *revoking)
{
	int error;

	if (!revoking->begun)
		begin(router, revoking);
	if (!revoking->flows_done)
		revoking->flows_done = xy_flows_revoke(router, &revoking->flow);
	if (revoking->flows_done && !revoking->peers_done) {
		revoking->peers_done = peers_revoke(router, revoking);
		/* Those that go when routes change may come back: below. */
		revoking->flows = revoking->flows_before - router->flow_count;
	}
	/* A topic whose route could not be built has no receivers. */
	return revoking->peers_done && xy_stale_resolve(router, &error);
}

static void over(struct xy_rcu_head *head)
{
	struct xy_revoking *revoking = xy_container_of(head, struct xy_revoking, rcu);

	xy_loop_post(revoking->home, &revoking->task);
}

static void done_run(struct xy_task *task)
{
	struct xy_revoking *revoking = xy_container_of(task, struct xy_revoking, task);

	revoking->done(revoking);
}

void xy_revoke_end(struct xy_revoking *revoking)
{
	xy_count(revoking->core, XY_COUNT_REVOKED_FLOWS, revoking->flows);
	xy_count(revoking->core, XY_COUNT_REVOKED_SUBSCRIPTIONS, revoking->subscriptions);
	revoking->task = (struct xy_task){.name = "revoked", .run = done_run};
	/* Not by waiting: a worker that is stuck must not hold up the router. */
	xy_rcu_defer(&revoking->rcu, over);
}

static void revoke_run(struct xy_task *task)
{
	struct xy_revoking *revoking = xy_container_of(task, struct xy_revoking, task);

	revoking->core->router->revoking = revoking;
}

void xy_router_revoke(struct xy_router *router, struct xy_revoking *revoking)
{
	revoking->core = router->core;
	revoking->task = (struct xy_task){.name = "revoke", .run = revoke_run};
	xy_loop_post(router->loop, &revoking->task);
}
