/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Topics, who may publish on them, who subscribes, and the publishing of their routes. The router's
 * thread; its round's work is bounded by router->work.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "core/notify.h"
#include "core/router_internal.h"

/* ---- routes ---------------------------------------------------------------------------------- */

const char *xy_topic_text(const struct xy_topic *topic)
{
	return topic->subject;
}

const struct xy_route *xy_topic_route(const struct xy_topic *topic)
{
	return xy_rcu_dereference(topic->route);
}

/* Stands for a route that could not be built: nobody receives until memory is back. A route that
 * names a peer who is gone must never stay. */
static struct xy_route route_none;

static void route_reclaim(struct xy_rcu_head *head)
{
	xy_route_free(xy_container_of(head, struct xy_route, rcu));
}

static void topic_reclaim(struct xy_rcu_head *head)
{
	struct xy_topic *topic = xy_container_of(head, struct xy_topic, rcu);

	if (topic->route != &route_none)
		xy_route_free(topic->route);
	free(topic->subject);
	free(topic);
}

static int receiver_order(const void *peer, const void *receiver)
{
	uint32_t wanted = ((const struct xy_peer *)peer)->number;
	uint32_t number = ((const struct xy_receiver *)receiver)->peer->number;

	return wanted < number ? -1 : wanted > number;
}

/* Receivers stand in the order of their peers' numbers. */
static bool receivers_have(const struct xy_receiver *receivers, uint32_t count,
			   const struct xy_peer *peer)
{
	return count && bsearch(peer, receivers, count, sizeof(*receivers), receiver_order);
}

static bool route_receives(const struct xy_route *route, const struct xy_peer *peer)
{
	if (receivers_have(route->plain, route->plains, peer))
		return true;
	for (uint32_t g = 0; g < route->groups; g++)
		if (receivers_have(route->group[g]->member, route->group[g]->members, peer))
			return true;
	return false;
}

static int route_announce(const struct xy_topic *topic, const struct xy_route *old,
			  struct xy_peer *peer)
{
	if (old && route_receives(old, peer))
		return 0;
	return xy_notify_binding(peer, topic->id, topic->subject);
}

static int route_announce_all(const struct xy_topic *topic, const struct xy_route *old,
			      const struct xy_route *route)
{
	int error = 0;

	for (uint32_t p = 0; !error && p < route->plains; p++)
		error = route_announce(topic, old, route->plain[p].peer);
	for (uint32_t g = 0; !error && g < route->groups; g++)
		for (uint32_t m = 0; !error && m < route->group[g]->members; m++)
			error = route_announce(topic, old, route->group[g]->member[m].peer);
	return error;
}

/*
 * Publishes a new route. BINDINGs first: whoever reads the new route posts behind them. Flows that
 * stand for the old one go; senders ask again.
 */
static int topic_resolve(struct xy_router *router, struct xy_topic *topic)
{
	struct xy_route *old = topic->route, *route;
	int error = xy_route_build(router, topic->subject, &route);

	if (!error) {
		error = route_announce_all(topic, old, route);
		if (error)
			xy_route_free(route);
	}
	xy_rcu_assign(topic->route, error ? &route_none : route);
	xy_flows_of_topic_remove(router, topic);
	if (old && old != &route_none)
		xy_rcu_defer(&old->rcu, route_reclaim);
	return error;
}

static void topic_stale(struct xy_tree_item *item, void *context)
{
	struct xy_router *router = context;
	struct xy_topic *topic = xy_container_of(item, struct xy_topic, item);

	router->work--;
	/* One that could not be built has another chance. */
	xy_list_remove(&topic->stale);
	xy_list_add_tail(&router->stale, &topic->stale);
}

static void topics_stale(struct xy_router *router, const struct xy_subscription *subscription)
{
	xy_nodes_charge(router, xy_tree_topics_of(router->tree, subscription->pattern, topic_stale,
						  router));
}

bool xy_stale_resolve(struct xy_router *router, int *ret_error)
{
	struct xy_topic *topic;

	while ((topic = xy_list_first(&router->stale, struct xy_topic, stale))) {
		int error;

		if (router->work <= 0)
			return false;
		router->work--;
		error = topic_resolve(router, topic);
		xy_list_remove(&topic->stale);
		if (error) {
			router->resolve_error = error;
			xy_list_add_tail(&router->unbuilt, &topic->stale);
		}
	}
	*ret_error = router->resolve_error;
	router->resolve_error = 0;
	return true;
}

void xy_unbuilt_retry(struct xy_router *router)
{
	struct xy_topic *topic;

	while ((topic = xy_list_first(&router->unbuilt, struct xy_topic, stale)))
		topic_stale(&topic->item, router);
}

/* ---- topics ---------------------------------------------------------------------------------- */

