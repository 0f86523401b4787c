/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SYNC, and publishers that must wait for their receivers.
 *
 * A publisher on a lane waits by its own promise: it sends no DATA between SYNC and SYNCED, and
 * goes on reading and acking meanwhile, so that every wait ends. Any other publisher is made to
 * wait: its worker stops reading it. Either way it waits only for receivers under `block` that it
 * feeds.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/connection.h"
#include "core/notify.h"
#include "kernel/session.h"

/* What a fresh proof is worth waiting for: without one DATA goes the slow path. It may be late for
 * reasons that are not the receiver's, so that nobody is closed for it. */
#define PROOF_MS       50
#define LOOK_AGAIN_MS  5     /* progress on lanes may wake nobody here */
#define WATCH_GAP_MS   100   /* nobody looked for so long: the stall watch starts afresh */
#define THRESHOLD_LAST 65536 /* of frames kept off the lane before a SYNC is worth it */
#define WORTH_IT       64    /* frames redirected since the last one */
#define FLOW_EVERY_MS  50    /* between SYNCs for new flows, when the last one was not worth it */
/* A lane client is asked to pause; one that does not is stopped like any other beyond this. */
#define CROWD_LIMIT    (4 * XY_BUFFER_PAUSE)
#define DIRECT_LIMIT   XY_BUFFER_PAUSE
#define LOOKS_A_SHARE  8 /* looks at targets and receivers that cost a turn what one copy does */

/* ---- waiting --------------------------------------------------------------------------------- */

static int wait_add(struct xy_connection *connection, struct xy_peer *peer, uint32_t group,
		    bool direct)
{
	struct xy_wait *wait;

	for (uint32_t w = 0; w < connection->wait_count; w++)
		if (connection->waits[w].peer == peer && connection->waits[w].group == group)
			return 0;
	if (connection->wait_count == connection->wait_capacity) {
		uint32_t capacity = connection->wait_capacity ? connection->wait_capacity * 2 : 4;
		void *waits = realloc(connection->waits, capacity * sizeof(*wait));

		if (!waits)
			return -ENOMEM;
		connection->waits = waits;
		connection->wait_capacity = capacity;
	}
	wait = &connection->waits[connection->wait_count++];
	*wait = (struct xy_wait){.peer = peer,
				 .progress = xy_peer_progress(peer),
				 .group = group,
				 .direct = direct,
				 .since_ms = xy_loop_now_ms(connection->worker->loop)};
	xy_peer_get(peer);
	return 0;
}

static void wait_remove(struct xy_connection *connection, uint32_t index)
{
	xy_peer_put(connection->waits[index].peer);
	connection->waits[index] = connection->waits[--connection->wait_count];
}

void xy_brake_clear(struct xy_connection *connection)
{
	while (connection->wait_count)
		wait_remove(connection, 0);
	free(connection->waits);
	connection->waits = NULL;
	connection->wait_capacity = 0;
	xy_list_remove(&connection->braked);
}

/* Whether the receiver has consumed nothing for its stall_ms while somebody waited. Whoever waits
 * keeps the watch; a race between two watchers costs a moment's patience. */
static bool stalled(struct xy_peer *peer, uint64_t now)
{
	uint64_t progress = xy_peer_progress(peer);
	uint64_t seen = atomic_exchange_explicit(&peer->watch_seen_ms, now, memory_order_relaxed);
	uint64_t since = atomic_load_explicit(&peer->watch_since_ms, memory_order_relaxed);

	/* Each loop has a clock of its own: another's look may have been a little later than now.
	 * While the receiver's own loop is stuck it is not the receiver that stalls. */
	if (progress != atomic_load_explicit(&peer->watch_mark, memory_order_relaxed) ||
	    now > seen + WATCH_GAP_MS ||
	    atomic_load_explicit(&peer->worker->pulse.stuck, memory_order_relaxed)) {
		atomic_store_explicit(&peer->watch_mark, progress, memory_order_relaxed);
		atomic_store_explicit(&peer->watch_since_ms, now, memory_order_relaxed);
		return false;
	}
	if (peer->session && now >= since + xy_peer_patience(peer))
		xy_notify_right(peer);
	return now >= since + atomic_load_explicit(&peer->stall_ms, memory_order_relaxed);
}

