/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/router.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/random.h"
#include "core/notify.h"
#include "core/router_internal.h"
#include "core/worker.h"

/* ---- endpoints ------------------------------------------------------------------------------ */

static struct xy_peer **endpoint_bucket(const struct xy_router *router, uint64_t endpoint)
{
	return &router->bucket[endpoint &
			       (router->buckets - 1)]; /* ids are random: no hash needed */
}

struct xy_peer *xy_router_endpoint(const struct xy_router *router, uint64_t endpoint)
{
	struct xy_peer *peer = xy_rcu_dereference(*endpoint_bucket(router, endpoint));

	while (peer && peer->endpoint != endpoint)
		peer = xy_rcu_dereference(peer->next);
	return peer;
}

static void endpoint_add(struct xy_router *router, struct xy_peer *peer)
{
	struct xy_peer **bucket = endpoint_bucket(router, peer->endpoint);

	peer->next = *bucket;
	xy_rcu_assign(*bucket, peer);
}

static void endpoint_remove(struct xy_router *router, struct xy_peer *peer)
{
	struct xy_peer **link = endpoint_bucket(router, peer->endpoint);

	while (*link != peer)
		link = &(*link)->next;
	xy_rcu_assign(*link, peer->next);
}

/* ---- topics ---------------------------------------------------------------------------------- */

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

	if (xy_list_empty(&topic->stale))
		xy_list_add_tail(&router->stale, &topic->stale);
}

/* Builds the routes of all topics that a subscription's coming or going concerns. One that cannot
 * be built stays stale and is tried again with the next change. */
static int stale_resolve(struct xy_router *router)
{
	struct xy_topic *topic, *after;
	int error = 0;

	xy_list_each_safe (topic, after, &router->stale, stale) {
		int failed = topic_resolve(router, topic);

		if (failed)
			error = failed;
		else
			xy_list_remove(&topic->stale);
	}
	return error;
}

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

static void declaration_drop(struct xy_router *router, struct xy_declaration *declaration)
{
	struct xy_topic *topic = declaration->topic;

	xy_list_remove(&declaration->of_peer);
	free(declaration);
	if (--topic->declarers)
		return;
	xy_flows_of_topic_remove(router, topic);
	xy_list_remove(&topic->stale);
	xy_tree_remove(router->tree, &topic->item);
	xy_idmap_remove(&router->topics, topic->id);
	xy_rcu_defer(&topic->rcu, topic_reclaim);
}

