/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/router.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "core/notify.h"
#include "core/permit.h"
#include "core/router_internal.h"
#include "core/worker.h"

/* What a round may do, in routes built, topics looked at and requests answered; some of them take
 * microseconds. */
#define WORK_A_ROUND     1024
#define UNBUILT_RETRY_MS 100

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
	xy_revoke_look(router, peer);
}

/* ---- requests in steps ----------------------------------------------------------------------- */

static enum xy_error error_of(int error)
{
	return error ? XY_E_OVERLOADED : XY_ERROR_NONE;
}

static bool allowed(const struct xy_router *router, const struct xy_request *request,
		    enum xy_permission permission)
{
	return !request->peer->revoked &&
	       xy_permit(router->core, request->peer, permission, request->subscribe->subject);
}

static void stall_set(struct xy_peer *peer, const struct xy_request *request)
{
	/* Of its only subscription, or the longest. */
	bool only = peer->subscriptions.next->next == &peer->subscriptions;

	if (only || request->subscribe->stall_ms > atomic_load(&peer->stall_ms))
		atomic_store(&peer->stall_ms, request->subscribe->stall_ms);
}

static bool subscribe_step(struct xy_router *router, struct xy_request *request)
{
	int error;

	if (!request->begun) {
		request->begun = true;
		request->error = allowed(router, request, XY_MAY_SUBSCRIBE)
					 ? error_of(xy_subscription_add(router, request))
					 : XY_E_FORBIDDEN;
		if (request->error)
			return true;
	}
	if (!xy_stale_resolve(router, &error))
		return false;
	if (request->error)
		return true;
	if (error) { /* taken back, and the routes once more */
		request->error = error_of(error);
		xy_subscription_remove(router, xy_idmap_get(&router->subscriptions, request->id));
		return false;
	}
	stall_set(request->peer, request);
	return true;
}

static bool unsubscribe_step(struct xy_router *router, struct xy_request *request)
{
	struct xy_subscription *subscription;
	int error;

	if (!request->begun) {
		request->begun = true;
		subscription = xy_idmap_get(&router->subscriptions, request->target);
		if (!subscription || subscription->peer != request->peer) {
			request->error = XY_E_UNKNOWN_SUBSCRIPTION;
			return true;
		}
		request->id = subscription->id;
		xy_subscription_remove(router, subscription);
	}
	return xy_stale_resolve(router, &error);
}

static bool detach_step(struct xy_router *router, struct xy_request *request)
{
	struct xy_peer *peer = request->peer;
	struct xy_subscription *subscription;
	uint64_t id;
	void *topic;
	int error;

	if (!request->begun) {
		request->begun = true;
		endpoint_remove(router, peer);
	}
	while ((subscription =
			xy_list_first(&peer->subscriptions, struct xy_subscription, of_peer))) {
		if (router->work <= 0)
			return false;
		xy_subscription_remove(router, subscription);
	}
	if (!xy_stale_resolve(router, &error))
		return false;
	while (xy_idmap_next(&peer->declarations, &request->position, &id, &topic)) {
		xy_topic_undeclare(router, topic);
		if (router->work <= 0)
			return false;
	}
	xy_idmap_clear(&peer->declarations);
	if (!peer->session)
		return true;
	xy_flows_of_peer_remove(router, peer);
	router->lane[peer->slot.slot] = NULL;
	if (!request->keeps_slot)
		slot_retire(router, request);
	return true;
}

/* Does what is left of this round's work allows, and a little more. True: the request is done. */
static bool request_step(struct xy_router *router, struct xy_request *request)
{
	router->work--;
	switch (request->kind) {
	case XY_REQUEST_ATTACH:
		attach(router, request);
		return true;
	case XY_REQUEST_DECLARE:
		request->error = allowed(router, request, XY_MAY_PUBLISH)
					 ? error_of(xy_topic_declare(router, request))
					 : XY_E_FORBIDDEN;
		return true;
	case XY_REQUEST_SUBSCRIBE:
		return subscribe_step(router, request);
	case XY_REQUEST_UNSUBSCRIBE:
		return unsubscribe_step(router, request);
	case XY_REQUEST_DEAF:
		xy_flows_to_peer_remove(router, request->peer);
		return true;
	case XY_REQUEST_DETACH:
		return detach_step(router, request);
	case XY_REQUEST_RELEASE:
		slot_retire(router, request);
		return true;
	case XY_REQUEST_FLOW:
		request->installed = xy_flow_install(router, request);
		return true;
	}
	return true;
}

