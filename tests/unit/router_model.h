/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the router must come to: a model that looks at every subscription, and the comparison of
 * every route with it. The test keeps the model and the router in step.
 */
#ifndef XY_TESTS_ROUTER_MODEL_H
#define XY_TESTS_ROUTER_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/router_internal.h"
#include "core/worker.h"

#define PEERS         12
#define SUBSCRIPTIONS 40
#define TOPICS        12
#define STEPS         1500
#define LENGTH(a)     (sizeof(a) / sizeof((a)[0]))

static const char *const patterns[] = {">",     "a",     "a.b",   "a.*", "*.b", "a.>",  "*",
				       "a.*.c", "*.b.>", "a.b.c", "*.*", "b.>", "*.*.c"};
static const char *const subjects[TOPICS] = {"a",     "b",     "a.b",   "a.c",   "b.b",     "b.c",
					     "a.b.c", "a.c.c", "b.b.c", "a.b.d", "a.b.c.d", "c"};
static const char *const groups[] = {"", "", "g", "h"};

/* ---- the model ------------------------------------------------------------------------------- */

struct wish {
	struct xy_peer *peer; /* NULL = none */
	uint64_t id;
	const char *pattern, *group;
	enum xy_overflow overflow;
	bool echo;
};

static struct xy_core core;
static struct xy_worker worker;
static struct xy_router *router;
static struct xy_peer *peers[PEERS]; /* NULL = not connected */
static struct wish wishes[SUBSCRIPTIONS];
static bool declared[TOPICS][PEERS];
static struct xy_topic *topics[TOPICS]; /* NULL = nobody declares it */
static uint64_t told[TOPICS][PEERS];    /* topic id of the last BINDING */
static int fail_in;                     /* calls until a BINDING cannot be posted; 0 = never */
static uint64_t random_state;

static inline uint64_t chance(uint64_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % below;
}

/* Token by token, as the page says. */
static inline bool matches(const char *pattern, const char *subject)
{
	size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");

	if (!strcmp(pattern, ">"))
		return true;
	if (!(p == 1 && *pattern == '*') && (p != s || strncmp(pattern, subject, p) != 0))
		return false;
	if (!pattern[p] || !subject[s])
		return !pattern[p] && !subject[s];
	return matches(pattern + p + 1, subject + s + 1);
}

/* What all of a peer's matching subscriptions of a group come to; false: it has none. */
static inline bool model_receiver(unsigned t, const char *group, const struct xy_peer *peer,
				  struct xy_receiver *ret_receiver)
{
	struct xy_receiver receiver = {.peer = NULL, .overflow = XY_OVERFLOW_DISCONNECT};

	for (unsigned w = 0; w < SUBSCRIPTIONS; w++) {
		const struct wish *wish = &wishes[w];

		if (wish->peer == NULL || wish->peer != peer || strcmp(wish->group, group) != 0 ||
		    !matches(wish->pattern, subjects[t]))
			continue;
		receiver.peer = wish->peer;
		receiver.echo |= wish->echo;
		if (wish->overflow < receiver.overflow)
			receiver.overflow = wish->overflow;
	}
	*ret_receiver = receiver;
	return receiver.peer != NULL;
}

static inline bool model_gets_plain(unsigned t, const struct xy_peer *peer,
				    const struct xy_peer *sender)
{
	struct xy_receiver receiver;

	return model_receiver(t, "", peer, &receiver) && (peer != sender || receiver.echo);
}

