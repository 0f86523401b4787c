/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings. Each number that the sender of a ring has SYNCED must be written in it by some member.
 * One that is not, PATIENCE_MS after SYNCED, was lost with the sender's connection (ENDED), with a
 * member (MEMBER) or given out while there was none (AWAY; members.h tells both from the numbers),
 * or is one of as many as the sender was told to be lost (OPEN).
 *
 * Claims. The sum over all gaps that one receiver claims of one life of a sender must not be above
 * what that sender was told to be lost: failed sends, and ERRORs in answer to DATA. Of a sender
 * that was killed, what lies above its last SYNCED may be missing without it having been told.
 *
 * Tails. What a life of a sender has SYNCED must have come TAIL_MS after the life ended, to each
 * receiver that was subscribed all the time (its floor is below), by the same rules for gaps.
 */
#include "chaos/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "chaos/account.h"
#include "chaos/members.h"

#define PATIENCE_MS 20000
#define CLAIM_MS    10000
#define TAIL_MS     20000
#define SAMPLE_MS   500
#define SAMPLES     256

struct sample {
	uint64_t ms, queued, synced;
};

struct judged {
	uint32_t life;
	uint64_t upto, open;
	struct sample sample[SAMPLES];
	uint32_t samples; /* ever */
};

struct claimed {
	uint32_t life;
	uint64_t missing;
};

static struct ledger *ledger;
static struct judged judged[RINGS_MAX][2];
static struct claimed claimed[WORKERS_MAX][WORKERS_MAX][2];
static char waits_for[96];
static uint64_t died_ms[WORKERS_MAX][2];
static uint32_t died_life[WORKERS_MAX][2];
static uint64_t policy_before[WORKERS_MAX], session_before[WORKERS_MAX],
	endpoint_before[WORKERS_MAX];

void judge_open(struct ledger *the_ledger)
{
	ledger = the_ledger;
}

static bool dead(uint32_t worker, uint32_t life)
{
	return died_life[worker][life & 1] == life;
}

/* ---- rings ----------------------------------------------------------------------------------- */

static struct channel_state *ring_state(const struct ring *ring, unsigned parity)
{
	return &ledger->worker[ring->sender].life[parity].channel[ring->channel];
}

static void ring_sample(struct ring *ring, struct judged *self, unsigned parity, uint64_t now)
{
	struct channel_state *state = ring_state(ring, parity);
	uint64_t last = self->samples > 0 ? self->sample[(self->samples - 1) % SAMPLES].ms : 0;

	if (self->samples > 0 && now < last + SAMPLE_MS)
		return;
	self->sample[self->samples++ % SAMPLES] =
		(struct sample){.ms = now,
				.queued = atomic_load(&state->queued),
				.synced = atomic_load(&state->synced)};
}

/* When the number was given out at the earliest, at the latest, and when it was known SYNCED. */
static void times_of(const struct judged *self, uint64_t number, uint64_t *ret_from,
		     uint64_t *ret_to, uint64_t *ret_synced)
{
	uint32_t count = self->samples < SAMPLES ? self->samples : SAMPLES;

	*ret_from = 0;
	*ret_to = *ret_synced = UINT64_MAX;
	for (uint32_t i = 0; i < count; i++) {
		const struct sample *sample = &self->sample[i];

		if (sample->queued < number && sample->ms > *ret_from)
			*ret_from = sample->ms;
		if (sample->queued >= number && sample->ms < *ret_to)
			*ret_to = sample->ms;
		if (sample->synced >= number && sample->ms < *ret_synced)
			*ret_synced = sample->ms;
	}
}

/* What the sender was told to be lost. */
static uint64_t told(const struct life *life)
{
	return atomic_load(&life->lost) + atomic_load(&life->errors);
}

static void ring_missing(const struct ring *ring, struct judged *self, unsigned parity,
			 uint64_t number, uint64_t from, uint64_t to)
{
	struct worker *sender = &ledger->worker[ring->sender];

	if (account_ended(ring_state(ring, parity), number - 1, number) > 0)
		tally_add(sender, TALLY_ENDED, 1);
	else if (members_lost(ledger, ring, parity, number))
		tally_add(sender, TALLY_MEMBER, 1);
	else if (members_away(ledger, ring, parity, number))
		tally_add(sender, TALLY_AWAY, 1);
	else if (++self->open <= told(&sender->life[parity]))
		tally_add(sender, TALLY_OPEN, 1);
	else
		ledger_fail(ledger, UNACCOUNTED,
			    "%s life %u channel %u: %" PRIu64
			    " came to no member of group %u; given out between %" PRIu64
			    " and %" PRIu64 " ms",
			    sender->plan.name, self->life, ring->channel, number, ring->group_id,
			    from, to);
}

