/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The router's part of a status.
 */
#include "core/page.h"
#include "core/router_internal.h"

/* Longer lists are cut: people do not read them, and who asks waits. */
#define LISTED_MAX 10000

static int receivers_of(const struct xy_route *route)
{
	uint32_t receivers = route->plains;

	for (uint32_t g = 0; g < route->groups; g++)
		receivers += route->group[g]->members;
	return (int)receivers;
}

static json_t *subject_of(const struct xy_topic *topic)
{
	return json_pack("{s:s, s:o, s:i, s:i}", "subject", topic->subject, "id",
			 xy_json_id(topic->id), "declared", (int)topic->declarers, "receivers",
			 receivers_of(topic->route));
}

static json_t *subscription_of(const struct xy_subscription *subscription)
{
	return json_pack("{s:s, s:s, s:s, s:o}", "subject", subscription->pattern, "group",
			 subscription->group, "overflow", xy_overflow_text(subscription->overflow),
			 "endpoint", xy_json_id(subscription->peer->endpoint));
}

static json_t *flow_of(const struct xy_installed *flow)
{
	return json_pack("{s:o, s:o, s:s, s:i}", "from", xy_json_id(flow->sender->endpoint),
			 "target", xy_json_id(flow->key.target), "subject",
			 flow->topic ? flow->topic->subject : "", "members", (int)flow->ends);
}

static bool is_cut(const struct xy_page *page)
{
	return page->listed >= LISTED_MAX;
}

static void scan_begin(struct xy_page *page)
{
	if (page->position[0] == 0)
		page->position[0] = 1;
}

/* The next value of the map, at page->position[0]. False: its end, and the position is 0; or that
 * of the page, or of what is listed. */
static bool next_of(const struct xy_idmap *map, struct xy_page *page, void **ret_value)
{
	uint64_t id;

	return !is_cut(page) && xy_page_look(page) &&
	       xy_idmap_scan(map, &page->position[0], &page->looks, &id, ret_value);
}

void xy_router_subjects(const struct xy_router *router, struct xy_page *page)
{
	void *value;

	scan_begin(page);
	while (next_of(&router->topics, page, &value)) {
		const struct xy_topic *topic = value;

		xy_page_list(page, subject_of(topic));
		page->looks -= xy_min(page->looks, (size_t)topic->route->groups);
	}
	page->more = page->position[0] && !is_cut(page);
}

void xy_router_subscriptions(const struct xy_router *router, struct xy_page *page)
{
	void *subscription;

	scan_begin(page);
	while (next_of(&router->subscriptions, page, &subscription))
		xy_page_list(page, subscription_of(subscription));
	page->more = page->position[0] && !is_cut(page);
}

/* By the slots of their senders. position[1]: the slot; position[0]: how far its flows are. */
void xy_router_flows(const struct xy_router *router, struct xy_page *page)
{
	const struct xy_kernel *kernel = router->core->kernel;
	uint32_t slots = kernel ? xy_kernel_slots(kernel) : 0;
	void *flow;

	while (page->position[1] < slots && xy_page_look(page)) {
		const struct xy_peer *sender = router->lane[page->position[1]];

		scan_begin(page);
		while (sender && next_of(&sender->flows_out, page, &flow))
			xy_page_list(page, flow_of(flow));
		if (sender && page->position[0])
			break;
		page->position[0] = 0;
		page->position[1]++;
	}
	page->more = page->position[1] < slots && !is_cut(page);
}