/* Somebody is in it, and none of them gets the message anyway. */
static inline bool model_open(unsigned t, const char *group, const struct xy_peer *sender)
{
	struct xy_receiver receiver;
	bool any = false;

	for (unsigned p = 0; p < PEERS; p++) {
		if (peers[p] == NULL || !model_receiver(t, group, peers[p], &receiver))
			continue;
		any = true;
		if (model_gets_plain(t, peers[p], sender))
			return false;
	}
	return any;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static inline void check_receivers(unsigned t, const char *group, const struct xy_receiver *list,
				   uint32_t count)
{
	uint32_t expected = 0;

	for (unsigned p = 0; p < PEERS; p++) {
		struct xy_receiver model;
		unsigned found = 0;

		if (peers[p] == NULL || !model_receiver(t, group, peers[p], &model))
			continue;
		expected++;
		for (uint32_t r = 0; r < count; r++) {
			if (list[r].peer != peers[p])
				continue;
			found++;
			assert_int_equal(list[r].overflow, model.overflow);
			assert_int_equal(list[r].echo, model.echo);
		}
		assert_int_equal(found, 1);
		assert_int_equal(told[t][p], topics[t]->id);
	}
	assert_int_equal(count, expected);
}

/* A group of the route by a name: by a member that the model gives it. Names are not kept. */
static inline const struct xy_group *group_find(unsigned t, const struct xy_route *route,
						const char *name)
{
	const struct xy_group *match = NULL;

	for (uint32_t g = 0; g < route->groups; g++) {
		const struct xy_group *group = route->group[g];
		struct xy_receiver model;
		uint32_t members = 0;
		bool same = true;

		for (unsigned p = 0; p < PEERS; p++)
			members += peers[p] != NULL && model_receiver(t, name, peers[p], &model);
		for (uint32_t m = 0; m < group->members; m++)
			same = same && model_receiver(t, name, group->member[m].peer, &model) &&
			       model.overflow == group->member[m].overflow &&
			       model.echo == group->member[m].echo;
		if (same && members == group->members)
			match = group;
	}
	return match;
}

static inline void check_lanes(unsigned t, const struct xy_route *route,
			       const struct xy_peer *sender)
{
	static const char *const names[] = {"g", "h"};
	struct xy_flow flow = {0};
	const struct xy_peer *expected[PEERS];
	uint32_t count = 0, plains = 0, open = 0;
	bool possible = true;

	for (unsigned p = 0; p < PEERS; p++) {
		if (peers[p] == NULL || !model_gets_plain(t, peers[p], sender))
			continue;
		plains++;
		expected[count++] = peers[p];
	}
	for (unsigned n = 0; n < LENGTH(names); n++) {
		struct xy_receiver receiver;

		if (!model_open(t, names[n], sender))
			continue;
		open++;
		for (unsigned p = 0; p < PEERS && count < PEERS; p++)
			if (peers[p] != NULL && model_receiver(t, names[n], peers[p], &receiver) &&
			    (peers[p] != sender || receiver.echo))
				expected[count++] = peers[p];
	}
	for (uint32_t i = 0; i < count; i++)
		possible = possible && expected[i]->session != NULL && expected[i] != sender;
	possible = possible && plains + open == 1 && count <= XY_GROUP_MAX;

	assert_int_equal(xy_route_flow(route, sender, &flow), possible && count > 0);
	if (!possible)
		return;
	assert_int_equal(flow.members, count);
	assert_int_equal(flow.group, open);
	for (uint32_t i = 0; i < count; i++) {
		unsigned found = 0;

		for (uint32_t l = 0; l < count; l++)
			found += flow.member[l].slot == expected[i]->slot.slot &&
				 flow.member[l].generation == expected[i]->slot.generation;
		assert_int_equal(found, 1);
	}
}

static inline void check_topic(unsigned t)
{
	static const char *const names[] = {"g", "h"};
	const struct xy_route *route = xy_topic_route(topics[t]);
	uint32_t groups_expected = 0;

	check_receivers(t, "", route->plain, route->plains);
	for (unsigned n = 0; n < LENGTH(names); n++) {
		const struct xy_group *group = group_find(t, route, names[n]);
		struct xy_receiver model;
		bool any = false;

		for (unsigned p = 0; p < PEERS; p++)
			any |= peers[p] != NULL && model_receiver(t, names[n], peers[p], &model);
		groups_expected += any;
		if (!any)
			continue;
		assert_non_null(group);
		check_receivers(t, names[n], group->member, group->members);
		for (unsigned p = 0; p < PEERS; p++)
			if (peers[p] != NULL)
				assert_int_equal(xy_group_open(route, group, peers[p]),
						 model_open(t, names[n], peers[p]));
	}
	assert_int_equal(route->groups, groups_expected);
	for (unsigned p = 0; p < PEERS; p++)
		if (peers[p] != NULL)
			check_lanes(t, route, peers[p]);
}

static inline void check_all(void)
{
	size_t topic_count = 0, wish_count = 0;

	for (unsigned t = 0; t < TOPICS; t++) {
		bool any = false;

		for (unsigned p = 0; p < PEERS; p++)
			any |= declared[t][p];
		if (!any) {
			topics[t] = NULL;
			continue;
		}
		topic_count++;
		assert_ptr_equal(xy_idmap_get(&router->topics, topics[t]->id), topics[t]);
		check_topic(t);
	}
	for (unsigned w = 0; w < SUBSCRIPTIONS; w++)
		wish_count += wishes[w].peer != NULL;
	assert_int_equal(xy_idmap_count(&router->topics), topic_count);
	assert_int_equal(xy_idmap_count(&router->subscriptions), wish_count);
}

#endif
