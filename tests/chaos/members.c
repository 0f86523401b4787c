/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/members.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Before a status was read. */
static uint32_t changes_before[WORKERS_MAX];

static uint32_t group_of(const struct worker *worker)
{
	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
		if (worker->plan.subscription[i].group[0] != '\0')
			return worker->plan.subscription[i].group_id;
	return NO_INDEX;
}

/* ---- one absence ----------------------------------------------------------------------------- */

/* One ring, one life of its sender, one member. */
struct view {
	struct absences *absences;
	const struct life *life;
	const struct channel_state *state;
	const struct stream *stream;
};

static struct view view_of(struct ledger *ledger, struct ring *ring, uint32_t w, unsigned parity)
{
	const struct life *life = &ledger->worker[ring->sender].life[parity];

	return (struct view){
		.absences = &ring->absences[w][parity],
		.life = life,
		.state = &life->channel[ring->channel],
		.stream = &ledger->worker[w].stream[ring->sender][ring->channel][parity]};
}

static struct absence *newest(struct view view)
{
	return &view.absences->absence[(atomic_load(&view.absences->count) - 1) % ABSENCES_MAX];
}

static bool is_away(struct view view)
{
	return atomic_load(&newest(view)->to) == NOT_YET;
}

static void begin(struct view view, uint32_t life, uint64_t from, uint64_t gone)
{
	uint32_t count = atomic_load(&view.absences->count);
	struct absence *absence = &view.absences->absence[count % ABSENCES_MAX];

	/* Nothing is above it while it is written: of the one that it takes the place of. */
	atomic_store(&absence->from, NOT_YET);
	atomic_store(&absence->life, life);
	atomic_store(&absence->gone, gone);
	atomic_store(&absence->asks, NOT_YET);
	atomic_store(&absence->to, NOT_YET);
	atomic_store(&absence->from, from);
	atomic_store(&view.absences->count, count + 1);
}

/* A life of the sender that began since: of that it has got nothing, and what was known before its
 * beginning was known before its first number. */
static void follow(struct view view, struct absence *absence)
{
	uint32_t life = atomic_load(&view.life->number);

	if (atomic_load(&absence->life) == life)
		return;
	atomic_store(&absence->from, 0);
	if (atomic_load(&absence->gone) != NOT_YET)
		atomic_store(&absence->gone, 0);
	if (atomic_load(&absence->asks) != NOT_YET)
		atomic_store(&absence->asks, 0);
	if (atomic_load(&absence->to) != NOT_YET)
		atomic_store(&absence->to, 0);
	atomic_store(&absence->life, life);
}

/* It had asked, and its connection ended before the answer. */
static void asked_in_vain(struct view view)
{
	struct absence *absence = newest(view);
	uint64_t asks;

	follow(view, absence);
	asks = atomic_load(&absence->asks);
	if (asks == NOT_YET)
		return;
	atomic_store(&absence->to, atomic_load(&view.state->queued));
	begin(view, atomic_load(&absence->life), asks, NOT_YET);
}

static void away(struct view view)
{
	uint32_t life = atomic_load(&view.life->number);
	bool got = atomic_load(&view.stream->life) == life;

	if (is_away(view))
		asked_in_vain(view);
	else
		begin(view, life, got ? atomic_load(&view.stream->seen) : 0, NOT_YET);
}

static void left(struct view view)
{
	struct absence *absence = newest(view);

	follow(view, absence);
	atomic_store(&absence->gone, atomic_load(&view.state->queued));
}

static void asks(struct view view)
{
	struct absence *absence;

	if (!is_away(view))
		return;
	asked_in_vain(view);
	absence = newest(view);
	follow(view, absence);
	/* Else this connection is one more that it may have lost something with. */
	if (atomic_load(&absence->gone) != NOT_YET)
		atomic_store(&absence->asks, atomic_load(&view.state->synced));
}