/* Whether a publisher need not wait for it now. */
static bool is_ready(const struct xy_peer *peer)
{
	return xy_peer_has_room(peer, xy_peer_progress(peer)) && xy_peer_proven(peer);
}

/* True when this wait is over. */
static bool wait_over(struct xy_connection *connection, const struct xy_wait *wait, uint64_t now)
{
	struct xy_target *target;

	/* First the bit, then the look: room made in between wakes us. */
	atomic_fetch_or_explicit(&wait->peer->waiting, 1ull << connection->worker->index,
				 memory_order_seq_cst);
	if (wait->memory)
		return !xy_budget_short(&connection->worker->core->budget) ||
		       !xy_peer_pending(wait->peer);
	/* Only an answered PING proves, and a mark may have gone by unreported. */
	if (!xy_peer_proven(wait->peer))
		xy_notify_prove(wait->peer);
	if (xy_peer_has_room(wait->peer, wait->progress))
		return xy_peer_proven(wait->peer) || now - wait->since_ms >= PROOF_MS;
	if (!wait->direct) {
		if (stalled(wait->peer, now))
			xy_notify_slow(wait->peer);
		return false;
	}
	if (now - wait->since_ms <
	    atomic_load_explicit(&wait->peer->stall_ms, memory_order_relaxed))
		return false;
	target = xy_target_find(connection, wait->peer->endpoint, XY_FLOW_DIRECT);
	if (target)
		target->refusing = true;
	return true;
}

static void group_over(struct xy_connection *connection, uint32_t group)
{
	for (uint32_t w = connection->wait_count; w-- > 0;)
		if (connection->waits[w].group == group)
			wait_remove(connection, w);
}

static void waits_check(struct xy_connection *connection)
{
	uint64_t now = xy_loop_now_ms(connection->worker->loop);

	for (uint32_t w = 0; w < connection->wait_count;) {
		uint32_t group = connection->waits[w].group;

		if (!wait_over(connection, &connection->waits[w], now)) {
			w++;
		} else if (group) {
			group_over(connection, group);
			w = 0;
		} else {
			wait_remove(connection, w);
		}
	}
}

static void wait_begin(struct xy_connection *connection)
{
	struct xy_worker *worker = connection->worker;

	if (!xy_list_empty(&connection->braked))
		return;
	xy_list_add_tail(&worker->braked, &connection->braked);
	xy_count(worker->core, XY_COUNT_BRAKED, 1);
	if (!xy_timer_active(&worker->brake_timer))
		xy_timer_start(worker->loop, &worker->brake_timer, LOOK_AGAIN_MS);
}

void xy_brake_look_again(struct xy_worker *worker)
{
	struct xy_connection *connection, *after;

	xy_list_each_safe (connection, after, &worker->braked, braked) {
		waits_check(connection);
		if (connection->wait_count)
			continue;
		xy_list_remove(&connection->braked);
		xy_connection_release(connection, XY_HOLD_ROOM);
		xy_brake_answer(connection);
	}
	if (!xy_list_empty(&worker->braked))
		xy_timer_start(worker->loop, &worker->brake_timer, LOOK_AGAIN_MS);
}

void xy_brake_crowded(struct xy_connection *connection, struct xy_peer *receiver, bool direct)
{
	uint64_t pending = atomic_load_explicit(&receiver->pending, memory_order_relaxed);

	if (connection->state >= XY_CONNECTION_LINGER)
		return;
	if (connection->lane && pending < (direct ? DIRECT_LIMIT : CROWD_LIMIT)) {
		xy_brake_want(connection);
		return;
	}
	if (wait_add(connection, receiver, 0, direct))
		return; /* out of memory: bounded by the next turn's attempt */
	xy_connection_hold(connection, XY_HOLD_ROOM);
	wait_begin(connection);
}