static int topic_new(struct xy_router *router, const char *subject, struct xy_topic **ret_topic)
{
	struct xy_topic *topic;
	int error = -ENOMEM;

	if (xy_idmap_count(&router->topics) >= router->core->max_topics)
		return -ENOSPC;
	topic = calloc(1, sizeof(*topic));
	if (!topic)
		return -ENOMEM;
	xy_list_init(&topic->flows);
	xy_list_init(&topic->stale);
	topic->subject = strdup(subject);
	if (!topic->subject)
		goto err_topic;
	error = xy_random_id(&topic->id);
	if (error)
		goto err_subject;
	error = xy_tree_add_topic(router->tree, subject, &topic->item);
	if (error)
		goto err_subject;
	error = xy_idmap_put(&router->topics, topic->id, topic);
	if (error)
		goto err_tree;
	error = topic_resolve(router, topic);
	if (error)
		goto err_map;
	*ret_topic = topic;
	return 0;

err_map:
	if (topic->route != &route_none)
		xy_route_free(topic->route);
	xy_idmap_remove(&router->topics, topic->id);
err_tree:
	xy_tree_remove(router->tree, &topic->item);
err_subject:
	free(topic->subject);
err_topic:
	free(topic);
	return error;
}

static void topic_drop(struct xy_router *router, struct xy_topic *topic)
{
	xy_flows_of_topic_remove(router, topic);
	xy_list_remove(&topic->stale);
	xy_tree_remove(router->tree, &topic->item);
	xy_idmap_remove(&router->topics, topic->id);
	xy_rcu_defer(&topic->rcu, topic_reclaim);
}

void xy_topic_undeclare(struct xy_router *router, struct xy_topic *topic)
{
	router->work--;
	if (--topic->declarers == 0)
		topic_drop(router, topic);
}

int xy_topic_declare(struct xy_router *router, struct xy_request *request)
{
	const char *subject = request->subscribe->subject;
	struct xy_tree_item *item = xy_tree_find_topic(router->tree, subject);
	struct xy_topic *topic = item ? xy_container_of(item, struct xy_topic, item) : NULL;
	struct xy_idmap *declarations = &request->peer->declarations;
	int error;

	if (!topic) {
		error = topic_new(router, subject, &topic);
		if (error)
			return error;
	}
	if (!xy_idmap_get(declarations, topic->id)) {
		error = xy_idmap_put(declarations, topic->id, topic);
		if (error) {
			if (!topic->declarers)
				topic_drop(router, topic);
			return error;
		}
		topic->declarers++;
	}
	request->id = topic->id;
	request->topic = topic;
	return 0;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

void xy_subscription_remove(struct xy_router *router, struct xy_subscription *subscription)
{
	router->work--;
	topics_stale(router, subscription);
	xy_tree_remove(router->tree, &subscription->item);
	xy_list_remove(&subscription->of_peer);
	xy_idmap_remove(&router->subscriptions, subscription->id);
	free(subscription->pattern);
	free(subscription);
}

static struct xy_subscription *subscription_new(const struct xy_request *request)
{
	const struct xy_subscribe *wanted = request->subscribe;
	size_t pattern = strlen(wanted->subject) + 1, group = strlen(wanted->group) + 1;
	struct xy_subscription *subscription = calloc(1, sizeof(*subscription));

	if (!subscription)
		return NULL;
	subscription->pattern = malloc(pattern + group);
	if (!subscription->pattern) {
		free(subscription);
		return NULL;
	}
	memcpy(subscription->pattern, wanted->subject, pattern);
	memcpy(subscription->pattern + pattern, wanted->group, group);
	subscription->group = subscription->pattern + pattern;
	subscription->peer = request->peer;
	subscription->overflow = wanted->overflow;
	subscription->echo = wanted->echo;
	return subscription;
}

int xy_subscription_add(struct xy_router *router, struct xy_request *request)
{
	struct xy_subscription *subscription;
	int error;

	if (xy_idmap_count(&router->subscriptions) >= router->core->max_subscriptions)
		return -ENOSPC;
	subscription = subscription_new(request);
	if (!subscription)
		return -ENOMEM;
	error = xy_random_id(&subscription->id);
	if (error)
		goto err_free;
	error = xy_idmap_put(&router->subscriptions, subscription->id, subscription);
	if (error)
		goto err_free;
	error = xy_tree_add_pattern(router->tree, subscription->pattern, &subscription->item);
	if (error)
		goto err_map;
	xy_list_add_tail(&request->peer->subscriptions, &subscription->of_peer);
	topics_stale(router, subscription);
	request->id = subscription->id;
	return 0;

err_map:
	xy_idmap_remove(&router->subscriptions, subscription->id);
err_free:
	free(subscription->pattern);
	free(subscription);
	return error;
}
