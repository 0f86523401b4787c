/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What connections cost of the memory budget, who gets no more while it is short, and who has to
 * go. The worker's thread.
 */
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/log.h"
#include "core/connection.h"
#include "kernel/session.h"

#define SEGMENT  (64u << 10) /* which a partial frame may occupy for itself */
#define REST     4096        /* bytes of a lane that are not worth a PING */
#define PROOF_MS 1000        /* when a PING is unanswered for so long, acks are not believed */
#define GAP_MS   1000        /* nobody looked for so long: nobody can be said to have stalled */
#define SHED_MAX 8           /* connections closed in one look */

/* ---- one connection -------------------------------------------------------------------------- */

/* Bytes in the receive queue of a lane's client. One that answers no PING may have made up its
 * acks; of one whose input is held the answers lie behind its DATA. */
static uint64_t lane_unread(const struct xy_connection *connection, uint64_t now)
{
	const struct xy_session *session = connection->peer->session;
	uint64_t unread = xy_session_outstanding(session);

	if (connection->proofs && !connection->holds &&
	    now - connection->proof[connection->proof_first].asked_ms >= PROOF_MS)
		unread = xy_max(unread, xy_session_unproven(session));
	return unread;
}

/* Acks may be late by a quarter of the window, and the newest proof by half of it: one that has
 * come to rest is asked, so that what it has read does not count for ever. */
static void lane_ask(struct xy_connection *connection, uint64_t sent)
{
	if (connection->state == XY_CONNECTION_OPEN && !connection->holds && !connection->proofs &&
	    sent == connection->cost.seen && xy_session_unproven(connection->peer->session) > REST)
		xy_proof_ask(connection);
}

static uint32_t socket_memory(const struct xy_connection *connection)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(info);

	getsockopt(connection->watch.fd, SOL_SOCKET, SO_MEMINFO, info, &length);
	return info[SK_MEMINFO_RMEM_ALLOC] +
	       xy_max(info[SK_MEMINFO_WMEM_ALLOC], info[SK_MEMINFO_WMEM_QUEUED]);
}

/* Bytes that its client's side has not taken. */
static uint64_t socket_untaken(const struct xy_connection *connection)
{
	int untaken = 0;

	ioctl(connection->watch.fd, SIOCOUTQ, &untaken);
	return (uint64_t)untaken + (connection->tls ? xy_tls_unsent(connection->tls) : 0);
}

/* Of one whose input is held an ack may be late, with no PONG to replace it. */
static uint64_t lane_late(const struct xy_connection *connection)
{
	return connection->holds ? connection->peer->window / 4 + XY_FRAME_MAX : REST;
}

static void connection_look(struct xy_connection *connection, uint64_t now, bool afresh)
{
	struct xy_cost *cost = &connection->cost;
	const struct xy_tls *tls = connection->tls;
	uint64_t out = xy_pipe_length(connection->control) + xy_pipe_length(connection->data);
	uint32_t buffers = tls ? (uint32_t)xy_tls_buffers(tls) : 0;
	uint64_t in = xy_pipe_length(connection->in), left, given, taken;

	cost->unread = connection->lane ? lane_unread(connection, now) : 0;
	if (connection->lane) {
		given = xy_session_sent(connection->peer->session);
		taken = xy_session_acked(connection->peer->session);
		left = out + (cost->unread > lane_late(connection) ? cost->unread : 0);
		lane_ask(connection, given);
		cost->socket = connection->holds || cost->socket ? socket_memory(connection) : 0;
	} else {
		bool idle = !connection->holds && !cost->socket && !buffers &&
			    connection->bytes_out == cost->seen;
		uint64_t untaken = idle ? 0 : socket_untaken(connection);

		given = connection->bytes_out;
		taken = given - xy_min(given, untaken);
		left = out + untaken;
		cost->socket = idle ? 0 : socket_memory(connection) + buffers;
	}
	if (afresh || !left || taken != cost->taken)
		cost->taken_ms = now;
	if (afresh || !in || connection->holds || connection->frames_in != cost->frames)
		cost->frame_ms = now;
	cost->seen = given;
	cost->taken = taken;
	cost->frames = connection->frames_in;
	cost->bytes = cost->unread + cost->socket + out + (in + SEGMENT - 1) / SEGMENT * SEGMENT +
		      (tls ? xy_tls_memory(tls) : 0);
}

/* ---- who has to go --------------------------------------------------------------------------- */

static bool takes_nothing(const struct xy_connection *connection, uint64_t now)
{
	return now - connection->cost.taken_ms >=
	       atomic_load_explicit(&connection->peer->stall_ms, memory_order_relaxed);
}

static bool finishes_nothing(const struct xy_connection *connection, uint64_t now)
{
	return now - connection->cost.frame_ms >= XY_STALL_MS_DEFAULT;
}

static struct xy_connection *dearest_stalled(const struct xy_worker *worker, uint64_t now)
{
	struct xy_connection *connection, *dearest = NULL;

	xy_list_each (connection, &worker->connections, of_worker)
		if (connection->state < XY_CONNECTION_LINGER &&
		    (takes_nothing(connection, now) || finishes_nothing(connection, now)) &&
		    (!dearest || connection->cost.bytes > dearest->cost.bytes))
			dearest = connection;
	return dearest;
}

