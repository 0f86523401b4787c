/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/delivery.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/connection.h"
#include "core/worker.h"
#include "kernel/session.h"

/* Bytes posted to or held for a receiver of another loop that may lose messages. */
#define POSTED_MAX  (4 * XY_BUFFER_PAUSE)
/* The same with notices; each counts as its parcel. */
#define NOTICES_MAX (2 * POSTED_MAX)

/* A share on its way to another worker, or a notice that something does not come. Bound to that
 * loop: it must not be given to another. */
struct parcel {
	struct xy_task task;
	struct xy_peer *peer, *sender; /* one reference each */
	struct xy_chain chain;
	uint32_t frames;
	enum xy_delivery_policy policy;
	struct xy_drop cut; /* a notice's */
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
	if (peer->connection)
		xy_outbound_deliver(peer->connection, parcel->sender, &parcel->chain,
				    parcel->frames, parcel->policy);
	else
		delivery_lost(peer->worker, peer, &parcel->chain, parcel->frames);
	xy_peer_put(peer);
	xy_peer_put(parcel->sender);
	free(parcel);
}

static void parcel_post(struct xy_delivery *delivery, struct xy_peer *sender, struct xy_task task)
{
	struct parcel *parcel = delivery->parcel;

	delivery->parcel = NULL;
	parcel->task = task;
	parcel->peer = delivery->peer;
	parcel->sender = sender;
	parcel->frames = delivery->frames;
	parcel->policy = delivery->policy;
	xy_chain_move(&parcel->chain, &delivery->chain);
	xy_budget_carried(sender->worker, parcel_bytes(parcel));
	xy_peer_get(parcel->peer);
	xy_peer_get(parcel->sender);
	xy_loop_post(parcel->peer->worker->loop, &parcel->task);
}

/* ---- what is not posted ---------------------------------------------------------------------- */

/* Policies act when the receiver's own loop takes the frames. While that is stuck, or slower than
 * the senders, what is on its way is bounded here: newer messages go, whatever the policy, but for
 * those that brake their senders. */
static bool too_much_posted(const struct xy_delivery *delivery)
{
	return delivery->policy != XY_DELIVER_BLOCK && delivery->policy != XY_DELIVER_DIRECT &&
	       atomic_load_explicit(&delivery->peer->pending, memory_order_relaxed) >= POSTED_MAX;
}

static void notice_run(struct xy_task *task)
{
	struct parcel *parcel = xy_container_of(task, struct parcel, task);
	struct xy_peer *peer = parcel->peer;

	xy_budget_carried(peer->worker, -parcel_bytes(parcel));
	if (parcel->policy != XY_DELIVER_DISCONNECT)
		xy_overflow_cut(peer, &parcel->cut);
	else if (peer->connection)
		xy_overflow_disconnect(
			peer->connection,
			"too much is on its way, and a subscription says disconnect");
	if (peer->connection)
		xy_outbound_gone(peer->connection, sizeof(*parcel), 0);
	else
		delivery_uncount(peer, sizeof(*parcel), 0);
	xy_peer_put(peer);
	xy_peer_put(parcel->sender);
	free(parcel);
}

/* The receiver's loop must know when a message of which it may have a part does not come to its
 * end, and, once, when a subscription says disconnect. It is told with the parcel that is there, so
 * that this cannot fail. A message that was posted in part is told of once; the bound is for a
 * sender that sends nothing but parts. */
static void notice(struct xy_delivery *delivery, struct xy_peer *sender, struct xy_front *front)
{
	struct xy_peer *peer = delivery->peer;
	bool disconnects = delivery->policy == XY_DELIVER_DISCONNECT;
	bool cuts = front->begun && !disconnects &&
		    atomic_load_explicit(&peer->pending, memory_order_relaxed) < NOTICES_MAX;
	bool closes = disconnects && !atomic_exchange(&peer->missed, true);

	if (front->begun && !cuts)
		front->tally.messages[delivery->policy]++;
	if (!cuts && !closes)
		return;
	delivery->parcel->cut = front->message;
	delivery_count(peer, sizeof(struct parcel), 0);
	parcel_post(delivery, sender, (struct xy_task){.name = "cut", .run = notice_run});
}

/* Takes from the delivery what is not to be posted. */
static void delivery_bound(struct xy_worker *worker, struct xy_connection *sender,
			   struct xy_delivery *delivery)
{
	struct xy_peer *peer = delivery->peer;
	bool all = too_much_posted(delivery);
	struct xy_front front;

	if (!all && !xy_drops_find(&sender->unposted, peer->endpoint))
		return;
	/* Who sends on and on meets many receivers that leave in the middle of a message. */
	xy_drops_tidy(&sender->unposted, worker->core->router);
	front = xy_drops_front(&sender->unposted, peer->endpoint, &delivery->chain, worker->pool,
			       delivery->policy, all);
	delivery->frames -= front.tally.frames;
	if (all)
		notice(delivery, sender->peer, &front);
	xy_tally_count(worker, peer, &front.tally);
}

/* ---- handing on ------------------------------------------------------------------------------ */

static void delivery_post(struct xy_worker *worker, struct xy_connection *sender,
			  struct xy_delivery *delivery)
{
	delivery_bound(worker, sender, delivery);
	if (!delivery->frames)
		return;
	delivery_count(delivery->peer, delivery->chain.length, delivery->frames);
	parcel_post(delivery, sender->peer, (struct xy_task){.name = "deliver", .run = parcel_run});
}

static void delivery_hand_on(struct xy_worker *worker, struct xy_connection *sender,
			     struct xy_delivery *delivery)
{
	struct xy_peer *peer = delivery->peer;

	if (peer->worker != worker) {
		delivery_post(worker, sender, delivery);
		free(delivery->parcel);
		return;
	}
	delivery_count(peer, delivery->chain.length, delivery->frames);
	if (peer->connection)
		xy_outbound_deliver(peer->connection, sender->peer, &delivery->chain,
				    delivery->frames, delivery->policy);
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
		delivery_hand_on(worker, sender, delivery);
		if (direct ? xy_peer_direct_full(peer)
			   : delivery->policy == XY_DELIVER_BLOCK && xy_peer_crowded(peer))
			xy_brake_crowded(sender, peer, direct);
		if (is_short && xy_peer_pending(peer))
			xy_brake_memory(sender, peer);
	}
	deliveries->count = 0;
}
