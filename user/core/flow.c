/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flows: the router's decisions that the kernel may carry out by itself.
 *
 * A flow is a cache of a decision and may be dropped at any time; the slow path decides again. The
 * grace period after a removal is the router's, once per batch (router.c).
 */
#include "core/router_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "core/notify.h"
#include "core/permit.h"

static void flow_remove(struct xy_router *router, struct xy_installed *flow)
{
	if (xy_kernel_flow_delete(router->core->kernel, &flow->key) == 0)
		router->flow_deleted = true;
	xy_idmap_remove(&flow->sender->flows_out, flow->key.target);
	xy_list_remove(&flow->of_topic);
	xy_list_remove(&flow->by_age);
	for (uint32_t e = 0; e < flow->ends; e++)
		xy_list_remove(&flow->end[e].of_receiver);
	router->flow_count--;
	xy_count(router->core, XY_COUNT_FLOWS_REMOVED, 1);
	free(flow);
}

void xy_flows_of_topic_remove(struct xy_router *router, struct xy_topic *topic)
{
	struct xy_installed *flow, *after;

	xy_list_each_safe (flow, after, &topic->flows, of_topic)
		flow_remove(router, flow);
}

void xy_flows_to_peer_remove(struct xy_router *router, struct xy_peer *peer)
{
	const struct xy_installed_end *end;

	while ((end = xy_list_first(&peer->flows_in, struct xy_installed_end, of_receiver)))
		flow_remove(router, end->flow);
}

void xy_flows_of_peer_remove(struct xy_router *router, struct xy_peer *peer)
{
	size_t position = 0;
	uint64_t target;
	void *flow;

	/* Removal may move another one to where this one was. */
	for (; xy_idmap_next(&peer->flows_out, &position, &target, &flow); position--)
		flow_remove(router, flow);
	xy_idmap_clear(&peer->flows_out);
	xy_flows_to_peer_remove(router, peer);
}

/* `receiver`: of a flow to an endpoint. */
static bool flow_allowed(const struct xy_router *router, const struct xy_peer *sender,
			 const struct xy_topic *topic, const struct xy_peer *receiver)
{
	if (sender->revoked)
		return false;
	if (topic)
		return xy_permit(router->core, sender, XY_MAY_PUBLISH, topic->subject);
	return receiver && !receiver->revoked &&
	       xy_permit(router->core, sender, XY_MAY_DIRECT, receiver->identity->name);
}

bool xy_flows_revoke(struct xy_router *router, struct xy_list **position)
{
	if (!*position)
		*position = router->flows.next;
	while (*position != &router->flows) {
		struct xy_installed *flow = xy_container_of(*position, struct xy_installed, by_age);

		if (router->work-- <= 0)
			return false;
		*position = flow->by_age.next;
		if (flow_allowed(router, flow->sender, flow->topic,
				 flow->topic ? NULL : xy_router_endpoint(router, flow->key.target)))
			continue;
		flow_remove(router, flow);
	}
	return true;
}

static void flow_evict_oldest(struct xy_router *router)
{
	struct xy_installed *flow = xy_list_first(&router->flows, struct xy_installed, by_age);

	if (!flow)
		return;
	xy_notify_flow_gone(flow->sender, flow->key.target);
	xy_count(router->core, XY_COUNT_FLOWS_EVICTED, 1);
	flow_remove(router, flow);
}

/* The receivers as of now: what was asked for may have changed since. */
static bool flow_resolve(const struct xy_router *router, const struct xy_request *request,
			 struct xy_topic **ret_topic, struct xy_flow *ret_flow)
{
	const struct xy_peer *sender = request->peer, *receiver;
	struct xy_topic *topic;

	if (request->flow_kind == XY_FLOW_DIRECT) {
		receiver = xy_router_endpoint(router, request->target);
		if (!receiver || receiver == sender || !xy_peer_takes_redirects(receiver) ||
		    !flow_allowed(router, sender, NULL, receiver))
			return false;
		ret_flow->member[0] = (struct xy_flow_member){
			.slot = receiver->slot.slot, .generation = receiver->slot.generation};
		ret_flow->members = 1;
		*ret_topic = NULL;
		return true;
	}
	/* The worker asks for topics that its sender has declared; they stay until it is detached.
	 */
	topic = xy_idmap_get(&router->topics, request->target);
	if (!topic || !flow_allowed(router, sender, topic, NULL))
		return false;
	*ret_topic = topic;
	return xy_route_flow(topic->route, sender, ret_flow);
}

bool xy_flow_install(struct xy_router *router, const struct xy_request *request)
{
	struct xy_peer *sender = request->peer;
	struct xy_flow record = {.key = {.target = request->target,
					 .slot = sender->slot.slot,
					 .kind = request->flow_kind},
				 .generation = sender->slot.generation};
	struct xy_topic *topic = NULL;
	struct xy_installed *flow;
	int error;

	if (!router->core->kernel || !sender->session || router->lane[sender->slot.slot] != sender)
		return false;
	/* Ids are random: the same one as topic and as endpoint would be one flow less. */
	flow = xy_idmap_get(&sender->flows_out, request->target);
	if (flow)
		return flow->key.kind == record.key.kind;
	if (!flow_resolve(router, request, &topic, &record))
		return false;
	flow = calloc(1, sizeof(*flow) + record.members * sizeof(flow->end[0]));
	if (!flow)
		return false;
	error = xy_idmap_put(&sender->flows_out, request->target, flow);
	if (error)
		goto err_free;
	error = xy_kernel_flow_put(router->core->kernel, &record);
	if (error == -ENOSPC) {
		flow_evict_oldest(router);
		error = xy_kernel_flow_put(router->core->kernel, &record);
	}
	if (error)
		goto err_map;
	flow->key = record.key;
	flow->sender = sender;
	flow->topic = topic;
	flow->ends = record.members;
	xy_list_init(&flow->of_topic);
	xy_list_add_tail(&router->flows, &flow->by_age);
	if (topic)
		xy_list_add_tail(&topic->flows, &flow->of_topic);
	for (uint32_t m = 0; m < record.members; m++) {
		flow->end[m].flow = flow;
		xy_list_add_tail(&router->lane[record.member[m].slot]->flows_in,
				 &flow->end[m].of_receiver);
	}
	router->flow_count++;
	xy_count(router->core, XY_COUNT_FLOWS, 1);
	return true;

err_map:
	xy_idmap_remove(&sender->flows_out, request->target);
err_free:
	free(flow);
	return false;
}

static void pressure_mark(const struct xy_pressure *pressure, void *context)
{
	struct xy_router *router = context;
	struct xy_installed_end *end;
	struct xy_peer *receiver;

	if (pressure->marks & XY_PRESSURE_MEMORY) {
		xy_budget_soon(&router->core->budget);
		return;
	}
	if (pressure->slot >= xy_kernel_slots(router->core->kernel))
		return;
	receiver = router->lane[pressure->slot];
	if (!receiver || receiver->slot.generation != pressure->generation)
		return;
	if (pressure->marks & XY_PRESSURE_HALF)
		xy_notify_prove(receiver);
	if (pressure->marks & XY_PRESSURE_BRAKE)
		xy_list_each (end, &receiver->flows_in, of_receiver)
			xy_notify_brake(end->flow->sender);
}

void xy_flow_pressure(struct xy_router *router)
{
	xy_kernel_pressure_read(router->core->kernel, pressure_mark, router);
}