static void back(struct view view)
{
	struct absence *absence = newest(view);

	if (!is_away(view))
		return;
	follow(view, absence);
	atomic_store(&absence->to, atomic_load(&view.state->queued));
}

/* ---- the member's ---------------------------------------------------------------------------- */

static void each(struct ledger *ledger, uint32_t w, void (*change)(struct view view))
{
	uint32_t group = group_of(&ledger->worker[w]);

	for (uint32_t r = 0; r < ledger->rings; r++)
		for (unsigned parity = 0; parity < 2; parity++)
			if (ledger->ring[r].group_id == group)
				change(view_of(ledger, &ledger->ring[r], w, parity));
}

static void announce(struct ledger *ledger, uint32_t w)
{
	atomic_fetch_add(&ledger->worker[w].changes, 1);
}

void member_away(struct ledger *ledger, uint32_t w)
{
	struct worker *worker = &ledger->worker[w];

	announce(ledger, w);
	each(ledger, w, away);
	atomic_store(&worker->member, 0);
	/* Its proxy has ended since it subscribed. */
	if (worker->member_of != atomic_load(&ledger->ends[worker->plan.proxy]))
		each(ledger, w, left);
}

void member_left(struct ledger *ledger, uint32_t w)
{
	announce(ledger, w);
	each(ledger, w, left);
}

void member_asks(struct ledger *ledger, uint32_t w)
{
	struct worker *worker = &ledger->worker[w];

	announce(ledger, w);
	worker->member_of = atomic_load(&ledger->ends[worker->plan.proxy]);
	each(ledger, w, asks);
}

void member_back(struct ledger *ledger, uint32_t w)
{
	struct worker *worker = &ledger->worker[w];

	announce(ledger, w);
	atomic_store(&worker->member, atomic_load(&worker->endpoint));
	each(ledger, w, back);
}

/* ---- the driver's ---------------------------------------------------------------------------- */

static void nobody_yet(struct view view)
{
	begin(view, 0, 0, 0);
}

void members_open(struct ledger *ledger)
{
	for (uint32_t w = 0; w < ledger->workers; w++)
		each(ledger, w, nobody_yet);
}

void members_look_before(struct ledger *ledger, uint32_t p)
{
	for (uint32_t w = 0; w < ledger->workers; w++)
		if (ledger->worker[w].plan.proxy == p)
			changes_before[w] = atomic_load(&ledger->worker[w].changes);
}

/* Whether the proxy knows a connection of this worker's other than the one it is subscribed on. */
static bool knows_another(const struct worker *worker, const json_t *status)
{
	uint64_t member = atomic_load(&worker->member);
	json_t *connection;
	size_t i;

	json_array_foreach(json_object_get(status, "connections"), i, connection)
	{
		const char *name = json_string_value(json_object_get(connection, "name"));
		const char *hex = json_string_value(json_object_get(connection, "endpoint"));
		uint64_t endpoint = 0;

		if (name != NULL && strcmp(name, worker->plan.name) == 0 &&
		    (hex == NULL || sscanf(hex, "%" SCNx64, &endpoint) != 1 || endpoint != member))
			return true;
	}
	return false;
}

/* The proxy knows nothing of it any more. False: nothing to be done. */
static bool gone_write(struct view view, struct absence *absence)
{
	if (atomic_load(&absence->gone) != NOT_YET)
		return false;
	if (atomic_load(&absence->life) != atomic_load(&view.life->number)) {
		/* The member follows by itself as long as it is away. */
		if (atomic_load(&absence->to) == NOT_YET)
			return false;
		follow(view, absence);
	}
	atomic_store(&absence->gone, atomic_load(&view.state->queued));
	return true;
}