void xy_brake_memory(struct xy_connection *connection, struct xy_peer *receiver)
{
	uint32_t before = connection->wait_count;

	if (connection->state >= XY_CONNECTION_LINGER)
		return;
	xy_brake_want(connection);
	if (wait_add(connection, receiver, 0, false))
		return;
	if (connection->wait_count > before)
		connection->waits[before].memory = true;
	xy_connection_hold(connection, XY_HOLD_ROOM);
	wait_begin(connection);
}

/* ---- SYNC ------------------------------------------------------------------------------------ */

static void sync_wait_group(struct xy_connection *connection, const struct xy_group *group,
			    uint32_t number)
{
	for (uint32_t m = 0; m < group->members; m++)
		if (group->member[m].overflow != XY_OVERFLOW_BLOCK ||
		    is_ready(group->member[m].peer))
			return;
	for (uint32_t m = 0; m < group->members; m++)
		wait_add(connection, group->member[m].peer, number, false);
}

static void sync_wait_topic(struct xy_connection *connection, const struct xy_route *route,
			    uint32_t *numbers)
{
	for (uint32_t p = 0; p < route->plains; p++) {
		struct xy_peer *peer = route->plain[p].peer;

		if (route->plain[p].overflow == XY_OVERFLOW_BLOCK && !is_ready(peer))
			wait_add(connection, peer, 0, false);
	}
	for (uint32_t g = 0; g < route->groups; g++)
		if (xy_group_open(route, route->group[g], connection->peer))
			sync_wait_group(connection, route->group[g], ++*numbers);
}

static uint32_t route_receivers(const struct xy_route *route)
{
	uint32_t count = route->plains;

	for (uint32_t g = 0; g < route->groups; g++)
		count += route->group[g]->members;
	return count;
}

/* Returns what it looked at. */
static uint32_t sync_wait_target(struct xy_connection *connection, struct xy_target *target,
				 uint32_t *numbers)
{
	if (target->kind == XY_FLOW_TOPIC) {
		const struct xy_route *route = xy_topic_route(target->topic);

		sync_wait_topic(connection, route, numbers);
		return 1 + route_receivers(route);
	}
	if (!target->refusing && !is_ready(target->peer))
		wait_add(connection, target->peer, 0, true);
	return 1;
}

/* Whether the kernel has moved anything of it since SYNCED. */
static bool has_redirected(const struct xy_connection *connection)
{
	const struct xy_session *session = connection->peer->session;

	return connection->lane && xy_session_frames(session) != connection->frames_at_synced;
}

/*
 * The receivers that this publisher feeds and that have no room: by here, which is known, or by
 * flows, of which only their number is. Subjects that it has declared and does not use cost
 * nothing, however many they are. Takes its part of the turn, or SYNCs that find the same again and
 * again would keep everybody else waiting. Read section.
 */
static void sync_waits(struct xy_connection *connection)
{
	struct xy_target *target, *after;
	uint32_t numbers = 0; /* of groups, to tell their waits apart */
	uint32_t looks = 0;

	xy_list_each (target, &connection->fed, fed)
		looks += sync_wait_target(connection, target, &numbers);
	if (has_redirected(connection))
		xy_list_each_safe (target, after, &connection->flows, fed) {
			if (target->asked)
				looks += sync_wait_target(connection, target, &numbers);
			else /* its flow is gone */
				xy_list_remove(&target->fed);
		}
	xy_count(connection->worker->core, XY_COUNT_SYNC_LOOKS, looks);
	connection->worker->deliveries.shares += looks / LOOKS_A_SHARE;
}

void xy_brake_sync(struct xy_connection *connection, const struct xy_frame *frame)
{
	/* What an unanswered SYNC waited for is found again; else waits would pile up. */
	while (connection->wait_count)
		wait_remove(connection, 0);
	sync_waits(connection);
	connection->epoch = (uint32_t)frame->correlation;
	connection->handed = 0;
	connection->sync_pending = true;
	connection->sync_wanted = false;
	connection->sync_correlation = frame->correlation;
	if (connection->wait_count)
		wait_begin(connection);
	xy_brake_answer(connection);
}

