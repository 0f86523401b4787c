/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/connection.h"
#include "kernel/session.h"

enum note {
	NOTE_BRAKE = 1 << 0,
	NOTE_PROVE = 1 << 1,
	NOTE_SLOW = 1 << 2,
	NOTE_TOO_LATE = 1 << 3,
	NOTE_RIGHT = 1 << 4,
	NOTE_REVOKED = 1 << 5,
	NOTE_UNTOLD = 1 << 6,
};

struct message {
	struct xy_task task;
	struct xy_peer *peer; /* one reference */
	uint64_t target;
	char subject[];
};

/* ---- notes: what may be said many times and is done once ------------------------------------- */

static void notes_run(struct xy_task *task)
{
	struct xy_peer *peer = xy_container_of(task, struct xy_peer, note_task);
	uint32_t notes = atomic_exchange_explicit(&peer->notes, 0, memory_order_acq_rel);
	struct xy_connection *connection = peer->connection;

	if (connection && connection->state == XY_CONNECTION_OPEN) {
		if (notes & NOTE_PROVE)
			xy_proof_ask(connection);
		if (notes & NOTE_BRAKE)
			xy_brake_want(connection);
		if (notes & NOTE_RIGHT)
			xy_right_begin(connection);
		if (notes & NOTE_SLOW) {
			xy_count(peer->worker->core, XY_COUNT_SLOW_CONSUMERS, 1);
			xy_connection_fail(connection, XY_E_SLOW_CONSUMER, NULL,
					   "consumed nothing while a publisher waited");
		}
		if (notes & NOTE_REVOKED)
			xy_connection_fail(connection, XY_E_UNAUTHORIZED, NULL,
					   "what it authenticated by holds no more");
		if (notes & NOTE_UNTOLD) {
			connection->broken = true;
			xy_outbound_dirty(connection);
		}
		if (notes & NOTE_TOO_LATE)
			xy_connection_fail(connection, XY_E_SHUTTING_DOWN, NULL,
					   "a receiver of its DATA has been told GOODBYE");
	}
	xy_peer_put(peer);
}

static void note(struct xy_peer *peer, enum note what)
{
	if (atomic_fetch_or_explicit(&peer->notes, what, memory_order_acq_rel))
		return; /* posted already, and not run yet */
	peer->note_task = (struct xy_task){.name = "note", .run = notes_run};
	xy_peer_get(peer);
	xy_loop_post(peer->worker->loop, &peer->note_task);
}

void xy_notify_brake(struct xy_peer *sender)
{
	note(sender, NOTE_BRAKE);
}

void xy_notify_prove(struct xy_peer *receiver)
{
	note(receiver, NOTE_PROVE);
}

void xy_notify_right(struct xy_peer *receiver)
{
	note(receiver, NOTE_RIGHT);
}

void xy_notify_slow(struct xy_peer *receiver)
{
	note(receiver, NOTE_SLOW);
}

void xy_notify_revoked(struct xy_peer *peer)
{
	note(peer, NOTE_REVOKED);
}

void xy_notify_too_late(struct xy_peer *sender)
{
	note(sender, NOTE_TOO_LATE);
}

void xy_notify_room(struct xy_peer *receiver)
{
	const struct xy_core *core = receiver->worker->core;
	uint64_t workers = atomic_exchange_explicit(&receiver->waiting, 0, memory_order_seq_cst);

	while (workers) {
		xy_worker_look_again(core->worker[__builtin_ctzll(workers)]);
		workers &= workers - 1;
	}
}

/* ---- messages: each with something of its own ------------------------------------------------ */

static struct message *message_new(struct xy_peer *peer, uint64_t target, const char *subject,
				   const char *name, void (*run)(struct xy_task *task))
{
	size_t length = strlen(subject) + 1;
	struct message *message = malloc(sizeof(*message) + length);

	if (!message)
		return NULL;
	message->task = (struct xy_task){.name = name, .run = run};
	message->peer = peer;
	message->target = target;
	memcpy(message->subject, subject, length);
	xy_peer_get(peer);
	return message;
}

static void message_free(struct message *message)
{
	xy_peer_put(message->peer);
	free(message);
}

static void binding_run(struct xy_task *task)
{
	struct message *message = xy_container_of(task, struct message, task);
	struct xy_frame frame = {.type = XY_BINDING, .target = message->target};
	struct xy_connection *connection = message->peer->connection;

	if (connection &&
	    xy_control_send(connection, &frame, message->subject, strlen(message->subject)) == 0)
		xy_outbound_binding(connection);
	else if (message->peer->session)
		xy_session_queued_sub(message->peer->session, 1);
	atomic_fetch_sub_explicit(&message->peer->bindings, 1, memory_order_relaxed);
	message_free(message);
}

int xy_notify_binding(struct xy_peer *receiver, uint64_t topic, const char *subject)
{
	struct message *message = message_new(receiver, topic, subject, "binding", binding_run);

	if (!message)
		return -ENOMEM;
	if (receiver->session)
		xy_session_queued_add(receiver->session, 1);
	/* Before the route is published: whoever delivers by it sees this, too. */
	atomic_fetch_add_explicit(&receiver->bindings, 1, memory_order_relaxed);
	xy_loop_post(receiver->worker->loop, &message->task);
	return 0;
}

static void flow_gone_run(struct xy_task *task)
{
	struct message *message = xy_container_of(task, struct message, task);
	struct xy_connection *connection = message->peer->connection;
	struct xy_target *target =
		connection ? xy_idmap_get(&connection->targets, message->target) : NULL;

	if (target)
		target->asked = 0;
	message_free(message);
}

void xy_notify_flow_gone(struct xy_peer *sender, uint64_t target)
{
	struct message *message = message_new(sender, target, "", "flow gone", flow_gone_run);

	/* Without memory the sender stays off the lane for this target: slower, not wrong. */
	if (message)
		xy_loop_post(sender->worker->loop, &message->task);
}

static void unsubscribed_run(struct xy_task *task)
{
	struct message *message = xy_container_of(task, struct message, task);
	const struct xy_frame cause = {.target = message->target};
	struct xy_connection *connection = message->peer->connection;

	if (connection && connection->state == XY_CONNECTION_OPEN) {
		connection->subscriptions--;
		xy_error_send(connection, XY_E_FORBIDDEN, &cause,
			      "the subscription has ended: no rule allows it any more");
	}
	message_free(message);
}

void xy_notify_unsubscribed(struct xy_peer *receiver, uint64_t subscription)
{
	struct message *message =
		message_new(receiver, subscription, "", "unsubscribed", unsubscribed_run);

	/* One that is not told would wait for messages for ever. */
	if (message)
		xy_loop_post(receiver->worker->loop, &message->task);
	else
		note(receiver, NOTE_UNTOLD);
}