/* Returns whether everything SYNCED was judged. `last`: there is no more time to wait. */
static bool ring_judge(struct ring *ring, unsigned parity, bool last)
{
	struct judged *self = &judged[ring - ledger->ring][parity];
	struct worker *sender = &ledger->worker[ring->sender];
	uint32_t life = atomic_load(&sender->life[parity].number);
	uint64_t now = ledger_ms(ledger), synced;

	if (life == 0)
		return true;
	if (self->life != life)
		*self = (struct judged){.life = life};
	ring_sample(ring, self, parity, now);
	synced = atomic_load(&ring_state(ring, parity)->synced);
	for (; self->upto < synced; self->upto++) {
		uint64_t number = self->upto + 1, from, to, known;

		if (atomic_load(&ring->lap[parity][number % RING_SIZE]) == ring_lap(number))
			continue;
		times_of(self, number, &from, &to, &known);
		if (!last && (known == UINT64_MAX || now < known + PATIENCE_MS))
			return false;
		ring_missing(ring, self, parity, number, from, to);
	}
	return true;
}

/* ---- claims ---------------------------------------------------------------------------------- */

static void claim_judge(uint32_t receiver, uint32_t sender, uint32_t life_number, uint32_t channel,
			uint64_t from, uint64_t to, uint64_t missing, uint64_t ms)
{
	struct claimed *self = &claimed[receiver][sender][life_number & 1];
	struct worker *worker = &ledger->worker[sender];
	struct life *life = life_of(worker, life_number);
	uint64_t budget;

	if (atomic_load(&life->number) != life_number) {
		ledger_note(ledger, "a claim came too late to be judged");
		return;
	}
	if (self->life != life_number)
		*self = (struct claimed){.life = life_number};
	if (dead(sender, life_number) && to > atomic_load(&life->channel[channel].synced)) {
		tally_add(&ledger->worker[receiver], TALLY_ENDED, missing);
		return;
	}
	self->missing += missing;
	budget = told(life);
	if (self->missing <= budget) {
		tally_add(&ledger->worker[receiver], TALLY_OPEN, missing);
		ledger_note(ledger, "- %s: %" PRIu64 " missing of %s, which knows of %" PRIu64,
			    ledger->worker[receiver].plan.name, missing, worker->plan.name, budget);
	} else {
		ledger_fail(ledger, UNACCOUNTED,
			    "%s: %s life %u channel %u: %" PRIu64 " missing between %" PRIu64
			    " and %" PRIu64 ", seen at %.3f; in all %" PRIu64
			    ", of which its sender knows %" PRIu64,
			    ledger->worker[receiver].plan.name, worker->plan.name, life_number,
			    channel, missing, from, to, (double)ms / 1000, self->missing, budget);
	}
}

static void claims_judge(void)
{
	uint64_t now = ledger_ms(ledger);

	for (uint32_t i = 0; i < CLAIMS_MAX; i++) {
		struct claim *claim = &ledger->claim[i];

		if (!atomic_load(&claim->written) || now < claim->ms + CLAIM_MS)
			continue;
		claim_judge(claim->receiver, claim->sender, claim->life, claim->channel,
			    claim->from, claim->to, claim->missing, claim->ms);
		atomic_store(&claim->written, false);
	}
}

/* ---- overflow policies ----------------------------------------------------------------------- */

void judge_policy_before(uint32_t p)
{
	for (uint32_t w = 0; w < ledger->workers; w++) {
		struct worker *worker = &ledger->worker[w];

		if (worker->plan.proxy != p)
			continue;
		session_before[w] = atomic_load(&worker->session);
		endpoint_before[w] = atomic_load(&worker->endpoint);
		policy_before[w] = atomic_load(&worker->policy);
		/* The endpoint is a new one before the count begins anew. */
		if (!atomic_load(&worker->connected) ||
		    session_before[w] != atomic_load(&worker->session))
			policy_before[w] = 0;
	}
}

static void policy_judge(uint64_t endpoint, uint64_t dropped, uint32_t p)
{
	for (uint32_t w = 0; w < ledger->workers; w++) {
		const struct worker *worker = &ledger->worker[w];

		if (worker->plan.proxy != p || endpoint_before[w] != endpoint ||
		    policy_before[w] <= dropped)
			continue;
		ledger_fail(ledger, UNACCOUNTED,
			    "%s: %" PRIu64 " messages missing, the proxy says it dropped %" PRIu64,
			    worker->plan.name, policy_before[w], dropped);
	}
}

void judge_policy(uint32_t p, const json_t *status)
{
	json_t *connection;
	size_t i;

	json_array_foreach(json_object_get(status, "connections"), i, connection)
	{
		const char *hex = json_string_value(json_object_get(connection, "endpoint"));
		json_int_t dropped = json_integer_value(json_object_get(connection, "dropped"));
		uint64_t endpoint = 0;

		if (hex != NULL && sscanf(hex, "%" SCNx64, &endpoint) == 1)
			policy_judge(endpoint, (uint64_t)dropped, p);
	}
}

/* ---- tails ----------------------------------------------------------------------------------- */