static int declare(struct xy_router *router, struct xy_request *request)
{
	const char *subject = request->subscribe->subject;
	struct xy_tree_item *item = xy_tree_find_topic(router->tree, subject);
	struct xy_topic *topic = item ? xy_container_of(item, struct xy_topic, item) : NULL;
	struct xy_declaration *declaration;
	int error;

	if (topic) {
		xy_list_each (declaration, &request->peer->declarations, of_peer)
			if (declaration->topic == topic)
				goto known;
	}
	declaration = calloc(1, sizeof(*declaration));
	if (!declaration)
		return -ENOMEM;
	if (!topic) {
		error = topic_new(router, subject, &topic);
		if (error) {
			free(declaration);
			return error;
		}
	}
	topic->declarers++;
	declaration->topic = topic;
	xy_list_add_tail(&request->peer->declarations, &declaration->of_peer);
known:
	request->id = topic->id;
	request->topic = topic;
	return 0;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

/* The caller resolves what is stale afterwards. */
static void subscription_remove(struct xy_router *router, struct xy_subscription *subscription)
{
	xy_tree_topics_of(router->tree, subscription->pattern, topic_stale, router);
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

static int subscribe(struct xy_router *router, struct xy_request *request)
{
	struct xy_subscription *subscription;
	int error = -ENOMEM;

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
	xy_tree_topics_of(router->tree, subscription->pattern, topic_stale, router);
	error = stale_resolve(router);
	if (error) {
		subscription_remove(router, subscription);
		stale_resolve(router);
		return error;
	}
	if (xy_list_first(&request->peer->subscriptions, struct xy_subscription, of_peer) ==
		    subscription ||
	    request->subscribe->stall_ms > atomic_load(&request->peer->stall_ms))
		atomic_store(&request->peer->stall_ms, request->subscribe->stall_ms);
	request->id = subscription->id;
	return 0;

err_map:
	xy_idmap_remove(&router->subscriptions, subscription->id);
err_free:
	free(subscription->pattern);
	free(subscription);
	return error;
}

static enum xy_error unsubscribe(struct xy_router *router, struct xy_request *request)
{
	struct xy_subscription *subscription =
		xy_idmap_get(&router->subscriptions, request->target);

	if (!subscription || subscription->peer != request->peer)
		return XY_E_UNKNOWN_SUBSCRIPTION;
	request->id = subscription->id;
	subscription_remove(router, subscription);
	stale_resolve(router);
	return XY_ERROR_NONE;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void slot_retire(struct xy_router *router, struct xy_request *request)
{
	if (!request->peer->slot.generation)
		return;
	xy_kernel_retire(router->core->kernel, request->peer->slot);
	request->retired = !request->peer->session;
	router->flow_deleted = true; /* the slot is reused only after a grace period */
}

static void attach(struct xy_router *router, struct xy_request *request)
{
	struct xy_peer *peer = request->peer;

	xy_peer_get(peer); /* the router's own; put after the grace period that follows detach */
	endpoint_add(router, peer);
	if (peer->session)
		router->lane[peer->slot.slot] = peer;
	else
		slot_retire(router, request);
}

static void detach(struct xy_router *router, struct xy_request *request)
{
	struct xy_peer *peer = request->peer;
	struct xy_subscription *subscription, *next_subscription;
	struct xy_declaration *declaration, *next_declaration;

	endpoint_remove(router, peer);
	xy_list_each_safe (subscription, next_subscription, &peer->subscriptions, of_peer)
		subscription_remove(router, subscription);
	stale_resolve(router);
	xy_list_each_safe (declaration, next_declaration, &peer->declarations, of_peer)
		declaration_drop(router, declaration);
	if (!peer->session)
		return;
	xy_flows_of_peer_remove(router, peer);
	router->lane[peer->slot.slot] = NULL;
	if (!request->keeps_slot)
		slot_retire(router, request);
}

/* ---- requests -------------------------------------------------------------------------------- */

static enum xy_error error_of(int error)
{
	return error ? XY_E_OVERLOADED : XY_ERROR_NONE;
}

static void request_run(struct xy_task *task)
{
	struct xy_request *request = xy_container_of(task, struct xy_request, task);
	struct xy_router *router = request->peer->core->router;

	switch (request->kind) {
	case XY_REQUEST_ATTACH:
		attach(router, request);
		break;
	case XY_REQUEST_DECLARE:
		request->error = error_of(declare(router, request));
		break;
	case XY_REQUEST_SUBSCRIBE:
		request->error = error_of(subscribe(router, request));
		break;
	case XY_REQUEST_UNSUBSCRIBE:
		request->error = unsubscribe(router, request);
		break;
	case XY_REQUEST_DETACH:
		detach(router, request);
		break;
	case XY_REQUEST_RELEASE:
		slot_retire(router, request);
		break;
	case XY_REQUEST_FLOW:
		request->installed = xy_flow_install(router, request);
		break;
	}
	request->next = NULL;
	*router->answers_end = request;
	router->answers_end = &request->next;
}

static void answer_run(struct xy_task *task)
{
	struct xy_request *request = xy_container_of(task, struct xy_request, task);

	struct xy_worker *worker = request->peer->worker;

	request->answer(request);
	/* Last: the answer may ask for more, and a worker that has nothing to do may be stopped. */
	atomic_fetch_sub_explicit(&worker->asked, 1, memory_order_release);
}

/*
 * End of a batch: one grace period for all that was removed in it, then the answers, in order.
 */
static bool batch_end(struct xy_loop *loop, void *context)
{
	struct xy_router *router = context;
	struct xy_core *core = router->core;
	struct xy_request *request = router->answers, *next;

	(void)loop;
	if (router->flow_deleted)
		xy_kernel_grace(core->kernel);
	router->flow_deleted = false;
	router->answers = NULL;
	router->answers_end = &router->answers;
	for (; request; request = next) {
		struct xy_peer *peer = request->peer;

		next = request->next;
		if (request->retired) { /* no lane: nobody counts in the slot's record */
			xy_kernel_recycle(core->kernel, peer->slot);
			peer->slot.generation = 0;
		}
		if (request->kind == XY_REQUEST_DETACH)
			xy_peer_put_later(peer); /* that of attach */
		request->task.run = answer_run;
		xy_loop_post(peer->worker->loop, &request->task);
	}
	return false;
}

struct xy_request *xy_request_new(enum xy_request_kind kind, struct xy_peer *peer,
				  void (*answer)(struct xy_request *request))
{
	bool subscribes = kind == XY_REQUEST_SUBSCRIBE || kind == XY_REQUEST_DECLARE;
	struct xy_request *request =
		calloc(1, sizeof(*request) + (subscribes ? sizeof(request->subscribe[0]) : 0));

	if (!request)
		return NULL;
	request->kind = kind;
	request->peer = peer;
	request->answer = answer;
	request->task.name = "route";
	xy_peer_get(peer);
	return request;
}

void xy_request_send(struct xy_router *router, struct xy_request *request)
{
	request->task.run = request_run;
	atomic_fetch_add_explicit(&request->peer->worker->asked, 1, memory_order_relaxed);
	xy_loop_post(router->loop, &request->task);
}

void xy_request_free(struct xy_request *request)
{
	if (!request)
		return;
	xy_peer_put(request->peer);
	free(request);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void pressure_ready(struct xy_watch *watch, uint32_t events)
{
	(void)events;
	xy_flow_pressure(xy_container_of(watch, struct xy_router, pressure));
}

static void *router_thread(void *context)
{
	struct xy_router *router = context;

	pthread_setname_np(pthread_self(), "router");
	xy_rcu_register_thread();
	xy_loop_run(router->loop);
	xy_rcu_unregister_thread();
	return NULL;
}

int xy_router_new(struct xy_core *core, struct xy_router **ret_router)
{
	struct xy_router *router = calloc(1, sizeof(*router));
	struct xy_loop_options options = {
		.name = "router", .turn_end = batch_end, .context = router};
	int error = -ENOMEM;

	if (!router)
		return -ENOMEM;
	router->core = core;
	router->answers_end = &router->answers;
	xy_list_init(&router->flows);
	xy_list_init(&router->stale);
	for (router->buckets = 64; router->buckets < core->max_connections;)
		router->buckets *= 2;
	router->bucket = calloc(router->buckets, sizeof(*router->bucket));
	router->tree = xy_tree_new();
	if (!router->bucket || !router->tree)
		goto err_free;
	if (core->kernel) {
		router->lane = calloc(xy_kernel_slots(core->kernel), sizeof(*router->lane));
		if (!router->lane)
			goto err_free;
	}
	error = xy_loop_new(&options, &router->loop);
	if (error)
		goto err_free;
	if (core->kernel) {
		router->pressure = (struct xy_watch){.fd = xy_kernel_pressure_fd(core->kernel),
						     .name = "pressure",
						     .ready = pressure_ready};
		error = xy_loop_watch(router->loop, &router->pressure, EPOLLIN);
		if (error)
			goto err_free;
	}
	*ret_router = router;
	return 0;

err_free:
	xy_router_free(router);
	return error;
}

void xy_router_free(struct xy_router *router)
{
	if (!router)
		return;
	xy_loop_free(router->loop);
	xy_tree_free(router->tree);
	xy_idmap_clear(&router->topics);
	xy_idmap_clear(&router->subscriptions);
	free(router->lane);
	free(router->bucket);
	free(router);
}

int xy_router_start(struct xy_router *router)
{
	return -pthread_create(&router->thread, NULL, router_thread, router);
}

static void stop_run(struct xy_task *task)
{
	xy_loop_stop(xy_container_of(task, struct xy_router, stop)->loop);
}

void xy_router_stop(struct xy_router *router)
{
	router->stop = (struct xy_task){.name = "stop", .run = stop_run};
	xy_loop_post(router->loop, &router->stop);
	pthread_join(router->thread, NULL);
}

struct xy_loop *xy_router_loop(struct xy_router *router)
{
	return router->loop;
}
