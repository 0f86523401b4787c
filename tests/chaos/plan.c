/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chaos/message.h"

/* The longest stop is 3 s: with STALL_LONG nobody is closed over it, with this some are. */
#define STALL_SHORT 1500

struct making {
	struct ledger *ledger;
	struct dice dice;
	uint32_t proxy, rate;
	struct worker_plan *worker; /* the newest */
	uint32_t number;            /* of it */
	uint32_t channels, subscriptions;
};

static void worker_new(struct making *making, const char *role, int index)
{
	struct ledger *ledger = making->ledger;
	struct worker_plan *plan;

	making->number = ledger->workers++;
	plan = making->worker = &ledger->worker[making->number].plan;
	making->channels = making->subscriptions = 0;
	plan->kind = WORKER_LIBRARY;
	plan->proxy = making->proxy;
	plan->way = dice_chance(&making->dice, 2, 3)   ? WAY_LANE
		    : dice_chance(&making->dice, 1, 2) ? WAY_UNIX
						       : WAY_NO_LANE;
	if (plan->way != WAY_LANE && making->number % 3 == 0)
		plan->way = WAY_TLS;
	plan->crc = dice_chance(&making->dice, 1, 3);
	snprintf(plan->name, sizeof(plan->name), "%s-%d%s", role, index,
		 making->proxy == 0 ? "" : "-off");
	for (uint32_t c = 0; c < CHANNELS_MAX; c++)
		plan->channel[c].ring[0] = plan->channel[c].ring[1] = NO_INDEX;
}

/* `share`: per mille of the rate that it is to send. */
static struct channel_plan *channel_add(struct making *making, enum channel_kind kind,
					const char *subject, uint32_t share)
{
	struct channel_plan *plan = &making->worker->channel[making->channels++];

	plan->kind = kind;
	snprintf(plan->subject, sizeof(plan->subject), "%s", subject);
	plan->rate = (uint32_t)((uint64_t)making->rate * share / 1000) + 1;
	plan->size_max = MESSAGE_MAX;
	return plan;
}

static void feeds_group(struct making *making, struct channel_plan *plan, uint32_t group)
{
	struct ledger *ledger = making->ledger;
	uint32_t i = plan->ring[0] != NO_INDEX;

	plan->ring[i] = ledger->rings;
	ledger->ring[ledger->rings].sender = making->number;
	ledger->ring[ledger->rings].channel = (uint32_t)(plan - making->worker->channel);
	ledger->ring[ledger->rings++].group_id = group;
}

static struct subscription_plan *subscription_add(struct making *making, const char *pattern)
{
	struct subscription_plan *plan = &making->worker->subscription[making->subscriptions++];

	snprintf(plan->pattern, sizeof(plan->pattern), "%s", pattern);
	plan->group_id = NO_INDEX;
	plan->stall_ms = (uint32_t)ledger_bound(
		making->ledger, dice_chance(&making->dice, 1, 5) ? STALL_SHORT : STALL_LONG);
	return plan;
}

static void member_of(struct subscription_plan *plan, const char *group, uint32_t id)
{
	snprintf(plan->group, sizeof(plan->group), "%s", group);
	plan->group_id = id;
}

static void slow(struct making *making, uint32_t naps, uint32_t nap_ms)
{
	making->worker->naps = naps;
	making->worker->nap_ms = nap_ms;
}

/* ---- roles ----------------------------------------------------------------------------------- */

/* A chain of three, each the only receiver of the one before: the kernel's case. */
static void one_to_one(struct making *making)
{
	uint32_t first = making->ledger->workers;

	worker_new(making, "one", 0);
	making->worker->way = WAY_LANE;
	making->worker->no_bundle = true;
	channel_add(making, CHANNEL_TOPIC, "one.a", 60);
	channel_add(making, CHANNEL_DIRECT, "", 3)->target = first + 2;
	worker_new(making, "one", 1);
	making->worker->way = WAY_LANE;
	subscription_add(making, "one.a");
	channel_add(making, CHANNEL_TOPIC, "one.b", 150);
	channel_add(making, CHANNEL_TOPIC, "fan.back", 5);
	worker_new(making, "one", 2);
	making->worker->no_bundle = true;
	subscription_add(making, "one.b");
	channel_add(making, CHANNEL_DIRECT, "", 3)->target = first;
	channel_add(making, CHANNEL_DIRECT, "", 3)->target = first + 1;
}

