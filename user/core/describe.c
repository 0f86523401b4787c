/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The router's part of a status.
 */
#include <inttypes.h>

#include "core/router_internal.h"

/* Longer lists are cut: a status must not hold up the router for long. */
#define LISTED_MAX 10000

static json_t *hex(uint64_t id)
{
	char text[17];

	snprintf(text, sizeof(text), "%016" PRIx64, id);
	return json_string(text);
}

static int receivers_of(const struct xy_route *route)
{
	uint32_t receivers = route->plains;

	for (uint32_t g = 0; g < route->groups; g++)
		receivers += route->group[g]->members;
	return (int)receivers;
}

static json_t *subjects(const struct xy_router *router)
{
	json_t *list = json_array();
	size_t position = 0;
	uint64_t id;
	void *value;

	while (json_array_size(list) < LISTED_MAX &&
	       xy_idmap_next(&router->topics, &position, &id, &value)) {
		const struct xy_topic *topic = value;

		json_array_append_new(list, json_pack("{s:s, s:o, s:i, s:i}", "subject",
						      topic->subject, "id", hex(topic->id),
						      "declared", (int)topic->declarers,
						      "receivers", receivers_of(topic->route)));
	}
	return list;
}

static json_t *subscriptions(const struct xy_router *router)
{
	json_t *list = json_array();
	size_t position = 0;
	uint64_t id;
	void *value;

	while (json_array_size(list) < LISTED_MAX &&
	       xy_idmap_next(&router->subscriptions, &position, &id, &value)) {
		const struct xy_subscription *subscription = value;

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:o}", "subject", subscription->pattern,
					"group", subscription->group, "overflow",
					xy_overflow_text(subscription->overflow), "endpoint",
					hex(subscription->peer->endpoint)));
	}
	return list;
}

static json_t *flows(const struct xy_router *router)
{
	json_t *list = json_array();
	const struct xy_installed *flow;

	xy_list_each (flow, &router->flows, by_age) {
		if (json_array_size(list) >= LISTED_MAX)
			break;
		json_array_append_new(list, json_pack("{s:o, s:o, s:s, s:i}", "from",
						      hex(flow->sender->endpoint), "target",
						      hex(flow->key.target), "subject",
						      flow->topic ? flow->topic->subject : "",
						      "members", (int)flow->ends));
	}
	return list;
}

void xy_router_describe(struct xy_router *router, json_t *status)
{
	json_object_set_new(status, "subjects", subjects(router));
	json_object_set_new(status, "subscriptions", subscriptions(router));
	json_object_set_new(status, "flows", flows(router));
}