static bool others_have_dearer(const struct xy_worker *worker, uint64_t bytes)
{
	const struct xy_core *core = worker->core;

	for (unsigned w = 0; w < core->workers; w++)
		if (w != worker->index && atomic_load_explicit(&core->worker[w]->share.dearest,
							       memory_order_relaxed) > bytes)
			return true;
	return false;
}

/* Who does not read could not be told why; what lies unread goes with it. */
static void close_stalled(struct xy_connection *connection, uint64_t now)
{
	bool deaf = takes_nothing(connection, now);

	xy_log(XY_LOG_WARN, "closed-for-memory", "endpoint=%016lx name=%s bytes=%llu why=\"%s\"",
	       connection->peer->endpoint, xy_log_quoted(connection->peer->name),
	       (unsigned long long)connection->cost.bytes,
	       deaf ? "reads nothing" : "leaves a frame unfinished");
	xy_count(connection->worker->core, XY_COUNT_SHED, 1);
	if (deaf)
		xy_connection_abort(connection, "memory is short, and it reads nothing");
	else
		xy_connection_fail(connection, XY_E_SLOW_CONSUMER, NULL,
				   "memory is short, and a frame of it stays unfinished");
}

static void given_back(_Atomic(uint64_t) *sum, uint64_t *share, uint64_t bytes)
{
	*share -= bytes;
	atomic_fetch_sub_explicit(sum, bytes, memory_order_relaxed);
}

/* The dearest first, of all workers; until the pressure is over, or publishers would wait for them
 * for ever. */
static void shed(struct xy_worker *worker, uint64_t now)
{
	struct xy_budget *budget = &worker->core->budget;
	struct xy_budget_share *share = &worker->share;

	for (unsigned n = 0; n <= SHED_MAX; n++) {
		struct xy_connection *stalled = dearest_stalled(worker, now);
		uint64_t bytes = stalled ? stalled->cost.bytes : 0;

		atomic_store_explicit(&share->dearest, bytes, memory_order_relaxed);
		if (!stalled || n == SHED_MAX || others_have_dearer(worker, bytes) ||
		    xy_budget_used(budget) < budget->bytes / 2)
			return;
		/* As the look has added it: a redirect may have landed since. */
		given_back(&budget->sockets, &share->sockets, stalled->cost.socket);
		given_back(&budget->outstanding, &share->outstanding, stalled->cost.unread);
		close_stalled(stalled, now);
		xy_pool_trim(worker->pool, 0);
	}
}

/* ---- all of a worker ------------------------------------------------------------------------- */

static void sum_change(_Atomic(uint64_t) *sum, uint64_t *share, uint64_t now)
{
	atomic_fetch_add_explicit(sum, now - *share, memory_order_relaxed);
	*share = now;
}

void xy_budget_look(struct xy_worker *worker)
{
	struct xy_budget *budget = &worker->core->budget;
	struct xy_budget_share *share = &worker->share;
	uint64_t now = xy_loop_now_ms(worker->loop), outstanding = 0, sockets = 0;
	bool afresh = now - share->looked_ms > GAP_MS;
	struct xy_connection *connection;

	xy_list_each (connection, &worker->connections, of_worker) {
		connection_look(connection, now, afresh);
		outstanding += connection->cost.unread;
		sockets += connection->cost.socket;
	}
	share->looked_ms = now;
	sum_change(&budget->outstanding, &share->outstanding, outstanding);
	sum_change(&budget->sockets, &share->sockets, sockets);
	share->given = 0;
	sum_change(&budget->given, &share->given_added, 0);
	atomic_store_explicit(&share->dearest, 0, memory_order_relaxed);
	if (!xy_budget_pressed(budget))
		return;
	xy_pool_trim(worker->pool, 0);
	shed(worker, now);
}

void xy_budget_given(struct xy_worker *worker, size_t bytes)
{
	worker->share.given += bytes;
}

void xy_budget_carried(struct xy_worker *worker, ptrdiff_t bytes)
{
	worker->share.carried += bytes;
}

void xy_budget_turn(struct xy_worker *worker)
{
	struct xy_budget *budget = &worker->core->budget;
	struct xy_budget_share *share = &worker->share;

	if (share->carried)
		atomic_fetch_add_explicit(&budget->carried, share->carried, memory_order_relaxed);
	share->carried = 0;
	if (share->given)
		sum_change(&budget->given, &share->given_added, share->given_added + share->given);
	share->given = 0;
	if (xy_budget_used(budget) + atomic_load_explicit(&budget->given, memory_order_relaxed) >=
	    atomic_load_explicit(&budget->alarm, memory_order_relaxed))
		xy_budget_soon(budget);
}

/* ---- while memory is short ------------------------------------------------------------------- */

/* One send at a time, for those who take it; when all is used up, not before the last one is read
 * whole. Less would let nobody make progress, and nobody could be told from the stalled. */
uint64_t xy_budget_room(const struct xy_connection *connection)
{
	const struct xy_budget *budget = &connection->worker->core->budget;
	uint64_t in_hand, limit;

	if (!xy_budget_short(budget))
		return UINT64_MAX;
	limit = xy_budget_spent(budget) ? REST : XY_SEND_BYTES_MAX;
	if (connection->lane) {
		in_hand = xy_session_outstanding(connection->peer->session);
		limit = xy_max(limit, lane_late(connection));
	} else {
		in_hand = socket_untaken(connection);
	}
	return in_hand < limit ? XY_SEND_BYTES_MAX : 0;
}
