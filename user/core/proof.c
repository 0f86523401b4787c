/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proofs of reading: an ack can be made up, the answer to a PING with a random payload cannot.
 */
#include <stdlib.h>

#include "base/random.h"
#include "core/connection.h"
#include "core/notify.h"
#include "kernel/session.h"

#define SHORT_PONGS 2 /* in a row make a lane suspect */

void xy_proof_ask(struct xy_connection *connection)
{
	struct xy_frame frame = {.type = XY_PING};
	struct xy_proof *proof;
	uint64_t payload;

	if (connection->proofs == XY_PROOFS_MAX || connection->state >= XY_CONNECTION_LINGER ||
	    xy_random_id(&payload))
		return;
	if (!connection->proof)
		connection->proof = calloc(XY_PROOFS_MAX, sizeof(*connection->proof));
	if (!connection->proof)
		return;
	proof = &connection->proof[(connection->proof_first + connection->proofs) % XY_PROOFS_MAX];
	/* Read before the PING is sent: what it proves is at least this. */
	*proof = (struct xy_proof){
		.payload = payload,
		.asked_ms = xy_loop_now_ms(connection->worker->loop),
		.sent = connection->lane ? xy_session_sent(connection->peer->session) : 0};
	if (xy_control_send(connection, &frame, &payload, sizeof(payload)) == 0)
		connection->proofs++;
}

/* An ack that is behind the PING's `sent`: once, a send was perhaps still on its way; again, it
 * never came. */
static void credit_check(struct xy_connection *connection, uint64_t ack)
{
	uint64_t acked = xy_max(ack, xy_session_acked(connection->peer->session));

	if (acked >= connection->proof[connection->proof_first].sent)
		connection->short_pongs = 0;
	else if (++connection->short_pongs >= SHORT_PONGS)
		xy_right_begin(connection);
}

void xy_proofs_right(struct xy_connection *connection, uint64_t missing)
{
	connection->short_pongs = 0;
	for (uint32_t p = 0; p < connection->proofs; p++) {
		struct xy_proof *proof =
			&connection->proof[(connection->proof_first + p) % XY_PROOFS_MAX];

		proof->sent -= xy_min(proof->sent, missing);
	}
}

void xy_proof_pong(struct xy_connection *connection, const struct xy_frame *frame,
		   const struct xy_cursor *payload)
{
	uint64_t value;

	if (frame->length != XY_HEADER_SIZE + sizeof(value) ||
	    xy_cursor_peek(payload, &value, sizeof(value)) ||
	    xy_right_pong(connection, frame, value))
		return;
	/* PONGs come in the order of the stream, so that only the oldest PING can be meant. */
	if (!connection->proofs || value != connection->proof[connection->proof_first].payload)
		return;
	if (connection->lane) {
		credit_check(connection, frame->ack);
		xy_session_prove(connection->peer->session,
				 connection->proof[connection->proof_first].sent);
		if (!xy_outbound_empty(connection))
			xy_outbound_dirty(connection);
		if (atomic_load_explicit(&connection->peer->waiting, memory_order_relaxed))
			xy_notify_room(connection->peer);
	}
	connection->proof_first = (connection->proof_first + 1) % XY_PROOFS_MAX;
	if (--connection->proofs == 0) {
		free(connection->proof);
		connection->proof = NULL;
	}
}