/* As above, of all of a member. `unless`: what it changed since then is not meant. */
static void gone_in_all(struct ledger *ledger, uint32_t w, const uint32_t *unless)
{
	const _Atomic(uint32_t) *changes = &ledger->worker[w].changes;
	uint32_t group = group_of(&ledger->worker[w]);

	for (uint32_t i = 0; i < ledger->rings * 2 * ABSENCES_MAX; i++) {
		struct ring *ring = &ledger->ring[i / ABSENCES_MAX / 2];
		struct view view = view_of(ledger, ring, w, i / ABSENCES_MAX % 2);
		struct absence *absence = &view.absences->absence[i % ABSENCES_MAX];

		if (ring->group_id == group &&
		    i % ABSENCES_MAX < atomic_load(&view.absences->count) &&
		    gone_write(view, absence) && unless != NULL && atomic_load(changes) != *unless)
			atomic_store(&absence->gone, NOT_YET);
	}
}

void members_look(struct ledger *ledger, uint32_t p, const json_t *status)
{
	for (uint32_t w = 0; w < ledger->workers; w++) {
		const struct worker *worker = &ledger->worker[w];

		if (worker->plan.proxy == p && group_of(worker) != NO_INDEX &&
		    !knows_another(worker, status) &&
		    atomic_load(&worker->changes) == changes_before[w])
			gone_in_all(ledger, w, &changes_before[w]);
	}
}

void members_proxy_ended(struct ledger *ledger, uint32_t p)
{
	atomic_fetch_add(&ledger->ends[p], 1);
	for (uint32_t w = 0; w < ledger->workers; w++)
		if (ledger->worker[w].plan.proxy == p)
			gone_in_all(ledger, w, NULL);
}

/* ---- what it proves -------------------------------------------------------------------------- */

/* In one of a life before this one, what is not known is not known of this one either. */
static bool lost_in(const struct absence *absence, uint32_t life, uint64_t number)
{
	uint64_t from = atomic_load(&absence->from), gone = atomic_load(&absence->gone);
	uint64_t asks = atomic_load(&absence->asks);
	bool asking = asks != NOT_YET && atomic_load(&absence->to) == NOT_YET;

	if (from == NOT_YET)
		return false;
	if (atomic_load(&absence->life) != life)
		return gone == NOT_YET || asking;
	return (number > from && number <= gone) || (asking && number > asks);
}

static bool away_in(const struct absence *absence, uint32_t life, uint64_t number)
{
	uint64_t from = atomic_load(&absence->from), to = atomic_load(&absence->to);

	if (atomic_load(&absence->life) != life)
		return from != NOT_YET && to == NOT_YET;
	return number > from && number <= to;
}

static bool in_any(const struct absences *absences, uint32_t life, uint64_t number,
		   bool (*in)(const struct absence *absence, uint32_t life, uint64_t number))
{
	uint32_t count = atomic_load(&absences->count);

	for (uint32_t i = 0; i < count && i < ABSENCES_MAX; i++)
		if (in(&absences->absence[i], life, number))
			return true;
	return false;
}

static uint32_t life_of_sender(const struct ledger *ledger, const struct ring *ring,
			       unsigned parity)
{
	return atomic_load(&ledger->worker[ring->sender].life[parity].number);
}

bool members_lost(const struct ledger *ledger, const struct ring *ring, unsigned parity,
		  uint64_t number)
{
	uint32_t life = life_of_sender(ledger, ring, parity);

	for (uint32_t w = 0; w < ledger->workers; w++)
		if (group_of(&ledger->worker[w]) == ring->group_id &&
		    in_any(&ring->absences[w][parity], life, number, lost_in))
			return true;
	return false;
}

bool members_away(const struct ledger *ledger, const struct ring *ring, unsigned parity,
		  uint64_t number)
{
	uint32_t life = life_of_sender(ledger, ring, parity);

	for (uint32_t w = 0; w < ledger->workers; w++)
		if (group_of(&ledger->worker[w]) == ring->group_id &&
		    !in_any(&ring->absences[w][parity], life, number, away_in))
			return false;
	return true;
}
