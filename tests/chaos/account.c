/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/account.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "chaos/members.h"
#include "proto/subject.h"

struct account {
	struct ledger *ledger;
	uint32_t number;
	struct worker *worker;
	bool active[SUBSCRIPTIONS_MAX];
	uint32_t sender, slot; /* of the last source that was looked up */
};

struct account *account_open(struct ledger *ledger, uint32_t number)
{
	struct account *account = calloc(1, sizeof(*account));

	if (account == NULL)
		return NULL;
	account->ledger = ledger;
	account->number = number;
	account->worker = &ledger->worker[number];
	memset(account->worker->stream, 0, sizeof(account->worker->stream));
	return account;
}

/* ---- what a receiver is owed ----------------------------------------------------------------- */

static bool matches(const struct subscription_plan *subscription, const char *subject)
{
	return xy_pattern_match(subscription->pattern, subject);
}

static bool covered(const struct account *account, const struct worker_plan *sender,
		    const struct channel_plan *channel)
{
	if (channel->kind == CHANNEL_NONE || sender->proxy != account->worker->plan.proxy)
		return false;
	if (channel->kind == CHANNEL_DIRECT)
		return channel->target == account->number;
	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
		const struct subscription_plan *plan = &account->worker->plan.subscription[i];

		if (account->active[i] && plan->group[0] == '\0' && matches(plan, channel->subject))
			return true;
	}
	return false;
}

static void stream_begin(struct stream *stream, uint32_t life, bool is_covered)
{
	stream->source = stream->source_before = stream->seen_before = 0;
	atomic_store(&stream->seen, 0);
	atomic_store(&stream->floor, 0);
	atomic_store(&stream->covered, is_covered);
	atomic_store(&stream->life, life);
}

/* What has been given out so far is not owed. */
static void stream_floor(struct stream *stream, struct worker *sender, uint32_t channel,
			 unsigned parity)
{
	struct life *life = &sender->life[parity];
	uint32_t number = atomic_load(&life->number);
	uint64_t queued = atomic_load(&life->channel[channel].queued);

	if (number == 0 || number != atomic_load(&life->number)) {
		/* A life begins now: owed from its first message on. What may still come of the
		 * one before is not owed. */
		atomic_store(&stream->floor, UINT64_MAX);
		return;
	}
	if (atomic_load(&stream->life) != number)
		stream_begin(stream, number, true);
	atomic_store(&stream->floor, queued);
}

/* `anew`: also what was covered before. */
static void coverage_update(struct account *account, bool anew)
{
	for (uint32_t w = 0; w < account->ledger->workers; w++) {
		struct worker *sender = &account->ledger->worker[w];

		for (uint32_t c = 0; c < CHANNELS_MAX; c++) {
			bool now = covered(account, &sender->plan, &sender->plan.channel[c]);

			for (unsigned p = 0; p < 2; p++) {
				struct stream *stream = &account->worker->stream[w][c][p];

				if (now && (anew || !atomic_load(&stream->covered)))
					stream_floor(stream, sender, c, p);
				atomic_store(&stream->covered, now);
			}
		}
	}
}

static bool is_group(const struct account *account, uint32_t subscription)
{
	return account->worker->plan.subscription[subscription].group[0] != '\0';
}

void account_connected(struct account *account)
{
	atomic_store(&account->worker->policy, 0);
	coverage_update(account, true);
	atomic_fetch_add(&account->worker->session, 1);
	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
		if (account->active[i] && is_group(account, i))
			member_back(account->ledger, account->number);
}

void account_subscribed(struct account *account, uint32_t subscription)
{
	account->active[subscription] = true;
	if (is_group(account, subscription)) {
		member_back(account->ledger, account->number);
		trouble_add(account->worker, ledger_ms(account->ledger));
	}
	coverage_update(account, false);
}

void account_unsubscribing(struct account *account, uint32_t subscription)
{
	account->active[subscription] = false;
	if (is_group(account, subscription)) {
		member_away(account->ledger, account->number);
		trouble_add(account->worker, ledger_ms(account->ledger));
	}
	coverage_update(account, false);
}

