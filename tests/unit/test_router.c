/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who gets what: the router's routes against a model that looks at every subscription, over random
 * comings and goings. SEED repeats a run.
 *
 * The router and the worker are real, but no thread runs: the test turns their loops.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/random.h"
#include "core/notify.h"
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

static uint64_t chance(uint64_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % below;
}

/* Token by token, as the page says. */
static bool matches(const char *pattern, const char *subject)
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
static bool model_receiver(unsigned t, const char *group, const struct xy_peer *peer,
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

static bool model_gets_plain(unsigned t, const struct xy_peer *peer, const struct xy_peer *sender)
{
	struct xy_receiver receiver;

	return model_receiver(t, "", peer, &receiver) && (peer != sender || receiver.echo);
}

/* Somebody is in it, and none of them gets the message anyway. */
static bool model_open(unsigned t, const char *group, const struct xy_peer *sender)
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

/* ---- instead of notify.c --------------------------------------------------------------------- */

static unsigned topic_index(const char *subject)
{
	unsigned t = 0;

	while (strcmp(subjects[t], subject) != 0)
		t++;
	return t;
}

static unsigned peer_index(const struct xy_peer *peer)
{
	unsigned p = 0;

	while (peers[p] != peer)
		p++;
	return p;
}

static bool receives(const struct xy_route *route, const struct xy_peer *peer)
{
	for (uint32_t p = 0; route != NULL && p < route->plains; p++)
		if (route->plain[p].peer == peer)
			return true;
	for (uint32_t g = 0; route != NULL && g < route->groups; g++)
		for (uint32_t m = 0; m < route->group[g]->members; m++)
			if (route->group[g]->member[m].peer == peer)
				return true;
	return false;
}

int xy_notify_binding(struct xy_peer *receiver, uint64_t topic, const char *subject)
{
	struct xy_topic *published = xy_idmap_get(&router->topics, topic);

	assert_non_null(published);
	assert_string_equal(published->subject, subject);
	/* Nobody can have posted DATA to it yet. */
	assert_false(receives(published->route, receiver));
	if (fail_in > 0 && --fail_in == 0)
		return -ENOMEM;
	told[topic_index(subject)][peer_index(receiver)] = topic;
	return 0;
}

void xy_notify_flow_gone(struct xy_peer *sender, uint64_t target)
{
	(void)sender;
	(void)target;
}

void xy_notify_brake(struct xy_peer *sender)
{
	(void)sender;
}

void xy_notify_prove(struct xy_peer *receiver)
{
	(void)receiver;
}

void xy_notify_slow(struct xy_peer *receiver)
{
	(void)receiver;
}

void xy_notify_room(struct xy_peer *receiver)
{
	(void)receiver;
}

/* ---- asking the router ----------------------------------------------------------------------- */

static struct xy_request *answered;

static void answer(struct xy_request *request)
{
	assert_null(answered);
	answered = request;
}

/* One request, from the worker to the router and back. The caller frees it. */
static struct xy_request *ask(struct xy_request *request)
{
	answered = NULL;
	xy_request_send(router, request);
	xy_loop_stop(router->loop);
	assert_int_equal(xy_loop_run(router->loop), 0);
	assert_null(answered);
	xy_loop_stop(worker.loop);
	assert_int_equal(xy_loop_run(worker.loop), 0);
	assert_ptr_equal(answered, request);
	assert_int_equal(atomic_load(&worker.asked), 0);
	return request;
}

static struct xy_request *request_of(enum xy_request_kind kind, unsigned p)
{
	struct xy_request *request = xy_request_new(kind, peers[p], answer);

	assert_non_null(request);
	return request;
}

/* Its own reference goes after a grace period, and the peer after another. */
static void peers_reclaim(void)
{
	xy_rcu_barrier();
	xy_rcu_barrier();
}

static void attach(unsigned p)
{
	struct xy_peer *peer;
	int error = xy_peer_new(&core, "peer", &peer);

	/* Numbers come back when those who went are free. */
	if (error == -ENOSPC) {
		peers_reclaim();
		error = xy_peer_new(&core, "peer", &peer);
	}
	assert_int_equal(error, 0);
	assert_int_equal(xy_random_id(&peer->endpoint), 0);
	peer->worker = &worker;
	peers[p] = peer;
	xy_request_free(ask(request_of(XY_REQUEST_ATTACH, p)));
	assert_ptr_equal(xy_router_endpoint(router, peer->endpoint), peer);
	/* Without a kernel side lanes are known to routes only. */
	if (chance(4) != 0) {
		peer->session = (struct xy_session *)peer;
		peer->slot = (struct xy_slot){.slot = peer->number, .generation = 7 + p};
	}
}

static void detach(unsigned p)
{
	struct xy_peer *peer = peers[p];
	uint64_t endpoint = peer->endpoint;

	peer->session = NULL;
	peer->slot.generation = 0;
	xy_request_free(ask(request_of(XY_REQUEST_DETACH, p)));
	assert_null(xy_router_endpoint(router, endpoint));
	for (unsigned w = 0; w < SUBSCRIPTIONS; w++)
		if (wishes[w].peer == peer)
			wishes[w].peer = NULL;
	for (unsigned t = 0; t < TOPICS; t++) {
		declared[t][p] = false;
		told[t][p] = 0;
	}
	peers[p] = NULL;
	xy_peer_put(peer);
}

static void subscribe(unsigned p, unsigned w)
{
	struct wish wish = {.peer = peers[p],
			    .pattern = patterns[chance(LENGTH(patterns))],
			    .group = groups[chance(LENGTH(groups))],
			    .overflow = (enum xy_overflow)chance(4),
			    .echo = chance(2) == 0};
	struct xy_request *request = request_of(XY_REQUEST_SUBSCRIBE, p);
	int failing;

	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), "%s",
		 wish.pattern);
	snprintf(request->subscribe->group, sizeof(request->subscribe->group), "%s", wish.group);
	request->subscribe->overflow = wish.overflow;
	request->subscribe->echo = wish.echo;
	request->subscribe->stall_ms = XY_STALL_MS_DEFAULT;
	failing = fail_in = chance(8) == 0 ? 1 + (int)chance(3) : 0;
	ask(request);
	if (failing && fail_in == 0) {
		/* Nothing has changed. */
		assert_int_equal(request->error, XY_E_OVERLOADED);
	} else {
		assert_int_equal(request->error, XY_ERROR_NONE);
		assert_int_not_equal(request->id, 0);
		wish.id = request->id;
		wishes[w] = wish;
	}
	fail_in = 0;
	xy_request_free(request);
}