void xy_brake_answer(struct xy_connection *connection)
{
	struct xy_session *session = connection->lane ? connection->peer->session : NULL;
	struct xy_frame frame = {.type = XY_SYNCED,
				 .flags = session ? XY_LANE : 0,
				 .correlation = connection->sync_correlation};

	/* With its flows in place the client's next DATA goes by the lane. */
	if (!connection->sync_pending || connection->wait_count || connection->flows_asked ||
	    !connection->attached)
		return;
	connection->sync_pending = false;
	connection->flow_new = false;
	xy_targets_fed(connection);
	connection->synced_ms = xy_loop_now_ms(connection->worker->loop);
	if (session) {
		xy_session_epoch_start(session, connection->sync_correlation);
		xy_session_barrier_add(session, connection->handed);
		connection->frames_at_synced = xy_session_frames(session);
		connection->kept_off_seen = xy_session_kept_off(session);
		connection->no_room_seen = xy_session_no_room(session);
	}
	xy_control_send(connection, &frame, NULL, 0);
}

void xy_brake_handed(struct xy_connection *connection, uint32_t frames)
{
	struct xy_session *session = connection->peer->session;

	/* Once it is closing nothing of it is redirected any more. */
	if (!connection->lane || !frames || connection->state >= XY_CONNECTION_LINGER)
		return;
	connection->handed += frames;
	if (xy_session_count_check(session, connection->epoch, connection->handed))
		xy_count(connection->worker->core, XY_COUNT_UNCOUNTED, frames);
	if (!connection->sync_pending)
		xy_session_barrier_add(session, frames);
}

/* ---- wanting one ----------------------------------------------------------------------------- */

void xy_brake_want(struct xy_connection *connection)
{
	struct xy_frame frame = {.type = XY_SYNC_WANTED};

	if (connection->sync_wanted || connection->sync_pending || !connection->lane ||
	    connection->state != XY_CONNECTION_OPEN)
		return;
	connection->sync_wanted = true;
	xy_count(connection->worker->core, XY_COUNT_SYNC_WANTED, 1);
	xy_control_send(connection, &frame, NULL, 0);
}

void xy_brake_flow(struct xy_connection *connection)
{
	connection->flow_new = true;
	xy_brake_off_lane(connection);
}

/*
 * Whether it is time for a SYNC that brings the publisher back. One that brought little makes the
 * next wait for twice as many frames: on their own they may be kept off for good. A new flow is a
 * better reason, and waits for some time only.
 */
static bool return_due(struct xy_connection *connection)
{
	const struct xy_session *session = connection->peer->session;
	uint64_t kept_off = xy_session_kept_off(session) - connection->kept_off_seen;
	bool worth_it = xy_session_frames(session) - connection->frames_at_synced >= WORTH_IT;

	if (worth_it)
		connection->sync_threshold = XY_SYNC_THRESHOLD;
	if (kept_off >= connection->sync_threshold) {
		if (!worth_it && connection->sync_threshold < THRESHOLD_LAST)
			connection->sync_threshold *= 2;
		return true;
	}
	/* One that waits for its answers has come to rest by itself. */
	return connection->flow_new && xy_session_behind(session) &&
	       (connection->sync_threshold == XY_SYNC_THRESHOLD ||
		xy_loop_now_ms(connection->worker->loop) - connection->synced_ms >= FLOW_EVERY_MS);
}

void xy_brake_off_lane(struct xy_connection *connection)
{
	uint64_t no_room = xy_session_no_room(connection->peer->session);

	if (connection->sync_wanted || connection->sync_pending)
		return;
	if (no_room != connection->no_room_seen) {
		connection->no_room_seen = no_room;
		xy_brake_want(connection);
	} else if (return_due(connection)) {
		xy_brake_want(connection);
	}
}