/* ---- what is missing ------------------------------------------------------------------------- */

/* How many of (from, to] lie in losses of the sender; these need not be disjoint. */
uint64_t account_ended(const struct channel_state *state, uint64_t from, uint64_t to)
{
	uint64_t losses = atomic_load(&state->losses), count = 0;
	uint64_t kept = losses < LOSSES_MAX ? losses : LOSSES_MAX;

	while (from < to) {
		uint64_t end = from, next = to;

		for (uint64_t i = 0; i < kept; i++) {
			uint64_t a = atomic_load(&state->loss[i].from);
			uint64_t b = atomic_load(&state->loss[i].to);

			if (a <= from && b > end)
				end = b;
			else if (a > from && a < next)
				next = a;
		}
		if (end > to)
			end = to;
		count += end - from;
		from = end > from ? end : next;
	}
	return count;
}

static void claim_post(struct account *account, const struct stamp *stamp, uint64_t from,
		       uint64_t to, uint64_t missing)
{
	struct ledger *ledger = account->ledger;
	struct claim *claim = &ledger->claim[atomic_fetch_add(&ledger->claims, 1) % CLAIMS_MAX];

	if (atomic_load(&claim->written)) {
		ledger_fail(ledger, UNACCOUNTED, "more gaps than can be looked at");
		return;
	}
	claim->ms = ledger_ms(ledger);
	claim->receiver = account->number;
	claim->sender = stamp->worker;
	claim->life = stamp->life;
	claim->channel = stamp->channel;
	claim->from = from;
	claim->to = to;
	claim->missing = missing;
	atomic_store(&claim->written, true);
}

static bool drops(const struct account *account, const char *subject)
{
	bool drop = false;

	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
		const struct subscription_plan *plan = &account->worker->plan.subscription[i];

		if (!account->active[i] || !matches(plan, subject))
			continue;
		if (strncmp(plan->overflow, "drop", 4) != 0)
			return false;
		drop = true;
	}
	return drop;
}

/* Messages (from, to) never came, and something behind them did. */
static void missing(struct account *account, const struct stamp *stamp, const char *subject,
		    const struct stream *stream, uint64_t from, uint64_t to)
{
	struct worker *worker = account->worker;
	struct worker *sender = &account->ledger->worker[stamp->worker];
	struct life *life = life_of(sender, stamp->life);
	uint64_t floor = atomic_load(&stream->floor), last = to - 1, left, ended;

	/* The first DATA of a new connection may come before the OK that sets the floor. */
	if (!atomic_load(&worker->connected)) {
		tally_add(worker, TALLY_BEFORE, last - from);
		return;
	}
	if (floor > from) {
		uint64_t end = floor < last ? floor : last;

		if (from > 0)
			tally_add(worker, TALLY_BEFORE, end - from);
		from = end;
	}
	left = last - from;
	if (left == 0)
		return;
	ended = account_ended(&life->channel[stamp->channel], from, last);
	tally_add(worker, TALLY_ENDED, ended);
	left -= ended;
	if (left == 0)
		return;
	if (*subject != '\0' && drops(account, subject)) {
		tally_add(worker, TALLY_POLICY, left);
		atomic_fetch_add(&worker->policy, left);
		return;
	}
	claim_post(account, stamp, from, to, left);
}

/* ---- one message ----------------------------------------------------------------------------- */

static bool source_find(struct account *account, uint64_t source)
{
	const struct ledger *ledger = account->ledger;
	const struct worker *sender = &ledger->worker[account->sender];

	if (atomic_load(&sender->endpoint_of[account->slot].id) == source)
		return true;
	for (uint32_t w = 0; w < ledger->workers; w++) {
		for (uint32_t s = 0; s < ENDPOINTS_MAX; s++) {
			if (atomic_load(&ledger->worker[w].endpoint_of[s].id) != source)
				continue;
			account->sender = w;
			account->slot = s;
			return true;
		}
	}
	return false;
}

