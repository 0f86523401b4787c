/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Building routes from subscriptions, and reading them.
 */
#include "core/router_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Subscriptions that cost about as much as the rest of a route. */
#define MATCHES_A_UNIT 8

/* Of a connection's matching plain subscriptions: the first policy in order, its own messages if
 * any of them wants them. */
static void receiver_join(struct xy_receiver *receiver, const struct xy_subscription *subscription)
{
	if (subscription->overflow < receiver->overflow)
		receiver->overflow = subscription->overflow;
	receiver->echo = receiver->echo || subscription->echo;
}

static struct xy_receiver receiver_of(const struct xy_subscription *subscription)
{
	return (struct xy_receiver){.peer = subscription->peer,
				    .overflow = subscription->overflow,
				    .echo = subscription->echo};
}

struct matches {
	struct xy_subscription **list;
	size_t count, capacity;
	bool out_of_memory;
};

static void match_add(struct xy_tree_item *item, void *context)
{
	struct matches *matches = context;

	if (matches->count == matches->capacity) {
		size_t capacity = matches->capacity ? matches->capacity * 2 : 16;
		void *list = realloc(matches->list, capacity * sizeof(*matches->list));

		if (!list) {
			matches->out_of_memory = true;
			return;
		}
		matches->list = list;
		matches->capacity = capacity;
	}
	matches->list[matches->count++] = xy_container_of(item, struct xy_subscription, item);
}

/* Plain subscriptions first, then groups by name; within each the subscriptions of one peer are
 * neighbours. */
static int match_order(const void *a, const void *b)
{
	const struct xy_subscription *x = *(struct xy_subscription *const *)a;
	const struct xy_subscription *y = *(struct xy_subscription *const *)b;
	int order = strcmp(x->group, y->group);

	if (order)
		return order;
	return x->peer->number < y->peer->number ? -1 : x->peer->number > y->peer->number;
}

/* Merges the subscriptions [*next …) of one group name into receivers; returns how many. */
static uint32_t receivers_merge(const struct matches *matches, size_t *next, struct xy_receiver *to)
{
	const char *group = matches->list[*next]->group;
	uint32_t count = 0;

	for (; *next < matches->count; (*next)++) {
		const struct xy_subscription *subscription = matches->list[*next];

		if (strcmp(subscription->group, group) != 0)
			break;
		if (count && to[count - 1].peer == subscription->peer)
			receiver_join(&to[count - 1], subscription);
		else
			to[count++] = receiver_of(subscription);
	}
	return count;
}

static void group_satisfied(const struct xy_route *route, struct xy_group *group)
{
	for (uint32_t m = 0, p = 0; m < group->members && p < route->plains;) {
		const struct xy_receiver *plain = &route->plain[p];
		uint32_t number = group->member[m].peer->number;

		if (plain->peer->number < number) {
			p++;
		} else if (plain->peer->number > number) {
			m++;
		} else {
			if (plain->echo)
				group->hard = true;
			else
				group->soft++;
			p++;
			m++;
		}
	}
}

void xy_route_free(struct xy_route *route)
{
	if (!route)
		return;
	for (uint32_t g = 0; g < route->groups; g++)
		free(route->group[g]);
	free(route->group);
	free(route->plain);
	free(route);
}

int xy_route_build(struct xy_router *router, const char *subject, struct xy_route **ret_route)
{
	struct matches matches = {0};
	struct xy_route *route = calloc(1, sizeof(*route));
	size_t next = 0;
	int error = -ENOMEM;

	if (!route)
		return -ENOMEM;
	route->version = ++router->versions;
	xy_nodes_charge(router, xy_tree_patterns_of(router->tree, subject, match_add, &matches));
	router->work -= 1 + (int64_t)(matches.count / MATCHES_A_UNIT);
	if (matches.out_of_memory)
		goto err_free;
	if (matches.count == 0)
		goto out;
	qsort(matches.list, matches.count, sizeof(*matches.list), match_order);

	route->plain = calloc(matches.count, sizeof(*route->plain));
	route->group = calloc(matches.count, sizeof(*route->group));
	if (!route->plain || !route->group)
		goto err_free;
	if (!*matches.list[0]->group)
		route->plains = receivers_merge(&matches, &next, route->plain);
	while (next < matches.count) {
		struct xy_group *group = calloc(
			1, sizeof(*group) + (matches.count - next) * sizeof(group->member[0]));

		if (!group)
			goto err_free;
		group->members = receivers_merge(&matches, &next, group->member);
		group_satisfied(route, group);
		route->group[route->groups++] = group;
	}
out:
	free(matches.list);
	*ret_route = route;
	return 0;

err_free:
	free(matches.list);
	xy_route_free(route);
	return error;
}

bool xy_group_open(const struct xy_route *route, const struct xy_group *group,
		   const struct xy_peer *sender)
{
	uint32_t satisfied = group->soft;

	if (group->hard)
		return false;
	if (!satisfied)
		return true;
	/* A member that gets it as a plain receiver satisfies the group; the sender itself, without
	 * echo, does not get it. */
	for (uint32_t p = 0; p < route->plains; p++) {
		if (route->plain[p].peer != sender || route->plain[p].echo)
			continue;
		for (uint32_t m = 0; m < group->members; m++)
			if (group->member[m].peer == sender)
				satisfied--;
	}
	return satisfied == 0;
}

static bool lane_add(struct xy_flow *flow, const struct xy_receiver *receiver,
		     const struct xy_peer *sender)
{
	const struct xy_peer *peer = receiver->peer;

	if (peer == sender || !xy_peer_takes_redirects(peer) || flow->members == XY_GROUP_MAX)
		return false;
	flow->member[flow->members++] = (struct xy_flow_member){
		.slot = peer->slot.slot, .generation = peer->slot.generation};
	return true;
}

bool xy_route_flow(const struct xy_route *route, const struct xy_peer *sender,
		   struct xy_flow *ret_flow)
{
	const struct xy_group *only = NULL;

	ret_flow->members = ret_flow->group = 0;
	for (uint32_t p = 0; p < route->plains; p++) {
		const struct xy_receiver *plain = &route->plain[p];

		if (plain->peer == sender && !plain->echo)
			continue;
		if (ret_flow->members || !lane_add(ret_flow, plain, sender))
			return false;
	}
	for (uint32_t g = 0; g < route->groups; g++) {
		if (!xy_group_open(route, route->group[g], sender))
			continue;
		if (only || ret_flow->members)
			return false;
		only = route->group[g];
	}
	for (uint32_t m = 0; only && m < only->members; m++) {
		const struct xy_receiver *receiver = &only->member[m];

		if (receiver->peer == sender && !receiver->echo)
			continue;
		if (!lane_add(ret_flow, receiver, sender))
			return false;
	}
	ret_flow->group = only != NULL;
	return ret_flow->members != 0;
}