/* ---- whose turn it is ------------------------------------------------------------------------ */

/* Requests of one peer keep their order; peers take turns, so that one which asks much makes the
 * others wait for one request of its own, not for all. */
static void request_run(struct xy_task *task)
{
	struct xy_request *request = xy_container_of(task, struct xy_request, task);
	struct xy_peer *peer = request->peer;

	if (peer->requests) { /* a ring; the peer knows its last */
		request->next = peer->requests->next;
		peer->requests->next = request;
	} else {
		request->next = request;
		xy_list_add_tail(&peer->core->router->asking, &peer->asking);
	}
	peer->requests = request;
}

static struct xy_request *request_take(struct xy_router *router)
{
	struct xy_peer *peer = xy_list_first(&router->asking, struct xy_peer, asking);
	struct xy_request *request;

	if (!peer)
		return NULL;
	request = peer->requests->next;
	xy_list_remove(&peer->asking);
	if (request == peer->requests) {
		peer->requests = NULL;
	} else {
		peer->requests->next = request->next;
		xy_list_add_tail(&router->asking, &peer->asking);
	}
	return request;
}

static void revoke(struct xy_router *router)
{
	if (!xy_revoke_step(router, router->revoking))
		return;
	router->revoked = router->revoking;
	router->revoking = NULL;
}

static void requests_run(struct xy_router *router)
{
	int error;

	router->work = WORK_A_ROUND;
	while (router->work > 0) {
		if (!router->current) {
			if (!xy_stale_resolve(router, &error)) /* of a retry, below */
				return;
			if (router->revoking) {
				revoke(router);
				continue;
			}
			router->current = request_take(router);
		}
		if (!router->current)
			return;
		if (!request_step(router, router->current))
			continue;
		*router->answers_end = router->current;
		router->answers_end = &router->current->next;
		router->current->next = NULL;
		router->current = NULL;
	}
}

/* Routes for which memory did not suffice are tried again when nobody asks for anything. */
static void unbuilt_expired(struct xy_timer *timer)
{
	struct xy_router *router = xy_container_of(timer, struct xy_router, unbuilt_timer);

	if (!router->current && !router->revoking)
		xy_unbuilt_retry(router);
}

static void answer_run(struct xy_task *task)
{
	struct xy_request *request = xy_container_of(task, struct xy_request, task);

	struct xy_worker *worker = request->peer->worker;

	request->answer(request);
	/* Last: the answer may ask for more, and a worker that has nothing to do may be stopped. */
	atomic_fetch_sub_explicit(&worker->asked, 1, memory_order_release);
}

/* One grace period for all that was removed, then the answers, in order. */
static void answers_send(struct xy_router *router)
{
	struct xy_core *core = router->core;
	struct xy_request *request = router->answers, *next;

	if (router->flow_deleted)
		xy_kernel_grace(core->kernel);
	router->flow_deleted = false;
	if (router->revoked)
		xy_revoke_end(router->revoked);
	router->revoked = NULL;
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
}

/* A batch is what one round has work for. A request that takes several rounds is answered in its
 * last, and what was removed in between waits with it for the grace period. */
static bool batch_end(struct xy_loop *loop, void *context)
{
	struct xy_router *router = context;

	requests_run(router);
	if (router->answers || router->revoked)
		answers_send(router);
	if (!xy_list_empty(&router->unbuilt) && !xy_timer_active(&router->unbuilt_timer))
		xy_timer_start(loop, &router->unbuilt_timer, UNBUILT_RETRY_MS);
	return router->current || router->revoking || !xy_list_empty(&router->asking) ||
	       !xy_list_empty(&router->stale);
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
	xy_list_init(&router->unbuilt);
	xy_list_init(&router->asking);
	router->unbuilt_timer = (struct xy_timer){.name = "unbuilt", .expired = unbuilt_expired};
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