static uint32_t channel_find(const struct worker *sender, const char *subject)
{
	for (uint32_t c = 0; c < CHANNELS_MAX; c++) {
		const struct channel_plan *plan = &sender->plan.channel[c];

		if (plan->kind != CHANNEL_NONE && plan->kind != CHANNEL_DIRECT &&
		    strcmp(plan->subject, subject) == 0)
			return c;
	}
	return NO_INDEX;
}

/* Whose message it is, by what the proxy says and by what it says itself. NULL: they agree. */
static const char *identify(struct account *account, const char *subject, uint64_t source,
			    uint64_t sequence, size_t length, struct stamp *stamp)
{
	const struct worker *sender;
	uint32_t life;

	if (!source_find(account, source))
		return "source is nobody's endpoint";
	sender = &account->ledger->worker[account->sender];
	life = atomic_load(&sender->endpoint_of[account->slot].life);
	if (length < STAMP_SIZE) {
		uint32_t channel = channel_find(sender, subject);

		if (channel == NO_INDEX)
			return "subject is not the sender's";
		stamp->worker = (uint16_t)account->sender;
		stamp->life = life;
		stamp->channel = (uint8_t)channel;
		return NULL;
	}
	if (stamp->worker != account->sender || stamp->life != life)
		return "source is not the sender's endpoint";
	if (stamp->channel >= CHANNELS_MAX || stamp->reply)
		return "channel";
	if (*subject == '\0') {
		const struct channel_plan *plan = &sender->plan.channel[stamp->channel];

		return plan->kind == CHANNEL_DIRECT && plan->target == account->number
			       ? NULL
			       : "sent to another endpoint";
	}
	if (strcmp(sender->plan.channel[stamp->channel].subject, subject) != 0)
		return "subject is not that of its channel";
	return stamp->counter == sequence ? NULL : "sequence is not its number";
}

/* The group by which this worker gets the subject; NO_INDEX when it is a plain subscription.
 * *ret_any: there is one at all. */
static uint32_t group_of(const struct account *account, const char *subject, bool *ret_any)
{
	uint32_t group = NO_INDEX;

	*ret_any = false;
	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
		const struct subscription_plan *plan = &account->worker->plan.subscription[i];

		if (!account->active[i] || !matches(plan, subject))
			continue;
		*ret_any = true;
		if (plan->group[0] == '\0')
			return NO_INDEX;
		group = plan->group_id;
	}
	return group;
}

static bool ring_take(struct account *account, const struct stamp *stamp, uint32_t group)
{
	struct ledger *ledger = account->ledger;
	struct worker *sender = &ledger->worker[stamp->worker];
	const struct channel_plan *plan = &sender->plan.channel[stamp->channel];

	for (unsigned i = 0; i < 2; i++) {
		struct ring *ring;
		uint8_t lap = ring_lap(stamp->counter);

		if (plan->ring[i] == NO_INDEX || ledger->ring[plan->ring[i]].group_id != group)
			continue;
		ring = &ledger->ring[plan->ring[i]];
		if (atomic_load(&life_of(sender, stamp->life)->number) != stamp->life)
			return true;
		if (atomic_exchange(&ring->lap[stamp->life & 1][stamp->counter % RING_SIZE], lap) !=
		    lap)
			return true;
		ledger_fail(ledger, DUPLICATED,
			    "%s: %s life %u channel %u: %" PRIu64
			    " came to two members of group %u",
			    account->worker->plan.name, sender->plan.name, stamp->life,
			    stamp->channel, stamp->counter, group);
		return false;
	}
	ledger_fail(ledger, OTHER, "%s: a group that is not in the plan",
		    account->worker->plan.name);
	return false;
}

/* What an old connection had sent may be read after the new one's beginning. */
static bool late_take(struct account *account, const struct stamp *stamp, struct stream *stream,
		      uint64_t source)
{
	if (source == stream->source_before && stamp->counter <= stream->seen_before) {
		ledger_fail(account->ledger, REORDERED,
			    "%s: %s life %u channel %u: %" PRIu64 " after %" PRIu64
			    " of source %016" PRIx64,
			    account->worker->plan.name,
			    account->ledger->worker[stamp->worker].plan.name, stamp->life,
			    stamp->channel, stamp->counter, stream->seen_before, source);
		return false;
	}
	stream->source_before = source;
	stream->seen_before = stamp->counter;
	tally_add(account->worker, TALLY_LATE, 1);
	return true;
}