static void unsubscribe(unsigned w)
{
	struct xy_peer *owner = wishes[w].peer;
	struct xy_request *request;

	/* Another one's is none. */
	for (unsigned p = 0; p < PEERS; p++) {
		if (peers[p] == NULL || peers[p] == owner)
			continue;
		request = request_of(XY_REQUEST_UNSUBSCRIBE, p);
		request->target = wishes[w].id;
		assert_int_equal(ask(request)->error, XY_E_UNKNOWN_SUBSCRIPTION);
		xy_request_free(request);
		break;
	}
	for (int again = 0; again < 2; again++) {
		request = request_of(XY_REQUEST_UNSUBSCRIBE, peer_index(owner));
		request->target = wishes[w].id;
		assert_int_equal(ask(request)->error,
				 again ? XY_E_UNKNOWN_SUBSCRIPTION : XY_ERROR_NONE);
		xy_request_free(request);
	}
	wishes[w].peer = NULL;
}

static void declare(unsigned p, unsigned t)
{
	struct xy_request *request = request_of(XY_REQUEST_DECLARE, p);
	struct xy_topic *known = topics[t];

	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), "%s",
		 subjects[t]);
	ask(request);
	assert_int_equal(request->error, XY_ERROR_NONE);
	assert_int_equal(request->id, request->topic->id);
	if (known != NULL)
		assert_ptr_equal(request->topic, known);
	topics[t] = request->topic;
	declared[t][p] = true;
	xy_request_free(request);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void check_receivers(unsigned t, const char *group, const struct xy_receiver *list,
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
static const struct xy_group *group_find(unsigned t, const struct xy_route *route, const char *name)
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

static void check_lanes(unsigned t, const struct xy_route *route, const struct xy_peer *sender)
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

static void check_topic(unsigned t)
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

static void check_all(void)
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

/* ---- tests ----------------------------------------------------------------------------------- */

static int setup(void **state)
{
	const struct xy_loop_options options = {.name = "worker"};

	(void)state;
	memset(&core, 0, sizeof(core));
	core.max_connections = PEERS;
	core.max_topics = TOPICS;
	core.max_subscriptions = SUBSCRIPTIONS;
	core.numbers = xy_numbers_new(PEERS);
	worker = (struct xy_worker){.core = &core};
	if (core.numbers == NULL || xy_loop_new(&options, &worker.loop) != 0 ||
	    xy_router_new(&core, &router) != 0)
		return -1;
	core.router = router;
	return 0;
}

static int teardown(void **state)
{
	uint32_t number;

	(void)state;
	for (unsigned p = 0; p < PEERS; p++)
		if (peers[p] != NULL)
			detach(p);
	check_all();
	peers_reclaim();
	for (unsigned p = 0; p < PEERS; p++)
		assert_int_equal(xy_numbers_take(core.numbers, &number), 0);
	xy_router_free(router);
	xy_loop_free(worker.loop);
	xy_numbers_free(core.numbers);
	return 0;
}

static void step(void)
{
	unsigned p = (unsigned)chance(PEERS), w = (unsigned)chance(SUBSCRIPTIONS);

	if (peers[p] == NULL) {
		attach(p);
	} else if (chance(60) == 0) {
		detach(p);
	} else if (chance(4) == 0) {
		declare(p, (unsigned)chance(TOPICS));
	} else if (wishes[w].peer != NULL) {
		unsubscribe(w);
	} else {
		subscribe(p, w);
	}
}

static void test_routes_are_what_every_subscription_says(void **state)
{
	const char *given = getenv("SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

	(void)state;
	print_message("SEED=%lu\n", (unsigned long)seed);
	random_state = seed;
	for (unsigned i = 0; i < STEPS; i++) {
		step();
		check_all();
	}
}

static void test_limits_are_kept_and_told(void **state)
{
	struct xy_request *request;

	(void)state;
	random_state = 1;
	attach(0);
	for (unsigned t = 0; t < TOPICS; t++)
		declare(0, t);
	request = request_of(XY_REQUEST_DECLARE, 0);
	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), "one.more");
	assert_int_equal(ask(request)->error, XY_E_OVERLOADED);
	xy_request_free(request);
	for (unsigned w = 0; w < SUBSCRIPTIONS; w++)
		while (wishes[w].peer == NULL)
			subscribe(0, w);
	request = request_of(XY_REQUEST_SUBSCRIBE, 0);
	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), ">");
	assert_int_equal(ask(request)->error, XY_E_OVERLOADED);
	xy_request_free(request);
	check_all();
}