/* Only `block` owes its receiver everything. */
static bool owed(const struct worker *receiver, const struct channel_plan *plan)
{
	if (plan->kind != CHANNEL_TOPIC)
		return false;
	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
		if (receiver->plan.subscription[i].overflow[0] != '\0')
			return false;
	return atomic_load(&receiver->connected);
}

/* What of a channel's SYNCED messages has not come to one receiver. */
static uint64_t tail_missing(uint32_t receiver, uint32_t sender, uint32_t c, uint32_t life_number)
{
	struct worker *worker = &ledger->worker[sender];
	struct channel_state *state = &life_of(worker, life_number)->channel[c];
	struct stream *stream = &ledger->worker[receiver].stream[sender][c][life_number & 1];
	uint64_t synced = atomic_load(&state->synced), from = 0, seen, floor;

	if (!atomic_load(&stream->covered) ||
	    !owed(&ledger->worker[receiver], &worker->plan.channel[c]))
		return 0;
	if (atomic_load(&stream->life) == life_number) {
		seen = atomic_load(&stream->seen);
		floor = atomic_load(&stream->floor);
		from = seen > floor ? seen : floor;
	}
	return from < synced ? synced - from - account_ended(state, from, synced) : 0;
}

void judge_died(uint32_t worker, uint32_t life)
{
	died_life[worker][life & 1] = life;
	died_ms[worker][life & 1] = ledger_ms(ledger);
}

void judge_begins(uint32_t worker, uint32_t life)
{
	uint32_t old = life - 2;

	if (life < 3 || ledger_ms(ledger) < died_ms[worker][life & 1] + TAIL_MS)
		return;
	for (uint32_t r = 0; r < ledger->rings; r++)
		if (ledger->ring[r].sender == worker)
			ring_judge(&ledger->ring[r], life & 1, true);
	for (uint32_t r = 0; r < ledger->workers; r++) {
		for (uint32_t c = 0; c < CHANNELS_MAX; c++) {
			uint64_t missing = tail_missing(r, worker, c, old);

			if (missing > 0)
				claim_judge(r, worker, old, c, 0, 0, missing, ledger_ms(ledger));
		}
	}
}

/* ---- all ------------------------------------------------------------------------------------- */

void judge_tick(void)
{
	for (uint32_t r = 0; r < ledger->rings; r++)
		for (unsigned parity = 0; parity < 2; parity++)
			ring_judge(&ledger->ring[r], parity, false);
	claims_judge();
}

/* Tails that the sender was told to be lost need not be waited for. */
static bool tail_excused(uint32_t receiver, uint32_t sender, uint32_t life_number, uint64_t missing)
{
	const struct claimed *self = &claimed[receiver][sender][life_number & 1];
	uint64_t before = self->life == life_number ? self->missing : 0;

	return before + missing <= told(life_of(&ledger->worker[sender], life_number));
}

/* Of one channel of one sender; returns whether all has come. */
static bool tails_complete(uint32_t sender, uint32_t c, bool say)
{
	bool complete = true;

	for (uint32_t r = 0; r < ledger->workers; r++) {
		for (unsigned p = 0; p < 2; p++) {
			uint32_t life = atomic_load(&ledger->worker[sender].life[p].number);
			uint64_t missing = life ? tail_missing(r, sender, c, life) : 0;

			if (missing == 0)
				continue;
			if (say)
				claim_judge(r, sender, life, c, 0, 0, missing, ledger_ms(ledger));
			if (tail_excused(r, sender, life, missing))
				continue;
			complete = false;
			snprintf(waits_for, sizeof(waits_for), "%s: %" PRIu64 " from %s",
				 ledger->worker[r].plan.name, missing,
				 ledger->worker[sender].plan.name);
		}
	}
	return complete;
}

const char *judge_waits_for(void)
{
	return waits_for;
}

bool judge_complete(bool say)
{
	bool complete = true;

	for (uint32_t r = 0; r < ledger->rings; r++) {
		for (unsigned parity = 0; parity < 2; parity++) {
			if (ring_judge(&ledger->ring[r], parity, say))
				continue;
			complete = false;
			snprintf(waits_for, sizeof(waits_for), "group %u: %" PRIu64 " of %s",
				 ledger->ring[r].group_id, judged[r][parity].upto + 1,
				 ledger->worker[ledger->ring[r].sender].plan.name);
		}
	}
	for (uint32_t i = 0; i < CLAIMS_MAX; i++) {
		if (!atomic_load(&ledger->claim[i].written))
			continue;
		complete = false;
		snprintf(waits_for, sizeof(waits_for), "a gap to be compared");
	}
	for (uint32_t w = 0; w < ledger->workers; w++)
		for (uint32_t c = 0; c < CHANNELS_MAX; c++)
			complete = tails_complete(w, c, say) && complete;
	if (complete)
		waits_for[0] = '\0';
	return complete;
}