/* Order and once. */
static bool stream_take(struct account *account, const struct stamp *stamp, const char *subject,
			uint64_t source, bool plain)
{
	struct ledger *ledger = account->ledger;
	const char *sender = ledger->worker[stamp->worker].plan.name;
	struct stream *stream =
		&account->worker->stream[stamp->worker][stamp->channel][stamp->life & 1];
	uint64_t seen, floor;
	uint32_t life = atomic_load(&stream->life), order;

	if (life != stamp->life) {
		if (life > stamp->life) {
			tally_add(account->worker, TALLY_LATE, 1);
			return true;
		}
		stream_begin(stream, stamp->life, plain);
	}
	order = atomic_load(
		&account->ledger->worker[account->sender].endpoint_of[account->slot].order);
	if (stream->source != 0 && source != stream->source && order < stream->source_order)
		return late_take(account, stamp, stream, source);
	seen = atomic_load(&stream->seen);
	if (stamp->counter <= seen) {
		enum verdict verdict =
			stamp->counter == seen || source != stream->source ? DUPLICATED : REORDERED;

		ledger_fail(ledger, verdict,
			    "%s: %s life %u channel %u: %" PRIu64 " after %" PRIu64
			    ", source %016" PRIx64 " after %016" PRIx64,
			    account->worker->plan.name, sender, stamp->life, stamp->channel,
			    stamp->counter, seen, source, stream->source);
		return false;
	}
	if (source != stream->source) {
		stream->source_before = stream->source;
		stream->seen_before = seen;
		stream->source = source;
		stream->source_order = order;
	}
	floor = atomic_load(&stream->floor);
	if (plain && stamp->counter > (seen > floor ? seen : floor) + 1)
		missing(account, stamp, subject, stream, seen, stamp->counter);
	atomic_store(&stream->seen, stamp->counter);
	return true;
}

static void count(struct worker *worker, enum tally kind, size_t length)
{
	tally_add(worker, kind, 1);
	tally_add(worker, TALLY_BYTES, length);
	if (length == 0)
		tally_add(worker, TALLY_EMPTY, 1);
	if (length > 65536)
		tally_add(worker, TALLY_LARGE, 1);
	if (length > 1u << 20)
		tally_add(worker, TALLY_HUGE, 1);
}

bool account_take(struct account *account, const char *subject, uint64_t source, uint64_t sequence,
		  const void *data, size_t length, struct stamp *ret_stamp)
{
	struct worker *worker = account->worker;
	bool direct = *subject == '\0', any = direct;
	uint32_t group = NO_INDEX;
	struct stamp stamp;
	const char *wrong = message_check(data, length, sequence, &stamp);

	if (wrong == NULL)
		wrong = identify(account, subject, source, sequence, length, &stamp);
	if (wrong == NULL && !direct)
		group = group_of(account, subject, &any);
	if (wrong == NULL && !any)
		wrong = "no subscription brings it";
	if (wrong != NULL) {
		ledger_fail(account->ledger, CORRUPT,
			    "%s: %s: subject '%s' source %016" PRIx64 " sequence %" PRIu64
			    " length %zu stamp %u/%u/%u/%" PRIu64,
			    worker->plan.name, wrong, subject, source, sequence, length,
			    stamp.worker, stamp.life, stamp.channel, stamp.counter);
		return false;
	}
	if (!stream_take(account, &stamp, subject, source, group == NO_INDEX))
		return false;
	if (group != NO_INDEX && !ring_take(account, &stamp, group))
		return false;
	count(worker,
	      direct              ? TALLY_DIRECT
	      : group != NO_INDEX ? TALLY_GROUP
				  : TALLY_TOPIC,
	      length);
	*ret_stamp = stamp;
	return true;
}