static void test_no_flow_without_a_kernel_side(void **state)
{
	struct xy_request *request;

	(void)state;
	random_state = 2;
	attach(0);
	declare(0, 0);
	request = request_of(XY_REQUEST_FLOW, 0);
	request->target = topics[0]->id;
	request->flow_kind = XY_FLOW_TOPIC;
	assert_false(ask(request)->installed);
	xy_request_free(request);
}

/* Who found the peer before it went may take a reference, and it lasts. */
static void test_a_reader_may_keep_a_peer_that_goes_meanwhile(void **state)
{
	const struct xy_route *route;
	struct xy_peer *found;
	uint64_t endpoint;

	(void)state;
	random_state = 3;
	attach(0);
	attach(1);
	endpoint = peers[1]->endpoint;
	declare(0, 0);
	while (wishes[0].peer == NULL || !receives(xy_topic_route(topics[0]), peers[1])) {
		if (wishes[0].peer != NULL)
			unsubscribe(0);
		subscribe(1, 0);
	}
	xy_rcu_read_lock();
	route = xy_topic_route(topics[0]);
	found = route->plains ? route->plain[0].peer : route->group[0]->member[0].peer;
	detach(1);
	assert_true(atomic_load(&found->references) > 0);
	xy_peer_get(found);
	xy_rcu_read_unlock();
	peers_reclaim();
	assert_int_equal(found->endpoint, endpoint);
	assert_int_equal(atomic_load(&found->references), 1);
	xy_peer_put(found);
}

static int group_setup(void **state)
{
	(void)state;
	xy_rcu_register_thread();
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	xy_rcu_unregister_thread();
	return 0;
}

#define ROUTER_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROUTER_TEST(test_routes_are_what_every_subscription_says),
		ROUTER_TEST(test_limits_are_kept_and_told),
		ROUTER_TEST(test_no_flow_without_a_kernel_side),
		ROUTER_TEST(test_a_reader_may_keep_a_peer_that_goes_meanwhile),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