/* Two that send to each other as fast as they may. */
static void pairs(struct making *making)
{
	for (int i = 0; i < 2; i++) {
		worker_new(making, "pair", i);
		making->worker->way = WAY_LANE;
		making->worker->crc = i == 0;
		making->worker->alone = true;
		channel_add(making, CHANNEL_TOPIC, i == 0 ? "pair.a" : "pair.b", 60);
		subscription_add(making, i == 0 ? "pair.b" : "pair.a");
	}
}

static void fan_out(struct making *making)
{
	static const char *const pattern[] = {"fan.>", "fan.*", "fan.a", "fan.a", "fan.back"};

	for (int i = 0; i < 2; i++) {
		worker_new(making, "fan-pub", i);
		channel_add(making, CHANNEL_TOPIC, "fan.a", 35);
		if (i == 0)
			channel_add(making, CHANNEL_TOPIC, "fan.b.x", 20);
	}
	for (int i = 0; i < 5; i++) {
		worker_new(making, "fan-sub", i);
		subscription_add(making, pattern[i]);
		if (i < 2)
			subscription_add(making, "fan.a")->comes_and_goes = true;
		if (i == 2)
			subscription_add(making, "fan.b.*")->comes_and_goes = true;
		if (i == 3) /* takes others off their lanes, and leaves */
			subscription_add(making, "one.*")->comes_and_goes = true;
		if (i == 4)
			slow(making, 20, 300);
	}
}

static void groups(struct making *making)
{
	uint32_t a = making->ledger->groups++, b = making->ledger->groups++;
	uint64_t many = 2 + dice_below(&making->dice, 7);
	struct channel_plan *plan;

	worker_new(making, "group-pub", 0);
	plan = channel_add(making, CHANNEL_TOPIC, "group.a", 60);
	feeds_group(making, plan, a);
	feeds_group(making, plan, b);
	worker_new(making, "group-pub", 1);
	plan = channel_add(making, CHANNEL_TOPIC, "group.a", 10);
	feeds_group(making, plan, a);
	feeds_group(making, plan, b);
	for (uint64_t i = 0; i < many; i++) {
		worker_new(making, "group-a", (int)i);
		member_of(subscription_add(making, "group.a"), "a", a);
		if (i == 1)
			slow(making, 10, 200);
	}
	for (int i = 0; i < 2; i++) {
		worker_new(making, "group-b", i);
		member_of(subscription_add(making, "group.*"), "b", b);
		making->worker->subscription[0].comes_and_goes = i == 1;
	}
}

/* A queue group without trouble of its own: what is missing has no excuse. */
static void calm_group(struct making *making)
{
	uint32_t group = making->ledger->groups++;

	worker_new(making, "calm-pub", 0);
	making->worker->spared = true;
	feeds_group(making, channel_add(making, CHANNEL_TOPIC, "calm.a", 50), group);
	for (int i = 0; i < 3; i++) {
		worker_new(making, "calm", i);
		making->worker->spared = true;
		member_of(subscription_add(making, "calm.*"), "calm", group);
	}
}

/* One frame a message, so that dropped frames bound missing messages. */
static void policies(struct making *making)
{
	static const char *const word[] = {"drop-newest", "drop-oldest", "disconnect"};

	worker_new(making, "policy-pub", 0);
	making->worker->no_bundle = true;
	channel_add(making, CHANNEL_TOPIC, "policy.a", 20);
	channel_add(making, CHANNEL_TOPIC, "policy.b", 5);
	for (int i = 0; i < 3; i++) {
		struct subscription_plan *plan;

		worker_new(making, word[i], i);
		plan = subscription_add(making, "policy.*");
		snprintf(plan->overflow, sizeof(plan->overflow), "%s", word[i]);
		slow(making, 30, 800);
		making->worker->may_be_cut = i == 2;
	}
}

