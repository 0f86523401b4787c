/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/delivery.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/connection.h"
#include "core/worker.h"
#include "kernel/session.h"

/* Bytes posted to or held for a receiver of another loop that may lose messages. */
#define POSTED_MAX (4 * XY_BUFFER_PAUSE)

/* A share on its way to another worker. Bound to that loop: it must not be given to another. */
struct parcel {
	struct xy_task task;
	struct xy_peer *peer, *sender; /* one reference each */
	struct xy_chain chain;
	uint32_t frames;
	enum xy_delivery_policy policy;
	bool closes; /* instead of a share: the receiver missed some, and its policy is disconnect
		      */
};

int xy_deliveries_init(struct xy_deliveries *deliveries, uint32_t peers)
{
	deliveries->of_peer = calloc(peers, sizeof(*deliveries->of_peer));
	return deliveries->of_peer ? 0 : -ENOMEM;
}

void xy_deliveries_free(struct xy_deliveries *deliveries)
{
	free(deliveries->of_peer);
	free(deliveries->list);
}

/* What is posted counts before anybody else can see that it was handed on. */
static void delivery_count(struct xy_peer *peer, size_t bytes, uint32_t frames)
{
	atomic_fetch_add_explicit(&peer->pending, bytes, memory_order_relaxed);
	if (peer->session)
		xy_session_queued_add(peer->session, frames);
}

static void delivery_uncount(struct xy_peer *peer, size_t bytes, uint32_t frames)
{
	atomic_fetch_sub_explicit(&peer->pending, bytes, memory_order_relaxed);
	if (peer->session)
		xy_session_queued_sub(peer->session, frames);
}

static void delivery_lost(struct xy_worker *worker, struct xy_peer *peer, struct xy_chain *chain,
			  uint32_t frames)
{
	delivery_uncount(peer, chain->length, frames);
	xy_count(worker->core, XY_COUNT_GONE, frames);
	xy_chain_clear(chain, worker->pool);
}

static void missed(struct xy_peer *peer)
{
	if (!peer->connection)
		return;
	xy_count(peer->worker->core, XY_COUNT_SLOW_CONSUMERS, 1);
	xy_connection_fail(peer->connection, XY_E_SLOW_CONSUMER, NULL,
			   "too much is on its way, and a subscription says disconnect");
}

/* Beside the DATA, whose segments count in their pools. */
static ptrdiff_t parcel_bytes(const struct parcel *parcel)
{
	return (ptrdiff_t)(sizeof(*parcel) + parcel->chain.capacity * sizeof(struct xy_slice));
}

static void parcel_run(struct xy_task *task)
{
	struct parcel *parcel = xy_container_of(task, struct parcel, task);
	struct xy_peer *peer = parcel->peer;

	xy_budget_carried(peer->worker, -parcel_bytes(parcel));
	if (parcel->closes)
		missed(peer);
	else if (peer->connection)
		xy_outbound_deliver(peer->connection, parcel->sender, &parcel->chain,
				    parcel->frames, parcel->policy);
	else
		delivery_lost(peer->worker, peer, &parcel->chain, parcel->frames);
	xy_peer_put(peer);
	xy_peer_put(parcel->sender);
	free(parcel);
}

/* Policies act when the receiver's own loop takes the frames. While that is stuck, or slower than
 * the senders, what is on its way is bounded here: newer frames go, whatever the policy, but for
 * those that brake their senders. */
static bool too_much_posted(const struct xy_worker *worker, const struct xy_delivery *delivery)
{
	return delivery->peer->worker != worker && delivery->policy != XY_DELIVER_BLOCK &&
	       delivery->policy != XY_DELIVER_DIRECT &&
	       atomic_load_explicit(&delivery->peer->pending, memory_order_relaxed) >= POSTED_MAX;
}

static void parcel_post(struct xy_delivery *delivery, struct xy_peer *sender, bool closes)
{
	struct xy_peer *peer = delivery->peer;
	struct parcel *parcel = delivery->parcel;

	parcel->task = (struct xy_task){.name = "deliver", .run = parcel_run};
	parcel->peer = peer;
	parcel->sender = sender;
	parcel->frames = delivery->frames;
	parcel->policy = delivery->policy;
	parcel->closes = closes;
	xy_chain_move(&parcel->chain, &delivery->chain);
	xy_budget_carried(sender->worker, parcel_bytes(parcel));
	xy_peer_get(peer);
	xy_peer_get(sender);
	xy_loop_post(peer->worker->loop, &parcel->task);
}

static void delivery_drop(struct xy_worker *worker, struct xy_peer *sender,
			  struct xy_delivery *delivery)
{
	struct xy_peer *peer = delivery->peer;

