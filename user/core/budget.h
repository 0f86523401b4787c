/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory budget: one bound, in bytes, for what lies in receive queues of lanes, in pipes and
 * pools, on its way between loops, in the proxy's socket buffers, in TLS and in greetings, of all
 * connections together.
 *
 * Main holds rounds: each worker looks at its own connections, then main decides. Above ¾ of the
 * budget the proxy is pressed, until below ½: the kernel moves nothing between clients, publishers
 * wait while a receiver of theirs has anything left to take, receivers get one send at a time, and
 * those that make no progress are closed, the most costly first. When it is used up nobody new is
 * let in. Rounds are rare while little is used; what grows quickly asks for one.
 */
#ifndef XY_CORE_BUDGET_H
#define XY_CORE_BUDGET_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

struct xy_core;
struct xy_worker;
struct xy_connection;

struct xy_budget {
	/* Set before the threads start. */
	uint64_t bytes;         /* the budget */
	uint64_t window;        /* of a lane; follows from it, as do the next two */
	uint32_t socket_buffer; /* SO_RCVBUF and SO_SNDBUF of a connection */
	uint32_t pool_cached;   /* segments that a worker's pool may keep */

	/* Sums over all workers, as of their last looks; each adds what changed. */
	_Atomic(uint64_t) outstanding; /* redirected to lanes and not read */
	_Atomic(uint64_t) sockets;     /* in socket buffers */
	_Atomic(uint64_t) given;       /* to lanes and sockets since then; who knows what is left */
	_Atomic(uint64_t) greetings;   /* by the acceptor */
	_Atomic(uint64_t) tls;         /* that connections have for as long as they live */
	_Atomic(int64_t) carried; /* by what carries DATA from loop to loop; for moments below 0 */

	_Atomic(uint64_t) high;      /* by main: the most that a round has seen */
	_Atomic(uint64_t) alarm;     /* by main: when more is used, a round is due */
	_Atomic(bool) pressed;       /* by main */
	_Atomic(bool) wide;          /* by main: its connections could fill half of it unseen */
	_Atomic(bool) soon_posted;   /* by anybody; taken back by main */
	_Atomic(uint32_t) looking;   /* workers that have not looked in this round, and main */
	struct xy_task soon, decide; /* to main's loop */

	/* Main's alone. */
	struct xy_core *core;
	struct xy_loop *loop;
	struct xy_timer timer;
	uint64_t began_ms; /* the last round */
};

/* A worker's part. */
struct xy_budget_share {
	struct xy_task look;
	uint64_t outstanding, sockets; /* at the last look */
	uint64_t given;                /* not yet added to the budget's */
	uint64_t given_added;          /* since the last look */
	int64_t carried;               /* posted less arrived, not yet added to the budget's */
	uint64_t looked_ms;
	_Atomic(uint64_t) dearest; /* cost of the dearest connection that is stalled; 0 = none */
};

/* A connection's part. */
struct xy_cost {
	uint64_t bytes;            /* what it costs, at the last look */
	uint64_t seen;             /* bytes given to it then */
	uint64_t taken;            /* by its client; the same since … */
	uint64_t taken_ms;         /* … while more was there to take */
	uint64_t frames, frame_ms; /* frames read; the same since, while one was unfinished */
	uint64_t unread;           /* of bytes: in the receive queue of its lane … */
	uint32_t socket;           /* … and in its socket, and in TLS's buffers */
};

/* What a budget of `bytes` means for `workers` loops. */
void xy_budget_plan(struct xy_budget *budget, uint64_t bytes, unsigned workers);
/* The smaller of a quarter of what TCP may use and half of the cgroup's limit; at least
 * XY_BUDGET_MIN. `root` as in base/limits.h. */
uint64_t xy_budget_default(const char *root);

/* Main, before workers and router start; they must run until the loop has stopped. */
void xy_budget_start(struct xy_core *core, struct xy_loop *loop);
void xy_budget_share_init(struct xy_worker *worker);

/* Any thread. */
uint64_t xy_budget_used(const struct xy_budget *budget);
bool xy_budget_short(const struct xy_budget *budget); /* pressed, or will be by the next round */
bool xy_budget_spent(const struct xy_budget *budget); /* all of it: nobody new */
void xy_budget_joined(struct xy_core *core);          /* one connection more */
void xy_budget_greeting(struct xy_budget *budget, ptrdiff_t bytes);
/* Those who have not said who they are have their share: more would press everybody else. */
bool xy_budget_greeted(const struct xy_budget *budget);
void xy_budget_tls(struct xy_budget *budget, ptrdiff_t bytes);
/* Something may have grown: a round is due. */
static inline void xy_budget_soon(struct xy_budget *budget)
{
	if (!atomic_load_explicit(&budget->soon_posted, memory_order_relaxed) &&
	    !atomic_exchange_explicit(&budget->soon_posted, true, memory_order_acquire))
		xy_loop_post(budget->loop, &budget->soon);
}
/* By the last round. */
static inline bool xy_budget_pressed(const struct xy_budget *budget)
{
	return atomic_load_explicit(&budget->pressed, memory_order_relaxed);
}
/* "memory" of a status. NULL: out of memory. */
json_t *xy_budget_describe(const struct xy_core *core);

/* The worker. turn: at the end of each of its turns. look: at all of its connections. given: so
 * many bytes were handed to the kernel. */
void xy_budget_turn(struct xy_worker *worker);
void xy_budget_look(struct xy_worker *worker);
void xy_budget_given(struct xy_worker *worker, size_t bytes);
/* So many bytes have begun to carry DATA to another loop, or have arrived: below 0. */
void xy_budget_carried(struct xy_worker *worker, ptrdiff_t bytes);
/* Bytes of DATA that may be handed to the kernel for this connection now, by the budget alone. */
uint64_t xy_budget_room(const struct xy_connection *connection);

#endif
