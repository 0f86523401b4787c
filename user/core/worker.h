/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker: one loop, its thread, and the connections it owns.
 *
 * Everything below is the worker's thread's alone, but for what says otherwise.
 */
#ifndef XY_CORE_WORKER_H
#define XY_CORE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "core/budget.h"
#include "core/core.h"
#include "core/delivery.h"
#include "io/loop.h"
#include <xylem/pipe.h>

/* What a burst needed goes back to the system in one to two of these intervals. */
#define XY_SHRINK_MS 1000

struct xy_page;

struct xy_worker {
	struct xy_core *core;
	struct xy_loop *loop;
	unsigned index;
	char name[16];
	pthread_t thread;
	struct xy_pulse pulse;
	/* Connections, those that it is meant to open included; added by the acceptor, or by the
	 * worker that opens one in place of another. */
	_Atomic(uint32_t) load;
	_Atomic(uint32_t) asked; /* requests at the router and answers under way */

	struct xy_pool *pool;
	struct xy_list connections; /* struct xy_connection.of_worker */
	struct xy_list dirty;       /* struct xy_connection.dirty: something to send this turn */
	struct xy_list braked;      /* struct xy_connection.braked: waiting for room of receivers */
	struct xy_list ready; /* struct xy_connection.ready: more input than one turn may take */
	struct xy_list dead;  /* closed in this turn: memory to free at its end */
	struct xy_timer brake_timer;
	struct xy_timer shrink_timer;     /* while the pool caches more than it always may */
	struct xy_task look_again;        /* posted by any thread when receivers made room … */
	_Atomic(bool) look_again_posted;  /* … at most once at a time */
	struct xy_task drain, shut, stop; /* main posts each once */
	bool shutting;                    /* what opens from now on closes at once */
	struct xy_deliveries deliveries;
	struct xy_budget_share share;
};

/* By a peer's number: whose its connection is. Where `worker` is another one, nothing else may be
 * looked at. */
struct xy_place {
	_Atomic(struct xy_worker *) worker; /* written by the one it names, when there is one */
	struct xy_connection *connection;   /* its alone */
};

int xy_worker_new(struct xy_core *core, unsigned index, struct xy_worker **ret_worker);
void xy_worker_free(struct xy_worker *worker);
int xy_worker_start(struct xy_worker *worker);
/* The end, by main, in this order. Drain: GOODBYE to all. Shut: closes all. Stop: when no worker
 * has anything to do any more; joins. */
void xy_worker_drain(struct xy_worker *worker);
void xy_worker_shut(struct xy_worker *worker);
bool xy_worker_idle(const struct xy_worker *worker); /* no connections, no requests under way */
void xy_worker_stop(struct xy_worker *worker);
/* Any thread: the least loaded worker that is not stuck; `more` (by index, may be NULL) is load
 * that the workers do not know of yet. When all are stuck the least loaded one. */
struct xy_worker *xy_worker_choose(const struct xy_core *core, const uint32_t *more);
/* The worker: a page of "connections", "slow" of a status. */
void xy_worker_connections(const struct xy_worker *worker, struct xy_page *page);
void xy_worker_slow(const struct xy_worker *worker, struct xy_page *page);
/* Any thread: the worker's braked publishers look at their receivers again. */
void xy_worker_look_again(struct xy_worker *worker);

#endif