	xy_count(worker->core, XY_COUNT_OVERFLOW, delivery->frames);
	atomic_fetch_add_explicit(&peer->unposted, delivery->frames, memory_order_relaxed);
	xy_chain_clear(&delivery->chain, worker->pool);
	/* Once: whoever is stuck would gather them. */
	if (delivery->policy == XY_DELIVER_DISCONNECT && !atomic_exchange(&peer->missed, true))
		parcel_post(delivery, sender, true);
	else
		free(delivery->parcel);
}

static void delivery_hand_on(struct xy_worker *worker, struct xy_peer *sender,
			     struct xy_delivery *delivery)
{
	struct xy_peer *peer = delivery->peer;

	if (too_much_posted(worker, delivery)) {
		delivery_drop(worker, sender, delivery);
		return;
	}
	delivery_count(peer, delivery->chain.length, delivery->frames);
	if (peer->worker != worker)
		parcel_post(delivery, sender, false);
	else if (peer->connection)
		xy_outbound_deliver(peer->connection, sender, &delivery->chain, delivery->frames,
				    delivery->policy);
	else
		delivery_lost(worker, peer, &delivery->chain, delivery->frames);
}

static struct xy_delivery *delivery_of(struct xy_worker *worker, struct xy_peer *peer,
				       enum xy_delivery_policy policy)
{
	struct xy_deliveries *deliveries = &worker->deliveries;
	struct xy_delivery *delivery;
	struct parcel *parcel = NULL;

	if (deliveries->count == deliveries->capacity) {
		uint32_t capacity = deliveries->capacity ? deliveries->capacity * 2 : 16;
		void *list = realloc(deliveries->list, capacity * sizeof(*deliveries->list));

		if (!list)
			return NULL;
		deliveries->list = list;
		deliveries->capacity = capacity;
	}
	assert(deliveries->list); /* has a capacity */
	/* Now, while the sender can be told that it fails. */
	if (peer->worker != worker) {
		parcel = calloc(1, sizeof(*parcel));
		if (!parcel)
			return NULL;
	}
	delivery = &deliveries->list[deliveries->count++];
	*delivery = (struct xy_delivery){.peer = peer, .policy = policy, .parcel = parcel};
	deliveries->of_peer[peer->number] = deliveries->count;
	return delivery;
}

uint64_t xy_deliveries_room(const struct xy_deliveries *deliveries, const struct xy_peer *peer)
{
	uint32_t index = deliveries->of_peer[peer->number];
	uint64_t room = xy_peer_room(peer);
	uint64_t collected = index ? deliveries->list[index - 1].chain.length : 0;

	return collected < room ? room - collected : 0;
}

int xy_deliver(struct xy_worker *worker, struct xy_peer *receiver, enum xy_delivery_policy policy,
	       const struct xy_cursor *cursor, size_t length, uint32_t frames)
{
	struct xy_deliveries *deliveries = &worker->deliveries;
	uint32_t index = deliveries->of_peer[receiver->number];
	struct xy_delivery *delivery = index ? &deliveries->list[index - 1] : NULL;
	int error;

	deliveries->shares++;
	/* Another policy for the same receiver starts another share: order is that of the list. */
	if (!delivery || delivery->policy != policy) {
		delivery = delivery_of(worker, receiver, policy);
		if (!delivery)
			return -ENOMEM;
	}
	error = xy_cursor_share(cursor, length, &delivery->chain);
	if (error)
		return error;
	delivery->frames += frames;
	return 0;
}

void xy_deliver_flush(struct xy_worker *worker, struct xy_connection *sender)
{
	struct xy_deliveries *deliveries = &worker->deliveries;
	bool is_short = xy_budget_short(&worker->core->budget);
	uint32_t count = deliveries->count;

	/* Handing on may close connections, but never delivers anything new. */
	for (uint32_t d = 0; d < count; d++) {
		struct xy_delivery *delivery = &deliveries->list[d];
		struct xy_peer *peer = delivery->peer;
		bool direct = delivery->policy == XY_DELIVER_DIRECT;

		deliveries->of_peer[peer->number] = 0;
		if (!delivery->frames) {
			free(delivery->parcel);
			continue;
		}
		delivery_hand_on(worker, sender->peer, delivery);
		if (direct ? xy_peer_direct_full(peer)
			   : delivery->policy == XY_DELIVER_BLOCK && xy_peer_crowded(peer))
			xy_brake_crowded(sender, peer, direct);
		if (is_short && xy_peer_pending(peer))
			xy_brake_memory(sender, peer);
	}
	deliveries->count = 0;
}