static void requests(struct making *making)
{
	uint32_t group = making->ledger->groups++;

	worker_new(making, "request", 0);
	feeds_group(making, channel_add(making, CHANNEL_REQUEST, "ask.echo", 8), group);
	channel_add(making, CHANNEL_NOBODY, "nobody.there", 1);
	for (int i = 0; i < 2; i++) {
		struct subscription_plan *plan;

		worker_new(making, "reply", i);
		plan = subscription_add(making, "ask.*");
		member_of(plan, "r", group);
		plan->replies = true;
	}
}

/* Its own messages, and a lane, in a cgroup that leaves little memory for sockets. When others in
 * it hold all of that, the kernel refuses to queue anything, and so the receiver makes no progress,
 * which is slow-consumer after stall_ms, for which even the ERROR may find no memory. */
static void echo(struct making *making)
{
	worker_new(making, "echo", 0);
	making->worker->tight = making->worker->may_be_cut = true;
	channel_add(making, CHANNEL_TOPIC, "echo.own", 20);
	subscription_add(making, "echo.*");
	worker_new(making, "tight", 0);
	making->worker->tight = making->worker->may_be_cut = true;
	making->worker->way = WAY_LANE;
	subscription_add(making, "tight.a");
	worker_new(making, "tight-pub", 0);
	making->worker->way = WAY_LANE;
	channel_add(making, CHANNEL_TOPIC, "tight.a", 20);
}

/* For a machine that is small or has no Python: CHAOS_PROXIES=1, CHAOS_PYTHON=0. */
static bool is_set(const char *name, const char *value)
{
	const char *given = getenv(name);

	return given != NULL && strcmp(given, value) == 0;
}

/* The second client sends to the library, and the other way round. */
static void other_language(struct making *making)
{
	worker_new(making, "python", 0);
	making->worker->kind = WORKER_PYTHON;
	channel_add(making, CHANNEL_TOPIC, "python.a", 5)->size_max = 300000;
	subscription_add(making, "python.b");
	worker_new(making, "to-python", 0);
	making->worker->crc = false; /* it counts CRCs byte by byte */
	channel_add(making, CHANNEL_TOPIC, "python.b", 10)->size_max = 300000;
	subscription_add(making, "python.a");
}

static void by_hand(struct making *making)
{
	worker_new(making, "raw", 0);
	making->worker->kind = WORKER_RAW;
	making->worker->nap_ms = 20; /* between two batches */
	channel_add(making, CHANNEL_TOPIC, "raw.a", 0);
	channel_add(making, CHANNEL_TOPIC, "raw.b", 0);
	worker_new(making, "from-raw", 0);
	subscription_add(making, "raw.*");
	worker_new(making, "from-raw", 1);
	subscription_add(making, "raw.a");
}

static void garbage(struct making *making)
{
	worker_new(making, "garbage", 0);
	making->worker->kind = WORKER_GARBAGE;
}

void plan_make(struct ledger *ledger, uint32_t rate)
{
	struct making making = {
		.ledger = ledger, .dice = dice_of(ledger->seed, 0), .rate = rate / PROXIES};
	const uint32_t proxies = is_set("CHAOS_PROXIES", "1") ? 1 : PROXIES;

	for (making.proxy = 0; making.proxy < proxies; making.proxy++) {
		one_to_one(&making);
		pairs(&making);
		fan_out(&making);
		groups(&making);
		calm_group(&making);
		policies(&making);
		requests(&making);
		echo(&making);
		if (!is_set("CHAOS_PYTHON", "0"))
			other_language(&making);
		by_hand(&making);
		garbage(&making);
	}
}
