/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a sender writes down (account.h). Order matters: who reads a number here may conclude that
 * it was given out before.
 */
#include <string.h>

#include "chaos/account.h"
#include "chaos/members.h"

#define RESTART_MS \
	15000 /* from the start of a proxy until all have seen the end of the one before */

static struct life *life_now(struct worker *worker)
{
	return life_of(worker, atomic_load(&worker->life_number));
}

void sender_begin(struct ledger *ledger, uint32_t number, uint32_t life_number)
{
	struct worker *worker = &ledger->worker[number];
	struct life *life = life_of(worker, life_number);

	atomic_store(&life->number, 0);
	atomic_store(&life->lost, 0);
	atomic_store(&life->errors, 0);
	for (uint32_t c = 0; c < CHANNELS_MAX; c++) {
		struct channel_state *state = &life->channel[c];

		atomic_store(&state->queued, 0);
		atomic_store(&state->synced, 0);
		atomic_store(&state->losses, 0);
	}
	for (uint32_t r = 0; r < ledger->rings; r++)
		if (ledger->ring[r].sender == number)
			memset((void *)ledger->ring[r].lap[life_number & 1], 0, RING_SIZE);
	atomic_store(&worker->life_number, life_number);
	atomic_store(&life->number, life_number);
}

void sender_endpoint(struct ledger *ledger, uint32_t number, uint64_t endpoint)
{
	struct worker *worker = &ledger->worker[number];
	uint32_t order = atomic_fetch_add(&worker->endpoints, 1), slot = order % ENDPOINTS_MAX;

	atomic_store(&worker->endpoint_of[slot].id, 0);
	atomic_store(&worker->endpoint_of[slot].life, atomic_load(&worker->life_number));
	atomic_store(&worker->endpoint_of[slot].order, order);
	atomic_store(&worker->endpoint_of[slot].id, endpoint);
	atomic_store(&worker->endpoint, endpoint);
}

void sender_ended(struct ledger *ledger, uint32_t number)
{
	struct life *life = life_now(&ledger->worker[number]);

	for (uint32_t c = 0; c < CHANNELS_MAX; c++) {
		struct channel_state *state = &life->channel[c];
		uint64_t losses = atomic_load(&state->losses);
		struct loss *loss = &state->loss[losses % LOSSES_MAX];

		atomic_store(&loss->from, UINT64_MAX);
		atomic_store(&loss->to, UINT64_MAX);
		atomic_store(&loss->from, atomic_load(&state->synced));
		atomic_store(&state->losses, losses + 1);
	}
}

void sender_back(struct ledger *ledger, uint32_t number)
{
	struct life *life = life_now(&ledger->worker[number]);

	for (uint32_t c = 0; c < CHANNELS_MAX; c++) {
		struct channel_state *state = &life->channel[c];
		uint64_t losses = atomic_load(&state->losses);

		if (losses > 0)
			atomic_store(&state->loss[(losses - 1) % LOSSES_MAX].to,
				     atomic_load(&state->queued));
	}
}

bool proxy_was_down(const struct ledger *ledger, uint32_t proxy, uint64_t now)
{
	uint64_t down = atomic_load(&ledger->down_ms[proxy]);
	uint64_t up = atomic_load(&ledger->up_ms[proxy]);

	return down != 0 && (up < down || now <= up + ledger_bound(ledger, RESTART_MS));
}

void connection_ended(struct ledger *ledger, uint32_t number, const char *words)
{
	struct worker *worker = &ledger->worker[number];
	uint64_t now = ledger_ms(ledger);
	bool told = strstr(words, "slow-consumer") != NULL;

	sender_ended(ledger, number);
	atomic_store(&worker->connected, false);
	atomic_store(&worker->endpoint, 0);
	trouble_add(worker, now);
	member_away(ledger, number);
	if (atomic_load(&ledger->phase) == PHASE_END) /* by our GOODBYE */
		return;
	ledger_note(ledger, "- %s: connection ended: %s", worker->plan.name, words);
	if (proxy_was_down(ledger, worker->plan.proxy, now))
		atomic_fetch_add(&worker->ending[ENDING_RESTART], 1);
	else if (now <= atomic_load(&worker->excused_ms))
		atomic_fetch_add(&worker->ending[told ? ENDING_SLOW : ENDING_INJECTED], 1);
	else if ((told && (worker->plan.may_be_cut || now <= atomic_load(&worker->slow_ms))) ||
		 worker->plan.tight)
		atomic_fetch_add(&worker->ending[ENDING_SLOW], 1);
	else
		ledger_fail(ledger, OTHER, "%s: its connection ended for no known cause: %s",
			    worker->plan.name, words);
}

struct stamp sender_next(struct ledger *ledger, uint32_t number, uint32_t channel)
{
	struct worker *worker = &ledger->worker[number];
	struct channel_state *state = &life_now(worker)->channel[channel];
	uint64_t counter = atomic_load(&state->queued) + 1;

	atomic_store(&state->queued, counter);
	return (struct stamp){.worker = (uint16_t)number,
			      .channel = (uint8_t)channel,
			      .life = atomic_load(&worker->life_number),
			      .session = (uint32_t)atomic_load(&worker->session),
			      .counter = counter};
}

void sender_undo(struct ledger *ledger, uint32_t number, uint32_t channel)
{
	struct channel_state *state = &life_now(&ledger->worker[number])->channel[channel];

	atomic_fetch_sub(&state->queued, 1);
}

void sender_queued(struct ledger *ledger, uint32_t number, uint64_t ret_queued[CHANNELS_MAX])
{
	struct life *life = life_now(&ledger->worker[number]);

	for (uint32_t c = 0; c < CHANNELS_MAX; c++)
		ret_queued[c] = atomic_load(&life->channel[c].queued);
}

void sender_synced(struct ledger *ledger, uint32_t number, const uint64_t queued[CHANNELS_MAX])
{
	struct life *life = life_now(&ledger->worker[number]);

	for (uint32_t c = 0; c < CHANNELS_MAX; c++)
		atomic_store(&life->channel[c].synced, queued[c]);
}
