/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The processes of a chaos run. Each function runs a worker of the plan until PHASE_END, in a
 * process of its own, and returns its exit status.
 */
#ifndef CHAOS_WORKER_H
#define CHAOS_WORKER_H

#include "chaos/ledger.h"

#define EXIT_TRY_AGAIN 3 /* could not connect or subscribe: start me again */
#define REQUEST_MS     10000

int library_worker(struct ledger *ledger, uint32_t number, uint32_t life);

/* requests.c: requests of a library worker and the replies to them. */
struct xy_client;
struct xy_topic;
struct xy_message;
struct stamp;
int request_send(struct ledger *ledger, uint32_t number, struct xy_client *client,
		 struct xy_topic *topic, struct stamp stamp, size_t length);
uint32_t requests_waiting(void);
int request_answer(struct xy_client *client, const struct xy_message *request, struct stamp stamp,
		   struct dice *dice);

/* A connected, non-blocking socket to the proxy of a worker, by its way; -1: there is none now. */
int worker_dial(const struct ledger *ledger, const struct worker *worker);

/* raw_worker.c: a publisher that keeps the rules of the protocol and none of its hints. */
int raw_worker(struct ledger *ledger, uint32_t number, uint32_t life);

/* garbage.c: clients that send anything, and vanish. */
int garbage_worker(struct ledger *ledger, uint32_t number, uint32_t life);

#endif
