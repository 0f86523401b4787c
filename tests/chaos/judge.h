/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the driver compares: rings of queue groups, gaps that a sender must know of, drops that the
 * proxy must have counted, tails. The rules stand in account.h and judge.c.
 */
#ifndef CHAOS_JUDGE_H
#define CHAOS_JUDGE_H

#include <jansson.h>

#include "chaos/ledger.h"

void judge_open(struct ledger *ledger);
void judge_tick(void);
/* Between the reading of both: `before` what the receivers say, then the status. */
void judge_policy_before(uint32_t proxy);
void judge_policy(uint32_t proxy, const json_t *status);
/* A life of a worker has ended. */
void judge_died(uint32_t worker, uint32_t life);
/* The worker is about to begin a life that takes the place of life - 2. */
void judge_begins(uint32_t worker, uint32_t life);
/* Whether all that is owed has come, in PHASE_QUIET. `say`: fail the run over what has not. */
bool judge_complete(bool say);
/* One thing that was found owed then; "" when nothing was. */
const char *judge_waits_for(void);

#endif
